package revocations

import (
	"testing"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// TestWhoHolds: a zone holds a change once each control plane of it that is online does.
func TestWhoHolds(t *testing.T) {
	now := time.Now()
	ago := now.Add(-3 * time.Hour)
	history := federation.History{ID: "0123456789abcdef", Created: 1}
	rev := func(index uint64) string { return federation.Revision{History: history, Index: index}.String() }
	on := func(index uint64) apitypes.Session { return apitypes.Session{Online: true, Revision: rev(index)} }
	off := apitypes.Session{Instance: "i2", Remote: "10.0.0.7:41000", Revision: rev(1), Disconnected: &ago}
	left := apitypes.Session{Instance: "i3", Revision: rev(8), Disconnected: &ago}
	full := apitypes.Session{Online: true, Revision: rev(6), Nack: "disk full"}
	elsewhere := apitypes.Session{Online: true, Revision: federation.Revision{History: federation.History{ID: "fedcba9876543210", Created: 2}, Index: 9}.String()}
	zone := func(name string, online bool, sessions ...apitypes.Session) apitypes.ZoneState {
		return apitypes.ZoneState{Name: name, Enabled: true, Online: online, FirstSeen: &ago, LastSeen: &ago, Sessions: sessions}
	}
	disabled := zone("south", false)
	disabled.Enabled = false
	for want, zones := range map[string][]apitypes.ZoneState{
		"held by 1 of 1 zone":  {zone("west", true, on(7))},
		"held by 2 of 2 zones": {zone("west", true, on(7)), zone("east", true, on(8), left), {Name: "never", Enabled: true}},
		"held by 0 of 1 zone; east has a control plane that is offline, 10.0.0.7:41000": {zone("east", true, on(8), off)},
		"held by 0 of 1 zone; west has not acknowledged it":                             {zone("west", true, on(7), on(6))},
		"held by 0 of 1 zone; west refuses it: disk full":                               {zone("west", true, full)},
		"held by 1 of 2 zones; north is offline since 3h":                               {zone("north", false, off), zone("west", true, on(7))},
		"held by 0 of 1 zone; south is disabled":                                        {disabled},
		"held by 0 of 1 zone; other has not acknowledged it":                            {zone("other", true, elsewhere)},
		"held by 0 of 1 zone; odd has not acknowledged it":                              {zone("odd", true, apitypes.Session{Online: true, Revision: "none"})},
		"held by 0 of 1 zone; unread has not acknowledged it":                           {zone("unread", true, apitypes.Session{Online: true, Revision: "?"})},
	} {
		if got := holdersOf(zones, federation.Revision{History: history, Index: 7}, now).String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
