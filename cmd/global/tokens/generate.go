// Package tokens has the commands that issue tokens, by the global or offline, and that
// show what a token says and as whom its holder is taken.
package tokens

import (
	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

// GenerateControlPlaneToken returns the command `global generate control-plane-token`.
func GenerateControlPlaneToken() *cli.Command {
	return &cli.Command{
		Name:  "control-plane-token",
		Usage: "issue the token with which a zone's control plane joins",
		Description: `The token goes to standard output and nowhere else: the global keeps no list of
tokens.

Examples:
  global generate control-plane-token --zone west > west.token
  global generate control-plane-token --zone west --valid-for 720h > west.token
  global generate control-plane-token --zone west --out west.token --if-missing`,
		Flags: client.Flags(append(tokenFileFlags(), zoneFlag(), validForFlag())...),
		Action: func(c *cli.Context) error {
			zone, err := requiredZone(c)
			if err != nil {
				return err
			}
			if have, err := haveToken(c); have || err != nil {
				return err
			}
			d, err := validFor(c)
			if err != nil {
				return err
			}
			g, err := client.Connect(c)
			if err != nil {
				return err
			}
			return keepToken(c)(g.ControlPlaneToken(c.Context, apitypes.ControlPlaneTokenRequest{Zone: zone, ValidFor: d}))
		},
	}
}

// GenerateZoneToken returns the command `global generate zone-token`.
func GenerateZoneToken() *cli.Command {
	return &cli.Command{
		Name:  "zone-token",
		Usage: "issue the token of a zone proxy",
		Description: `A zone token lets a zone ingress or zone egress into its own zone. Scopes are
egress, ingress, cp and dataplane; several are separated by commas. Where none is
given the token is good for egress and ingress.

Examples:
  global generate zone-token --zone west --scope egress > egress.token
  global generate zone-token --zone west --scope egress,ingress --valid-for 720h

  # offline, with a key that no global has
  global generate zone-token --zone west --scope egress --kid key-1 \
     --signing-key-path key-private.pem`,
		Flags: client.Flags(append([]cli.Flag{zoneFlag(),
			&cli.StringSliceFlag{Name: "scope", Usage: "what the token is good for: `SCOPE`[,SCOPE…]", DefaultText: "egress,ingress"},
			validForFlag()}, offlineFlags()...)...),
		Action: func(c *cli.Context) error {
			zone, err := requiredZone(c)
			if err != nil {
				return err
			}
			d, err := validFor(c)
			if err != nil {
				return err
			}
			if here, err := offline(c); here || err != nil {
				if err != nil {
					return err
				}
				return issueOffline(c, cptoken.Claims{Kind: cptoken.Zone, Zone: zone, Scope: scopesOf(console.Words(c.StringSlice("scope")))})
			}
			g, err := client.Connect(c)
			if err != nil {
				return err
			}
			request := apitypes.ZoneTokenRequest{Zone: zone, Scope: console.Words(c.StringSlice("scope")), ValidFor: d}
			if err := printToken(c)(g.ZoneToken(c.Context, request)); err != nil {
				return err
			}
			warnUnknown(c, g, zone)
			return nil
		},
	}
}

// GenerateDataplaneToken returns the command `global generate dataplane-token`.
func GenerateDataplaneToken() *cli.Command {
	tags := console.Tags{}
	return &cli.Command{
		Name:  "dataplane-token",
		Usage: "issue the token of a data plane proxy",
		Description: `What the token does not say does not bind: with --mesh alone it is good for every
data plane proxy of the mesh.

Examples:
  global generate dataplane-token --mesh default --name dp-echo-1
  global generate dataplane-token --mesh default \
     --tag kuma.io/service=backend,backend-admin

  # offline, with a key that no global has
  global generate dataplane-token --mesh default --kid key-1 \
     --signing-key-path key-private.pem`,
		Flags: client.Flags(append([]cli.Flag{
			&cli.StringFlag{Name: "mesh", Usage: "the `MESH` of the proxy", Value: cptoken.DefaultMesh},
			&cli.StringFlag{Name: "name", Usage: "the `NAME` of the proxy; any where it is not given"},
			&cli.GenericFlag{Name: "tag", Usage: "values that the proxy may carry for a tag: `NAME=VALUE`[,VALUE…]; may be repeated", Value: tags},
			&cli.StringFlag{Name: "workload", Usage: "the workload of the proxy, its label kuma.io/workload: `NAME`; any where it is not given"},
			&cli.StringFlag{Name: "proxy-type", Aliases: []string{"type"}, Usage: "the `TYPE` of the proxy: dataplane; ingresses and egresses have zone tokens"},
			validForFlag()}, offlineFlags()...)...),
		Action: func(c *cli.Context) error {
			mesh := c.String("mesh")
			if err := client.CheckName("--mesh", mesh, "--mesh default"); err != nil {
				return err
			}
			d, err := validFor(c)
			if err != nil {
				return err
			}
			if here, err := offline(c); here || err != nil {
				if err != nil {
					return err
				}
				return issueOffline(c, cptoken.Claims{
					Kind: cptoken.Dataplane, Name: c.String("name"), Mesh: mesh, Tags: tags, Type: c.String("proxy-type"),
					Workload: c.String("workload"),
				})
			}
			g, err := client.Connect(c)
			if err != nil {
				return err
			}
			request := apitypes.DataplaneTokenRequest{
				Name: c.String("name"), Mesh: mesh, Tags: tags, Type: c.String("proxy-type"), Workload: c.String("workload"), ValidFor: d,
			}
			return printToken(c)(g.DataplaneToken(c.Context, request))
		},
	}
}

// GenerateUserToken returns the command `global generate user-token`.
func GenerateUserToken() *cli.Command {
	return &cli.Command{
		Name:  "user-token",
		Usage: "issue the token of an operator",
		Description: `Members of the group admin may do everything and others nothing, unless a roles file
says otherwise (docs/access.md).

Examples:
  global generate user-token --name jane --group admin --valid-for 720h \
     > jane.token
  GLOBAL_TOKEN_FILE=jane.token global get zones

A zone must not see a token that is good at the global. With --for-zone the token
is good at that zone, and at the global for what the zone passes on alone:

  global generate user-token --name jane --group admin --for-zone west \
     --valid-for 8h > jane-west.token
  zone status --token-file jane-west.token`,
		Flags: client.Flags(
			&cli.StringFlag{Name: "name", Usage: "the `NAME` of the operator"},
			&cli.StringSliceFlag{Name: "group", Usage: "a `GROUP` of the operator's; may be repeated"},
			&cli.StringSliceFlag{Name: "for-zone", Usage: "a `ZONE` that the token is shown to, in place of the global; may be repeated"},
			validForFlag()),
		Action: func(c *cli.Context) error {
			name, err := console.Required(c, "name", "--name jane")
			if err != nil {
				return err
			}
			d, err := validFor(c)
			if err != nil {
				return err
			}
			g, err := client.Connect(c)
			if err != nil {
				return err
			}
			zones := console.Words(c.StringSlice("for-zone"))
			if c.IsSet("for-zone") && len(zones) == 0 {
				return console.Usagef("for example --for-zone west", "--for-zone names no zone")
			}
			for _, zone := range zones {
				if err := client.CheckName("--for-zone", zone, "--for-zone west"); err != nil {
					return err
				}
			}
			request := apitypes.UserTokenRequest{Name: name, Groups: console.Words(c.StringSlice("group")), ForZone: zones, ValidFor: d}
			return printToken(c)(g.UserToken(c.Context, request))
		},
	}
}

func zoneFlag() cli.Flag {
	return &cli.StringFlag{Name: "zone", Usage: "the `ZONE` that the token is for"}
}

func scopesOf(words []string) []cptoken.Scope {
	var scopes []cptoken.Scope
	for _, w := range words {
		scopes = append(scopes, cptoken.Scope(w))
	}
	return scopes
}

func requiredZone(c *cli.Context) (string, error) {
	zone, err := console.Required(c, "zone", "--zone west")
	if err != nil {
		return "", err
	}
	return zone, client.CheckName("--zone", zone, "--zone west")
}

// warnUnknown says that the token is for a zone that is not there, while others are: its
// name may be misspelt. Who may not read zones is told nothing.
func warnUnknown(c *cli.Context, g *apiclient.Global, zone string) {
	if _, err := g.Zone(c.Context, zone); federation.CodeOf(err) != federation.NotFound {
		return
	}
	zones, err := g.Zones(c.Context)
	if err != nil || len(zones) == 0 {
		return
	}
	names := make([]string, len(zones))
	for i, z := range zones {
		names[i] = z.Name
	}
	console.VoiceOf(c.App).Warn("no zone %s has connected or been applied yet; known: %s", zone, console.Names(names))
}

// printToken returns what to do with the answer to a request for a token.
func printToken(c *cli.Context) func(issued apiclient.Issued, err error) error {
	return func(issued apiclient.Issued, err error) error {
		if err != nil {
			return err
		}
		warnWaiting(c, issued)
		return console.PrintSecret(c.App.Writer, issued.Token)
	}
}

// warnWaiting says that the token is of a key that is about to be replaced.
func warnWaiting(c *cli.Context, issued apiclient.Issued) {
	if issued.KeyWaiting == "" {
		return
	}
	voice := console.VoiceOf(c.App)
	voice.Warn("a newer key, %s, is prepared and signs nothing yet: this token is of the one before it", issued.KeyWaiting)
	voice.Hint("finish with `global keys rotate`, and issue the token again where the old key is to go")
}
