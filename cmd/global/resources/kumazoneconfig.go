package resources

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apiclient"
	console "github.com/meridiankds/meridian/internal/cli"
)

// formatKumaZone is the format of a configuration file of Kuma's zones.
const formatKumaZone = "kuma-zone-config"

// checkKeyFormat checks --format of public keys.
func checkKeyFormat(format string) error {
	if format != "" && format != formatKumaZone {
		return console.Usagef("the format is "+formatKumaZone, "--format %.40q is not a format of public keys", format)
	}
	return nil
}

// printKumaZoneConfig prints the keys of dataplane tokens, of one mesh or of all, as
// they belong into the configuration of a zone that runs Kuma's control plane. It
// prints keys of every state, so that they are in place before they sign; not
// registered ones, which such a zone could not hold to their bounds.
func printKumaZoneConfig(c *cli.Context, g *apiclient.Global) error {
	keys, err := dataplaneKeys(c.Context, g, c.String("mesh"))
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		console.VoiceOf(c.App).Warn("there are no such dataplane keys: see global get meshes")
	}
	return console.Write(c.App.Writer, kumaZoneConfig(keys))
}

// staticKey is a public key in Kuma's configuration. The PEM is PKCS#1.
type staticKey struct{ kid, mesh, pem string }

func dataplaneKeys(ctx context.Context, g *apiclient.Global, mesh string) (keys []staticKey, err error) {
	all, err := g.Keys(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range all {
		if k.Kind != string(cptoken.Dataplane) || k.Registered || mesh != "" && k.Mesh != mesh {
			continue
		}
		secret, err := g.Secret(ctx, k.Mesh, k.Name)
		if err != nil {
			return nil, err
		}
		keys = append(keys, staticKey{k.KID, k.Mesh, string(secret.Data)})
	}
	return keys, nil
}

// kumaZoneConfig writes the keys as Kuma's configuration file has them.
func kumaZoneConfig(keys []staticKey) []byte {
	var b strings.Builder
	b.WriteString(`# The keys of dataplane tokens, for the configuration of a zone that runs Kuma's
# control plane. It receives the keys of zone tokens and the revocations by itself.
dpServer:
  authn:
    dpProxy:
      dpToken:
        enableIssuer: false
        validator:
          useSecrets: false
          publicKeys:`)
	if len(keys) == 0 {
		b.WriteString(" []\n")
		return []byte(b.String())
	}
	b.WriteByte('\n')
	for _, k := range keys {
		fmt.Fprintf(&b, "            - kid: %q\n              mesh: %q\n              key: |\n", k.kid, k.mesh)
		for line := range strings.Lines(strings.TrimSpace(k.pem)) {
			b.WriteString("                " + strings.TrimRight(line, "\n") + "\n")
		}
	}
	return []byte(b.String())
}
