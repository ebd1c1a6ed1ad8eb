// Package resources has the commands that get, apply and delete what operators write
// in files: zones, meshes, secrets and public keys.
package resources

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/internal/apiclient"
	console "github.com/meridiankds/meridian/internal/cli"
)

// Apply returns the command `global apply`.
func Apply() *cli.Command {
	return &cli.Command{
		Name:  "apply",
		Usage: "make or replace zones, meshes, secrets and public keys from files",
		Description: `The file is YAML or JSON; several resources are separated by lines of three dashes.
A resource is replaced as a whole: a relay that the file does not have any more is taken
away. What protects a zone, its auth and that it is disabled, must be in the file. To cut
a zone off and change nothing else of it, use global disable zone.

  type: Zone
  name: west
  enabled: true
  auth: token            # token, certificate or none; without: as --kds-auth
  relay:                 # tokens that the zone may ask for its users
    meshes: [default]
    maxValidity: 24h

A public key verifies tokens that are issued elsewhere, within these bounds:

  type: PublicKey
  kind: zone-token       # or dataplane-token, then with mesh: NAME
  kid: ci-1              # what the tokens' header has; not digits alone
  key: |
    -----BEGIN RSA PUBLIC KEY-----
    …
    -----END RSA PUBLIC KEY-----
  zones: [west]          # zone tokens: left out: any zone
  scopes: [egress]       # zone tokens; left out: egress and ingress
  maxLifetime: 720h      # left out: any
  allowNoExpiry: false   # whether tokens may lack exp
  allowNoID: false       # whether tokens may lack jti

A GlobalSecret or a Secret, which has a mesh too, is a signing key with a serial
greater than all before, or a list of revoked ids; its data is base64:

  type: GlobalSecret
  name: zone-token-revocations
  data: MGQ0Y2QzNWMtOGI1ZS00YmE0LThiOGMtMGIzZDZmNmJiNWM0

Zones at which a key or a list is not in force, because they run Kuma's control plane or
connected without authentication, are named, and the exit code is 3.

With --dry-run nothing is changed: what would be is shown as a diff against what the
global holds. A directory stands for its files *.yaml, *.yml and *.json.

Examples:
  global apply -f zone.yaml
  global apply -f zones/ --dry-run
  cat zone.yaml mesh.yaml | global apply -f -`,
		Flags: client.Flags(fileFlag(), &cli.BoolFlag{Name: "dry-run", Usage: "change nothing, and show what would be"}),
		Action: func(c *cli.Context) error {
			return eachResource(c, func(g *apiclient.Global, r resource) error {
				if c.Bool("dry-run") {
					return r.showDiff(c, g)
				}
				done, err := r.put(c, g)
				return r.tell(c, done, err)
			})
		},
	}
}

// fileFlag is -f of the commands that read resources.
func fileFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "file", Aliases: []string{"f"}, Usage: "`FILE` or directory with the resources, - for standard input; may be repeated"}
}

// eachResource reads all files, and only then does something with each resource in them.
// What is done and not in force at every zone it names at the end.
func eachResource(c *cli.Context, do func(*apiclient.Global, resource) error) error {
	if err := console.NoArguments(c); err != nil {
		return err
	}
	names := c.StringSlice("file")
	if len(names) == 0 {
		return console.Usagef("for example -f zone.yaml", "%s: --file is missing", c.Command.HelpName)
	}
	resources, err := readFiles(c, names)
	if err != nil {
		return err
	}
	g, err := client.Connect(c)
	if err != nil {
		return err
	}
	var pending []string
	for i, r := range resources {
		console.Doing(c, "%s, %d of %d", r.title, i+1, len(resources))
		switch err := do(g, r); {
		case console.IsPending(err):
			pending = append(pending, r.title)
		case err != nil:
			return r.at(err)
		}
	}
	if pending != nil {
		return client.NotInForce(pending...)
	}
	return nil
}

// Delete returns the command `global delete`, which deletes what files name, or one thing by
// its name.
func Delete() *cli.Command {
	return &cli.Command{
		Name:  "delete",
		Usage: "delete zones, meshes, signing keys and public keys",
		Description: `With -f it deletes what the files name, one after the other; what is gone already is
passed over.

Examples:
  global delete zone west
  global delete -f zone.yaml`,
		Flags:       client.Flags(fileFlag(), &cli.BoolFlag{Name: "yes", Usage: "do not ask, also on a terminal"}),
		Subcommands: []*cli.Command{DeleteZone(), DeleteMesh(), DeletePublicKey(), DeleteGlobalSecret(), DeleteSecret()},
		Action: func(c *cli.Context) error {
			return eachResource(c, func(g *apiclient.Global, r resource) error {
				if err := console.Agree(c, "delete "+r.title); err != nil {
					return err
				}
				done, err := r.remove(c, g)
				return r.tell(c, done, err)
			})
		},
	}
}

// DeleteZone returns the command `global delete zone`.
func DeleteZone() *cli.Command {
	return deleteOne("zone", "its control planes are cut off at once, and refused until it is applied again", func(c *cli.Context, g *apiclient.Global, name string) error { return g.DeleteZone(c.Context, name) })
}

// DeleteMesh returns the command `global delete mesh`.
func DeleteMesh() *cli.Command {
	return deleteOne("mesh", "its keys go with it: every token of its proxies is refused", deleteMesh)
}

// deleteMesh deletes a mesh, and warns of the zones that do not drop its keys.
func deleteMesh(c *cli.Context, g *apiclient.Global, name string) error {
	change, err := g.DeleteMesh(c.Context, name)
	if err != nil {
		return err
	}
	return client.Warned(c, "mesh "+name, change.Warnings)
}

// deleteOne is the command that deletes what del does. A pending error of del is of what is
// done.
func deleteOne(what, effect string, del func(*cli.Context, *apiclient.Global, string) error) *cli.Command {
	return &cli.Command{
		Name:        what,
		Usage:       "delete a " + what + ": " + effect,
		ArgsUsage:   "NAME",
		Description: "Examples:\n  global delete " + what + " west",
		Flags:       client.Flags(&cli.BoolFlag{Name: "yes", Usage: "do not ask, also on a terminal"}),
		Action: func(c *cli.Context) error {
			g, name, err := client.ConnectFor(c, "global delete "+what+" NAME")
			if err != nil {
				return err
			}
			if err := console.Agree(c, fmt.Sprintf("delete %s %s: %s", what, name, effect)); err != nil {
				return err
			}
			err = del(c, g, name)
			return resource{title: what + " " + name}.tell(c, "deleted", err)
		},
	}
}
