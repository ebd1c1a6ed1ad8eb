// Package resources has the commands that get, apply and delete what operators write
// in files: zones, meshes, secrets and public keys.
package resources

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"reflect"

	"github.com/urfave/cli/v2"
	"sigs.k8s.io/yaml"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

// maxResources bounds a file of resources.
const maxResources = 1 << 20

// Apply returns the command `global apply`.
func Apply() *cli.Command {
	return &cli.Command{
		Name:  "apply",
		Usage: "make or replace zones, meshes, secrets and public keys from a file",
		Description: `The file is YAML or JSON; several resources are separated by lines of three dashes.
A resource is replaced as a whole: a relay that the file does not have any more is taken
away. What protects a zone, its auth and that it is disabled, must be in the file. To cut
a zone off and change nothing else of it, use global disable zone.

  type: Zone
  name: west
  enabled: true
  auth: token            # token, certificate or none; left out: as --kds-auth says
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

Examples:
  global apply -f zone.yaml
  kubectl get … | global apply -f -`,
		Flags: client.Flags(&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "`FILE` with the resources, - for standard input"}),
		Action: func(c *cli.Context) error {
			if err := console.NoArguments(c); err != nil {
				return err
			}
			name, err := console.Required(c, "file", "-f zone.yaml")
			if err != nil {
				return err
			}
			resources, err := readResources(c, name)
			if err != nil {
				return err
			}
			g, err := client.Connect(c)
			if err != nil {
				return err
			}
			for _, r := range resources {
				done, err := r.apply(c, g)
				if err != nil {
					return err
				}
				if err := console.Write(c.App.Writer, fmt.Appendf(nil, "%s is %s\n", r.title, done)); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// resource is one document of a file, read and checked.
type resource struct {
	title string // "zone west"
	// apply says what was done: "applied", or more exactly where that is known.
	apply func(*cli.Context, *apiclient.Global) (done string, err error)
}

// readResources reads all of a file before anything is applied.
func readResources(c *cli.Context, name string) ([]resource, error) {
	in := c.App.Reader
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, federation.Errorf(federation.Invalid, "reading resources: %w", err)
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxResources+1))
	switch {
	case err != nil:
		return nil, federation.Errorf(federation.Invalid, "reading resources: %w", err)
	case len(data) > maxResources:
		return nil, federation.Errorf(federation.TooLarge, "%s has more than %d bytes", name, maxResources)
	}
	var resources []resource
	for i, doc := range bytes.Split(append([]byte("\n"), data...), []byte("\n---")) {
		if len(bytes.TrimSpace(doc)) == 0 {
			continue
		}
		r, err := readResource(doc)
		if err != nil {
			e := federation.AsError(err)
			return nil, federation.Errorf(federation.Invalid, "%s, resource %d: %s", name, i+1, e.Detail).WithHint("%s", e.Hint)
		}
		resources = append(resources, r)
	}
	if len(resources) == 0 {
		return nil, federation.Errorf(federation.Invalid, "%s holds no resource", name).WithHint("global apply --help shows one")
	}
	return resources, nil
}

func readResource(doc []byte) (resource, error) {
	var head struct {
		Type string `json:"type"`
		Name string `json:"name"`
	}
	if err := yaml.Unmarshal(doc, &head); err != nil {
		return resource{}, federation.Errorf(federation.Invalid, "is neither YAML nor JSON: %w", err)
	}
	if head.Type == apitypes.TypePublicKey {
		return readPublicKey(doc)
	}
	if err := federation.ValidateName("name", head.Name); err != nil {
		return resource{}, err
	}
	switch head.Type {
	case apitypes.TypeZone:
		var z apitypes.Zone
		return resource{"zone " + head.Name, func(c *cli.Context, g *apiclient.Global) (string, error) {
			return applyZone(c.Context, g, z)
		}}, strictly(doc, &z)
	case apitypes.TypeMesh:
		var m apitypes.Mesh
		return resource{"mesh " + head.Name, func(c *cli.Context, g *apiclient.Global) (string, error) {
			_, err := g.ApplyMesh(c.Context, m)
			return applied, err
		}}, strictly(doc, &m)
	}
	if head.Type == apitypes.TypeGlobalSecret || head.Type == apitypes.TypeSecret {
		return secretResource(doc, head.Type)
	}
	return resource{}, federation.InvalidField("type", "%.40q is not what can be applied: use Zone, Mesh, GlobalSecret, Secret or PublicKey", head.Type)
}

// applied is what is said of resources of which a repetition cannot be told from a change.
const applied = "applied"

// applyZone replaces a zone's record and says what that came to.
func applyZone(ctx context.Context, g *apiclient.Global, z apitypes.Zone) (done string, err error) {
	before, err := g.Zone(ctx, z.Name)
	made := federation.CodeOf(err) == federation.NotFound
	if err != nil && !made {
		return "", err
	}
	after, err := g.ApplyZone(ctx, z)
	if err != nil {
		return "", err
	}
	before.ModificationTime, after.ModificationTime = nil, nil
	switch {
	case made:
		return "created", nil
	case reflect.DeepEqual(before, after):
		return "unchanged", nil
	}
	return "changed", nil
}

// strictly reads a resource and refuses fields that it does not have.
func strictly(doc []byte, into any) error {
	if err := yaml.UnmarshalStrict(doc, into); err != nil {
		return federation.Errorf(federation.Invalid, "%w", err)
	}
	return nil
}

// DeleteZone returns the command `global delete zone`.
func DeleteZone() *cli.Command {
	return deleteOne("zone", "its control planes are cut off at once, and refused until it is applied again", (*apiclient.Global).DeleteZone)
}

// DeleteMesh returns the command `global delete mesh`.
func DeleteMesh() *cli.Command {
	return deleteOne("mesh", "its keys go with it: every token of its proxies is refused", (*apiclient.Global).DeleteMesh)
}

func deleteOne(what, effect string, del func(*apiclient.Global, context.Context, string) error) *cli.Command {
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
			if err := del(g, c.Context, name); err != nil {
				return err
			}
			return console.Write(c.App.Writer, fmt.Appendf(nil, "%s %s is deleted\n", what, name))
		},
	}
}
