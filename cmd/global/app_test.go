package main

import (
	"context"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/test/testlog"
)

// runApp runs a command line in this process.
func runApp(args ...string) (code int, out, errs string) { return runWith("", args...) }

// output is what a command wrote. Like a file, it takes lines of several goroutines: an
// upload that is sent again says so while the command shows its progress.
type output = testlog.Log

// runWith runs a command line in this process with that on standard input.
func runWith(input string, args ...string) (code int, out, errs string) {
	var o, e output
	app := newApp(console.IO{In: strings.NewReader(input), Out: &o, Err: &e})
	code = console.Run(context.Background(), app, append([]string{"global"}, args...))
	return code, o.String(), e.String()
}

func TestExitCodes(t *testing.T) {
	for line, want := range map[string]int{
		"version":                            console.ExitOK,
		"":                                   console.ExitOK,
		"get zones --help":                   console.ExitOK,
		"inspect token /nowhere":             console.ExitError,
		"get zones --address http://[::1]:1": console.ExitError,
		"nonsense":                           console.ExitUsage,
		"get zones --nonsense":               console.ExitUsage,
		"get zones -o nonsense":              console.ExitUsage,
		"keys rotate nonsense":               console.ExitUsage,
		"generate zone-token":                console.ExitUsage,
		"generate zone-token --zone A":       console.ExitUsage,
		"generate zone-token --valid-for x":  console.ExitUsage,
	} {
		if code, out, errs := runApp(strings.Fields(line)...); code != want {
			t.Errorf("global %s: exit %d, want %d\n%s%s", line, code, want, out, errs)
		}
	}
}

// leaves yields every command that does something, as words on a command line.
func leaves(commands []*cli.Command, path []string, yield func([]string, *cli.Command)) {
	for _, c := range commands {
		words := append(append([]string{}, path...), c.Name)
		if len(c.Subcommands) == 0 {
			yield(words, c)
		}
		leaves(c.Subcommands, words, yield)
	}
}

func TestEveryCommandHasHelpWithExamples(t *testing.T) {
	app := newApp(console.IO{})
	leaves(app.Commands, nil, func(words []string, c *cli.Command) {
		line := strings.Join(words, " ")
		code, out, errs := runApp(append(words, "--help")...)
		if code != 0 || errs != "" || !strings.HasPrefix(out, "global "+line+": ") {
			t.Errorf("global %s --help: exit %d\n%s%s", line, code, out, errs)
		}
		_, examples, ok := strings.Cut(out, "Examples:\n")
		if !ok || !strings.Contains(examples, "global "+line) {
			t.Errorf("global %s --help has no example of itself", line)
		}
		if strings.Contains(out, "%!") || strings.HasSuffix(c.Usage, ".") || strings.ToLower(c.Usage[:1]) != c.Usage[:1] {
			t.Errorf("global %s: %q is not in our voice", line, c.Usage)
		}
		for _, f := range c.Flags {
			if doc, ok := f.(cli.DocGenerationFlag); !ok || doc.GetUsage() == "" {
				t.Errorf("global %s: the flag %s is not explained", line, f.Names()[0])
			}
		}
	})
}

// TestALengthOfTimeIsNotEmpty: an empty value is a script whose variable is not set, and
// not the wish for the longest validity that there is.
func TestALengthOfTimeIsNotEmpty(t *testing.T) {
	bounded := 0
	leaves(newApp(console.IO{}).Commands, nil, func(words []string, c *cli.Command) {
		for _, f := range c.Flags {
			name := f.Names()[0]
			if _, ok := f.(*cli.DurationFlag); !ok && name != "valid-for" {
				continue
			}
			if name == "valid-for" {
				bounded++
			}
			code, out, errs := runApp(append(append([]string{}, words...), "--"+name, "")...)
			if code != console.ExitUsage || out != "" || !strings.Contains(errs, `--`+name+`: "" is not a length of time`) {
				t.Errorf("global %s --%s '': exit %d\n%s%s", strings.Join(words, " "), name, code, out, errs)
			}
		}
	})
	if bounded < 8 {
		t.Errorf("only %d commands have --valid-for", bounded)
	}
}

// TestEveryServerFlagHasAVariable: what can be said on the command line of a server can be
// said in its environment.
func TestEveryServerFlagHasAVariable(t *testing.T) {
	seen := 0
	leaves(newApp(console.IO{}).Commands, nil, func(words []string, c *cli.Command) {
		if line := strings.Join(words, " "); line != "server" && line != "dev" {
			return
		}
		for _, f := range c.Flags {
			seen++
			if doc, ok := f.(cli.DocGenerationFlag); !ok || len(doc.GetEnvVars()) != 1 || !strings.HasPrefix(doc.GetEnvVars()[0], "GLOBAL_") {
				t.Errorf("global %s: --%s has no variable of its own", strings.Join(words, " "), f.Names()[0])
			}
		}
	})
	if seen < 40 {
		t.Errorf("only %d flags", seen)
	}
}
