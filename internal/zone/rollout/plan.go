package rollout

import (
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/cache/types"

	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/zone/envoyres"
)

// plan answers questions about one moment of a stream, and remembers the answers.
type plan struct {
	s      *Stream
	states map[envoyres.Key]state
	now    time.Time
}

// state is how far a proxy is with something.
type state int

const (
	unknown state = iota
	inPlace
	waiting // for an acknowledgement
	refused // or it refers to what is
)

func (s *Stream) plan() *plan { return &plan{s: s, states: map[envoyres.Key]state{}} }

func isListener(k envoyres.Key) bool { return k.Kind == types.Listener }

// rank orders kinds by what may refer to what: only a kind of a higher rank refers to one
// of a lower, resources whose content is not known apart.
var rank = map[envoyres.Kind]int{
	types.Listener: 6, types.ScopedRoute: 5, types.Route: 4, types.VirtualHost: 3, types.ExtensionConfig: 2, types.Cluster: 1,
}

// of is how far the proxy is with what is wanted under a key, and with everything that it
// refers to. What the proxy does not ask for need only be fit to be sent.
func (p *plan) of(key envoyres.Key) state {
	r := p.s.want[key]
	if r == nil {
		return inPlace
	}
	if known := p.states[key]; known != unknown {
		return known
	}
	st := p.s.kinds[key.Kind]
	result, _ := p.waitsFor(r)
	switch {
	case st.refused[key.Name].version == r.Version:
		result = refused
	case result == inPlace && st.subscribed(key.Name) && !st.has(r):
		result = waiting
	}
	p.states[key] = result
	return result
}

// waitsFor returns whether r may be sent, and else what must be in place before: something
// that is refused, if there is any.
func (p *plan) waitsFor(r *envoyres.Resource) (result state, on envoyres.Key) {
	result = inPlace
	for next := range referred(p.s.want, r) {
		if p.s.circle[next] == p.s.circle[r.Key] {
			continue
		}
		if its := p.of(next); its > result {
			result, on = its, next
		}
	}
	return result, on
}

// isWarm reports whether the listener of a name has everything that it subscribes to.
func (p *plan) isWarm(name string) bool {
	st := p.s.kinds[types.Listener]
	h := st.held[name]
	if h == nil || h.acked == nil {
		return true
	}
	return p.complete(h.acked, map[envoyres.Key]bool{})
}

// complete reports whether everything that a resource subscribes to by name, directly and
// through others, was asked for and is in place.
func (p *plan) complete(r *envoyres.Resource, seen map[envoyres.Key]bool) bool {
	for next := range referred(p.s.want, r) {
		if seen[next] || next.Kind == types.Cluster || next.Kind == types.Listener {
			continue
		}
		seen[next] = true
		if !p.s.kinds[next.Kind].subscribed(next.Name) || p.of(next) != inPlace || !p.complete(p.s.want[next], seen) {
			return false
		}
	}
	return true
}

// removable are the names of a kind that may be removed now. again is when to look again;
// zero where that depends on the proxy.
func (p *plan) removable(st *kind, now time.Time) (names map[string]bool, again time.Time) {
	names = map[string]bool{}
	for name := range st.held {
		if p.s.wanted(st.kind, name) == nil && st.subscribed(name) {
			names[name] = true
		}
	}
	if len(names) == 0 {
		return names, again
	}
	if at, wait := p.unheard(st.kind, now); wait {
		return nil, at
	}
	for name := range names {
		if free, at := p.s.uses.free(envoyres.Key{Kind: st.kind, Name: name}, now); !free {
			delete(names, name)
			again = clock.First(again, at)
		}
	}
	for p.dropUsed(st.kind, names) {
	}
	return names, again
}

// unheard reports whether a kind that may refer to another one can hold what is not known.
func (p *plan) unheard(of envoyres.Kind, now time.Time) (until time.Time, wait bool) {
	until = p.s.began.Add(unheard)
	for _, st := range p.s.kinds {
		switch {
		case st == nil || rank[st.kind] <= rank[of]:
		case st.opaque:
			return time.Time{}, true
		case p.s.resumed && !st.asked && !clock.Ended(until, now):
			return until, true
		}
		if st != nil && rank[st.kind] > rank[of] && st.hasOpaque() {
			return time.Time{}, true
		}
	}
	return time.Time{}, false
}

// hasOpaque reports whether the proxy has a resource whose content is not known.
func (st *kind) hasOpaque() bool {
	for _, h := range st.held {
		if h.acked != nil && h.acked.Message == nil {
			return true
		}
	}
	return false
}

// dropUsed takes those off a list of names that something which stays refers to. It reports
// whether there was any.
func (p *plan) dropUsed(of envoyres.Kind, names map[string]bool) (dropped bool) {
	drop := func(r envoyres.Reference) {
		if r.Kind != of {
			return
		}
		if !r.All && names[r.Name] {
			delete(names, r.Name)
			dropped = true
		}
		for name := range names {
			if r.All && r.Covers(envoyres.Key{Kind: of, Name: name}) {
				delete(names, name)
				dropped = true
			}
		}
	}
	for _, st := range p.s.kinds {
		if st == nil {
			continue
		}
		for name := range st.everything() {
			if st.kind == of && names[name] {
				continue // it goes too
			}
			for _, v := range st.versions(name) {
				for _, r := range v.References {
					drop(r)
				}
			}
		}
	}
	return dropped
}

// everything is the names that the proxy may hold.
func (st *kind) everything() map[string]bool {
	names := map[string]bool{}
	for name := range st.held {
		names[name] = true
	}
	for _, f := range st.flights {
		for name := range f.content {
			names[name] = true
		}
	}
	return names
}
