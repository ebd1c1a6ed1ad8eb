package keys

import (
	"slices"
	"strings"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/clock"
)

// lately is how long ago a key set was fetched by verifiers that are still there.
const lately = 24 * time.Hour

// settleAdvice is what --settle should be where nothing is known of the verifiers: the
// time that key sets may be kept, and half as much again.
const settleAdvice = "90s"

// copied names the zones at which others fetched the key set of a key no longer ago than
// that: they may verify with copies, which no zone can ask for.
func copied(h *apitypes.Holding, within time.Duration, now time.Time) []string {
	var zones []string
	if h == nil {
		return nil
	}
	for _, c := range h.Copies {
		if clock.Running(c.Last.Add(within), now) {
			zones = append(zones, c.Zone)
		}
	}
	return zones
}

// pending is the end of a removal of a compromised key that some may not have heard of:
// zones accept its tokens until they do, zones of Kuma's until somebody takes the key out
// of their configuration, and so does who verifies with copies of key sets. The exit code
// says so.
func pending(key apitypes.Key, h *apitypes.Holding, now time.Time) error {
	if h == nil || !cptoken.Kind(key.Kind).AtZones() {
		return nil
	}
	offline, waiting, unproven, copies := without(h.Offline, h.Kuma), without(h.Waiting, h.Kuma), without(h.Unproven, h.Kuma), copied(h, always, now)
	who := console.Groups(console.Group("offline zones", offline), console.Group("zones that have not acknowledged it yet:", waiting),
		console.Group("zones that connected without authentication, and may not have it dropped:", unproven),
		console.Group("zones that run Kuma's control plane:", h.Kuma), console.Group("verifiers with copies of key sets, fetched from zones", copies))
	if who == "" {
		return nil
	}
	var hints []string
	if len(h.Kuma) > 0 {
		hints = append(hints, kumaHint)
	}
	if len(copies) > 0 {
		hints = append(hints, "have those verifiers fetch the key set again, or restart them: docs/verify-elsewhere.md says how long each keeps a removed key")
	}
	if len(offline)+len(waiting)+len(unproven) > 0 || hints == nil {
		hints = append(hints, offlineHint)
	}
	return console.Pending(federation.Errorf(federation.Unavailable,
		"%s is removed, and some accept its tokens until they hear of it: %s", keyTitle(key), who).WithHint("%s", strings.Join(hints, "; ")))
}

// offlineHint says when a zone that is away drops a removed key.
const offlineHint = "a zone that is offline drops it before it counts as online; `global inspect zones` shows when"

// kumaHint says what to do about a dataplane key at a zone that runs Kuma's control plane.
const kumaHint = "zones of Kuma's have dataplane keys from their own configuration: put there what `global get public-keys --format kuma-zone-config` prints, and restart them"

// unreached is the end of a step that nobody could wait for at some zones: those that run
// Kuma's control plane, for a dataplane key, those that connected without authentication, and
// of a removal those that are offline. The exit code says so.
func unreached(key apitypes.Key, h *apitypes.Holding) error {
	if h == nil {
		return nil
	}
	effect, offline := "refuse its tokens, because they could not be waited for", []string(nil)
	if key.State == string(cptoken.Removed) {
		effect, offline = "go on accepting its tokens", without(h.Offline, h.Kuma)
	}
	unproven := without(h.Unproven, h.Kuma)
	who := console.Groups(console.Group("offline zones", offline), console.Group("zones that run Kuma's control plane:", h.Kuma), console.Group("unauthenticated zones", unproven))
	if who == "" {
		return nil
	}
	e := federation.Errorf(federation.Unavailable, "%s is %s, and some may %s: %s", keyTitle(key), key.State, effect, who)
	if len(h.Kuma) > 0 {
		return console.Pending(e.WithHint("%s", kumaHint))
	}
	if len(unproven) == 0 {
		return console.Pending(e.WithHint("%s", offlineHint))
	}
	return console.Pending(e.WithHint("have these zones authenticate, so that they can be waited for: apply them with auth: token or certificate; one of Kuma's proves itself by the certificate of a relay (docs/kuma.md)"))
}

// without returns the names that are not among others.
func without(names, others []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(others, name) })
}

// always is longer than any zone remembers.
const always = 1000 * 24 * time.Hour
