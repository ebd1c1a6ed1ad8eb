package cli

import (
	"context"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/internal/apitypes"
)

// LogLevels is a client of a server whose log has a level.
type LogLevels interface {
	LogLevel(ctx context.Context) (apitypes.LogLevel, error)
	SetLogLevel(ctx context.Context, r apitypes.LogLevelRequest) (apitypes.LogLevel, error)
}

// LogLevel returns the command that shows and sets the level of a server's log; flags are
// those by which connect finds the server.
func LogLevel(flags []cli.Flag, connect func(c *cli.Context) (LogLevels, error)) *cli.Command {
	return &cli.Command{
		Name:      "log-level",
		Usage:     "show or set what a running server logs",
		ArgsUsage: "[LEVEL]",
		Description: `LEVEL is debug, info, warn or error, or configured to go back to what the settings
say. It holds for the one server that is asked, until its next SIGHUP or start, or
no longer than --for.

Examples:
  {program} log-level
  {program} log-level debug --for 10m
  {program} log-level configured`,
		Flags: append([]cli.Flag{
			&cli.DurationFlag{Name: "for", Usage: "go back to the level of the settings after so `LONG`"},
			OutputFlag()}, flags...),
		Action: func(c *cli.Context) error {
			if err := Arguments(c, 0, 1, c.App.Name+" log-level [LEVEL]"); err != nil {
				return err
			}
			format, err := FormatOf(c)
			if err != nil {
				return err
			}
			if c.IsSet("for") && c.NArg() == 0 {
				return Usagef("for example "+c.App.Name+" log-level debug --for 10m", "--for goes with a LEVEL")
			}
			if c.IsSet("for") && c.Duration("for") < time.Second {
				return Usagef("for example --for 10m", "--for must be 1s or more, is %s", c.Duration("for"))
			}
			server, err := connect(c)
			if err != nil {
				return err
			}
			var level apitypes.LogLevel
			if c.NArg() == 0 {
				level, err = server.LogLevel(c.Context)
			} else {
				r := apitypes.LogLevelRequest{Level: c.Args().First()}
				if c.IsSet("for") {
					r.For = c.Duration("for").String()
				}
				level, err = server.SetLogLevel(c.Context, r)
			}
			if err != nil {
				return err
			}
			return Print(c.App.Writer, format, level, func() io.WriterTo { return levelLines(level) })
		},
	}
}

func levelLines(l apitypes.LogLevel) io.WriterTo {
	var f Fields
	f.Add("server", l.Node)
	f.Add("level", l.Level)
	if l.Until != nil {
		f.Add("until", l.Until.UTC().Format(time.RFC3339))
	}
	f.Add("configured", l.Configured)
	return &f
}
