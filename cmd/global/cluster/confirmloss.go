package cluster

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

func clusterConfirmLoss() *cli.Command {
	return &cli.Command{
		Name:  "confirm-loss",
		Usage: "take the alarm of lost changes away, once you have seen to it",
		Description: `Where a disk of the global went back to an earlier state, the first zone or member that
knows more proves it: the cluster begins a new history, zones keep what they refuse, and
global cluster status tells what is known of what was lost until you confirm it here.
Do again first what was done since (docs/backup.md, "After a disk went back").
A proof begins one history an hour at most; confirming lifts that limit.

With --adopt the cluster begins a history above every one that zones have shown: do that
only where disks went back behind a new history, never where two clusters share a name.

Examples:
  global cluster confirm-loss
  global cluster confirm-loss --adopt`,
		Flags: client.Flags(&cli.BoolFlag{Name: "adopt", Usage: "begin a history above every one that was shown"}),
		Action: func(c *cli.Context) error {
			if err := console.NoArguments(c); err != nil {
				return err
			}
			g, err := client.Connect(c)
			if err != nil {
				return err
			}
			confirmed, err := g.ConfirmLoss(c.Context, apitypes.ConfirmLossRequest{Adopt: c.Bool("adopt")})
			if err != nil {
				return err
			}
			done := "there was no loss to confirm"
			if confirmed.Losses > 0 {
				done = console.Counted(confirmed.Losses, "loss is confirmed", "losses are confirmed")
			}
			_, err = fmt.Fprintf(c.App.Writer, "%s; the cluster stands at revision %s\n", done, confirmed.Revision)
			return err
		},
	}
}
