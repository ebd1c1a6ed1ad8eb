package rollout

import (
	"maps"
	"slices"
	"time"

	"github.com/meridiankds/meridian/internal/zone/envoyres"
)

// Request is what a proxy says, of either protocol.
type Request struct {
	Kind  envoyres.Kind
	Nonce string
	// Refused is set where a response is refused; Detail is why.
	Refused bool
	Detail  string

	// Version and Names are of the state of the world.
	Version string
	Names   []string

	// Subscribe, Unsubscribe and Initial are of delta: the last has the versions that the
	// proxy has from an earlier stream.
	Subscribe, Unsubscribe []string
	Initial                map[string]string
}

// Answer is what a request says about a response.
type Answer struct {
	// Version is that of the response; "" where the request answers none.
	Version string
	Refused bool
	// Names are those that were new in a refused response.
	Names []string
}

// everyName is the name that stands for all.
const everyName = "*"

// Take takes a request of the proxy.
func (s *Stream) Take(m *Request, now time.Time) (a Answer) {
	st := s.kinds[m.Kind]
	if s.began.IsZero() {
		s.began = now
	}
	heard := m.Nonce != "" && m.Nonce == st.heard
	if i := slices.IndexFunc(st.flights, func(f *flight) bool { return f.nonce == m.Nonce }); i >= 0 {
		a = s.answered(st, i, m, now)
	}
	first := !st.asked
	st.asked = true
	switch {
	case s.opts.Delta:
		s.subscribeDelta(st, m, first, now)
	case first:
		st.owed = true
		st.setNames(m.Names)
		s.resume(st, m.Version)
	case m.Nonce == st.nonce: // else it was overtaken, and its names with it
		before, all := maps.Clone(st.names), st.wildcard
		st.setNames(m.Names)
		s.letGo(st, now)
		same := maps.Equal(before, st.names) && all == st.wildcard
		st.repeat = st.repeat || heard && same && !m.Refused && !st.full()
	}
	return a
}

// setNames replaces what the proxy asks for, in the state of the world.
func (st *kind) setNames(names []string) {
	if st.legacy && len(names) == 0 {
		st.wildcard = true
		return
	}
	st.legacy, st.wildcard = false, false
	clear(st.names)
	for _, name := range names {
		if name == everyName {
			st.wildcard = true
		} else {
			st.names[name] = true
		}
	}
}

// letGo forgets what the proxy does not ask for any more.
func (s *Stream) letGo(st *kind, now time.Time) {
	for name := range st.held {
		if !st.subscribed(name) {
			s.release(envoyres.Key{Kind: st.kind, Name: name}, st.versions(name), now)
			delete(st.held, name)
		}
	}
}

// subscribeDelta takes what a request of delta says about names.
func (s *Stream) subscribeDelta(st *kind, m *Request, first bool, now time.Time) {
	if first {
		st.owed = true
		st.wildcard = len(m.Subscribe) == 0
		s.initial(st, m.Initial)
	}
	for _, name := range m.Subscribe {
		switch {
		case name == everyName:
			st.owed = st.owed || !st.wildcard
			st.wildcard = true
			continue
		case m.Initial[name] == "" || !first:
			st.again[name] = true
		}
		st.names[name] = true
		st.absent[name] = true
	}
	for _, name := range m.Unsubscribe {
		if name == everyName {
			st.wildcard = false
			continue
		}
		delete(st.names, name)
		if st.wildcard { // the proxy forgets it, and must be told that it still has it, or not
			st.again[name], st.absent[name] = true, true
		}
	}
	s.letGo(st, now)
	if !first || st.full() {
		return
	}
	for name := range st.held {
		if slices.ContainsFunc(s.pending, func(r envoyres.Reference) bool { return r.Covers(envoyres.Key{Kind: st.kind, Name: name}) }) {
			st.again[name] = true // it may have arrived before what waits for it
		}
	}
}

// initial takes what a proxy has from an earlier stream. What cannot be known by its
// version is kept as a resource without content.
func (s *Stream) initial(st *kind, versions map[string]string) {
	s.resumed = s.resumed || len(versions) > 0
	for name, version := range versions {
		known := &envoyres.Resource{Key: envoyres.Key{Kind: st.kind, Name: name}, Version: version}
		if w := s.wanted(st.kind, name); w != nil && w.Version == version {
			known = w
		} else if s.opts.Resume != nil {
			for _, r := range s.opts.Resume.versionsOf(known.Key) {
				if r.Version == version {
					known = r
				}
			}
		}
		st.of(name).acked = known
	}
}

// answered takes the answer to the response i of a kind, which stands for those before it.
func (s *Stream) answered(st *kind, i int, m *Request, now time.Time) Answer {
	flights := st.flights[:i+1]
	last := flights[i]
	a := Answer{Version: last.version, Refused: m.Refused}
	st.flights = slices.Clone(st.flights[i+1:])
	st.heard = m.Nonce
	if m.Refused && !s.onlyCarried(st, last, m.Detail) {
		a.Names = s.refuse(st, flights, m.Detail)
		return a
	}
	st.version = last.version
	for _, f := range flights {
		s.apply(st, f, now)
	}
	if now := st.trials.now; now != nil && !slices.ContainsFunc(sortedNames(now), func(name string) bool {
		h := st.held[name]
		return h == nil || h.acked == nil || h.acked.Version != now[name] || len(h.doubt) > 0
	}) {
		s.convict(st, st.trials.accepted(), st.detail)
	}
	return a
}

// apply makes an acknowledged response what the proxy has.
func (s *Stream) apply(st *kind, f *flight, now time.Time) {
	st.opaque = false
	put := func(name string, r *envoyres.Resource) {
		h := st.of(name)
		if h.carried() && r == h.doubt[len(h.doubt)-1] {
			return // it was refused again, as before
		}
		var old []*envoyres.Resource
		for _, v := range append(slices.Clone(h.doubt), h.acked) {
			if v != nil && (r == nil || v.Version != r.Version) {
				old = append(old, v)
			}
		}
		h.acked, h.doubt = r, nil
		if r == nil {
			delete(st.held, name)
		}
		s.release(envoyres.Key{Kind: st.kind, Name: name}, old, now)
	}
	for name := range st.held {
		if _, in := f.content[name]; f.full && !in {
			put(name, nil)
		}
	}
	for name, r := range f.content {
		if st.subscribed(name) {
			put(name, r)
		}
	}
}

// refuse takes the refusal of the last of some responses, and returns what was new in it.
func (s *Stream) refuse(st *kind, flights []*flight, detail string) []string {
	tried := s.doubt(st, flights)
	names := sortedNames(tried)
	if named, rest := split(tried, detail); st.opaque && !s.opts.Delta && st.full() && len(named) > 0 && len(rest) > 0 {
		// What the proxy has under these names is not known. It keeps that for as long as a
		// resource of the name comes, and has taken all others.
		s.convict(st, named, detail)
		for name := range named {
			st.of(name).acked = &envoyres.Resource{Key: envoyres.Key{Kind: st.kind, Name: name}}
		}
		for name := range rest {
			h := st.of(name)
			h.acked, h.doubt = s.wanted(st.kind, name), nil
		}
		st.opaque = false
		return names
	}
	s.convict(st, st.trials.refused(tried, detail), detail)
	st.force = !s.opts.Delta && st.full() && len(tried) > 0 && st.hasAny()
	st.kept = len(tried) == 0
	return names
}

// carried reports whether a resource of which the proxy keeps an unknown version is sent
// with every response, to be refused and not to be removed.
func (h *held) carried() bool {
	return h.acked != nil && h.acked.Message == nil && len(h.doubt) > 0
}

// onlyCarried reports whether a refusal is about nothing but what is carried.
func (s *Stream) onlyCarried(st *kind, f *flight, detail string) bool {
	about := false
	for name, r := range f.content {
		h := st.held[name]
		if carried := h != nil && h.carried() && r == h.doubt[len(h.doubt)-1]; mentions(detail, name) {
			if !carried {
				return false
			}
			about = true
		}
	}
	return about
}

// hasAny reports whether the proxy acknowledged anything of a kind.
func (st *kind) hasAny() bool {
	for _, h := range st.held {
		if h.acked != nil {
			return true
		}
	}
	return false
}

// doubt notes that a part of some responses may be in place, and returns what was new in
// the last one.
func (s *Stream) doubt(st *kind, flights []*flight) (tried map[string]string) {
	tried = map[string]string{}
	for i, f := range flights {
		for name, r := range f.content {
			h := st.held[name]
			if r == nil || h != nil && h.acked != nil && h.acked.Version == r.Version && len(h.doubt) == 0 {
				continue
			}
			h = st.of(name)
			former := h.acked != nil && h.acked.Version == r.Version
			if !former && !slices.ContainsFunc(h.doubt, func(v *envoyres.Resource) bool { return v.Version == r.Version }) {
				h.doubt = append(h.doubt, r)
			}
			w := s.wanted(st.kind, name)
			if i == len(flights)-1 && w != nil && w.Version == r.Version && !former && st.refused[name].version != r.Version {
				tried[name] = r.Version
			}
		}
	}
	return tried
}

// convict notes versions that the proxy does not take.
func (s *Stream) convict(st *kind, bad map[string]string, detail string) {
	if detail == "" {
		detail = "no reason given"
	}
	st.detail = detail
	for name, version := range bad {
		st.refused[name] = refusal{version, detail}
	}
}
