package main

import (
	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

func generateCommand() *cli.Command {
	return &cli.Command{
		Name:        "generate",
		Usage:       "ask the global for tokens, through this zone",
		Description: "Examples:\n  zone generate dataplane-token --mesh default \\\n     --name dp-echo-1 --token-file jane.token",
		Subcommands: []*cli.Command{generateDataplaneToken()},
	}
}

func generateDataplaneToken() *cli.Command {
	tags := console.Tags{}
	return &cli.Command{
		Name:  "dataplane-token",
		Usage: "ask the global for the token of a data plane proxy, through this zone",
		Description: `A zone cannot sign. It passes the request on to the global, which issues the token
where the zone's record there names the mesh (relay), for 24h at most unless the
record says otherwise, and where your own role allows it: give your user token.
What the token does not say does not bind: with --mesh alone it is good for every
data plane proxy of the mesh.

Examples:
  zone generate dataplane-token --mesh default --name dp-echo-1 \
     --token-file jane.token
  zone generate dataplane-token --tag kuma.io/service=backend,backend-admin \
     --valid-for 12h`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "mesh", Usage: "the `MESH` of the proxy", Value: cptoken.DefaultMesh},
			&cli.StringFlag{Name: "name", Usage: "the `NAME` of the proxy; any where it is not given"},
			&cli.GenericFlag{Name: "tag", Usage: "values that the proxy may carry for a tag: `NAME=VALUE`[,VALUE…]; may be repeated", Value: tags},
			&cli.StringFlag{Name: "workload", Usage: "the workload of the proxy, its label kuma.io/workload: `NAME`; any where it is not given"},
			&cli.StringFlag{Name: "proxy-type", Aliases: []string{"type"}, Usage: "the `TYPE` of the proxy: dataplane, ingress or egress"},
			&cli.DurationFlag{Name: "valid-for", Usage: "how `LONG` the token is valid, for example 12h", DefaultText: "as long as the zone may ask for"},
		}, console.ClientFlags("zone")...),
		Action: func(c *cli.Context) error { return askForToken(c, tags) },
	}
}

func askForToken(c *cli.Context, tags console.Tags) error {
	if err := console.NoArguments(c); err != nil {
		return err
	}
	request := apitypes.DataplaneTokenRequest{Name: c.String("name"), Mesh: c.String("mesh"), Tags: tags, Type: c.String("proxy-type"),
		Workload: c.String("workload")}
	if err := federation.ValidateName("--mesh", request.Mesh); err != nil {
		return console.Usage(err)
	}
	if d := c.Duration("valid-for"); c.IsSet("valid-for") {
		if d <= 0 {
			return console.Usage(federation.InvalidField("--valid-for", "must be more than nothing, is %s", d).
				WithHint("write for example --valid-for 12h"))
		}
		request.ValidFor = d.String()
	}
	zone, err := connect(c)
	if err != nil {
		return err
	}
	issued, err := zone.DataplaneToken(c.Context, request)
	if err != nil {
		return err
	}
	if issued.KeyWaiting != "" {
		console.VoiceOf(c.App).Warn("a newer key, %s, is prepared and signs nothing yet: this token is of the one before it", issued.KeyWaiting)
	}
	return console.PrintSecret(c.App.Writer, issued.Token)
}
