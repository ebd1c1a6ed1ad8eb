package revocations

import (
	"fmt"
	"strings"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

// inForce is the end of a command that refused tokens: with the exit code 3 where zones
// do not heed it. Only another key helps there.
func inForce(voice *console.Voice, kind, mesh string, zones []apitypes.UnheedingZone) error {
	if len(zones) == 0 {
		return nil
	}
	names := make([]string, len(zones))
	for i, z := range zones {
		names[i] = fmt.Sprintf("%s (%s)", z.Zone, strings.TrimSpace("Kuma "+z.Version))
		voice.Warn("%s does not heed %s", names[i], z.What)
	}
	return console.Pending(federation.Errorf(federation.Unavailable, "these zones go on accepting the tokens: %s", console.Names(names)).
		WithHint("%s", otherKey(kind, mesh)))
}

// otherKey says how to replace the key of a kind of tokens at zones that run Kuma's
// control plane.
func otherKey(kind, mesh string) string {
	name := client.TokenName(kind)
	if mesh == "" {
		return fmt.Sprintf("rotate their key, `global keys rotate %s`, issue the good tokens anew, and remove the former key with `global keys remove %s KEY --compromised`", name, name)
	}
	return fmt.Sprintf("rotate their key, `global keys rotate %s --mesh %s`, issue the good tokens anew, and take the former key out of those zones' configuration; `global get public-keys --format kuma-zone-config` prints what belongs there", name, mesh)
}
