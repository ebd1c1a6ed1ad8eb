package membership

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/global/peer"
	"github.com/meridiankds/meridian/raftstore"
	"github.com/meridiankds/meridian/raftstore/state"
)

// leader is a Store of a node "a" that leads. Only what the steward and Join ask is there.
type leader struct {
	Store
	members []raftstore.Member
}

func (l *leader) NodeID() string                                             { return "a" }
func (l *leader) ClusterID() string                                          { return "c" }
func (l *leader) IsLeader() bool                                             { return true }
func (l *leader) Leader() (string, string)                                   { return "a", "a:1" }
func (l *leader) HoldsState() bool                                           { return true }
func (l *leader) Applied() uint64                                            { return 1000 }
func (l *leader) FeatureLevel() uint32                                       { return state.Level }
func (l *leader) RaiseLevel(context.Context, raftstore.Origin, uint32) error { return nil }
func (l *leader) Members() []raftstore.Member                                { return l.members }
func (l *leader) TransferLead(string) error                                  { return nil }
func (l *leader) Running() <-chan struct{}                                   { c := make(chan struct{}); close(c); return c }
func (l *leader) set(id string, change func(*raftstore.Member)) error {
	for i := range l.members {
		if l.members[i].ID == id {
			change(&l.members[i])
		}
	}
	return nil
}
func (l *leader) PromoteMember(id string) error {
	return l.set(id, func(m *raftstore.Member) { m.Voter = true })
}
func (l *leader) DemoteMember(id string) error {
	return l.set(id, func(m *raftstore.Member) { m.Voter = false })
}
func (l *leader) Locate(string, string) {}
func (l *leader) AddressOf(id string) string {
	for _, m := range l.members {
		if m.ID == id {
			return m.Address
		}
	}
	return ""
}
func (l *leader) AddMember(id, addr string) error {
	for i := range l.members {
		if l.members[i].ID == id {
			l.members[i].Address = addr
			return nil
		}
	}
	l.members = append(l.members, raftstore.Member{ID: id, Address: addr})
	return nil
}

// all says that every member reports and keeps up.
type all struct{}

func (all) Reported(string) (uint64, bool)     { return 1000, true }
func (all) Heard(string) (time.Duration, bool) { return time.Second, true }
func (all) Forget(string)                      {}

// echo answers as the node that joins.
type echo struct{ Peers }

func (echo) Hello(context.Context, string, peer.Hello) (peer.Hello, error) {
	return peer.Hello{NodeID: "d", Boot: "d1", Address: "d:1", NonVoter: true}, nil
}

// TestAReplicaOverItsLife: it joins without a vote, gets one when it is started without
// the flag, gives it back under the flag, and never gets the leadership.
func TestAReplicaOverItsLife(t *testing.T) {
	now := time.Now()
	m := New(Config{Peers: echo{}, Fleet: all{}, Expect: 3, Advertise: "a:1", Stabilize: time.Second,
		Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }})
	store := &leader{members: []raftstore.Member{{ID: "a", Address: "a:1", Voter: true}, {ID: "b", Address: "b:1", Voter: true}, {ID: "c", Address: "c:1", Voter: true}}}
	m.Attach(store)
	records := map[string]*record{}
	standing := func() Standing {
		for range 3 {
			m.tend(t.Context(), records)
			now = now.Add(time.Second)
		}
		for _, s := range m.Standings(t.Context()) {
			if s.ID == "d" {
				return s
			}
		}
		t.Fatal("d is no member")
		return Standing{}
	}
	request := peer.JoinRequest{NodeID: "d", Boot: "d1", Address: "d:1", Level: state.Level, NonVoter: true}
	if err := m.Join(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name            string
		nonVoter, voter bool
	}{
		{"with the flag", true, false},
		{"started without it", false, true},
		{"with it again, where three others vote", true, false},
	} {
		m.Heard(peer.Report{Member: "d", Boot: "d1", Level: state.Level, NonVoter: tt.nonVoter})
		if s := standing(); s.Voter != tt.voter || s.NonVoter != tt.nonVoter {
			t.Errorf("%s: %+v", tt.name, s)
		}
	}
	if e := federation.AsError(m.TransferLead("d")); e == nil || e.Code != federation.Conflict || e.Hint == "" {
		t.Errorf("handing it the leadership: %v", e)
	}
	if err := m.TransferLead("b"); err != nil {
		t.Errorf("handing it to a voter: %v", err)
	}

	// One of the three founders cannot leave like that.
	m.Heard(peer.Report{Member: "c", Level: state.Level, NonVoter: true})
	standing()
	if n := voters(store.Members()); n != 3 {
		t.Errorf("%d voters are left of three", n)
	}
	if said := m.said["kept"]; said == "" {
		t.Error("nobody is told that c keeps its vote")
	}
}
