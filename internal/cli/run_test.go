package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/federation"
)

// script is a program for tests. Its commands write what they were given.
func script(out, errs *bytes.Buffer) *cli.App {
	app := New("prog", "a program", "v1.2.3", IO{In: strings.NewReader(""), Out: out, Err: errs})
	echo := func(c *cli.Context) error {
		fmt.Fprintf(c.App.Writer, "%s zone=%q wait=%s yes=%v tag=%q args=%q\n", c.Command.Name,
			c.String("zone"), c.Duration("wait"), c.Bool("yes"), c.StringSlice("tag"), c.Args().Slice())
		return nil
	}
	flags := func() []cli.Flag {
		return []cli.Flag{
			&cli.StringFlag{Name: "zone", Aliases: []string{"z"}, Usage: "the `ZONE`"},
			&cli.DurationFlag{Name: "wait", Usage: "how long", Value: time.Second, EnvVars: []string{"PROG_WAIT"}},
			&cli.BoolFlag{Name: "yes", Usage: "agree"},
			&cli.IntFlag{Name: "count", Usage: "how many"},
			&cli.StringSliceFlag{Name: "tag", Usage: "a tag"},
			&cli.StringFlag{Name: "secret-trick", Hidden: true, Usage: "not shown"},
		}
	}
	app.Commands = []*cli.Command{
		{Name: "get", Usage: "show", Subcommands: []*cli.Command{
			{Name: "zones", Usage: "zones", Action: echo, Flags: flags()},
			{Name: "keys", Usage: "keys", ArgsUsage: "[KEY…]", Action: echo, Flags: flags(),
				Description: "Long story of {program}.\n\nExamples:\n  prog get keys 1"},
		}},
		{Name: "fail", Usage: "fail", ArgsUsage: "HOW", Action: func(c *cli.Context) error {
			switch c.Args().First() {
			case "federation":
				return federation.Errorf(federation.NotFound, "no key 3").WithHint("list them")
			case "wrapped":
				return fmt.Errorf("while looking: %w", federation.Errorf(federation.NotFound, "no key 3").WithHint("list them"))
			case "usage":
				return Usagef("say which", "which key")
			}
			return errors.New("plain\nfailure")
		}},
		VersionCommand(func(*cli.Context) (string, error) { return "", nil }, nil),
	}
	return app
}

func runScript(args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	code = Run(context.Background(), script(&o, &e), append([]string{"/usr/bin/prog"}, args...))
	return code, o.String(), e.String()
}

func TestFlagsMayStandAnywhere(t *testing.T) {
	want := `keys zone="west" wait=5s yes=true tag=[] args=["1" "2"]` + "\n"
	for _, line := range []string{
		"get keys --zone west --wait 5s --yes 1 2",
		"get keys 1 2 --zone west --wait 5s --yes",
		"get keys 1 --zone=west --yes 2 -wait 5s",
		"get --zone west keys 1 --wait=5s 2 --yes",
		"--zone west get --yes keys --wait 5s 1 2",
		"get keys -z west --yes=true --wait 5s -- 1 2",
		"get keys --zone east 1 2 --wait 5s --yes --zone west", // the last one counts
	} {
		t.Run(line, func(t *testing.T) {
			code, out, errs := runScript(strings.Fields(line)...)
			if code != 0 || out != want || errs != "" {
				t.Errorf("exit %d\nout  %s\nwant %s\nerr  %s", code, out, want, errs)
			}
		})
	}
}

func TestArgumentsThatLookLikeSomethingElse(t *testing.T) {
	for line, args := range map[string]string{
		"get keys -":               `["-"]`,
		"get keys -- --zone -x":    `["--zone" "-x"]`,
		"get keys help":            `["help"]`,
		"get keys zones":           `["zones"]`,
		"get keys 1 -- 2 --":       `["1" "2" "--"]`,
		"get keys --tag a --tag b": `[]`,
	} {
		code, out, errs := runScript(strings.Fields(line)...)
		if code != 0 || !strings.HasSuffix(out, "args="+args+"\n") {
			t.Errorf("%s: exit %d, %s%s", line, code, out, errs)
		}
	}
}

func TestUsageErrors(t *testing.T) {
	const jwt = "eyJhbGciOiJSUzI1NiJ9.eyJab25lIjoid2VzdCJ9.c2ln"
	tests := []struct{ line, err, hint string }{
		{"gett", `prog: unknown command "gett"`, "did you mean `prog get`?"},
		{"frobnicate", `prog: unknown command "frobnicate"`, "the commands are: get, fail, version"},
		{"get zone", `prog get: unknown command "zone"`, "did you mean `prog get zones`?"},
		{"get", "prog get needs a command", "the commands are: zones, keys"},
		{"--zone west", "prog needs a command", "the commands are: get, fail, version"},
		{"get zones --zoen west", "prog get zones: unknown flag --zoen", "did you mean --zone?"},
		{"get zones --quux --help", "prog get zones: unknown flag --quux", "see `prog get zones --help`"},
		{"get zones --quux", "prog get zones: unknown flag --quux", "see `prog get zones --help`"},
		{"--quux get zones", "prog: unknown flag --quux", "see `prog --help`"},
		{"--zone west version", "prog version: unknown flag --zone", "see `prog version --help`"},
		{"get zones west", `prog get zones takes no arguments, got "west"`, "see `prog get zones --help`"},
		{"get zones --zone", "--zone needs a value", "see `prog get zones --help`"},
		{"get zones --zone --wait 5s", "--zone needs a value", "see `prog get zones --help`"},
		{"get zones --wait soon", `--wait: "soon" is not a length of time: write 30s, 15m, 720h or 30d`, "see `prog get zones --help`"},
		{"get zones --count many", `--count: "many" is not a whole number in range`, "see `prog get zones --help`"},
		{"get zones --yes=perhaps", `--yes: "perhaps" is neither true nor false`, "see `prog get zones --help`"},
		{"get keys " + jwt, "a token or key must not be an argument", "others on this machine can read arguments: give a file, or - for standard input"},
		{"get keys --zone=" + jwt, "a token or key must not be an argument", "others on this machine can read arguments: give a file, or - for standard input"},
		{"fail usage", "which key", "say which"},
	}
	for _, tt := range tests {
		t.Run(tt.line, func(t *testing.T) {
			code, out, errs := runScript(strings.Fields(tt.line)...)
			want := "prog: error: " + tt.err + "\n"
			if tt.hint != "" {
				want += "prog: hint: " + tt.hint + "\n"
			}
			if code != ExitUsage || out != "" || errs != want {
				t.Errorf("exit %d, want 2\nout  %q\nerr  %s\nwant %s", code, out, errs, want)
			}
		})
	}
}

func TestBadEnvironmentIsNamed(t *testing.T) {
	t.Setenv("PROG_WAIT", "soon")
	code, out, errs := runScript("get", "zones")
	want := "prog: error: PROG_WAIT: \"soon\" is not a length of time: write 30s, 15m, 720h or 30d\nprog: hint: see `prog get zones --help`\n"
	if code != ExitUsage || out != "" || errs != want {
		t.Errorf("exit %d\nout  %q\nerr  %s\nwant %s", code, out, errs, want)
	}
}

func TestErrors(t *testing.T) {
	for how, want := range map[string]string{
		"federation": "prog: error: no key 3\nprog: hint: list them\n",
		"wrapped":    "prog: error: while looking: no key 3\nprog: hint: list them\n",
		"plain":      "prog: error: plain failure\n",
	} {
		code, out, errs := runScript("fail", how)
		if code != ExitError || out != "" || errs != want {
			t.Errorf("%s: exit %d, out %q, err %q, want %q", how, code, out, errs, want)
		}
	}
}

func TestVersion(t *testing.T) {
	for _, line := range []string{"version", "--version"} {
		code, out, errs := runScript(line)
		if code != 0 || out != "prog v1.2.3\n" || errs != "" {
			t.Errorf("%s: exit %d, %q, %q", line, code, out, errs)
		}
	}
	if got := Version("v9"); got != "v9" {
		t.Errorf("what the linker was given is shown as %q", got)
	}
	if got := Version(""); got == "" {
		t.Error("a binary built by hand has an empty version")
	}
}

func TestHelp(t *testing.T) {
	const keys = `prog get keys: keys

Usage:
  prog get keys [KEY…] [flags]

Long story of prog.

Examples:
  prog get keys 1

Flags:
  --zone, -z ZONE   the ZONE
  --wait VALUE      how long (default 1s) [PROG_WAIT]
  --yes             agree
  --count VALUE     how many
  --tag VALUE       a tag
`
	for _, line := range []string{
		"get keys --help", "get keys 1 -h", "help get keys", "--help get keys", "get --help keys", "get help keys",
		"get keys --zone west --help",
	} {
		code, out, errs := runScript(strings.Fields(line)...)
		if code != 0 || out != keys || errs != "" {
			t.Errorf("%s: exit %d\n%s\n%s", line, code, out, errs)
		}
	}
	const top = `prog: a program

Usage:
  prog COMMAND

Commands:
  get       show
  fail      fail
  version   print the version of this program and of the server

More about a command: prog COMMAND --help
`
	for _, line := range []string{"", "help", "--help", "-h"} {
		if code, out, errs := runScript(strings.Fields(line)...); code != 0 || out != top || errs != "" {
			t.Errorf("%q: exit %d\n%s\n%s", line, code, out, errs)
		}
	}
}

// FuzzRun throws words of every shape at the program: whatever they
// are, it answers within the exit codes and with whole lines.
func FuzzRun(f *testing.F) {
	f.Add("get keys --zone west 1")
	f.Add("-- --- -= --=x -z= --zone= =")
	f.Add("get --help=1 keys -h=2 --version=x")
	f.Fuzz(func(t *testing.T, line string) {
		code, _, errs := runScript(strings.Fields(line)...)
		if code < ExitOK || code > ExitUsage {
			t.Errorf("exit %d", code)
		}
		if code != ExitOK && (!strings.HasPrefix(errs, "prog: error: ") || strings.Count(errs, "\n") > 2) {
			t.Errorf("exit %d says %q", code, errs)
		}
	})
}
