package server

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/kds"
)

// registry knows the open calls and sessions of this member.
type registry struct {
	limits *kds.Limits

	mu      sync.Mutex
	calls   map[string]map[*call]struct{} // by zone
	open    map[sessionKey][]*session     // one that authenticated, any number that did not
	perZone map[string]*[2]int            // Open sessions of a zone: [authenticated, not]
	closed  map[sessionKey]Session
	order   []sessionKey   // of closed, oldest first
	bytes   map[string]int // of closed, by zone
	total   int
	stopped error
	changed chan struct{} // nil until somebody asks
	told    time.Time     // when changed was last closed
	due     *time.Timer   // closes it later; nil: nothing waits for that
}

// tellEvery is how often watchers are told at most of changes inside sessions.
// When a thousand zones acknowledge a change within a second, each of them would
// otherwise have all sessions copied.
const tellEvery = 10 * time.Millisecond

// sessionKey names one control plane of a zone.
type sessionKey struct{ zone, instance string }

func newRegistry(limits *kds.Limits) *registry {
	return &registry{
		limits:  limits,
		calls:   map[string]map[*call]struct{}{},
		open:    map[sessionKey][]*session{},
		perZone: map[string]*[2]int{},
		closed:  map[sessionKey]Session{},
		bytes:   map[string]int{},
	}
}

// enter adds a call, or fails where the server is stopping.
func (r *registry) enter(c *call) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped != nil {
		return r.stopped
	}
	zone := r.calls[c.creds.Zone]
	if zone == nil {
		zone = map[*call]struct{}{}
		r.calls[c.creds.Zone] = zone
	}
	zone[c] = struct{}{}
	return nil
}

func (r *registry) leave(c *call) {
	c.leave()
	r.mu.Lock()
	defer r.mu.Unlock()
	zone := r.calls[c.creds.Zone]
	delete(zone, c)
	if len(zone) == 0 {
		delete(r.calls, c.creds.Zone)
	}
}

// begin opens a session and returns those that it displaces: open ones of the
// same instance, where the new one authenticated. They count as closed from now
// on; the caller tells them.
func (r *registry) begin(s *session) (displaced []*session, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := s.key()
	if s.call.admission.Authenticated {
		displaced = r.open[key]
		for _, old := range displaced {
			r.count(old, -1)
		}
		delete(r.open, key)
	}
	if r.tally(s.key().zone)[s.class()] >= r.limits.SessionsPerZone {
		return displaced, federation.Errorf(federation.TooLarge,
			"zone %s has %d sessions at this member, the most that are allowed", key.zone, r.limits.SessionsPerZone).
			WithReason(kds.ReasonTooMany)
	}
	if last, ok := r.closed[key]; ok {
		s.inherit(last)
		r.forget(key)
	}
	for _, old := range displaced {
		s.inherit(old.snapshot())
	}
	r.open[key] = append(r.open[key], s)
	r.count(s, 1)
	r.notify()
	return displaced, nil
}

// end closes a session, unless another displaced it and that was done already.
func (r *registry) end(s *session, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := s.key()
	i := slices.Index(r.open[key], s)
	if i < 0 {
		return
	}
	r.open[key] = slices.Delete(r.open[key], i, i+1)
	r.count(s, -1)
	if len(r.open[key]) == 0 {
		delete(r.open, key)
		last := s.snapshot()
		last.Disconnected = now
		r.remember(key, last)
	}
	r.notify()
}

func (r *registry) tally(zone string) *[2]int {
	t := r.perZone[zone]
	if t == nil {
		t = &[2]int{}
		r.perZone[zone] = t
	}
	return t
}

func (r *registry) count(s *session, n int) {
	zone := s.key().zone
	t := r.tally(zone)
	t[s.class()] += n
	if *t == [2]int{} {
		delete(r.perZone, zone)
	}
}

func (r *registry) remember(key sessionKey, s Session) {
	r.forget(key)
	if !s.Meridian {
		// A control plane of Kuma's has another instance id after each restart, and the
		// former ones are of no use to anybody.
		for old, former := range r.closed {
			if old.zone == key.zone && !former.Meridian {
				r.forget(old)
			}
		}
	}
	r.closed[key] = s
	r.order = append(r.order, key)
	r.bytes[key.zone] += s.size()
	r.total += s.size()
	for len(r.order) > r.limits.ClosedSessions || r.total > r.limits.ClosedBytes {
		r.forget(r.oldestOfMost())
	}
}

// oldestOfMost is the oldest closed session of the zone that has most bytes of them.
func (r *registry) oldestOfMost() sessionKey {
	oldest := r.order[0]
	if len(r.order) == len(r.bytes) && r.total <= r.limits.ClosedBytes {
		return oldest // one of each zone: thousands that restart are not searched each time
	}
	for _, key := range r.order {
		if r.bytes[key.zone] > r.bytes[oldest.zone] {
			oldest = key
		}
	}
	return oldest
}

func (r *registry) forget(key sessionKey) {
	s, ok := r.closed[key]
	if !ok {
		return
	}
	r.total -= s.size()
	if r.bytes[key.zone] -= s.size(); r.bytes[key.zone] == 0 {
		delete(r.bytes, key.zone)
	}
	delete(r.closed, key)
	i := slices.Index(r.order, key)
	r.order = slices.Delete(r.order, i, i+1)
}

// sessions returns copies of all open and remembered sessions, by zone, instance
// and time. Only their places are put in order: a Session is large, and every wave
// of acknowledgements has all of them copied.
func (r *registry) sessions() []Session {
	r.mu.Lock()
	all := make([]Session, 0, len(r.open)+len(r.closed))
	for _, list := range r.open {
		for _, s := range list {
			all = append(all, s.snapshot())
		}
	}
	for _, s := range r.closed {
		all = append(all, s)
	}
	r.mu.Unlock()
	order := make([]*Session, len(all))
	for i := range all {
		order[i] = &all[i]
	}
	slices.SortFunc(order, func(a, b *Session) int {
		return cmp.Or(strings.Compare(a.Zone, b.Zone), strings.Compare(a.Instance, b.Instance), clock.Order(a.Connected, b.Connected))
	})
	out := make([]Session, len(all))
	for i, s := range order {
		out[i] = *s
	}
	return out
}

// kick ends every call of a zone that match picks, and returns how many.
func (r *registry) kick(zone string, err error, match func(*call) bool) int {
	n := 0
	for _, c := range r.all(zone) {
		if match(c) {
			c.kick(err, r.limits.Linger)
			n++
		}
	}
	return n
}

// all returns the open calls of a zone, or of every zone where it is "".
func (r *registry) all(zone string) []*call {
	r.mu.Lock()
	defer r.mu.Unlock()
	if zone != "" {
		return slices.Collect(maps.Keys(r.calls[zone]))
	}
	var out []*call
	for _, calls := range r.calls {
		out = slices.AppendSeq(out, maps.Keys(calls))
	}
	return out
}

// stop ends every call and lets no more in.
func (r *registry) stop(err error) {
	r.mu.Lock()
	r.stopped = err
	r.mu.Unlock()
	for _, c := range r.all("") {
		c.kick(err, r.limits.Linger)
	}
}

// watch returns a channel that is closed at the next change of sessions.
func (r *registry) watch() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return r.changed
}

// touch announces a change inside a session: at once, or where others were
// announced just now, together with what else comes until tellEvery is over.
func (r *registry) touch() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changed == nil || r.due != nil {
		return // nobody watches, or they are told soon
	}
	wait := tellEvery - clock.Since(r.told)
	if wait <= 0 {
		r.notify()
		return
	}
	r.due = time.AfterFunc(wait, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.notify()
	})
}

// notify tells the watchers.
func (r *registry) notify() {
	if r.due != nil {
		r.due.Stop()
		r.due = nil
	}
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
		r.told = time.Now()
	}
}
