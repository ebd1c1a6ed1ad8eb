package resources

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

// readPublicKey reads a resource PublicKey and checks what makes its address.
func readPublicKey(doc []byte) (resource, error) {
	var k apitypes.PublicKey
	if err := strictly(doc, &k); err != nil {
		return resource{}, err
	}
	kind, err := cptoken.ParseKind("kind", k.Kind)
	if err != nil {
		return resource{}, err
	}
	if err := kind.ValidateScope(k.Mesh); err != nil {
		return resource{}, err
	}
	if err := cptoken.ValidateKID("kid", k.KID); err != nil {
		return resource{}, err
	}
	if _, err := cptoken.ParsePublicPEM("key", []byte(k.Key)); err != nil {
		return resource{}, err
	}
	return resource{"public key " + k.KID + " of " + tokensOf(kind, k.Mesh), func(c *cli.Context, g *apiclient.Global) (string, error) {
		_, err := g.ApplyPublicKey(c.Context, k)
		return applied, err
	}}, nil
}

// tokensOf names a kind of token, with the mesh where it has one.
func tokensOf(kind cptoken.Kind, mesh string) string {
	if mesh == "" {
		return kind.TokenName()
	}
	return kind.TokenName() + " in mesh " + mesh
}

// GetPublicKeys returns the command `global get public-keys`.
func GetPublicKeys() *cli.Command {
	return &cli.Command{
		Name:  "public-keys",
		Usage: "show the public keys that are registered for offline issuing",
		Description: `Their private halves are elsewhere: the global verifies with them and never signs.
IN KEY SETS says whether zones publish a key for others to verify with, and why not: a
set cannot state bounds. Keys of the global's own are in the sets; those that a zone has
in its settings are shown by its "zone status".

With --format kuma-zone-config it prints the global's own keys of dataplane tokens
instead, as they belong into the configuration of a zone that runs Kuma's control
plane. Such a zone receives the keys of zone tokens by itself, and those of dataplane
tokens in no other way: Meridian sends no private key to anybody.

Examples:
  global get public-keys
  global get public-keys -o yaml
  global get public-keys --format kuma-zone-config
  global get public-keys --format kuma-zone-config --mesh default`,
		Flags: client.Flags(
			&cli.StringFlag{Name: "format", Usage: "print the global's own keys as `FORMAT`: " + formatKumaZone},
			&cli.StringFlag{Name: "mesh", Usage: "with --format, only the keys of this `MESH`"},
			console.OutputFlag()),
		Action: func(c *cli.Context) error {
			format, err := console.FormatOf(c)
			if err != nil {
				return err
			}
			if err := checkKeyFormat(c.String("format")); err != nil {
				return err
			}
			if err := console.NoArguments(c); err != nil {
				return err
			}
			g, err := client.Connect(c)
			if err != nil {
				return err
			}
			if c.String("format") != "" {
				return printKumaZoneConfig(c, g)
			}
			keys, err := g.PublicKeys(c.Context)
			if err != nil {
				return err
			}
			return console.Print(c.App.Writer, format, console.Items(keys), func() io.WriterTo {
				t := console.NewTable("KID", "KIND", "MESH", "ZONES", "SCOPES", "LONGEST", "IN KEY SETS", "AGE")
				for _, k := range keys {
					t.Row(k.KID, cptoken.Kind(k.Kind).TokenName(), orDash(k.Mesh), bound(k, k.Zones), bound(k, k.Scopes), orAny(k.MaxLifetime), inKeySets(k), client.Age(k.CreationTime))
				}
				return t
			})
		},
	}
}

// inKeySets says whether the zones' key sets have the key, for those who verify with them,
// and else why not.
func inKeySets(k apitypes.PublicKey) string {
	if k.NotInKeySet == "" {
		return "yes"
	}
	return "no: " + k.NotInKeySet
}

// bound shows what a zone key's tokens are held to; a dataplane key's mesh is all
// that bounds it there.
func bound(k apitypes.PublicKey, words []string) string {
	if cptoken.Kind(k.Kind) != cptoken.Zone {
		return "-"
	}
	return orAny(strings.Join(words, ","))
}

func orAny(s string) string {
	if s == "" {
		return "any"
	}
	return s
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// DeletePublicKey returns the command `global delete public-key`.
func DeletePublicKey() *cli.Command {
	const effect = "every token of it is refused, and its kid is spent"
	return &cli.Command{
		Name:      "public-key",
		Usage:     "delete a registered public key: " + effect,
		ArgsUsage: "KID",
		Description: `Examples:
  global delete public-key ci-1 --kind zone-token
  global delete public-key ci-1 --kind dataplane-token --mesh default`,
		Flags: client.Flags(
			&cli.StringFlag{Name: "kind", Usage: "the `KIND` of token that the key is for: zone-token or dataplane-token"},
			client.MeshFlag(),
			&cli.BoolFlag{Name: "yes", Usage: "do not ask, also on a terminal"}),
		Action: func(c *cli.Context) error {
			if err := console.Arguments(c, 1, 1, "global delete public-key KID --kind zone-token"); err != nil {
				return err
			}
			word, err := console.Required(c, "kind", "--kind zone-token")
			if err != nil {
				return err
			}
			kind, mesh, err := client.KindAndMesh(c, "--kind", word)
			if err != nil {
				return err
			}
			kid := c.Args().First()
			if err := cptoken.ValidateKID("KID", kid); err != nil {
				return console.Usage(federation.AsError(err).WithHint("keys of the global's own are removed with `global keys remove`"))
			}
			g, err := client.Connect(c)
			if err != nil {
				return err
			}
			name := kid + " of " + tokensOf(kind, mesh)
			if err := console.Agree(c, fmt.Sprintf("delete public key %s: %s", name, effect)); err != nil {
				return err
			}
			change, err := g.DeletePublicKey(c.Context, kind.TokenName(), mesh, kid)
			if err != nil {
				return err
			}
			console.VoiceOf(c.App).Say("refused from now on: %s", change.CutOff)
			return console.Write(c.App.Writer, fmt.Appendf(nil, "public key %s is deleted\n", name))
		},
	}
}
