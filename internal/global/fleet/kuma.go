package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apitypes"
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
func (f *Fleet) Unheeding(what string) (zones []apitypes.UnheedingZone) {
	for _, z := range f.KumaZones() {
		if !kuma.Heeds(z.Version, what) {
			zones = append(zones, apitypes.UnheedingZone{Zone: z.Zone, Version: z.Version, What: what})
		}
	}
	return zones
}

// UnheedingRevocations returns the zones at which lists of revoked tokens of a kind are
// not in force: those of dataplane tokens are heeded by all, and no other tokens are shown
// to zones of Kuma's.
func (f *Fleet) UnheedingRevocations(kind cptoken.Kind) []apitypes.UnheedingZone {
	if kind != cptoken.Zone {
		return nil
	}
	return f.Unheeding(kuma.ZoneRevocations)
}

// StreamWarnings returns a sentence for each zone that heeds lists of revoked tokens of a kind
// and lets go on what such a token opened before.
func (f *Fleet) StreamWarnings(kind cptoken.Kind) []string {
	if kind != cptoken.Zone && kind != cptoken.Dataplane {
		return nil
	}
	zones, unheeding := f.Unheeding(kuma.OpenStreams), f.UnheedingRevocations(kind)
	return warn(slices.DeleteFunc(zones, func(z apitypes.UnheedingZone) bool {
		return slices.ContainsFunc(unheeding, func(u apitypes.UnheedingZone) bool { return u.Zone == z.Zone })
	}), "lets a proxy that is connected go on: stop it, or restart the zone's control plane")
}

// ListWarnings returns a sentence for each zone at which the list of revoked tokens of a
// kind is not in force.
func (f *Fleet) ListWarnings(kind cptoken.Kind) []string {
	return warn(f.UnheedingRevocations(kind), "goes on accepting the tokens: rotate their key")
}

// ExpulsionWarnings returns a sentence for each zone at which an expelled certificate of a
// member opens what it did before.
func (f *Fleet) ExpulsionWarnings() []string {
	return warn(f.Unheeding(kuma.Expulsions), "takes whoever shows one of a member for its global: give the members certificates of a new CA, and this zone that CA alone (docs/certificates.md)")
}

// RegisteredWarnings returns a sentence for each zone at which a registered key, or its
// bounds, are not in force.
func (f *Fleet) RegisteredWarnings(h Holding, key string) []string {
	h.Kuma = nil
	zones := f.Unheeding(kuma.RegisteredKeys)
	h.Unproven = slices.DeleteFunc(slices.Clone(h.Unproven), func(zone string) bool {
		return slices.ContainsFunc(zones, func(z apitypes.UnheedingZone) bool { return z.Zone == zone })
	})
	return append(warn(zones, "refuses tokens of "+key+", or accepts them beyond its bounds where the key stands in the zone's own configuration: take it out there"),
		h.Warnings(key, false)...)
}

// warn returns a sentence for each zone that does not heed something: what it does.
func warn(zones []apitypes.UnheedingZone, does string) (warnings []string) {
	for _, z := range zones {
		warnings = append(warnings, fmt.Sprintf("%s (%s) does not heed %s, and %s", z.Zone, strings.TrimSpace("Kuma "+z.Version), z.What, does))
	}
	return warnings
}

// Warnings returns sentences that name the zones at which a key that is to sign, or is
// removed, may be unknown, or go on verifying.
func (h Holding) Warnings(key string, removed bool) (warnings []string) {
	refuse, put, have := "refuse", "put into", "have it"
	if removed {
		refuse, put, have = "accept", "taken out of", "have dropped it"
	}
	if len(h.Kuma) > 0 {
		warnings = append(warnings, fmt.Sprintf("these zones run Kuma's control plane, and %s tokens of %s until it is %s their configuration: %s", refuse, key, put, strings.Join(h.Kuma, ", ")))
	}
	unproven := slices.DeleteFunc(slices.Clone(h.Unproven), func(zone string) bool { return slices.Contains(h.Kuma, zone) })
	if len(unproven) > 0 {
		warnings = append(warnings, fmt.Sprintf("these zones connected without authentication, and may %s tokens of %s, because nobody knows whether they %s: %s", refuse, key, have, strings.Join(unproven, ", ")))
	}
	return warnings
}
