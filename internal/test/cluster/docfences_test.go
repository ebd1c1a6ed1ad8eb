package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// notPlayed names the sh blocks of each document that TestPagesAsWritten leaves out, by their
// first line: with the test that plays them instead, or why nothing does.
var notPlayed = map[string]map[string]string{
	"README.md": {
		"scripts/demo    # plays the main job on loopback: join, verify, revoke, outage, rotation; ends in DEMO OK": "scripts/test runs all three",
	},
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
