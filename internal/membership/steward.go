package membership

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meridiankds/meridian/federation"
)

const (
	stewardEvery = 200 * time.Millisecond
	// closeBehind is how many changes a member may lack and still count as one that
	// keeps up: what is under way between two reports.
	closeBehind = 256
)

// record is what the steward remembers of a member in this leadership.
type record struct {
	current time.Time // since when it keeps up; zero: it does not
	silent  time.Time // since when it has been silent; zero: it is not
}

// steward promotes and cleans up while this node leads.
func (m *Membership) steward(ctx context.Context) error {
	for {
		lead, err := m.store.LeaderContext(ctx)
		if err != nil {
			return nil // ctx has ended
		}
		records := map[string]*record{}
		for sleep(lead, stewardEvery) {
			m.tend(lead, records)
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// tend takes at most one step.
func (m *Membership) tend(ctx context.Context, records map[string]*record) {
	servers := m.servers()
	now := m.cfg.Now()
	for i := range servers {
		s := &servers[i]
		r := records[s.id]
		if r == nil {
			r = &record{silent: now}
			records[s.id] = r
		}
		r.note(s, now)
	}
	m.warnEven(servers)
	m.raise(ctx, servers)
	step, ok := plan(servers, rules{expect: m.cfg.Expect, stabilize: m.cfg.Stabilize, deadAfter: m.cfg.DeadAfter})
	if !ok {
		return
	}
	if err := m.take(step); err != nil {
		m.say("steward", "a member could not be promoted or removed: "+err.Error())
		return
	}
	m.say("steward", "")
}

func (r *record) note(s *server, now time.Time) {
	switch {
	case s.live:
		r.silent = time.Time{}
	case r.silent.IsZero():
		r.silent = now
	}
	switch {
	case !s.live || !s.current:
		r.current = time.Time{}
	case r.current.IsZero():
		r.current = now
	}
	if !r.silent.IsZero() {
		s.silent = now.Sub(r.silent)
	}
	if !r.current.IsZero() {
		s.keepsUp = now.Sub(r.current)
	}
}

func (m *Membership) take(step change) error {
	if step.promote != "" {
		m.cfg.Logger.Info("promoting a member to a voter", "node", step.promote, "because", step.why)
		return m.store.PromoteMember(step.promote)
	}
	m.cfg.Logger.Warn("removing a dead member", "node", step.remove, "because", step.why)
	if err := m.store.RemoveMember(step.remove); err != nil {
		return err
	}
	m.cfg.Fleet.Forget(step.remove)
	return nil
}

// servers are the members as the leader sees them.
func (m *Membership) servers() []server {
	mine := m.store.Applied()
	var all []server
	for _, member := range m.store.Members() {
		s := server{id: member.ID, voter: member.Voter, self: member.ID == m.store.NodeID()}
		applied, live := m.cfg.Fleet.Reported(member.ID)
		s.live = live || s.self
		s.current = s.self || live && applied+closeBehind >= mine
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b server) int { return strings.Compare(a.id, b.id) })
	return all
}

// warnEven says that an even number of voters bears no more losses than one less.
func (m *Membership) warnEven(servers []server) {
	n := 0
	for _, s := range servers {
		if s.voter {
			n++
		}
	}
	text := ""
	if n%2 == 0 {
		text = "the cluster has " + strconv.Itoa(n) + " voters: it bears the loss of no more members than with " +
			strconv.Itoa(n-1) + "; add one or remove one"
	}
	m.say("even", text)
}

// Remove takes a member out for an operator, and refuses where the rest would be no
// live majority, unless forced.
func (m *Membership) Remove(id string, force bool) error {
	if !m.store.IsLeader() {
		return m.notLeader()
	}
	m.joining.Lock()
	defer m.joining.Unlock()
	if id == m.store.NodeID() {
		return federation.Errorf(federation.Conflict, "node %s leads", id).
			WithHint("hand the leadership on first: global cluster transfer-leader")
	}
	if !slices.ContainsFunc(m.servers(), func(s server) bool { return s.id == id }) {
		return federation.Errorf(federation.NotFound, "no member has the id %.64q", id).WithHint("see global cluster status")
	}
	if !force && !mayRemove(m.servers(), id) {
		return federation.Errorf(federation.Conflict, "without node %s the voters that are left would be no live majority", id).
			WithReason("no_majority").
			WithHint("bring the other members back first, or force the removal (--force)")
	}
	if err := m.store.RemoveMember(id); err != nil {
		return err
	}
	m.cfg.Fleet.Forget(id)
	m.cfg.Logger.Warn("an operator removed a member", "node", id, "force", force)
	return nil
}

// Standing is what an operator is shown of a member.
type Standing struct {
	ID, Address string
	Voter, Live bool
	Applied     uint64
}

// Standings returns the members as this node sees them; whether they are live only
// the leader knows.
func (m *Membership) Standings() []Standing {
	var all []Standing
	for _, member := range m.store.Members() {
		s := Standing{ID: member.ID, Address: member.Address, Voter: member.Voter}
		s.Applied, s.Live = m.cfg.Fleet.Reported(member.ID)
		if s.ID == m.store.NodeID() {
			s.Applied, s.Live = m.store.Applied(), true
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b Standing) int { return strings.Compare(a.ID, b.ID) })
	return all
}
