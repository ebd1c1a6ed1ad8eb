package tokens

import (
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	console "github.com/meridiankds/meridian/internal/cli"
)

// WhoAmI returns the command `global who-am-i`.
func WhoAmI() *cli.Command {
	return &cli.Command{
		Name:  "who-am-i",
		Usage: "show as whom a global takes you, and which roles you have there",
		Description: `A user without a role may ask this and nothing else. Roles are bound to users and
groups in the file that --roles-file of the global names.

Examples:
  global who-am-i --address https://global.example.com:5682 --ca-file ca.crt --token-file jane.token
  global who-am-i --cert-file jane.crt --key-file jane.key --address https://global.example.com:5682 --ca-file ca.crt
  global who-am-i -o json`,
		Flags: client.Flags(console.OutputFlag()),
		Action: func(c *cli.Context) error {
			format, g, err := client.ConnectToShow(c)
			if err != nil {
				return err
			}
			me, err := g.WhoAmI(c.Context)
			if err != nil {
				return err
			}
			return console.Print(c.App.Writer, format, me, func() io.WriterTo {
				t := console.NewTable("NAME", "GROUPS", "ROLES", "VIA")
				t.Row(me.Name, orNone(me.Groups), orNone(me.Roles), me.Via)
				return t
			})
		},
	}
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
