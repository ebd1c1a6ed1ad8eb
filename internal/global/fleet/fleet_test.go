package fleet

import (
	"slices"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// fakeClock is the time of a test.
type fakeClock struct{ t time.Time }

func (c *fakeClock) now() time.Time          { return c.t }
func (c *fakeClock) advance(d time.Duration) { c.t = c.t.Add(d) }

var (
	begin   = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	history = federation.History{ID: "0123456789abcdef", Created: 1}
)

func newFleet() (*Fleet, *fakeClock) {
	c := &fakeClock{t: begin}
	return New(Options{Now: c.now}), c
}

func at(index uint64) federation.Revision {
	return federation.Revision{History: history, Index: index}
}

// session is open, authenticated, synced and stands at the index.
func session(zone, instance string, index uint64) Session {
	return Session{
		Zone: zone, Instance: instance, Connected: begin, LastHeard: begin,
		Acked: at(index), Synced: true, Authenticated: true, Meridian: true,
	}
}

func with(s Session, change func(*Session)) Session {
	change(&s)
	return s
}

func ended(s *Session) { s.Disconnected = begin.Add(time.Second) }

func signalled(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func TestOnline(t *testing.T) {
	tests := []struct {
		name   string
		s      Session
		wait   time.Duration
		online bool
	}{
		{"synced", session("west", "a", 5), 0, true},
		{"behind its node, but caught up once", session("west", "a", 1), 0, true},
		{"ended", with(session("west", "a", 5), ended), 0, false},
		{"never caught up", with(session("west", "a", 0), func(s *Session) { s.Synced = false }), 0, false},
		{"unauthenticated is connected all the same", with(session("west", "a", 5), func(s *Session) { s.Authenticated = false }), 0, true},
		{"lease about to end", session("west", "a", 5), DefaultLease - 1, true},
		{"lease ended", session("west", "a", 5), DefaultLease, false},
		{"says of itself that it is online", with(session("west", "a", 5), func(s *Session) { ended(s); s.Online = true }), 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, c := newFleet()
			f.Update(Report{Member: "n1", Applied: 5, Sessions: []Session{tt.s}})
			c.advance(tt.wait)
			if got := f.Sessions(); len(got) != 1 || got[0].Online != tt.online || got[0].Member != "n1" {
				t.Errorf("sessions = %+v, want one on n1 with online %t", got, tt.online)
			}
			if got := f.Zones(); len(got) != 1 || got[0].Online != tt.online || got[0].Name != "west" {
				t.Errorf("zones = %+v, want west with online %t", got, tt.online)
			}
		})
	}
}

func TestZonesGatherSessionsOfAllMembers(t *testing.T) {
	f, _ := newFleet()
	heard := begin.Add(3 * time.Second)
	f.Update(Report{Member: "n2", Sessions: []Session{
		with(session("west", "b", 5), func(s *Session) { s.Connected = begin.Add(time.Second); s.LastHeard = heard }),
		with(session("east", "a", 5), ended),
	}})
	f.Update(Report{Member: "n1", Sessions: []Session{with(session("west", "a", 5), ended)}})
	zones := f.Zones()
	if len(zones) != 2 || zones[0].Name != "east" || zones[1].Name != "west" {
		t.Fatalf("zones = %+v, want east and west", zones)
	}
	east, west := zones[0], zones[1]
	if east.Online || !east.LastSeen.Equal(begin.Add(time.Second)) {
		t.Errorf("east: online %t, last seen %v; want offline, seen when it left", east.Online, east.LastSeen)
	}
	if !west.Online || !west.LastSeen.Equal(heard) {
		t.Errorf("west: online %t, last seen %v; want online, seen when last heard", west.Online, west.LastSeen)
	}
	if len(west.Sessions) != 2 || west.Sessions[0].Instance != "a" || west.Sessions[1].Instance != "b" {
		t.Errorf("west's sessions = %+v, want a then b, in the order of connecting", west.Sessions)
	}

	// A report replaces the one before.
	f.Update(Report{Member: "n2"})
	if got := f.Zones(); len(got) != 1 || got[0].Name != "west" || got[0].Online {
		t.Errorf("zones = %+v, want west offline", got)
	}
	f.Forget("n1")
	if got := f.Zones(); len(got) != 0 {
		t.Errorf("zones = %+v, want none once the member left", got)
	}
}

func TestChanged(t *testing.T) {
	f, c := newFleet()
	base := Report{Member: "n1", Applied: 5, Sessions: []Session{session("west", "a", 5)}}
	f.Update(base)
	tests := []struct {
		name   string
		change func(r *Report)
		want   bool
	}{
		{"nothing", func(*Report) {}, false},
		{"heard again", func(r *Report) { r.Sessions[0].LastHeard = begin.Add(time.Minute) }, false},
		{"acknowledged more", func(r *Report) { r.Sessions[0].Acked = at(6) }, true},
		{"applied more", func(r *Report) { r.Applied = 6 }, true},
		{"ended", func(r *Report) { ended(&r.Sessions[0]) }, true},
		{"another session", func(r *Report) { r.Sessions = append(r.Sessions, session("east", "a", 5)) }, true},
		{"another member", func(r *Report) { r.Member = "n2" }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f.Update(base)
			r := base
			r.Sessions = slices.Clone(base.Sessions)
			tt.change(&r)
			ch := f.Changed()
			f.Update(r)
			if got := signalled(ch); got != tt.want {
				t.Errorf("changed = %t, want %t", got, tt.want)
			}
		})
	}
	t.Run("a member that was silent", func(t *testing.T) {
		f.Update(base)
		c.advance(DefaultLease)
		ch := f.Changed()
		f.Update(base)
		if !signalled(ch) {
			t.Error("the return of a member whose lease had ended was no change")
		}
	})
	t.Run("a new leadership", func(t *testing.T) {
		ch := f.Changed()
		f.Lead()
		if !signalled(ch) {
			t.Error("a new leadership was no change")
		}
		ch = f.Changed()
		f.Update(base)
		if !signalled(ch) {
			t.Error("the first report in a leadership was no change")
		}
	})
	t.Run("a member leaves", func(t *testing.T) {
		ch := f.Changed()
		f.Forget("unheard of")
		if signalled(ch) {
			t.Error("forgetting nobody was a change")
		}
		f.Forget("n1")
		if !signalled(ch) {
			t.Error("forgetting a member was no change")
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	f := New(Options{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range uint64(500) {
			f.Update(Report{Member: "n1", Applied: i, Sessions: []Session{session("west", "a", i)}})
			f.Lead()
		}
	}()
	for {
		changed := f.Changed()
		f.Sessions()
		f.Gate(at(250), []string{"n1"}, cptoken.KeyID{Kind: cptoken.Zone})
		select {
		case <-changed:
		case <-done:
			return
		}
	}
}

// TestHeard: a lease outlives the member that died in its first seconds, and how lately
// it was heard does not.
func TestHeard(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	f := New(Options{Now: func() time.Time { return now }, Lease: 10 * time.Second})
	if _, ok := f.Heard("b"); ok {
		t.Error("heard of nobody")
	}
	f.Update(Report{Member: "b", Applied: 7})
	now = now.Add(9 * time.Second)
	if _, live := f.Reported("b"); !live {
		t.Error("the lease is over")
	}
	if ago, ok := f.Heard("b"); !ok || ago != 9*time.Second {
		t.Errorf("heard %s ago, %t", ago, ok)
	}
	f.Lead()
	if _, ok := f.Heard("b"); ok {
		t.Error("a report to a former leader counts")
	}
}
