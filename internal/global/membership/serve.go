package membership

import (
	"context"
	"slices"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/global/peer"
	"github.com/meridiankds/meridian/raftstore"
)

const reasonRemoved = "removed"

// joinTimeout is how long the leader may take over taking a node in.
const joinTimeout = 10 * time.Second

// Hello answers who this node is, and notes who asks.
func (m *Membership) Hello(from peer.Hello) peer.Hello {
	if from.NodeID != "" && from.NodeID != m.store.NodeID() && from.Address != "" {
		m.found(from, from.Address)
	}
	answer := m.hello()
	if slices.ContainsFunc(m.store.Members(), func(member raftstore.Member) bool { return member.ID == from.NodeID }) {
		answer.You = m.formerly(from.NodeID, from.Boot)
	}
	return answer
}

// Promise lets a founder found, or refuses it with a Conflict.
func (m *Membership) Promise(p peer.Promise) error {
	if m.store.HoldsState() {
		return federation.Errorf(federation.Conflict, "the node at %s holds state", m.cfg.Advertise).WithReason("holds_state")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(p.Sees) == 0 || !slices.Equal(p.Sees, m.sees) || !slices.Contains(p.Sees, p.Founder) {
		return federation.Errorf(federation.Conflict, "the node at %s does not see the same nodes", m.cfg.Advertise)
	}
	if m.promised != "" && m.promised != p.Founder && slices.Contains(m.sees, m.promised) {
		return federation.Errorf(federation.Conflict, "the node at %s promised another node that it may found", m.cfg.Advertise)
	}
	m.promised = p.Founder
	return nil
}

// Join takes a node in, or notes a member's new address. On the leader only.
func (m *Membership) Join(ctx context.Context, r peer.JoinRequest) error {
	if !m.store.IsLeader() {
		return m.notLeader()
	}
	if r.NodeID == "" || len(r.NodeID) > 64 || r.Address == "" || len(r.Address) > 256 {
		return federation.Errorf(federation.Invalid, "a node joins with an id and an address")
	}
	if err := m.knowsLevel(r); err != nil {
		return err
	}
	m.joining.Lock()
	defer m.joining.Unlock()
	known, sharing := "", "" // where that node was before, the name of another one that was last found at the address
	members := m.store.Members()
	for _, member := range members {
		switch {
		case member.ID == r.NodeID:
			known = m.formerly(r.NodeID, r.Boot)
		case member.Address == r.Address:
			sharing = member.ID
		}
	}
	answer, err := m.answersThere(ctx, r)
	if err != nil {
		return err
	}
	switch {
	case known != "":
		if err := m.notElsewhere(ctx, r, known); err != nil {
			return err
		}
		m.found(answer, r.Address)
		return nil
	case r.HoldsState:
		return federation.Errorf(federation.Conflict, "node %s is no member (any longer) and holds state", r.NodeID).
			WithReason(reasonRemoved).
			WithHint("it was removed from the cluster, or is another cluster's: empty its data folder, and it joins as a new node")
	}
	m.found(answer, r.Address)
	m.cfg.Logger.Info("taking a node in", "node", r.NodeID, "address", r.Address, "non-voter", r.NonVoter)
	if sharing != "" {
		m.cfg.Logger.Warn("a new node joins at an address where a member was last found: the member stays, and counts for majorities", "member", sharing,
			"node", r.NodeID, "address", r.Address, "hint", "if it is gone for good, run global cluster remove "+sharing+"; else it is removed when it has been silent for long")
	}
	return m.store.AddMember(r.NodeID, r.Address)
}

// answersThere dials back: a node that others cannot reach at its address would
// only cost the cluster its majority.
func (m *Membership) answersThere(ctx context.Context, r peer.JoinRequest) (peer.Hello, error) {
	if r.NodeID == m.store.NodeID() {
		if r.Boot == m.boot {
			return m.hello(), nil
		}
		return peer.Hello{}, idTaken(r.NodeID, m.cfg.Advertise)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answer, err := m.cfg.Peers.Hello(ctx, r.Address, m.hello())
	if err != nil {
		return answer, federation.Errorf(federation.Invalid, "the leader cannot reach the node under the address that it gives, %s: %s", r.Address, err).
			WithHint("name an address with --advertise that every member can reach")
	}
	if answer.NodeID == r.NodeID && answer.Boot == r.Boot {
		return answer, nil
	}
	if answer.NodeID == r.NodeID {
		return answer, idTaken(r.NodeID, r.Address)
	}
	return answer, federation.Errorf(federation.Invalid, "at %s, the address that the node gives, another node answers", r.Address).
		WithHint("name this node's own address with --advertise")
}

// notElsewhere refuses a second process under the id of a member that runs.
func (m *Membership) notElsewhere(ctx context.Context, r peer.JoinRequest, known string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answer, err := m.cfg.Peers.Hello(ctx, known, m.hello())
	if err == nil && answer.NodeID == r.NodeID && answer.Boot != r.Boot {
		return idTaken(r.NodeID, known)
	}
	return nil
}

func (m *Membership) notLeader() error {
	id, addr := m.store.Leader()
	e := federation.Errorf(federation.Unavailable, "this node is not the leader").WithReason("not_leader")
	e.RetryAfter = time.Second
	if id == "" {
		return e.WithHint("no leader is known; try again in a moment")
	}
	return e.WithHint("ask the leader, at %s", addr)
}
