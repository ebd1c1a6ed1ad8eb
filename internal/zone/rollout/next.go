package rollout

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/cache/types"

	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/zone/envoyres"
)

// Response is what is to be sent.
type Response struct {
	Kind           envoyres.Kind
	Version, Nonce string
	// Resources come in the order of their names.
	Resources []*envoyres.Resource
	// Removed are names; in delta only.
	Removed []string
}

// order is that in which kinds are sent: what is used before what uses it.
var order = []envoyres.Kind{types.Runtime, types.Secret, types.Endpoint, types.Cluster, types.ExtensionConfig,
	types.VirtualHost, types.Route, types.ScopedRoute, types.Listener}

// Next returns the next response, or nil where there is none before the proxy says
// something, more is wanted, or the time again comes, unless that is zero.
func (s *Stream) Next(now time.Time) (r *Response, again time.Time) {
	p := s.plan()
	p.now = now
	s.uses.forget(now)
	p.warm(now)
	p.endProbes()
	for _, k := range order {
		if st := s.kinds[k]; st.ready() {
			r, at := p.additions(st, now)
			if r != nil {
				return r, time.Time{}
			}
			again = clock.First(again, at)
		}
	}
	for _, one := range s.probes {
		if !clock.Ended(one.until, now) {
			again = clock.First(again, one.until)
		}
	}
	for _, k := range slices.Backward(order) {
		if st := s.kinds[k]; st.ready() && len(st.flights) == 0 && !st.owed && (s.opts.Delta || st.full()) {
			r, at := p.removals(st, now)
			if r != nil {
				return r, time.Time{}
			}
			again = clock.First(again, at)
		}
	}
	return nil, again
}

// ready reports whether a kind can be sent anything.
func (st *kind) ready() bool { return st.asked && len(st.flights) < maxFlights }

// additions is the response with what is new, changed, or to be sent again.
func (p *plan) additions(st *kind, now time.Time) (r *Response, again time.Time) {
	s := p.s
	content, blocked := p.changes(st)
	if !s.opts.Delta && st.full() && st.opaque && blocked != inPlace {
		return nil, again // whatever is left out would be removed
	}
	changed := maps.Clone(content)
	for name := range st.again {
		st.repeatOf(name, content)
	}
	repeat := false
	if st.repeat {
		if repeat, again = st.mayRepeat(now); repeat {
			again = time.Time{}
		}
	}
	if repeat || st.owed && !s.opts.Delta {
		for name := range st.held {
			st.repeatOf(name, content)
		}
	}
	due := len(content) > 0 || st.force || st.owed && blocked != waiting && (st.wildcard || !s.opts.Delta)
	if !due {
		st.owed = st.owed && blocked == waiting
		return p.absences(st), again
	}
	if repeat {
		st.repeat = false
		st.repeats--
	}
	st.owed, st.force = false, false
	clear(st.again)
	if !s.opts.Delta {
		p.complement(st, content)
	}
	r = s.launch(st, content, !s.opts.Delta && st.full())
	s.sendAgainBehind(changed)
	return r, time.Time{}
}

// repeatOf adds what the proxy has of a name.
func (st *kind) repeatOf(name string, content map[string]*envoyres.Resource) {
	if r, sure := st.latest(name); sure && r != nil && r.Message != nil && content[name] == nil && st.subscribed(name) {
		content[name] = r
	}
}

// changes are the resources of a kind that the proxy lacks and may have. blocked tells
// whether others must wait.
func (p *plan) changes(st *kind) (content map[string]*envoyres.Resource, blocked state) {
	content, blocked = map[string]*envoyres.Resource{}, inPlace
	for name, w := range p.s.byKind[st.kind] {
		has, sure := st.latest(name)
		if !st.subscribed(name) || sure && has != nil && has.Version == w.Version {
			continue
		}
		result, _ := p.waitsFor(w)
		first := p.s.probing(st, w)
		switch {
		case first != nil && st.refused[first.Name].version == first.Version:
			result = refused
		case st.refused[name].version == w.Version:
			result = refused
		case first != nil && !st.has(first):
			has, sure := st.latest(first.Name)
			if result == inPlace && !st.trials.waits(first.Name) && (!sure || has == nil || has.Version != first.Version) {
				content[first.Name] = first
			}
			result = max(result, waiting)
		case first != nil && result == inPlace && !p.tried(w.Key, first):
			result = waiting
		case result == inPlace && st.trials.waits(name):
			result = waiting
		}
		if result == inPlace {
			content[name] = w
		} else if blocked != waiting {
			blocked = result
		}
	}
	for name, h := range st.held { // after a refusal the former version, unless that is refused too
		if st.kept {
			break
		}
		if _, sure := st.latest(name); !sure && content[name] == nil && h.acked != nil && h.acked.Message != nil {
			content[name] = h.acked
		}
	}
	return content, blocked
}

// complement adds to a response in the state of the world what it must have as well:
// everything, or what was sent and not answered yet, so that its acknowledgement is one for
// that too.
func (p *plan) complement(st *kind, content map[string]*envoyres.Resource) {
	if st.full() {
		for name := range st.everything() {
			st.repeatOf(name, content)
			if h := st.held[name]; content[name] == nil && h != nil && h.carried() {
				content[name] = h.doubt[len(h.doubt)-1]
			}
		}
	}
	for _, f := range st.flights {
		for name := range f.content {
			st.repeatOf(name, content)
		}
	}
}

// absences is the response that says which names do not exist; nil: none was asked for.
func (p *plan) absences(st *kind) *Response {
	content := map[string]*envoyres.Resource{}
	for name := range st.absent {
		switch {
		case st.held[name] != nil || !st.subscribed(name) && !st.wildcard:
			delete(st.absent, name)
		case p.s.wanted(st.kind, name) == nil:
			content[name] = nil
			delete(st.absent, name)
		}
	}
	if len(content) == 0 {
		return nil
	}
	st.owed = false
	return p.s.launch(st, content, false)
}

// removals is the response that removes what nothing uses any more.
func (p *plan) removals(st *kind, now time.Time) (r *Response, again time.Time) {
	if st.kept {
		return nil, again
	}
	names, again := p.removable(st, now)
	if len(names) == 0 {
		return nil, again
	}
	content := map[string]*envoyres.Resource{}
	if p.s.opts.Delta {
		for name := range names {
			content[name] = nil
		}
		return p.s.launch(st, content, false), time.Time{}
	}
	p.complement(st, content)
	maps.DeleteFunc(content, func(name string, _ *envoyres.Resource) bool { return names[name] })
	return p.s.launch(st, content, true), time.Time{}
}

// launch makes a response of a kind, which is then unanswered.
func (s *Stream) launch(st *kind, content map[string]*envoyres.Resource, full bool) *Response {
	f := &flight{nonce: s.nextNonce(), content: content, full: full}
	st.flights = append(st.flights, f)
	st.nonce = f.nonce
	f.version = st.versionOfAll()
	r := &Response{Kind: st.kind, Version: f.version, Nonce: f.nonce}
	for _, name := range sortedNames(content) {
		if content[name] != nil {
			r.Resources = append(r.Resources, content[name])
		} else {
			r.Removed = append(r.Removed, name)
		}
	}
	return r
}

// sendAgainBehind has everything sent again that the proxy has and that changed resources
// subscribe to: it waits for that.
func (s *Stream) sendAgainBehind(changed map[string]*envoyres.Resource) {
	for _, r := range changed {
		for _, reference := range r.References {
			st := s.kinds[reference.Kind]
			if st.full() {
				continue
			}
			if !reference.All && s.want[reference.Key] == nil && s.opts.Delta {
				st.absent[reference.Name] = true
			}
			for name := range st.everything() {
				if reference.Covers(envoyres.Key{Kind: st.kind, Name: name}) {
					st.again[name] = true
				}
			}
		}
	}
}

// mayRepeat reports whether a request that asks for nothing new is answered now, or when it
// will be.
func (st *kind) mayRepeat(now time.Time) (ok bool, at time.Time) {
	if n := int(clock.Elapsed(st.renewed, now) / repeatEvery); n > 0 {
		st.repeats, st.renewed = min(repeatsAtOnce, st.repeats+n), now
	}
	return st.repeats > 0, st.renewed.Add(repeatEvery)
}

// versionOfAll names what the proxy has once it has taken everything that was sent.
func (st *kind) versionOfAll() string {
	sum := sha256.New()
	for _, name := range sortedNames(st.everything()) {
		if r, _ := st.latest(name); r != nil {
			_, _ = io.WriteString(sum, name+"\x00"+r.Version+"\x00")
		}
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

func sortedNames[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
