package fleet

import (
	"cmp"
	"slices"

	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/kds/kuma"
)

// KumaZone is a zone that runs Kuma's control plane, or ran it when it was last seen.
type KumaZone struct {
	Zone    string
	Version string // as it says itself, "" where it does not
}

// KumaZones returns the zones that run Kuma's control plane, also those that are
// offline, ordered by name. Of several control planes the oldest version is told.
func (f *Fleet) KumaZones() []KumaZone {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.kumaZones()
}

// kumaZones is KumaZones with f.mu held. The open sessions of a zone count, or else the
// last one: a zone may have moved to another control plane.
func (f *Fleet) kumaZones() []KumaZone {
	last := map[string][]*Session{}
	for _, r := range f.reports {
		for i := range r.Sessions {
			s := &r.Sessions[i]
			known := last[s.Zone]
			switch {
			case len(known) == 0 || s.Open() && !known[0].Open():
				last[s.Zone] = []*Session{s}
			case s.Open():
				last[s.Zone] = append(known, s)
			case !known[0].Open() && clock.Earlier(known[0].lastSeen(), s.lastSeen()):
				last[s.Zone] = []*Session{s}
			}
		}
	}
	var zones []KumaZone
	for zone, sessions := range last {
		sessions = slices.DeleteFunc(sessions, func(s *Session) bool { return s.Meridian })
		if len(sessions) == 0 {
			continue
		}
		oldest := slices.MaxFunc(sessions, func(a, b *Session) int {
			return cmp.Or(cmp.Compare(len(kuma.Unheeded(a.Version)), len(kuma.Unheeded(b.Version))), cmp.Compare(b.Version, a.Version))
		})
		zones = append(zones, KumaZone{Zone: zone, Version: oldest.Version})
	}
	slices.SortFunc(zones, func(a, b KumaZone) int { return cmp.Compare(a.Zone, b.Zone) })
	return zones
}

// Unheeding returns the zones of Kuma's that do not heed something, in the words of
// package kuma.
func (f *Fleet) Unheeding(what string) []KumaZone {
	return slices.DeleteFunc(f.KumaZones(), func(z KumaZone) bool { return kuma.Heeds(z.Version, what) })
}
