package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/zone/resource"
)

func getCommand() *cli.Command {
	return &cli.Command{
		Name:  "get",
		Usage: "show what a running zone serves",
		Description: `Examples:
  zone get proxies --data-dir west-data
  zone get config backend-1 --data-dir west-data`,
		Subcommands: []*cli.Command{getProxies(), getConfig()},
	}
}

func getProxies() *cli.Command {
	return &cli.Command{
		Name:  "proxies",
		Usage: "show the proxies that are connected, what they proved and what they have",
		Description: `RESOURCES counts the types of resources that the proxy asked for and those that
it acknowledged as they were sent last; a refusal stands behind it, and in full
with -o yaml.

Examples:
  zone get proxies --data-dir west-data
  zone get proxies --address http://127.0.0.1:5681 \
     --token-file jane.token -o json`,
		Flags: append(console.ClientFlags("zone"), console.OutputFlag()),
		Action: func(c *cli.Context) error {
			if err := console.NoArguments(c); err != nil {
				return err
			}
			format, err := console.FormatOf(c)
			if err != nil {
				return err
			}
			zone, err := connect(c)
			if err != nil {
				return err
			}
			proxies, err := zone.Proxies(c.Context)
			if err != nil {
				return err
			}
			return console.Print(c.App.Writer, format, proxies, func() io.WriterTo { return proxyTable(proxies, time.Now()) })
		},
	}
}

func getConfig() *cli.Command {
	return &cli.Command{
		Name:      "config",
		Usage:     "show what a proxy has and is to have, and why it does not have it yet",
		ArgsUsage: "PROXY",
		Description: `STATE is acknowledged, sent (and not answered), refused, held back (until what it refers
to is there) or being removed. -o yaml shows the resources themselves, without secrets.

Examples:
  zone get config backend-1 --data-dir west-data
  zone get config backend-1 --mesh default -o yaml --data-dir west-data`,
		Flags: append(console.ClientFlags("zone"), console.OutputFlag(),
			&cli.StringFlag{Name: "proxy-type", Usage: "the `TYPE` of the proxy: dataplane, ingress or egress", DefaultText: "any"},
			&cli.StringFlag{Name: "mesh", Usage: "`MESH` of a data plane proxy", Value: resource.DefaultMesh}),
		Action: func(c *cli.Context) error {
			if err := console.Arguments(c, 1, 1, "zone get config PROXY, for example zone get config backend-1"); err != nil {
				return err
			}
			format, err := console.FormatOf(c)
			if err != nil {
				return err
			}
			zone, err := connect(c)
			if err != nil {
				return err
			}
			configs, err := zone.ProxyConfigs(c.Context, c.String("proxy-type"), c.String("mesh"), c.Args().First())
			if err != nil {
				return err
			}
			return console.Print(c.App.Writer, format, configs, func() io.WriterTo { return configTable(configs) })
		},
	}
}

func configTable(list apitypes.ZoneProxyConfigs) io.WriterTo {
	t := console.NewTable("FROM", "TYPE", "NAME", "STATE", "REASON")
	for _, p := range list.Items {
		for _, r := range p.Resources {
			t.Row(p.Remote, r.Type[strings.LastIndexByte(r.Type, '.')+1:], r.Name, r.State, r.Reason)
		}
	}
	return t
}

func proxyTable(list apitypes.ZoneProxies, now time.Time) io.WriterTo {
	t := console.NewTable("TYPE", "MESH", "NAME", "IDENTITY", "TOKEN ID", "SINCE", "FROM", "RESOURCES")
	for _, p := range list.Items {
		t.Row(p.Type, p.Mesh, p.Name, proved(p.Identity), p.Identity.ID, console.Age(now, p.Since), p.Remote, having(p.Resources))
	}
	return t
}

// proved is how a proxy proved itself, and for what.
func proved(id apitypes.Identity) string {
	switch {
	case id.ServiceAccount != "":
		return "service account " + id.ServiceAccount
	case id.Kind == "":
		return "unproven"
	case len(id.Scope) > 0:
		return kindName(id.Kind) + " for " + strings.Join(id.Scope, ",")
	case id.Name != "":
		return kindName(id.Kind) + " for " + id.Name
	case len(id.Tags) > 0:
		return kindName(id.Kind) + " with tags"
	}
	return kindName(id.Kind)
}

// having says how far a proxy is with the resources that it asked for.
func having(types []apitypes.ZoneProxyResources) string {
	if len(types) == 0 {
		return "asked for none"
	}
	wanted, inPlace, waiting := 0, 0, 0
	var refused []string
	for _, r := range types {
		wanted, inPlace = wanted+r.Wanted, inPlace+r.InPlace
		kind := r.Type[strings.LastIndexByte(r.Type, '.')+1:]
		named := false
		for _, h := range r.HeldBack {
			if h.Refused {
				refused, named = append(refused, kind+" "+h.Name), true
			} else {
				waiting++
			}
		}
		if r.Refused != "" && !named {
			refused = append(refused, kind)
		}
	}
	text := fmt.Sprintf("%d of %d", inPlace, wanted)
	if wanted == 0 {
		text = "given none"
	}
	if len(refused) > 0 {
		text += ", refuses " + strings.Join(refused, ", ")
	}
	if waiting > 0 {
		text += fmt.Sprintf(", %d held back", waiting)
	}
	return text
}
