package resources

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/yamldoc"
)

// keyDoc is a PublicKey as it stands in a file. What only an answer has is ignored.
type keyDoc struct {
	Type          string        `json:"type"`
	Kind          string        `json:"kind"`
	Mesh          string        `json:"mesh"`
	KID           string        `json:"kid"`
	Key           string        `json:"key"`
	Zones         []string      `json:"zones"`
	Scopes        []string      `json:"scopes"`
	MaxLifetime   string        `json:"maxLifetime"`
	AllowNoExpiry bool          `json:"allowNoExpiry"`
	AllowNoID     bool          `json:"allowNoID"`
	Fingerprint   *yamldoc.Node `json:"fingerprint"`
	NotInKeySet   *yamldoc.Node `json:"notInKeySet"`
	By            *yamldoc.Node `json:"by"`
	CreationTime  *yamldoc.Node `json:"creationTime"`
}

// readPublicKey reads a resource PublicKey and checks what makes its address.
func readPublicKey(root *yamldoc.Node) (resource, error) {
	var d keyDoc
	if err := yamldoc.Bind(root, &d, true); err != nil {
		return resource{}, err
	}
	wrong := func(field string, err error) error {
		line := root.Line
		if n := root.Get(field); n != nil {
			line = n.Line
		}
		e := federation.AsError(err)
		return yamldoc.At(line, "", "%s", e.Detail).WithHint("%s", e.Hint)
	}
	kind, err := cptoken.ParseKind("kind", d.Kind)
	if err != nil {
		return resource{}, wrong("kind", err)
	}
	if err := kind.ValidateScope(d.Mesh); err != nil {
		return resource{}, wrong("mesh", err)
	}
	if err := cptoken.ValidateKID("kid", d.KID); err != nil {
		return resource{}, wrong("kid", err)
	}
	if _, err := cptoken.ParsePublicPEM("key", []byte(d.Key)); err != nil {
		return resource{}, wrong("key", err)
	}
	return keyResource(kind, apitypes.PublicKey{Type: d.Type, Kind: d.Kind, Mesh: d.Mesh, KID: d.KID, Key: d.Key, Zones: d.Zones, Scopes: d.Scopes,
		MaxLifetime: d.MaxLifetime, AllowNoExpiry: d.AllowNoExpiry, AllowNoID: d.AllowNoID}), nil
}

// keyResource is a registered public key. The key under a kid never changes, so that a
// difference is one of its bounds.
func keyResource(kind cptoken.Kind, k apitypes.PublicKey) resource {
	bounds := func(of apitypes.PublicKey) apitypes.PublicKey {
		of.Kind, of.Key, of.Fingerprint, of.NotInKeySet, of.By, of.CreationTime = kind.TokenName(), "", "", "", "", nil
		if d, err := time.ParseDuration(of.MaxLifetime); err == nil {
			of.MaxLifetime = d.String()
		}
		if kind == cptoken.Zone && len(of.Scopes) == 0 {
			of.Scopes = []string{string(cptoken.ScopeEgress), string(cptoken.ScopeIngress)}
		}
		slices.Sort(of.Scopes)
		slices.Sort(of.Zones)
		return of
	}
	want := bounds(k)
	return resource{
		title: "public key " + k.KID + " of " + tokensOf(kind, k.Mesh), want: want,
		have: func(ctx context.Context, g *apiclient.Global) (any, error) {
			all, err := g.PublicKeys(ctx)
			if err != nil {
				return nil, err
			}
			for _, have := range all {
				if have.Kind == string(kind) && have.Mesh == k.Mesh && have.KID == k.KID {
					return bounds(have), nil
				}
			}
			return nil, nil
		},
		apply: func(c *cli.Context, g *apiclient.Global) error {
			change, err := g.ApplyPublicKey(c.Context, k)
			if err != nil {
				return err
			}
			return client.Warned(c, "public key "+k.KID, change.Warnings)
		},
		del: func(c *cli.Context, g *apiclient.Global) error {
			change, err := g.DeletePublicKey(c.Context, kind.TokenName(), k.Mesh, k.KID)
			if err != nil {
				return err
			}
			return client.Warned(c, "public key "+k.KID, change.Warnings)
		},
	}
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
		Name: "public-keys", Aliases: []string{"public-key"}, ArgsUsage: "[KID]",
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
			if err := console.Arguments(c, 0, 1, "global get public-keys [KID]"); err != nil {
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
			if err == nil {
				keys, err = client.Named("public key", c.Args().First(), keys, func(k apitypes.PublicKey) string { return k.KID })
			}
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
			if err := console.Write(c.App.Writer, fmt.Appendf(nil, "public key %s is deleted\n", name)); err != nil {
				return err
			}
			return client.Warned(c, "public key "+kid, change.Warnings)
		},
	}
}
