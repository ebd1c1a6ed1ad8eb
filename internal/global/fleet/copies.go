package fleet

import (
	"cmp"
	"slices"
	"time"

	"github.com/meridiankds/meridian/cptoken"
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

// KeySetUses returns what KeySets says.
func (s *Session) KeySetUses() []kds.KeySetUse {
	uses, err := kds.ParseKeySets(s.KeySets)
	if err != nil {
		return nil // of a member of a later version
	}
	return uses
}
