package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	console "github.com/meridiankds/meridian/internal/cli"
)

// withMesh has a line for each command that is about one mesh: without --mesh that is the mesh
// default, as what it asks the global shows.
var withMesh = map[string]string{
	"get secrets":              "",
	"get revocations":          "--kind dataplane-token",
	"revoke":                   "--kind dataplane-token id-1",
	"generate dataplane-token": "",
	"keys rotate":              "dataplane-token --yes",
	"keys prepare":             "dataplane-token",
	"keys activate":            "dataplane-token 1",
	"keys retire":              "dataplane-token 1 --force",
	"keys remove":              "dataplane-token 1 --force",
	"delete secret":            "dataplane-token-signing-key-default-1",
	"delete public-key":        "ci-1 --kind dataplane-token",
}

// TestOneRuleForMeshes: a command about one mesh takes the mesh default where none is named, and
// its help says so; one that shows several shows all, and its help says "only".
func TestOneRuleForMeshes(t *testing.T) {
	seen := 0
	leaves(newApp(console.IO{}).Commands, nil, func(words []string, c *cli.Command) {
		command := strings.Join(words, " ")
		for _, f := range c.Flags {
			doc, ok := f.(cli.DocGenerationFlag)
			if !ok || f.Names()[0] != "mesh" {
				continue
			}
			seen++
			filters := strings.Contains(doc.GetUsage(), "only")
			if text := strings.Trim(doc.GetDefaultText(), `"`); filters && text != "" || !filters && text != "default" {
				t.Errorf("global %s --mesh: %q with the default %q", command, doc.GetUsage(), text)
			}
			if filters {
				continue
			}
			line, listed := withMesh[command]
			if !listed {
				t.Errorf("global %s has --mesh and is in no table", command)
				continue
			}
			t.Run(command, func(t *testing.T) {
				t.Parallel()
				e := newElection(t, 0)
				code, out, errs := e.run(strings.TrimSpace(command + " " + line))
				asked, err := os.ReadFile(filepath.Join(e.dir, "requests"))
				if err != nil {
					t.Fatalf("exit code %d: %v\n%s%s", code, err, out, errs)
				}
				if text := string(asked); !strings.Contains(text, `"mesh":"default"`) && !strings.Contains(text, "/meshes/default/") && !strings.Contains(text, "mesh=default") {
					t.Errorf("exit code %d: the mesh default was not asked for\n%s%s%s", code, out, errs, asked)
				}
			})
		}
	})
	if seen < 12 {
		t.Errorf("only %d commands have --mesh", seen)
	}
}
