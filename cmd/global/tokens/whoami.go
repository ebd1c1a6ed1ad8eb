package tokens

import (
	"cmp"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

// WhoAmI returns the command `global who-am-i`.
func WhoAmI() *cli.Command {
	return &cli.Command{
		Name:  "who-am-i",
		Usage: "show as whom a global takes you, and which roles you have there",
		Description: `A user without a role may ask this and nothing else. Roles are bound to users and
groups in the file that --roles-file of the global names. What an issuer may issue, and a
revoker revoke, is shown for each binding: kinds of tokens, zones, meshes, scopes, the users
and groups of user tokens, and the longest life.

Examples:
  global who-am-i --address https://global.example.com:5682 --ca-file ca.crt \
     --token-file jane.token
  global who-am-i --cert-file jane.crt --key-file jane.key \
     --address https://global.example.com:5682 --ca-file ca.crt
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
			if whom := client.Whom(c); whom != "" {
				console.VoiceOf(c.App).Say("asked: %s", whom)
			}
			return console.Print(c.App.Writer, format, me, func() io.WriterTo {
				t := console.NewTable("NAME", "GROUPS", "ROLES", "VIA")
				t.Row(me.Name, orNone(me.Groups), orNone(me.Roles), me.Via)
				if len(me.Bounds) == 0 {
					return t
				}
				return console.Tables{t, boundsTable(me.Bounds)}
			})
		},
	}
}

// boundsTable says what each binding of a role that reaches only so far allows.
func boundsTable(bounds []apitypes.Bounds) *console.Table {
	t := console.NewTable("ROLE", "KINDS", "ZONES", "MESHES", "SCOPES", "USERS", "GROUPS", "AT MOST")
	for _, b := range bounds {
		kinds, meshes := strings.Join(b.Kinds, ","), strings.Join(b.Meshes, ",")
		if b.Role == "revoker" { // who is bound to none is bound to all
			kinds, meshes = cmp.Or(kinds, "all"), cmp.Or(meshes, "all")
		}
		longest := b.MaxValidity
		if d, err := time.ParseDuration(longest); err == nil {
			longest = console.Span(d)
		}
		t.Row(b.Role, kinds, strings.Join(b.Zones, ","), meshes, strings.Join(b.Scopes, ","), strings.Join(b.TokenUsers, ","), strings.Join(b.TokenGroups, ","), longest)
	}
	return t
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
