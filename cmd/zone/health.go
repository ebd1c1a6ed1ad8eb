package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/internal/apiclient"
	console "github.com/meridiankds/meridian/internal/cli"
)

func healthCommand() *cli.Command {
	return &cli.Command{
		Name:  "health",
		Usage: "ask whether a zone lives and is ready",
		Description: `Exit code 0 means that it serves, 1 that it does not.

Examples:
  zone health
  zone health --data-dir west-data`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "diagnostics-addr", Usage: "`HOST:PORT` of the zone's diagnostics [ZONE_DIAGNOSTICS_ADDR]", DefaultText: "127.0.0.1:5680"},
			console.DataDirFlag("zone"),
		},
		Action: func(c *cli.Context) error {
			target, err := resolve(c, apiclient.Diagnostics("zone"), c.String("diagnostics-addr"), "")
			if err != nil {
				return err
			}
			if err := apiclient.Health(c.Context, target, agent(c)); err != nil {
				return err
			}
			return console.Write(c.App.Writer, fmt.Appendf(nil, "the zone at %s is ready\n", target))
		},
	}
}
