package rollout

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/cache/types"

	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/zone/envoyres"
)

// Bounds of a [Memory].
const (
	remember      = time.Hour
	maxRemembered = 20_000
)

// Held is what a proxy held when its stream ended.
type Held struct {
	kinds [types.UnknownType]*kind
	uses  uses
	// pending are what the proxy may wait for: what was sent and is not answered, and what
	// that subscribes to.
	pending []envoyres.Reference
	at      time.Time
}

// Leave returns what the proxy holds, for the stream that follows this one.
func (s *Stream) Leave() *Held {
	h := &Held{kinds: s.kinds, uses: s.uses.clone()}
	wait := func(k envoyres.Kind, name string, versions ...*envoyres.Resource) {
		h.pending = append(h.pending, envoyres.Reference{Key: envoyres.Key{Kind: k, Name: name}})
		for _, r := range versions {
			h.pending = append(h.pending, r.References...)
		}
	}
	for _, st := range s.kinds {
		if st == nil {
			continue
		}
		for name := range st.again {
			if st.held[name] != nil {
				wait(st.kind, name)
			}
		}
		for name, one := range st.held {
			if len(one.doubt) > 0 {
				wait(st.kind, name, one.doubt...)
			}
		}
		for _, f := range st.flights {
			for name, r := range f.content {
				if r != nil {
					wait(st.kind, name, r)
				}
			}
		}
		st.forgetNames(s.opts.Delta)
	}
	return h
}

// forgetNames drops what the proxy has asked for and what it alone knows: it says that again,
// and it may be much. What stays are resources that the zone has, or had, itself.
func (st *kind) forgetNames(delta bool) {
	st.names, st.again, st.absent = nil, nil, nil
	if !delta {
		return
	}
	for _, f := range st.flights {
		maps.DeleteFunc(f.content, func(_ string, r *envoyres.Resource) bool { return r == nil })
	}
	maps.DeleteFunc(st.held, func(_ string, h *held) bool { return len(h.doubt) == 0 && (h.acked == nil || h.acked.Message == nil) })
}

// resume takes what the proxy of a stream in the state of the world had before: version is
// what it says.
func (s *Stream) resume(st *kind, version string) {
	if version == "" {
		return
	}
	s.resumed = true
	st.opaque = true
	if s.opts.Resume == nil {
		return
	}
	was := s.opts.Resume.kinds[st.kind]
	if was == nil || was.opaque {
		return
	}
	if was.version != version {
		i := slices.IndexFunc(was.flights, func(f *flight) bool { return f.version == version })
		if i < 0 {
			return
		}
		// It was taken, and the acknowledgement did not arrive.
		was = was.clone()
		before := NewStream(s.opts)
		for _, f := range was.flights[:i+1] {
			before.apply(was, f, s.began)
		}
		was.flights = was.flights[i+1:]
		was.version = version
	}
	st.opaque = false
	for name := range was.everything() {
		if !st.subscribed(name) {
			continue
		}
		h := &held{}
		if old := was.held[name]; old != nil {
			h.acked = old.acked
		}
		for _, v := range was.versions(name) {
			if v != h.acked {
				h.doubt = append(h.doubt, v)
			}
		}
		st.held[name] = h
	}
}

func (st *kind) clone() *kind {
	c := *st
	c.held = maps.Clone(st.held)
	for name, h := range c.held {
		c.held[name] = &held{acked: h.acked, doubt: slices.Clone(h.doubt)}
	}
	return &c
}

// Memory knows what proxies held when their streams ended. It is safe for concurrent use.
type Memory struct {
	mu  sync.Mutex
	all map[string]*Held
}

// NewMemory returns an empty memory.
func NewMemory() *Memory { return &Memory{all: map[string]*Held{}} }

// Keep keeps what a proxy holds for an hour.
func (m *Memory) Keep(proxy string, h *Held, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h.at = now
	m.all[proxy] = h
	if len(m.all) <= maxRemembered {
		return
	}
	maps.DeleteFunc(m.all, func(_ string, h *Held) bool { return h.over(now) })
	for name := range m.all { // any: what is forgotten costs a proxy some care, not its traffic
		if len(m.all) <= maxRemembered {
			break
		}
		delete(m.all, name)
	}
}

// Of returns what a proxy held, or nil. A stream uses it and does not change it.
func (m *Memory) Of(proxy string, now time.Time) *Held {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.all[proxy]
	if h == nil || h.over(now) {
		delete(m.all, proxy)
		return nil
	}
	return h
}

func (h *Held) over(now time.Time) bool { return clock.Elapsed(h.at, now) > remember }

// versionsOf are the versions of a name that a proxy may have held.
func (h *Held) versionsOf(key envoyres.Key) []*envoyres.Resource {
	if st := h.kinds[key.Kind]; st != nil {
		return st.versions(key.Name)
	}
	return nil
}
