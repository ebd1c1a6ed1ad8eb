package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/federation"
)

// IO are the streams of a program.
type IO struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// New returns an application that [Run] can drive. Commands are added by the
// caller; each says what it does in Usage, how in Description (with examples),
// and what arguments it takes in ArgsUsage, empty for none.
func New(name, usage, version string, streams IO) *cli.App {
	return &cli.App{
		Name: name, HelpName: name, Usage: usage, Version: version,
		Reader: streams.In, Writer: streams.Out, ErrWriter: streams.Err,
		HideHelp: true, HideVersion: true,
		// An error goes to Run, which alone speaks and chooses the exit code.
		ExitErrHandler: func(*cli.Context, error) {},
	}
}

// Run runs the command line args, whose first word is the program's path, and
// returns the exit code. It prints the error, if any; the caller only exits.
func Run(ctx context.Context, app *cli.App, args []string) int {
	err := run(ctx, app, args)
	VoiceOf(app).Error(err)
	return ExitCode(err)
}

func run(ctx context.Context, app *cli.App, args []string) error {
	prepare(app)
	l, err := understand(app, args[min(1, len(args)):])
	if err != nil {
		return err
	}
	switch {
	case l.help:
		_, err := io.WriteString(app.Writer, help(app, l))
		return writeFailed(err)
	case l.version:
		return PrintVersion(app)
	}
	err = app.RunContext(ctx, l.arranged())
	if ExitCode(err) == ExitUsage {
		return Advise(err, "see `%s --help`", l.command())
	}
	return err
}

// PrintVersion writes the program's name and version as data.
func PrintVersion(app *cli.App) error {
	_, err := fmt.Fprintf(app.Writer, "%s %s\n", app.Name, app.Version)
	return writeFailed(err)
}

// versionWithin is how long the version of a server is waited for.
const versionWithin = 2 * time.Second

// VersionCommand returns the command that prints the version of this program, and that of the
// server that the flags name, which ask finds out. It does not fail by a server.
func VersionCommand(ask func(*cli.Context) (string, error), flags []cli.Flag) *cli.Command {
	return &cli.Command{
		Name:  "version",
		Usage: "print the version of this program and of the server",
		Flags: append(flags, OutputFlag()),
		Description: `Asks nobody for longer than 2 seconds, and does not fail where nobody answers. --version
prints the version of this program alone.

Examples:
  {program} version
  {program} version -o json`,
		Action: func(c *cli.Context) error {
			format, err := FormatOf(c)
			if err != nil {
				return err
			}
			if err := NoArguments(c); err != nil {
				return err
			}
			build := versionOf(c.App)
			ctx, cancel := context.WithTimeout(c.Context, versionWithin)
			defer cancel()
			c.Context = ctx
			var silent error
			if build.Server, silent = ask(c); silent != nil {
				VoiceOf(c.App).Say("the version of the server is not known: %v", silent)
			}
			return Print(c.App.Writer, format, build, func() io.WriterTo {
				lines := c.App.Name + " " + c.App.Version + "\n"
				if build.Server != "" {
					lines += "server " + build.Server + "\n"
				}
				return bytes.NewBufferString(lines)
			})
		},
	}
}

// Build is a program's version as programs read it.
type Build struct {
	Program string `json:"program"`
	Version string `json:"version"`
	Go      string `json:"go"`
	// Server is the version of the node that was asked, where one was.
	Server string `json:"server,omitempty"`
}

func versionOf(app *cli.App) Build {
	return Build{Program: app.Name, Version: app.Version, Go: runtime.Version()}
}

// prepare takes help and usage errors away from the library, for every command.
func prepare(app *cli.App) {
	app.OnUsageError = usageFault
	if app.Metadata == nil {
		app.Metadata = map[string]any{}
	}
	app.Metadata[namedKey] = &naming{}
	var each func(commands []*cli.Command)
	each = func(commands []*cli.Command) {
		for _, c := range commands {
			c.HideHelp = true
			c.OnUsageError = usageFault
			addShowing(c)
			rememberWhom(c)
			showProgress(c)
			each(c.Subcommands)
		}
	}
	each(app.Commands)
}

// The words in which the flag package and urfave/cli report a bad value.
var (
	badValue = regexp.MustCompile(`(?s)^invalid (?:boolean )?value "(.*)" for (?:flag )?-([^:]*): (.*)$`)
	badEnv   = regexp.MustCompile(`(?s)^could not parse "(.*)" as .*?from environment variable "([^"]*)" for flag ([^:]*): (.*)$`)
)

// usageFault says what is wrong with a flag's value in one line.
func usageFault(c *cli.Context, err error, _ bool) error {
	name, value, why := "", "", ""
	if m := badValue.FindStringSubmatch(err.Error()); m != nil {
		name, value, why = dashed(m[2]), m[1], m[3]
	} else if m := badEnv.FindStringSubmatch(err.Error()); m != nil {
		name, value, why = m[2], m[1], m[4]
	} else {
		return Usage(federation.Errorf(federation.Invalid, "%s: %w", c.Command.HelpName, err))
	}
	switch lookup(c.Command.Flags, flagName(name, err)).(type) {
	case *cli.DurationFlag:
		why = "is not a length of time: write 30s, 15m, 720h or 30d"
	case *cli.IntFlag, *cli.UintFlag, *cli.Int64Flag, *cli.Uint64Flag:
		why = "is not a whole number in range"
	case *cli.BoolFlag:
		why = "is neither true nor false"
	}
	return Usage(federation.InvalidField(name, "%.60q %s", value, why))
}

// flagName is the name without dashes of the flag that err is about.
func flagName(name string, err error) string {
	if m := badEnv.FindStringSubmatch(err.Error()); m != nil {
		return m[3]
	}
	for len(name) > 0 && name[0] == '-' {
		name = name[1:]
	}
	return name
}
