package keys

import (
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
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
		if now.Sub(c.Last) < within {
			zones = append(zones, c.Zone)
		}
	}
	return zones
}

// pending is the end of a removal of a compromised key that some may not have heard of:
// zones accept its tokens until they do, and so does who verifies with copies of their
// key sets. The exit code says so.
func pending(key apitypes.Key, h *apitypes.Holding, now time.Time) error {
	if h == nil || !cptoken.Kind(key.Kind).AtZones() {
		return nil
	}
	who := console.Groups(console.Group("offline zones", h.Offline), console.Group("zones that have not acknowledged it yet:", h.Waiting),
		console.Group("verifiers with copies of key sets, fetched from zones", copied(h, always, now)))
	if who == "" {
		return nil
	}
	hint := "a zone that is offline drops it before it counts as online; `global inspect zones` shows when"
	if len(copied(h, always, now)) > 0 {
		hint = "have those verifiers fetch the key set again, or restart them: docs/verify-elsewhere.md says how long each keeps a removed key"
		if len(h.Offline)+len(h.Waiting) > 0 {
			hint += "; a zone that is offline drops the key before it counts as online"
		}
	}
	return console.Pending(federation.Errorf(federation.Unavailable,
		"%s is removed, and some accept its tokens until they hear of it: %s", keyTitle(key), who).WithHint("%s", hint))
}

// always is longer than any zone remembers.
const always = 1000 * 24 * time.Hour
