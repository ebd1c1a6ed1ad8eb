package zones

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	console "github.com/meridiankds/meridian/internal/cli"
)

// Enable returns the command `global enable zone`.
func Enable() *cli.Command {
	return enable("global enable zone", "let a zone's control planes in again", true)
}

// Disable returns the command `global disable zone`.
func Disable() *cli.Command {
	return enable("global disable zone", "cut a zone's control planes off at once, and refuse them", false)
}

func enable(command, usage string, enabled bool) *cli.Command {
	return &cli.Command{
		Name:      "zone",
		Usage:     usage,
		ArgsUsage: "NAME",
		Description: `Nothing else of the zone's record changes: how it authenticates, and what it may
relay. The zone's proxies go on with what their control plane knows.

Examples:
  ` + command + ` west`,
		Flags: client.Flags(),
		Action: func(c *cli.Context) error {
			g, name, err := client.ConnectFor(c, command+" NAME")
			if err != nil {
				return err
			}
			before, err := g.Zone(c.Context, name) // a PUT would make one
			if err != nil {
				return err
			}
			if _, err := g.EnableZone(c.Context, name, enabled); err != nil {
				return err
			}
			done := map[bool]string{true: "enabled", false: "disabled"}[enabled]
			if before.Enabled != nil && *before.Enabled == enabled {
				done += ", as before"
			}
			return console.Write(c.App.Writer, fmt.Appendf(nil, "zone %s is %s\n", name, done))
		},
	}
}
