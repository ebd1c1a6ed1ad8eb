package cluster

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// notPlayed names the sh blocks of each document that TestPagesAsWritten leaves out, by the
// beginning of their first line: with the test or script that plays them instead, or why
// nothing does. What is named as package.Test must exist.
var notPlayed = map[string]map[string]string{
	"README.md": {
		"scripts/demo ": "scripts/test runs all three",
	},
	"SECURITY.md": {
		"": "internal/test/attack.TestEveryCannotIsTried names a test for each of its sections",
	},
	"docs/authentication.md": {
		"zone proxy run ": "internal/test/cluster.TestAgentAtAZone",
	},
	"docs/backup.md": {
		"": "internal/test/cluster.TestOperationsAsWritten",
	},
	"docs/certificates.md": {
		"global generate seal-key > seal.key": "internal/test/cluster.TestOperationsAsWritten",
		"global certs cluster --cluster prod --node global-1=secrets/global-1 --node global-2=secrets/global-2 --trust secrets/west \\": "cmd/global/certs.TestClusterIsRenewedWhileItRuns",
		"global certs cluster --cluster prod --node global-1=secrets/global-1 --node global-2=secrets/global-2 \\":                      "cmd/global/certs.TestClusterIsRenewedWhileItRuns",
	},
	"docs/compose.md": {
		"": "scripts/compose-demo, where there is a Docker engine",
	},
	"docs/kuma.md": {
		"": "needs Kuma's programs; internal/test/cluster.TestKumaZoneUnderOurGlobal and internal/test/cluster.TestZoneNodeUnderKumasGlobal play the wire",
	},
	"docs/model/README.md": {"": "scripts/model, where there is spin"},
	"docs/operations.md": {
		"": "internal/test/cluster.TestOperationsAsWritten; `global server …` and `zone server …` are no whole commands",
	},
	"docs/performance.md": {"": "scripts/bench: minutes; scripts/test runs its checks"},
	"docs/proxies.md": {
		"kuma-dp run ": "needs Kuma's kuma-dp",
	},
	"docs/reliability.md": {"": "go test of this repository; the long runs take hours"},
}

// leftOut returns what notPlayed says of a block.
func leftOut(document string, f fence) (why string, left bool) {
	for begin, why := range notPlayed[document] {
		if strings.HasPrefix(f.first, begin) {
			return why, true
		}
	}
	return "", false
}

// TestEveryCommandBlockIsAccountedFor: each sh block of the documentation is on a page that
// TestPagesAsWritten types, or notPlayed says what plays it or why nothing does. Entries
// without a block, and tests that do not exist, fail.
func TestEveryCommandBlockIsAccountedFor(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	documents, err := filepath.Glob(filepath.Join(root, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, below := range []string{"docs", "deploy"} {
		err := filepath.WalkDir(filepath.Join(root, below), func(path string, _ os.DirEntry, err error) error {
			if strings.HasSuffix(path, ".md") {
				documents = append(documents, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	used, blocks := map[string]bool{}, 0
	for _, path := range documents {
		name, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		name = filepath.ToSlash(name)
		for _, f := range fencesOf(t, name) {
			if f.language != "sh" {
				if strings.HasPrefix(f.first, "global ") || strings.HasPrefix(f.first, "zone ") {
					t.Errorf("%s: a block of commands that is not marked as sh: %s", name, f.first)
				}
				continue
			}
			blocks++
			_, left := leftOut(name, f)
			if _, whole := pages[name]; !whole && !left {
				t.Errorf("%s: nothing plays the block that begins with %q", name, f.first)
			}
			for begin := range notPlayed[name] {
				if strings.HasPrefix(f.first, begin) {
					used[name+begin] = true
				}
			}
		}
	}
	if blocks < 40 {
		t.Errorf("found %d blocks only: the test would prove nothing", blocks)
	}
	for document, entries := range notPlayed {
		for begin, why := range entries {
			if !used[document+begin] {
				t.Errorf("%s has no block that begins with %q", document, begin)
			}
			for _, m := range regexp.MustCompile(`((?:internal|cmd)/[a-z/]+)\.(Test\w+)`).FindAllStringSubmatch(why, -1) {
				if !hasTest(t, filepath.Join(root, filepath.FromSlash(m[1])), m[2]) {
					t.Errorf("%s: there is no test %s.%s", document, m[1], m[2])
				}
			}
		}
	}
}

// hasTest looks for a test in the files of a package.
func hasTest(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), "func "+name+"(") {
			return true
		}
	}
	return false
}

// A fence is a code block of a document.
type fence struct {
	language string
	first    string // its first line
	lines    []string
}

// fencesOf reads the code blocks of a document of the repository, those in lists too.
func fencesOf(t *testing.T, name string) (all []fence) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "..", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	var open *fence
	indent := ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\n")
		text := strings.TrimLeft(line, " ")
		switch {
		case open == nil && strings.HasPrefix(text, "```"):
			open, indent = &fence{language: strings.TrimPrefix(text, "```")}, line[:len(line)-len(text)]
		case open != nil && strings.HasPrefix(text, "```"):
			if len(open.lines) > 0 {
				open.first = open.lines[0]
			}
			all, open = append(all, *open), nil
		case open != nil:
			open.lines = append(open.lines, strings.TrimPrefix(line, indent))
		}
	}
	if open != nil {
		t.Errorf("%s: a code block does not end", name)
	}
	return all
}

// commands are the lines of a block as one types them: what goes on in the next line, a here
// document and a loop are one each.
func (f fence) commands() (all []string) {
	var held []string
	until := ""
	for _, line := range f.lines {
		held = append(held, line)
		switch {
		case until != "":
			if strings.TrimSpace(line) != until {
				continue
			}
			until = ""
		case strings.HasSuffix(line, `\`):
			continue
		case strings.Contains(line, "<<"):
			_, word, _ := strings.Cut(line, "<<")
			until = strings.Trim(strings.Fields(word)[0], `'"`)
			continue
		case strings.HasPrefix(line, "for ") && !strings.Contains(line, "; done"):
			until = "done"
			continue
		}
		if text := strings.Join(held, "\n"); strings.TrimSpace(text) != "" && !strings.HasPrefix(strings.TrimSpace(text), "#") {
			all = append(all, text)
		}
		held = nil
	}
	return append(all, strings.Join(held, "\n"))[:len(all)+min(len(held), 1)]
}
