// Package helptext holds the help of a program against what a reader may expect of it.
package helptext

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

// columns is the width of a terminal that nobody has changed.
const columns = 80

// Fits tests that each line of the help of every command, and of every group of commands,
// has 80 columns at most. run runs a command line of the program.
func Fits(t *testing.T, app *cli.App, run func(args ...string) (code int, out, errs string)) {
	t.Helper()
	var each func(path []string, commands []*cli.Command)
	each = func(path []string, commands []*cli.Command) {
		code, out, errs := run(append(path[:len(path):len(path)], "--help")...)
		if code != 0 || out == "" {
			t.Errorf("%s --help: exit code %d\n%s", strings.Join(path, " "), code, errs)
		}
		for line := range strings.Lines(out) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > columns {
				t.Errorf("%s --help: %d columns\n%s", strings.Join(path, " "), n, line)
			}
		}
		for _, c := range commands {
			each(append(path[:len(path):len(path)], c.Name), c.Subcommands)
		}
	}
	each(nil, app.Commands)
}
