package membership

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/global/peer"
	"github.com/meridiankds/meridian/raftstore"
)

const (
	stewardEvery = 200 * time.Millisecond
	// closeBehind is how many changes a member may lack and still count as one that
	// keeps up: what is under way between two reports.
	closeBehind = 256
	// heardWithin is how lately a member must have reported to be given a vote. Its lease
	// is longer, and whoever dies in its first seconds would be one more voter that the
	// cluster then lacks.
	heardWithin = 2 * time.Second
)

// record is what the steward remembers of a member in this leadership.
type record struct {
	current  time.Time // since when it keeps up; zero: it does not
	boot     string    // the run of its process that it keeps up in
	restarts int       // how often it was started anew
	silent   time.Time // since when it has been silent; zero: it is not
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
	m.warnKept(servers)
	m.raise(ctx, servers)
	step, ok := plan(servers, rules{expect: m.cfg.Expect, stabilize: m.cfg.Stabilize, deadAfter: m.cfg.DeadAfter})
	if !ok {
		return
	}
	if err := m.take(ctx, step, servers, records); err != nil {
		m.say("steward", "the members could not be changed: "+err.Error())
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
	if s.boot != r.boot {
		if r.boot != "" {
			r.restarts++
		}
		r.boot, r.current = s.boot, time.Time{}
	}
	s.restarts = r.restarts
	switch {
	case !s.live || !s.current:
		r.current = time.Time{}
	case r.current.IsZero():
		r.current = now
	}
	if !r.silent.IsZero() {
		s.silent = clock.Elapsed(r.silent, now)
	}
	if !r.current.IsZero() {
		s.keepsUp = clock.Elapsed(r.current, now)
	}
}

func (m *Membership) take(ctx context.Context, step change, servers []server, records map[string]*record) error {
	switch {
	case step.promote != "":
		if err := m.isThere(ctx, step.promote, servers); err != nil {
			records[step.promote].current = time.Time{}
			return err
		}
		m.cfg.Logger.Info("promoting a member to a voter", "node", step.promote, "because", step.why)
		return m.store.PromoteMember(step.promote)
	case step.demote != "":
		m.cfg.Logger.Info("taking a member's vote back, it goes on following", "node", step.demote, "because", step.why)
		return m.store.DemoteMember(step.demote)
	case step.handTo != "":
		m.cfg.Logger.Info("handing the leadership on", "to", step.handTo, "because", step.why)
		return m.store.TransferLead(step.handTo)
	}
	m.cfg.Logger.Warn("removing a dead member", "node", step.remove, "because", step.why)
	if err := m.store.RemoveMember(step.remove); err != nil {
		return err
	}
	m.cfg.Fleet.Forget(step.remove)
	return nil
}

// isThere asks a member that is about to get its vote: reports count for seconds after who
// sent them has died.
func (m *Membership) isThere(ctx context.Context, id string, servers []server) error {
	i := slices.IndexFunc(servers, func(s server) bool { return s.id == id })
	answer, err := m.greet(ctx, id)
	if err != nil {
		return err
	}
	if answer.Boot != servers[i].boot {
		return federation.Errorf(federation.Unavailable, "node %s was started anew", id)
	}
	return nil
}

// greet asks a member who it is, at the address where it should be. It fails where no answer
// comes, or another node's.
func (m *Membership) greet(ctx context.Context, id string) (peer.Hello, error) {
	addr := m.store.AddressOf(id)
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answer, err := m.cfg.Peers.Hello(ctx, addr, m.hello())
	if err == nil && answer.NodeID != id {
		err = federation.Errorf(federation.Unavailable, "at %s, where node %s was last seen, node %.64q answers", addr, id, answer.NodeID)
	}
	return answer, err
}

// servers are the members as the leader sees them.
func (m *Membership) servers() []server {
	mine := m.store.Applied()
	var all []server
	for _, member := range m.store.Members() {
		s := server{id: member.ID, voter: member.Voter, self: member.ID == m.store.NodeID(), nonVoter: m.wantsNoVote(member.ID)}
		applied, live := m.cfg.Fleet.Reported(member.ID)
		s.live, s.boot = live || s.self, m.bootOf(member.ID)
		ago, heard := m.cfg.Fleet.Heard(member.ID)
		s.heard = heard && ago <= heardWithin
		s.current = s.self || live && applied+closeBehind >= mine
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b server) int { return strings.Compare(a.id, b.id) })
	return all
}

// bootOf names the run of a member's process that reported last.
func (m *Membership) bootOf(id string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.boots[id]
}

// warnEven says that an even number of voters bears no more losses than one less.
func (m *Membership) warnEven(servers []server) {
	n, _ := count(servers)
	text := ""
	if n%2 == 0 {
		text = "the cluster has " + strconv.Itoa(n) + " voters: it bears the loss of no more members than with " +
			strconv.Itoa(n-1) + "; add one or remove one"
	}
	m.say("even", text)
}

// warnKept says that a member keeps a vote that it wants to give back.
func (m *Membership) warnKept(servers []server) {
	text := ""
	if id := keepsVote(servers, m.cfg.Expect); id != "" {
		text = "member " + raftstore.NamesOf(m.store.Members())[id] + " was started with --non-voter and keeps its vote until " + strconv.Itoa(m.cfg.Expect) +
			" others vote: add a member, or start this one without the flag"
	}
	m.say("kept", text)
}

// wantsNoVote is what a node last said of itself.
func (m *Membership) wantsNoVote(id string) bool {
	if id == m.store.NodeID() {
		return m.cfg.NonVoter
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nonVoters[id]
}

// TransferLead hands the leadership to the member named, or to the one that is furthest
// where id is empty. It refuses one that wants no vote: it would only hand it on.
func (m *Membership) TransferLead(id string) error {
	isID := func(member raftstore.Member) bool { return member.ID == id }
	if m.store.IsLeader() && slices.ContainsFunc(m.store.Members(), isID) && m.wantsNoVote(id) {
		return federation.Errorf(federation.Conflict, "node %s was started with --non-voter and never leads", id).
			WithReason("no_vote").WithHint("name a member that votes: see global cluster status")
	}
	return m.store.TransferLead(id)
}

// Remove takes a member out for an operator, and refuses where the rest would be no
// live majority, unless forced.
func (m *Membership) Remove(ctx context.Context, id string, force bool) error {
	if !m.store.IsLeader() {
		return m.notLeader()
	}
	m.joining.Lock()
	defer m.joining.Unlock()
	if id == m.store.NodeID() {
		return federation.Errorf(federation.Conflict, "node %s leads", id).
			WithHint("hand the leadership on first: global cluster transfer-leader")
	}
	servers := m.servers()
	if !slices.ContainsFunc(servers, func(s server) bool { return s.id == id }) {
		return federation.Errorf(federation.NotFound, "no member has the id %.64q", id).WithHint("see global cluster status")
	}
	answers := m.greetAll(ctx)
	for i := range servers {
		_, servers[i].live = answers[servers[i].id]
	}
	if !force && !mayRemove(servers, id) {
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
	Voter, Live bool // Live: it answered this node
	NonVoter    bool // it was started to follow without a vote, as far as this node has heard
	Applied     uint64
	Version     string // of its program; empty: it does not answer
}

// Standings asks all members and returns them as this node sees them. What they reported is
// no answer: it counts for seconds after one has died, and a new leader has no reports yet.
func (m *Membership) Standings(ctx context.Context) []Standing {
	answers := m.greetAll(ctx)
	var all []Standing
	for _, member := range m.store.Members() {
		s := Standing{ID: member.ID, Address: member.Address, Voter: member.Voter, NonVoter: m.wantsNoVote(member.ID)}
		answer, live := answers[member.ID]
		s.Live, s.Applied, s.Version = live, answer.Applied, answer.Version
		if !live {
			s.Applied, _ = m.cfg.Fleet.Reported(member.ID)
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b Standing) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// greetAll asks every member who it is, all at a time, and returns who answered. This node
// is among them.
func (m *Membership) greetAll(ctx context.Context) map[string]peer.Hello {
	self := m.store.NodeID()
	answers := map[string]peer.Hello{self: m.hello()}
	var mu sync.Mutex
	var wait sync.WaitGroup
	for _, member := range m.store.Members() {
		if member.ID == self {
			continue
		}
		wait.Go(func() {
			if answer, err := m.greet(ctx, member.ID); err == nil {
				mu.Lock()
				defer mu.Unlock()
				answers[member.ID] = answer
			}
		})
	}
	wait.Wait()
	return answers
}
