package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	console "github.com/meridiankds/meridian/internal/cli"
)

// TestNamesInPlaceOfIDs has each command that asks a global speak. What it says names members,
// control planes of zones and clusters by what operators call them; who wants the ids asks with
// -o wide, which has each id that -o json has.
func TestNamesInPlaceOfIDs(t *testing.T) {
	ids := []string{node1, node2, node3, node4, node9, instance1, instance2, cluster1, cluster0}
	shown := func(text string) (found []string) {
		for _, id := range ids {
			if strings.Contains(text, id[:8]) {
				found = append(found, id)
			}
		}
		return found
	}
	formats := map[string]bool{}
	leaves(newApp(console.IO{}).Commands, nil, func(words []string, c *cli.Command) {
		formats[strings.Join(words, " ")] = slices.ContainsFunc(c.Flags, func(f cli.Flag) bool { return f.Names()[0] == "output" })
	})
	more := []string{
		"get audit --limit 1", "keys activate control-plane-token 2", "keys rotate control-plane-token --yes --wait 100ms", "keys remove zone-token 1 --dry-run",
		"keys activate control-plane-token 2 --force", "cluster remove b", "cluster remove b --force --expel", "cluster transfer-leader " + node2, "keys list --held 1 --kind zone-token",
		"get revocations --kind zone-token --held id-1", "snapshot restore $DIR/backup.snapshot --force --cluster " + cluster1 + " --secret-generation 2",
	}
	for _, line := range slices.Concat(changing, reading, more) {
		t.Run(strings.ReplaceAll(line, "$DIR/", ""), func(t *testing.T) {
			t.Parallel()
			e := newElection(t, 0)
			_, out, errs := e.run(line)
			if found := shown(out + errs); len(found) > 0 {
				t.Errorf("it shows the ids %v:\n%s%s", found, out, errs)
			}
			command, _, _ := strings.Cut(line, " -")
			for command != "" && !hasKey(formats, command) {
				command = command[:max(0, strings.LastIndexByte(command, ' '))]
			}
			if !slices.Contains(reading, line) || !formats[command] {
				return
			}
			_, all, _ := e.run(line + " -o json")
			_, wide, beside := e.run(line + " -o wide")
			wide += beside
			for _, id := range shown(all) {
				if !strings.HasPrefix(id, "c") && !strings.Contains(wide, id) {
					t.Errorf("-o wide lacks the id %s, which -o json has:\n%s", id, wide)
				}
			}
		})
	}
}

func hasKey(m map[string]bool, key string) bool { _, ok := m[key]; return ok }
