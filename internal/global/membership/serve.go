package membership

import (
	"context"
	"slices"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/global/peer"
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
	for _, member := range m.store.Members() {
		if member.ID == from.NodeID {
			answer.You = member.Address
		}
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
	if err := m.answersThere(ctx, r); err != nil {
		return err
	}
	known, there := "", "" // the address of that node, the node at that address
	for _, member := range m.store.Members() {
		if member.ID == r.NodeID {
			known = member.Address
		}
		if member.Address == r.Address && member.ID != r.NodeID {
			there = member.ID
		}
	}
	switch {
	case known == r.Address:
		return nil
	case known != "":
		if err := m.notElsewhere(ctx, r, known); err != nil {
			return err
		}
	case r.HoldsState:
		return federation.Errorf(federation.Conflict, "node %s is no member (any longer) and holds state", r.NodeID).
			WithReason(reasonRemoved).
			WithHint("it was removed from the cluster, or is another cluster's: empty its data folder, and it joins as a new node")
	}
	if there != "" {
		if err := m.replace(there, r); err != nil {
			return err
		}
	}
	m.cfg.Logger.Info("taking a node in", "node", r.NodeID, "address", r.Address, "formerly", known, "non-voter", r.NonVoter)
	return m.store.AddMember(r.NodeID, r.Address)
}

// answersThere dials back: a node that others cannot reach at its address would
// only cost the cluster its majority.
func (m *Membership) answersThere(ctx context.Context, r peer.JoinRequest) error {
	if r.NodeID == m.store.NodeID() {
		if r.Boot == m.boot {
			return nil
		}
		return idTaken(r.NodeID, m.cfg.Advertise)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answer, err := m.cfg.Peers.Hello(ctx, r.Address, m.hello())
	if err != nil {
		return federation.Errorf(federation.Invalid, "the leader cannot reach the node under the address that it gives, %s: %s", r.Address, err).
			WithHint("name an address with --advertise that every member can reach")
	}
	if answer.NodeID == r.NodeID && answer.Boot == r.Boot {
		m.found(answer, r.Address)
		return nil
	}
	if answer.NodeID == r.NodeID {
		return idTaken(r.NodeID, r.Address)
	}
	return federation.Errorf(federation.Invalid, "at %s, the address that the node gives, another node answers", r.Address).
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

// replace removes the member whose address another node has now.
func (m *Membership) replace(old string, r peer.JoinRequest) error {
	if old == m.store.NodeID() || !mayRemove(m.servers(), old) {
		return federation.Errorf(federation.Conflict, "another node stands at %s in the cluster, and cannot be removed now: the rest would be no live majority", r.Address).
			WithHint("bring the other members back first")
	}
	m.cfg.Logger.Warn("a member's address is another node's by now: removing the member", "member", old, "node", r.NodeID, "address", r.Address)
	if err := m.store.RemoveMember(old); err != nil {
		return err
	}
	m.cfg.Fleet.Forget(old)
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
