package revocations

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

// scope is which tokens a command refused, and the zones that do not heed it.
type scope struct {
	kind, mesh string
	unheeding  []apitypes.UnheedingZone
	warnings   []string // of what goes on although the change is in force
}

// inForce is the end of a command that refused tokens: it waits for the zones, and ends with
// the exit code 3 where one does not hold the change, or does not heed it. Only another key
// helps there.
func inForce(c *cli.Context, g *apiclient.Global, revision, where string, s scope) error {
	waited := awaitZones(c, g, revision, where)
	for _, warning := range s.warnings {
		console.VoiceOf(c.App).Warn("%s", warning)
	}
	if len(s.unheeding) == 0 {
		return waited
	}
	voice := console.VoiceOf(c.App)
	if waited != nil {
		voice.Warn("%s", waited)
	}
	names := make([]string, len(s.unheeding))
	for i, z := range s.unheeding {
		names[i] = fmt.Sprintf("%s (%s)", z.Zone, strings.TrimSpace("Kuma "+z.Version))
		voice.Warn("%s does not heed %s", names[i], z.What)
	}
	return console.Pending(federation.Errorf(federation.Unavailable, "these zones go on accepting the tokens: %s", console.Names(names)).
		WithHint("%s", otherKey(s.kind, s.mesh)))
}

// otherKey says how to replace the key of a kind of tokens at zones that run Kuma's
// control plane.
func otherKey(kind, mesh string) string {
	of := cptoken.Kind(kind).Arguments(mesh)
	if mesh == "" {
		return fmt.Sprintf("rotate their key, `global keys rotate %s`, issue the good tokens anew, and remove the former key with `global keys remove %s KEY --compromised`", of, of)
	}
	return fmt.Sprintf("rotate their key, `global keys rotate %s`, issue the good tokens anew, and take the former key out of those zones' configuration; `global get public-keys --format kuma-zone-config` prints what belongs there", of)
}
