package cluster

import (
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/internal/apiclient"
	console "github.com/meridiankds/meridian/internal/cli"
)

// Health returns the command `global health`.
func Health() *cli.Command {
	return &cli.Command{
		Name:  "health",
		Usage: "ask whether a global lives and is ready",
		Description: `Exit code 0 means that it serves, 1 that it does not.

Examples:
  global health
  global health --diagnostics-addr 10.0.0.1:5680`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "diagnostics-addr", Usage: "`HOST:PORT` of the global's diagnostics [GLOBAL_DIAGNOSTICS_ADDR]", DefaultText: "127.0.0.1:5680"},
			console.DataDirFlag("global"),
		},
		Action: func(c *cli.Context) error {
			flags := apiclient.Flags{Address: c.String("diagnostics-addr"), DataDir: c.String("data-dir")}
			target, err := apiclient.Resolve(apiclient.Diagnostics("global"), flags, os.Getenv, c.App.Reader)
			if err != nil {
				return err
			}
			if err := apiclient.Health(c.Context, target, client.Agent(c)); err != nil {
				return err
			}
			return console.Write(c.App.Writer, fmt.Appendf(nil, "the global at %s is ready\n", target))
		},
	}
}
