package client

import (
	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/federation"
	console "github.com/meridiankds/meridian/internal/cli"
)

// Warned warns of the zones at which a change that was made is not in force; where there are
// any, it returns a pending error that names what was changed.
func Warned(c *cli.Context, what string, warnings []string) error {
	if len(warnings) == 0 {
		return nil
	}
	for _, warning := range warnings {
		console.VoiceOf(c.App).Warn("%s", warning)
	}
	return NotInForce(what)
}

// NotInForce is the error of changes that were made and are not in force at every zone.
func NotInForce(names ...string) error {
	return console.Pending(federation.Errorf(federation.Unavailable, "not in force at every zone: %s", console.Names(names)).
		WithHint("docs/kuma.md says what each version of Kuma heeds; `global get public-keys --format kuma-zone-config` prints what belongs into a zone's configuration"))
}
