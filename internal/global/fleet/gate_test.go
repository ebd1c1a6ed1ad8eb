package fleet

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

func equalHolding(a, b Holding) bool {
	same := func(x, y []string) bool { return slices.Equal(x, y) }
	return a.Open == b.Open && same(a.Held, b.Held) && same(a.Waiting, b.Waiting) && same(a.Offline, b.Offline) &&
		same(a.Kuma, b.Kuma) && same(a.Unproven, b.Unproven) && same(a.Members, b.Members) && same(a.Silent, b.Silent)
}

func provesNothing(s *Session) { s.Authenticated = false }
func ofKuma(s *Session)        { s.Meridian = false }

func TestGate(t *testing.T) {
	otherHistory := federation.Revision{History: federation.History{ID: "fedcba9876543210", Created: 2}, Index: 99}
	tests := []struct {
		name    string
		kind    cptoken.Kind
		members []string
		trust   bool
		reports []Report
		wait    time.Duration
		want    Holding
	}{
		{
			name: "no zone at all", kind: cptoken.Zone, members: []string{"n1"},
			reports: []Report{{Member: "n1", Applied: 10}},
			want:    Holding{Open: true},
		},
		{
			name: "everybody holds it", kind: cptoken.Zone, members: []string{"n1", "n2"},
			reports: []Report{
				{Member: "n1", Applied: 10, Sessions: []Session{session("west", "a", 10)}},
				{Member: "n2", Applied: 12, Sessions: []Session{session("east", "a", 12)}},
			},
			want: Holding{Open: true, Held: []string{"east", "west"}},
		},
		{
			name: "a zone lacks it", kind: cptoken.Dataplane, members: []string{"n1"},
			reports: []Report{{Member: "n1", Applied: 10, Sessions: []Session{session("west", "a", 9), session("east", "a", 10)}}},
			want:    Holding{Held: []string{"east"}, Waiting: []string{"west"}},
		},
		{
			name: "a control plane of Kuma's acknowledges keys of zone tokens", kind: cptoken.Zone, members: []string{"n1"},
			reports: []Report{{Member: "n1", Applied: 10, Sessions: []Session{with(session("west", "a", 10), ofKuma), with(session("east", "a", 9), ofKuma)}}},
			want:    Holding{Held: []string{"west"}, Waiting: []string{"east"}},
		},
		{
			name: "and never keys of dataplane tokens", kind: cptoken.Dataplane, members: []string{"n1"},
			reports: []Report{{Member: "n1", Applied: 10, Sessions: []Session{
				with(session("west", "a", 10), ofKuma), session("east", "a", 9), session("north", "a", 10),
			}}},
			want: Holding{Held: []string{"north"}, Waiting: []string{"east", "west"}, Kuma: []string{"west"}},
		},
		{
			name: "zones of Kuma's are named for a dataplane key, also unproven and offline ones", kind: cptoken.Dataplane, members: []string{"n1"},
			reports: []Report{{Member: "n1", Applied: 10, Sessions: []Session{
				with(with(session("west", "a", 10), ofKuma), provesNothing), with(with(session("east", "a", 10), ofKuma), ended), session("north", "a", 10),
			}}},
			want: Holding{Open: true, Held: []string{"north"}, Offline: []string{"east"}, Unproven: []string{"west"}, Kuma: []string{"east", "west"}},
		},
		{
			name: "and not for a zone key", kind: cptoken.Zone, members: []string{"n1"},
			reports: []Report{{Member: "n1", Applied: 10, Sessions: []Session{with(with(session("west", "a", 10), ofKuma), provesNothing), with(with(session("east", "a", 10), ofKuma), ended)}}},
			want:    Holding{Open: true, Offline: []string{"east"}, Unproven: []string{"west"}},
		},
		{
			name: "a zone that moved to Meridian is no zone of Kuma's", kind: cptoken.Dataplane, members: []string{"n1", "n2"},
			reports: []Report{
				{Member: "n1", Applied: 10, Sessions: []Session{with(with(session("west", "a", 10), ofKuma), ended)}},
				{Member: "n2", Applied: 10, Sessions: []Session{session("west", "b", 10)}},
			},
			want: Holding{Open: true, Held: []string{"west"}},
		},
		{
			name: "one of two instances lacks it", kind: cptoken.Zone, members: []string{"n1", "n2"},
			reports: []Report{
				{Member: "n1", Applied: 10, Sessions: []Session{session("west", "a", 10)}},
				{Member: "n2", Applied: 10, Sessions: []Session{session("west", "b", 9)}},
			},
			want: Holding{Waiting: []string{"west"}},
		},
		{
			name: "the instance that lacks it has gone", kind: cptoken.Zone, members: []string{"n1"},
			reports: []Report{{Member: "n1", Applied: 10, Sessions: []Session{session("west", "a", 10), with(session("west", "b", 9), ended)}}},
			want:    Holding{Open: true, Held: []string{"west"}},
		},
		{
			name: "two open sessions of one instance must both hold it", kind: cptoken.Zone, members: []string{"n1", "n2"},
			reports: []Report{
				{Member: "n1", Applied: 10, Sessions: []Session{session("west", "a", 10)}},
				{Member: "n2", Applied: 10, Sessions: []Session{session("west", "a", 3)}},
			},
			want: Holding{Waiting: []string{"west"}},
		},
		{
			name: "a session that is still catching up is waited for", kind: cptoken.Zone, members: []string{"n1"},
			reports: []Report{{Member: "n1", Applied: 10, Sessions: []Session{
				with(session("west", "a", 0), func(s *Session) { s.Synced = false; s.Acked = federation.Revision{} }),
			}}},
			want: Holding{Waiting: []string{"west"}},
		},
		{
			name: "a higher index of another history holds nothing", kind: cptoken.Zone, members: []string{"n1"},
			reports: []Report{{Member: "n1", Applied: 10, Sessions: []Session{with(session("west", "a", 0), func(s *Session) { s.Acked = otherHistory })}}},
			want:    Holding{Waiting: []string{"west"}},
		},
		{
			name: "offline zones are named and not waited for", kind: cptoken.Zone, members: []string{"n1"},
			reports: []Report{{Member: "n1", Applied: 10, Sessions: []Session{with(session("west", "a", 3), ended), session("east", "a", 10)}}},
			want:    Holding{Open: true, Held: []string{"east"}, Offline: []string{"west"}},
		},
		{
			name: "an unauthenticated session does not close a gate", kind: cptoken.Zone, members: []string{"n1"},
			reports: []Report{{Member: "n1", Applied: 10, Sessions: []Session{with(session("west", "a", 0), provesNothing), session("east", "a", 10)}}},
			want:    Holding{Open: true, Held: []string{"east"}, Unproven: []string{"west"}},
		},
		{
			name: "an unauthenticated session does not open a gate", kind: cptoken.Zone, members: []string{"n1"},
			reports: []Report{{Member: "n1", Applied: 10, Sessions: []Session{session("west", "a", 3), with(session("west", "a", 10), provesNothing)}}},
			want:    Holding{Waiting: []string{"west"}},
		},
		{
			name: "unless it is trusted: then it closes", kind: cptoken.Zone, members: []string{"n1"}, trust: true,
			reports: []Report{{Member: "n1", Applied: 10, Sessions: []Session{with(session("west", "a", 3), provesNothing)}}},
			want:    Holding{Waiting: []string{"west"}},
		},
		{
			name: "and opens", kind: cptoken.Zone, members: []string{"n1"}, trust: true,
			reports: []Report{{Member: "n1", Applied: 10, Sessions: []Session{with(session("west", "a", 10), provesNothing)}}},
			want:    Holding{Open: true, Held: []string{"west"}},
		},
		{
			name: "a member lags", kind: cptoken.Zone, members: []string{"n1", "n2"},
			reports: []Report{{Member: "n1", Applied: 10}, {Member: "n2", Applied: 9}},
			want:    Holding{Members: []string{"n2"}},
		},
		{
			name: "a member was never heard", kind: cptoken.Zone, members: []string{"n2", "n1", "n3"},
			reports: []Report{{Member: "n1", Applied: 10}},
			want:    Holding{Members: []string{"n2", "n3"}},
		},
		{
			name: "the same a lease later", kind: cptoken.Zone, members: []string{"n2", "n1", "n3"},
			reports: []Report{{Member: "n1", Applied: 10, LeaseUntil: begin.Add(time.Hour)}}, wait: DefaultLease,
			want: Holding{Open: true, Silent: []string{"n2", "n3"}},
		},
		{
			name: "a silent member blocks while its lease lasts", kind: cptoken.Zone, members: []string{"n1", "n2"},
			reports: []Report{
				{Member: "n1", Applied: 10, LeaseUntil: begin.Add(time.Hour)},
				{Member: "n2", Applied: 9, Sessions: []Session{session("west", "a", 9)}},
			},
			wait: DefaultLease - 1,
			want: Holding{Waiting: []string{"west"}, Members: []string{"n2"}},
		},
		{
			name: "then its zones are offline and named", kind: cptoken.Zone, members: []string{"n1", "n2"},
			reports: []Report{
				{Member: "n1", Applied: 10, LeaseUntil: begin.Add(time.Hour)},
				{Member: "n2", Applied: 9, Sessions: []Session{session("west", "a", 9)}},
			},
			wait: DefaultLease,
			want: Holding{Open: true, Offline: []string{"west"}, Silent: []string{"n2"}},
		},
		{
			name: "control plane keys wait for members only", kind: cptoken.ControlPlane, members: []string{"n1"},
			reports: []Report{{Member: "n1", Applied: 10, Sessions: []Session{session("west", "a", 3)}}},
			want:    Holding{Open: true},
		},
		{
			name: "user keys wait for members only", kind: cptoken.User, members: []string{"n1", "n2"},
			reports: []Report{{Member: "n1", Applied: 10, Sessions: []Session{session("west", "a", 3)}}, {Member: "n2", Applied: 3}},
			want:    Holding{Members: []string{"n2"}},
		},
		{
			name: "a member that left is not waited for, its live sessions are", kind: cptoken.Zone, members: []string{"n1"},
			reports: []Report{{Member: "n1", Applied: 10}, {Member: "old", Applied: 3, Sessions: []Session{session("west", "a", 3)}}},
			want:    Holding{Waiting: []string{"west"}},
		},
		{
			name: "a zone that does not understand the kind is waited for", kind: cptoken.Zone, members: []string{"n1"},
			reports: []Report{{Member: "n1", Applied: 10, Sessions: []Session{lackingSession("west", "kind:zone"), lackingSession("east", "kind:job"), lackingSession("north", "key:zone/9\nmore")}}},
			want:    Holding{Held: []string{"east"}, Waiting: []string{"north", "west"}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &fakeClock{t: begin}
			f := New(Options{Now: c.now, TrustUnauthenticated: tt.trust})
			for _, r := range tt.reports {
				f.Update(r)
			}
			c.advance(tt.wait)
			if got := f.Gate(at(10), tt.members, cptoken.KeyID{Kind: tt.kind}); !equalHolding(got, tt.want) {
				t.Errorf("gate = %+v\nwant   %+v", got, tt.want)
			}
		})
	}
}

func TestGateInANewLeadership(t *testing.T) {
	f, c := newFleet()
	held := Report{Member: "n2", Applied: 10, LeaseUntil: begin.Add(time.Minute), Sessions: []Session{session("west", "a", 10)}}
	f.Update(held)
	f.Update(Report{Member: "n1", Applied: 10, LeaseUntil: begin.Add(time.Hour)})
	members := []string{"n1", "n2"}
	if h := f.Gate(at(10), members, cptoken.KeyID{Kind: cptoken.Zone}); !h.Open {
		t.Fatalf("gate = %+v, want it open", h)
	}
	c.advance(time.Second)
	f.Lead()
	f.Update(Report{Member: "n1", Applied: 10, LeaseUntil: begin.Add(time.Hour)})
	h := f.Gate(at(10), members, cptoken.KeyID{Kind: cptoken.Zone})
	if h.Open || !slices.Equal(h.Members, []string{"n2"}) || !slices.Equal(h.Held, []string{"west"}) {
		t.Errorf("gate = %+v, want it to wait for n2 to report anew", h)
	}

	// The lease that n2 had from before lasts longer than the new leader's wait.
	c.advance(DefaultLease)
	if h := f.Gate(at(10), members, cptoken.KeyID{Kind: cptoken.Zone}); h.Open || !slices.Equal(h.Members, []string{"n2"}) {
		t.Errorf("gate = %+v, want it to wait until the older lease ends", h)
	}
	c.advance(time.Minute)
	if h := f.Gate(at(10), members, cptoken.KeyID{Kind: cptoken.Zone}); !h.Open || !slices.Equal(h.Silent, []string{"n2"}) || !slices.Equal(h.Offline, []string{"west"}) {
		t.Errorf("gate = %+v, want it open, n2 silent and west offline", h)
	}
	held.LeaseUntil = time.Time{}
	f.Update(held)
	if h := f.Gate(at(10), members, cptoken.KeyID{Kind: cptoken.Zone}); !h.Open || len(h.Silent) > 0 || !slices.Equal(h.Held, []string{"west"}) {
		t.Errorf("gate = %+v, want it open with west holding", h)
	}
}

// An open gate means: every live member applied it, and every open authenticated
// session on one acknowledged it.
func TestOpenGateMeansHeld(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &fakeClock{t: begin}
		f := New(Options{Now: c.now})
		const need = 5
		members := []string{"n1", "n2", "n3"}
		reports := map[string]Report{}
		for step := range rapid.IntRange(1, 12).Draw(t, "steps") {
			if rapid.IntRange(0, 9).Draw(t, "lead") == 0 {
				f.Lead()
				clear(reports)
			}
			r := Report{
				Member:     rapid.SampledFrom(members).Draw(t, "member"),
				Applied:    rapid.Uint64Range(3, 7).Draw(t, "applied"),
				LeaseUntil: c.now().Add(DefaultLease),
			}
			for i := range rapid.IntRange(0, 3).Draw(t, "sessions") {
				s := session(fmt.Sprintf("z%d", rapid.IntRange(0, 2).Draw(t, "zone")), fmt.Sprint(step, i), rapid.Uint64Range(3, 7).Draw(t, "acked"))
				s.Authenticated = rapid.Bool().Draw(t, "authenticated")
				s.Synced = rapid.Bool().Draw(t, "synced")
				if rapid.Bool().Draw(t, "ended") {
					ended(&s)
				}
				r.Sessions = append(r.Sessions, s)
			}
			f.Update(r)
			reports[r.Member] = r
			c.advance(time.Duration(rapid.IntRange(0, 6).Draw(t, "seconds")) * time.Second)
		}
		h := f.Gate(at(need), members, cptoken.KeyID{Kind: cptoken.Zone})
		if !h.Open {
			return
		}
		for _, m := range members {
			r, known := reports[m]
			live := known && c.now().Before(r.LeaseUntil)
			if !live {
				if !slices.Contains(h.Silent, m) {
					t.Fatalf("open gate does not name the silent member %s: %+v", m, h)
				}
				continue
			}
			if r.Applied < need {
				t.Fatalf("open gate although %s applied only %d", m, r.Applied)
			}
			for _, s := range r.Sessions {
				if s.Open() && s.Authenticated && s.Acked.Index < need {
					t.Fatalf("open gate although %s on %s acknowledged only %d", s.Zone, m, s.Acked.Index)
				}
			}
		}
	})
}

// lackingSession is a session that acknowledged everything, and does not understand what is
// named.
func lackingSession(zone, names string) Session {
	s := session(zone, "a", 10)
	s.NotHeld = names
	return s
}
