package fleet

import (
	"cmp"
	"slices"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/kds"
)

// Copy says that others fetched a key set at a zone: they may verify with it.
type Copy struct {
	Zone string
	Last time.Time
}

// Copies returns the zones at which the key set that a key stands in was fetched, also
// those that are offline, ordered by name.
func (f *Fleet) Copies(key cptoken.KeyID) []Copy {
	set := string(key.Kind)
	if key.Mesh != "" {
		set += "/" + key.Mesh
	}
	f.mu.Lock()
	latest := map[string]time.Time{}
	for _, r := range f.reports {
		for i := range r.Sessions {
			s := &r.Sessions[i]
			for _, use := range s.KeySetUses() {
				if use.Set == set && clock.Earlier(latest[s.Zone], use.Last) {
					latest[s.Zone] = use.Last
				}
			}
		}
	}
	f.mu.Unlock()
	copies := make([]Copy, 0, len(latest))
	for zone, last := range latest {
		copies = append(copies, Copy{Zone: zone, Last: last})
	}
	slices.SortFunc(copies, func(a, b Copy) int { return cmp.Compare(a.Zone, b.Zone) })
	return copies
}

// KeyUse returns what KeySets says as the API shows it: who fetched key sets, and how many
// sessions are open with the tokens of each key.
func (s *Session) KeyUse() (sets []apitypes.KeySetUse, live []apitypes.LiveKey) {
	for _, u := range s.KeySetUses() {
		if key, ok := u.Live(); ok {
			live = append(live, apitypes.LiveKey{Kind: string(key.Kind), Mesh: key.Mesh, KID: key.KID, Sessions: u.Count})
			continue
		}
		sets = append(sets, apitypes.KeySetUse{Set: u.Set, Count: u.Count, Last: u.Last.UTC()})
	}
	return sets, live
}

// KeySetUses returns what KeySets says.
func (s *Session) KeySetUses() []kds.KeySetUse {
	uses, err := kds.ParseKeySets(s.KeySets)
	if err != nil {
		return nil // of a member of a later version
	}
	return uses
}
