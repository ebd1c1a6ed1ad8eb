package raftstore

import (
	"context"
	"time"

	"github.com/hashicorp/raft"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/raftstore/raftnet"
	"github.com/meridiankds/meridian/raftstore/state"
)

// Member is one node of the cluster as Raft has it.
type Member struct {
	ID string
	// Address is where this node last found it. It says nothing about who it is: two
	// members may have the same one, where one of them is down.
	Address string
	// Voter: it counts for majorities. Others follow; who of them is promoted, and who
	// stays without a vote, is for internal/global/membership to say.
	Voter bool
}

// Running is closed when Raft runs.
func (s *Store) Running() <-chan struct{} { return s.running }

// Members returns the members as this node knows them, those that are being added
// or removed included. It is empty before Raft runs and on a node that is of no
// cluster yet.
func (s *Store) Members() []Member {
	r := s.raft.Load()
	if r == nil {
		return nil
	}
	s.memory.mu.Lock()
	places := s.memory.present.Places
	s.memory.mu.Unlock()
	servers := members(r)
	all := make([]Member, 0, len(servers))
	for _, server := range servers {
		m := memberAt(server, places)
		if m.ID == s.node.ID {
			m.Address = string(s.cfg.Advertise)
		}
		all = append(all, m)
	}
	return all
}

// Leadership returns the context of this node's present leadership, nil where it
// does not lead; each leadership has its own.
func (s *Store) Leadership() context.Context { return s.lead.current() }

// HoldsState reports whether this node is, or was, part of a cluster. Who does may
// never found one.
func (s *Store) HoldsState() bool {
	r := s.raft.Load()
	return r != nil && (r.LastIndex() > 0 || r.CurrentTerm() > 0)
}

// Bootstrap founds a cluster of this node alone, which others then join, at a feature
// level that all of them know. It is a Conflict error on a node that holds state.
func (s *Store) Bootstrap(level uint32) error {
	r := s.raft.Load()
	if r == nil {
		return notRunning()
	}
	s.foundAt.Store(min(max(state.FirstLevel, level), state.Level))
	alone := raft.Configuration{Servers: []raft.Server{{
		Suffrage: raft.Voter, ID: raft.ServerID(s.node.ID), Address: s.joinAddress(),
	}}}
	if err := r.BootstrapCluster(alone).Error(); err != nil {
		return federation.Errorf(federation.Conflict, "this node cannot found a cluster: %w", err).WithReason("holds_state")
	}
	return nil
}

func (s *Store) joinAddress() raft.ServerAddress {
	return raftnet.JoinAddress(s.node.ID, string(s.cfg.Advertise))
}

// AddMember adds a node that follows without a vote. It changes nothing of one that is a
// member. On the leader only, as all that follows.
func (s *Store) AddMember(id, addr string) error {
	s.Locate(id, addr)
	if s.configured(id) != nil {
		return nil
	}
	return s.reconfigure(func(r *raft.Raft) raft.Future {
		return r.AddNonvoter(raft.ServerID(id), raftnet.JoinAddress(id, addr), 0, enqueueTimeout)
	})
}

// configured is a member as the cluster's configuration has it, nil for who is none.
func (s *Store) configured(id string) *raft.Server {
	if r := s.raft.Load(); r != nil {
		for _, server := range members(r) {
			if string(server.ID) == id {
				return &server
			}
		}
	}
	return nil
}

// PromoteMember gives a member its vote.
func (s *Store) PromoteMember(id string) error {
	server := s.configured(id)
	if server == nil {
		return noSuchMember(id)
	}
	return s.reconfigure(func(r *raft.Raft) raft.Future {
		return r.AddVoter(server.ID, server.Address, 0, enqueueTimeout)
	})
}

// DemoteMember takes a member's vote away. It goes on following.
func (s *Store) DemoteMember(id string) error {
	if s.configured(id) == nil {
		return noSuchMember(id)
	}
	return s.reconfigure(func(r *raft.Raft) raft.Future {
		return r.DemoteVoter(raft.ServerID(id), 0, enqueueTimeout)
	})
}

// RemoveMember takes a node out of the cluster. It keeps its data folder and does
// not come back with it.
func (s *Store) RemoveMember(id string) error {
	return s.reconfigure(func(r *raft.Raft) raft.Future {
		return r.RemoveServer(raft.ServerID(id), 0, enqueueTimeout)
	})
}

func (s *Store) reconfigure(change func(*raft.Raft) raft.Future) error {
	r := s.raft.Load()
	if r == nil || !s.IsLeader() {
		return s.notLeader()
	}
	if err := change(r).Error(); err != nil {
		return s.replicationError(err)
	}
	return nil
}

// TransferLead hands the leadership to the member named, or to the one that is
// furthest where id is empty. It returns nil at once on a node that does not lead.
func (s *Store) TransferLead(id string) error {
	r := s.raft.Load()
	if r == nil || r.State() != raft.Leader {
		return nil
	}
	transfer := func() raft.Future { return r.LeadershipTransfer() }
	if id != "" {
		to := s.configured(id)
		switch {
		case to == nil:
			return noSuchMember(id)
		case to.Suffrage != raft.Voter:
			return federation.Errorf(federation.Conflict, "node %s has no vote and cannot lead", id).
				WithReason("no_vote").WithHint("name a member that votes: see global cluster status")
		case id == s.node.ID:
			return nil
		}
		transfer = func() raft.Future {
			return r.LeadershipTransferToServer(to.ID, to.Address)
		}
	}
	if voters(r) < 2 {
		return federation.Errorf(federation.Conflict, "there is no other voter to lead")
	}
	if err := transfer().Error(); err != nil {
		e := federation.Errorf(federation.Unavailable, "the leadership was not handed over: %w", err)
		e.RetryAfter = time.Second
		return e.WithHint("try again in a moment")
	}
	return nil
}

// LeaderContact is how long ago this node last heard the leader: 0 on the leader,
// and on a node that has never heard one, how long it has run.
func (s *Store) LeaderContact() time.Duration {
	r := s.raft.Load()
	if r == nil {
		return 0
	}
	if r.State() == raft.Leader {
		return 0
	}
	heard := r.LastContact()
	if heard.IsZero() {
		heard = *s.begun.Load()
	}
	return clock.Since(heard)
}

// ReadIndex returns an index up to which everything was applied that had been
// acknowledged when it was called. On the leader only.
func (s *Store) ReadIndex() (uint64, error) {
	r := s.raft.Load()
	if r == nil || !s.IsLeader() {
		return 0, s.notLeader()
	}
	// Whatever is acknowledged was applied here before; what is left to show is
	// that nobody else leads by now.
	applied := s.Applied()
	if err := r.VerifyLeader().Error(); err != nil {
		return 0, s.notLeader().WithCause(err)
	}
	return applied, nil
}

// WaitApplied waits until this node has applied the log up to an index that
// [Store.ReadIndex] or [Store.Applied] of some member returned.
func (s *Store) WaitApplied(ctx context.Context, index uint64) error {
	for {
		progress := s.fsm.progress.next()
		if s.Applied() >= index {
			return nil
		}
		select {
		case <-progress:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func notRunning() error {
	return federation.Errorf(federation.Unavailable, "this node is only starting").WithHint("try again in a second")
}

func noSuchMember(id string) error {
	return federation.Errorf(federation.NotFound, "no member has the id %.64q", id).
		WithHint("see global cluster status")
}
