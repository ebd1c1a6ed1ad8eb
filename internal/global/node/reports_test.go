package node

import (
	"testing"
	"time"

	"github.com/meridiankds/meridian/internal/global/fleet"
	"github.com/meridiankds/meridian/kds"
)

// TestSmallNewsIsNotReported: that a zone was heard again, or that one of its key sets
// was, must not have all sessions sent to the leader once more; a key set that was never
// fetched before, or is still fetched hours later, must.
func TestSmallNewsIsNotReported(t *testing.T) {
	at := time.Unix(1_800_000_000, 0).Truncate(keySetsEvery)
	session := func(heard time.Time, uses ...kds.KeySetUse) []fleet.Session {
		return []fleet.Session{{Zone: "west", LastHeard: heard, KeySets: kds.FormatKeySets(uses)}}
	}
	zone := kds.KeySetUse{Set: "zone", Count: 1, Last: at}
	again, later := zone, zone
	again.Count, again.Last = 2, at.Add(time.Hour)
	later.Last = at.Add(keySetsEvery)
	first := digestOf(session(at, zone))
	for name, tt := range map[string]struct {
		sessions []fleet.Session
		same     bool
	}{
		"heard again":         {session(at.Add(time.Second), zone), true},
		"fetched again":       {session(at, again), true},
		"fetched hours later": {session(at, later), false},
		"another set":         {session(at, zone, kds.KeySetUse{Set: "dataplane/default", Count: 1, Last: at}), false},
		"no set":              {session(at), false},
	} {
		if got := digestOf(tt.sessions) == first; got != tt.same {
			t.Errorf("%s: the same %t, want %t", name, got, tt.same)
		}
	}
}
