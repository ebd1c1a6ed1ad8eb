package rollout

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/zone/envoyres"
)

// uses are references of what the proxy no longer holds, and may go on with for a while.
type uses struct {
	// until is when each reference ends.
	until map[envoyres.Reference]time.Time
	// warming are the references of replaced listeners, by the listener's name: their time
	// begins once the successor is warm.
	warming map[string][]envoyres.Reference
}

func newUses() uses {
	return uses{until: map[envoyres.Reference]time.Time{}, warming: map[string][]envoyres.Reference{}}
}

func (u uses) clone() uses {
	return uses{until: maps.Clone(u.until), warming: maps.Clone(u.warming)}
}

// keep keeps what is referred to until a time.
func (u uses) keep(list []envoyres.Reference, until time.Time) {
	for _, r := range list {
		u.until[r] = clock.Last(u.until[r], until)
	}
}

// release notes that the proxy holds some versions of a listener, or of anything else, no
// longer.
func (s *Stream) release(k envoyres.Key, old []*envoyres.Resource, now time.Time) {
	for _, r := range old {
		if strings.HasPrefix(k.Name, probePrefix) {
			continue // it never had traffic
		}
		if !isListener(k) {
			s.uses.keep(r.References, now.Add(s.opts.Linger))
			continue
		}
		list := s.uses.warming[k.Name]
		for _, reference := range r.References {
			if !slices.Contains(list, reference) {
				list = append(list, reference)
			}
		}
		s.uses.warming[k.Name] = list
	}
}

// warm begins the time of the references of listeners whose successors are warm.
func (p *plan) warm(now time.Time) {
	for name, list := range p.s.uses.warming {
		if p.isWarm(name) {
			p.s.uses.keep(list, now.Add(p.s.opts.Drain))
			delete(p.s.uses.warming, name)
		}
	}
}

// free reports whether nothing that was replaced uses a key any more, or when that will be
// so: the zero time is not known yet.
func (u uses) free(key envoyres.Key, now time.Time) (free bool, at time.Time) {
	for _, list := range u.warming {
		for _, r := range list {
			if r.Covers(key) {
				return false, time.Time{}
			}
		}
	}
	for r, until := range u.until {
		if r.Covers(key) && !clock.Ended(until, now) {
			at = clock.Last(at, until)
		}
	}
	return at.IsZero(), at
}

// forget drops what is over.
func (u uses) forget(now time.Time) {
	maps.DeleteFunc(u.until, func(_ envoyres.Reference, until time.Time) bool { return clock.Ended(until, now) })
}
