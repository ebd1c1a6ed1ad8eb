package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	console "github.com/meridiankds/meridian/internal/cli"
)

// TestEveryHelpFitsATerminal: each line of the help of every command, and of every group of
// commands, has 80 columns at most.
func TestEveryHelpFitsATerminal(t *testing.T) {
	app := newApp(console.IO{})
	paths := map[string]bool{"": true}
	var each func(at string, commands []*cli.Command)
	each = func(at string, commands []*cli.Command) {
		for _, c := range commands {
			path := strings.TrimSpace(at + " " + c.Name)
			paths[path] = true
			each(path, c.Subcommands)
		}
	}
	each("", app.Commands)
	for path := range paths {
		code, out, errs := runApp(append(strings.Fields(path), "--help")...)
		if code != console.ExitOK || out == "" {
			t.Errorf("%s --help: exit code %d\n%s", path, code, errs)
		}
		for line := range strings.Lines(out) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 {
				t.Errorf("%s --help: %d columns\n%s", path, n, line)
			}
		}
	}
}
