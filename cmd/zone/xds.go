package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/federation"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/zone/xdsdir"
)

func xdsCommand() *cli.Command {
	return &cli.Command{
		Name:  "xds",
		Usage: "look after the folder of Envoy resources (--xds-dir)",
		Description: `Examples:
   zone xds check xds
   zone xds accept 3f9c21d07a1b`,
		Subcommands: []*cli.Command{xdsCheckCommand(), xdsAcceptCommand()},
	}
}

func xdsCheckCommand() *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "check a folder of Envoy resources as a zone would read it",
		ArgsUsage: "DIR",
		Description: `Reads the folder as a zone does, and names file and line of what cannot be used, and of
types that a zone passes on unchecked. No zone has to run. Ends with 1 if anything is wrong.

Examples:
   zone xds check xds`,
		Action: func(c *cli.Context) error {
			if err := console.Arguments(c, 1, 1, "zone xds check DIR, for example zone xds check xds"); err != nil {
				return err
			}
			dir, err := xdsdir.Open(xdsdir.Config{Path: c.Args().First()})
			if err != nil {
				return federation.AsError(err).WithHint("name a folder as docs/proxies.md shows it")
			}
			problems := dir.Problems()
			for _, problem := range problems {
				text := problem.Error()
				if hint := federation.AsError(problem).Hint; hint != "" {
					text += " (" + hint + ")"
				}
				fmt.Fprintln(c.App.Writer, console.Line(text))
			}
			for _, text := range dir.Unchecked() {
				fmt.Fprintln(c.App.Writer, console.Line(text))
			}
			places, resources := dir.Size()
			if len(problems) > 0 {
				return federation.Errorf(federation.Invalid, "%s has %s", c.Args().First(), count(len(problems), "problem")).
					WithHint("a zone serves from a folder with a problem what it held before, and nothing if it held nothing")
			}
			fmt.Fprintf(c.App.Writer, "%s in %s can be used\n", count(resources, "resource"), count(places, "folder"))
			return nil
		},
	}
}

// count is a number of things in words.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func xdsAcceptCommand() *cli.Command {
	return &cli.Command{
		Name:      "accept",
		Usage:     "say that resources whose files are gone are meant to be gone",
		ArgsUsage: "DIGEST",
		Description: `A zone keeps what a folder of resources held whose last file is gone: it may be a volume
that is not mounted. The digest that its status and its log name says what may go; the
proxies that the folder is about lose it at once. It takes the role admin.

Examples:
   zone xds accept 3f9c21d07a1b --data-dir west-data`,
		Flags: console.ClientFlags("zone"),
		Action: func(c *cli.Context) error {
			if err := console.Arguments(c, 1, 1, "zone xds accept DIGEST; `zone status` shows it"); err != nil {
				return err
			}
			zone, err := connect(c)
			if err != nil {
				return err
			}
			done, err := zone.AcceptXDS(c.Context, c.Args().First())
			if err != nil {
				return err
			}
			fmt.Fprintf(c.App.Writer, "what %s held is gone\n", done.Folder)
			return nil
		},
	}
}
