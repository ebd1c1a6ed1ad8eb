package fleet

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
)

// DefaultLease is how long a member's report is believed: ten times the interval
// at which members report.
const DefaultLease = 10 * time.Second

// Session is one connection of one control plane of a zone to one member.
type Session struct {
	Zone     string
	Instance string
	Version  string
	Store    string // where a zone of Kuma's keeps its state; "" where it does not say
	Member   string
	Remote   string
	// Connection counts the instance's connections, by its own word: a later one has a
	// higher number, at whichever member. 0 where it does not say.
	Connection uint64

	Connected    time.Time
	Disconnected time.Time // zero while the session is open
	LastHeard    time.Time

	// Acked is the last revision that the instance has acknowledged as durable.
	Acked federation.Revision
	// NotHeld names what it was sent and does not understand, in the words of cptoken:
	// it holds none of that, whatever it acknowledged. They are joined by line feeds, so
	// that sessions can be compared.
	NotHeld string
	// KeySets says which key sets were fetched at the zone, in the form of
	// kds.FormatKeySets.
	KeySets string
	// Synced: it has once acknowledged all that its node had.
	Synced bool

	Authenticated bool
	Method        string // how it authenticated, as shown to operators
	TokenSerial   uint64
	TokenID       string
	TokenExpires  time.Time
	// Verdict is what a token came to that was shown though none was demanded.
	Verdict string

	// Sent, Accepted and Rejected count the answers of the session, and what became
	// of them.
	Sent, Accepted, Rejected uint64

	// Trusts names the CAs that the zone takes the global's certificate of, Shows the one
	// that vouches for its own; empty where it does not say, or shows none.
	Trusts, Shows string

	Nack     string // why it refused what it was last sent; empty where it did not
	Meridian bool   // it speaks meridian.v1.Changes; else a Kuma control plane
	// Online is set by [Fleet.Sessions] and [Fleet.Zones]; in a report it is
	// ignored, because it depends on the member's lease.
	Online bool
}

// Open reports whether the session had not ended when it was reported.
func (s *Session) Open() bool { return s.Disconnected.IsZero() }

// Lacking returns the names in NotHeld of what the instance lacks.
func (s *Session) Lacking() []string {
	if s.NotHeld == "" {
		return nil
	}
	_, lacks := cptoken.SplitKept(strings.Split(s.NotHeld, "\n"))
	return lacks
}

// Kept names what the instance refuses beyond what it was told.
func (s *Session) Kept() []string {
	kept, _ := cptoken.SplitKept(strings.Split(s.NotHeld, "\n"))
	return kept
}

// lastSeen is the latest time at which anything was known of the session.
func (s *Session) lastSeen() time.Time {
	return clock.Last(s.Connected, s.LastHeard, s.Disconnected)
}

// Shown is a position that was shown to a member and is not in its past.
type Shown struct {
	By       string `json:"by"` // "zone west", "member <id>"
	Position []byte `json:"position"`
}

// Report is what a member says of itself and of the zones connected to it.
type Report struct {
	Member string
	// Applied is the Raft index up to which the member applied the log.
	Applied uint64
	// LeaseUntil is when the report stops being believed, by the clock of the
	// Fleet that receives it. Zero: the Fleet's lease from the time of receipt.
	LeaseUntil time.Time
	// Trusts names the CAs that the member takes others' certificates of, Shows the one that
	// vouches for its own.
	Trusts, Shows string
	// Sessions are the open ones and, for as long as the member remembers them,
	// those that ended.
	Sessions []Session
	// Told: it comes from the leader and not from the member itself. It shows what was
	// last known, and counts for nothing else.
	Told bool
}

// Options configure a [Fleet]. The zero value is usable.
type Options struct {
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Lease is how long a report is believed; 0 means [DefaultLease].
	Lease time.Duration
	// TrustUnauthenticated lets sessions that proved nothing take part in gates.
	TrustUnauthenticated bool
}

// Fleet keeps the latest report of each member. It is safe for concurrent use.
type Fleet struct {
	now   func() time.Time
	lease time.Duration
	trust bool

	mu      sync.Mutex
	changed chan struct{}
	reports map[string]received
	// diverged are members of which it is known that they applied something else.
	diverged []string
	leading  uint64    // counts leaderships
	since    time.Time // when this one began
}

// received is a report and in which leadership it came.
type received struct {
	Report
	leadership uint64
	at         time.Time // when it came
}

// New returns a Fleet that has heard of nobody. It counts as the begin of a
// leadership; see [Fleet.Lead].
func New(o Options) *Fleet {
	f := &Fleet{
		now: o.Now, lease: o.Lease, trust: o.TrustUnauthenticated,
		changed: make(chan struct{}), reports: map[string]received{},
	}
	if f.now == nil {
		f.now = time.Now
	}
	if f.lease <= 0 {
		f.lease = DefaultLease
	}
	f.since = f.now()
	return f
}

// Lead begins a leadership. Reports from before still show who was connected,
// but open no gate: a member must report anew, and one that stays silent blocks
// for one lease from now on, since nobody here knows when the lease ends that it
// had from the former leader.
func (f *Fleet) Lead() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leading++
	f.since = f.now()
	for member, r := range f.reports {
		// What the former leader told is believed for much longer than a lease.
		if end := f.since.Add(f.lease); r.Told && clock.Earlier(end, r.LeaseUntil) {
			r.LeaseUntil = end
			f.reports[member] = r
		}
	}
	f.signal()
}

// Update replaces what is known of the report's member. The Fleet keeps
// r.Sessions; the caller must not change it afterwards.
func (f *Fleet) Update(r Report) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.LeaseUntil.IsZero() {
		r.LeaseUntil = f.now().Add(f.lease)
	}
	old, known := f.reports[r.Member]
	f.reports[r.Member] = received{Report: r, leadership: f.leading, at: f.now()}
	if !known || old.leadership != f.leading || !clock.Running(old.LeaseUntil, f.now()) || !sameState(old.Report, r) {
		f.signal()
	}
}

// Diverged names the members that applied something else than others did: they hold
// nothing, and neither do their zones.
func (f *Fleet) Diverged(members []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Equal(f.diverged, members) {
		f.diverged = slices.Clone(members)
		f.signal()
	}
}

// Forget drops a member that left the cluster, with its sessions.
func (f *Fleet) Forget(member string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.reports[member]; known {
		delete(f.reports, member)
		f.signal()
	}
}

// Changed returns a channel that is closed at the next change of who is online
// or of what anybody holds. Take it before reading, or a change is missed. The
// end of a lease is the passing of time, not a change: who waits for a gate must
// also look again now and then.
func (f *Fleet) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

// signal wakes whoever waits on Changed. The caller holds mu.
func (f *Fleet) signal() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// sameState reports whether two reports of a member differ in nothing but when
// they were made, when the sessions were last heard, and who fetched key sets.
func sameState(a, b Report) bool {
	return a.Applied == b.Applied && a.Trusts == b.Trusts && a.Shows == b.Shows && slices.EqualFunc(a.Sessions, b.Sessions, func(x, y Session) bool {
		x.LastHeard, y.LastHeard, x.KeySets, y.KeySets = time.Time{}, time.Time{}, "", ""
		return x == y
	})
}

// Sessions returns all that is known of sessions, ordered by zone, then by when
// they connected; Online is set.
func (f *Fleet) Sessions() []Session {
	f.mu.Lock()
	now := f.now()
	n := 0
	for _, r := range f.reports {
		n += len(r.Sessions)
	}
	all := make([]Session, 0, n)
	for _, r := range f.reports {
		live := clock.Running(r.LeaseUntil, now)
		for _, s := range r.Sessions {
			s.Member = r.Member
			s.Online = live && s.Open() && s.Synced
			all = append(all, s)
		}
	}
	f.mu.Unlock()
	slices.SortFunc(all, func(a, b Session) int {
		return cmp.Or(cmp.Compare(a.Zone, b.Zone), clock.Order(a.Connected, b.Connected),
			cmp.Compare(a.Instance, b.Instance), cmp.Compare(a.Member, b.Member))
	})
	return all
}

// Zone is what is shown of one zone.
type Zone struct {
	Name     string
	Online   bool
	LastSeen time.Time
	Sessions []Session // the last one of each instance
	// Age is how long ago the oldest report came that Sessions are from.
	Age time.Duration
}

// Zones returns every zone that has or had a session, ordered by name.
func (f *Fleet) Zones() []Zone {
	now, ages := f.now(), f.ages()
	var zones []Zone
	for rest := f.Sessions(); len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].Zone == rest[0].Zone {
			n++
		}
		z := Zone{Name: rest[0].Zone, Sessions: rows(rest[:n], now)}
		for i := range z.Sessions {
			z.Online = z.Online || z.Sessions[i].Online
			z.Age = max(z.Age, ages[z.Sessions[i].Member])
		}
		for i := range rest[:n] {
			z.LastSeen = clock.Last(z.LastSeen, rest[i].lastSeen())
		}
		zones = append(zones, z)
		rest = rest[n:]
	}
	return zones
}
