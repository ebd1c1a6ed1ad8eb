package membership

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/global/peer"
	"github.com/meridiankds/meridian/raftstore"
	"github.com/meridiankds/meridian/raftstore/state"
)

const (
	// lookEvery is the pace of a node that is not yet where it wants to be, restEvery
	// of one that is.
	lookEvery = 250 * time.Millisecond
	restEvery = 2 * time.Second
	// askTimeout is how long a node may take to say who it is.
	askTimeout = 2 * time.Second
	// contactLost is when a member begins to look for others again.
	contactLost = time.Second
)

// Preflight asks whether another process runs under this node's id, before this one
// takes part in anything. Who does not answer is not waited for.
func (m *Membership) Preflight(ctx context.Context) error {
	_, _, err := m.ask(ctx)
	return err
}

// look is the loop of a node that looks for the others.
func (m *Membership) look(ctx context.Context) error {
	for {
		pause := restEvery
		if !m.content() {
			pause = lookEvery
			answers, silent, err := m.ask(ctx)
			if err != nil && !m.isReady() {
				return err
			}
			m.move(ctx, answers, silent)
			if err := m.outcast(); err != nil {
				return err
			}
		}
		if !sleep(ctx, pause) {
			return nil
		}
	}
}

func (m *Membership) isReady() bool {
	select {
	case <-m.store.Ready():
		return true
	default:
		return false
	}
}

// content reports whether this node is a member and hears a leader, so that there is
// nothing to look for. A leader that is heard knows where this node is.
func (m *Membership) content() bool {
	if id, _ := m.store.Leader(); id == "" || m.store.LeaderContact() > contactLost {
		return false
	}
	return slices.ContainsFunc(m.store.Members(), func(member raftstore.Member) bool { return member.ID == m.store.NodeID() })
}

// addresses are those of --join and of the members that are known, but this node's.
func (m *Membership) addresses() []string {
	all := slices.Clone(m.cfg.Join)
	for _, member := range m.store.Members() {
		if member.ID != m.store.NodeID() {
			all = append(all, member.Address)
		}
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(a string) bool { return a == m.cfg.Advertise })
}

// ask asks every address who is there, and then whether this node itself is where the others
// have it. It fails where another process has this node's id. silent are the addresses of
// --join without an answer.
func (m *Membership) ask(ctx context.Context) (answers []peer.Hello, silent []string, err error) {
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	self := m.hello()
	var mu sync.Mutex
	m.each(asking, m.addresses(), self, func(addr string, answer peer.Hello, failed error) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case failed != nil:
			if slices.Contains(m.cfg.Join, addr) {
				silent = append(silent, addr)
			}
			if ctx.Err() == nil {
				m.say("address "+addr, failed.Error(), "hint", federation.AsError(failed).Hint)
			}
		case answer.Boot == self.Boot: // this node itself, under another name
		case answer.NodeID == self.NodeID:
			err = idTaken(self.NodeID, addr)
			m.say("address "+addr, err.Error())
		case answer.Starting || answer.NodeID == "":
			if slices.Contains(m.cfg.Join, addr) {
				silent = append(silent, addr)
			}
		default:
			m.say("address "+addr, "")
			m.found(answer, addr)
			if !slices.ContainsFunc(answers, func(a peer.Hello) bool { return a.NodeID == answer.NodeID }) {
				answers = append(answers, answer)
			}
		}
	})
	if err == nil {
		err = m.notThere(asking, self, answers)
	}
	return answers, silent, err
}

// each asks addresses who is there, all at a time.
func (m *Membership) each(ctx context.Context, addresses []string, self peer.Hello, answered func(addr string, answer peer.Hello, failed error)) {
	var wait sync.WaitGroup
	for _, addr := range addresses {
		wait.Go(func() {
			answer, failed := m.cfg.Peers.Hello(ctx, addr, self)
			answered(addr, answer, failed)
		})
	}
	wait.Wait()
}

// notThere fails where another process runs under this node's id at the address at which
// the others have this node, which --join need not name. A stranger may be there by now.
func (m *Membership) notThere(ctx context.Context, self peer.Hello, others []peer.Hello) (err error) {
	var there []string
	for _, o := range others {
		if o.You != "" && o.You != m.cfg.Advertise && !slices.Contains(there, o.You) {
			there = append(there, o.You)
		}
	}
	var mu sync.Mutex
	m.each(ctx, there, self, func(addr string, answer peer.Hello, failed error) {
		mu.Lock()
		defer mu.Unlock()
		if failed == nil && answer.NodeID == self.NodeID && answer.Boot != self.Boot {
			err = idTaken(self.NodeID, addr)
		}
	})
	return err
}

// found notes where a node answered, and whether it wants a vote. Its own word for its address wins over the one
// that was dialled, which may be a load balancer's.
func (m *Membership) found(who peer.Hello, dialled string) {
	at := who.Address
	if at == "" {
		at = dialled
	}
	m.At(who.NodeID, who.Boot, at)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nonVoters[who.NodeID] = who.NonVoter
}

// At notes that a node is at an address in a run of its process. Who it is does not depend
// on where: another node that was there before stays what it is.
func (m *Membership) At(id, boot, addr string) {
	if id == m.store.NodeID() || addr == "" {
		return
	}
	before := m.store.AddressOf(id)
	m.mu.Lock()
	if m.runs[id].boot != boot {
		m.runs[id] = run{boot: boot, former: before}
	}
	m.mu.Unlock()
	m.store.Locate(id, addr)
}

// formerly is where a node was before the run of its process that was found last, or now
// where that is not known.
func (m *Membership) formerly(id, boot string) string {
	m.mu.Lock()
	r := m.runs[id]
	m.mu.Unlock()
	if r.boot == boot && r.former != "" {
		return r.former
	}
	return m.store.AddressOf(id)
}

// move takes the next step after a round.
func (m *Membership) move(ctx context.Context, answers []peer.Hello, silent []string) {
	if m.store.HoldsState() {
		if m.store.IsLeader() {
			return
		}
		m.joinAt(ctx, answers)
		return
	}
	p := prospect{id: m.store.NodeID(), expect: m.cfg.Expect, nonVoter: m.cfg.NonVoter, answers: answers, silent: silent}
	m.mu.Lock()
	m.sees = p.sees()
	m.mu.Unlock()
	next, why := p.next()
	switch next {
	case found:
		m.tryFound(ctx, p)
	case join:
		m.joinAt(ctx, answers)
	default:
		m.say("founding", "waiting to found or to join a cluster: "+why, "silent", strings.Join(silent, ", "), "here", len(answers)+1, "expected", m.cfg.Expect)
	}
}

// tryFound collects the promises and founds.
func (m *Membership) tryFound(ctx context.Context, p prospect) {
	promise := peer.Promise{Founder: p.id, Sees: p.sees()}
	if err := m.Promise(promise); err != nil {
		m.say("founding", "this node cannot found: "+err.Error())
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	for _, a := range p.founders() {
		if err := m.cfg.Peers.Promise(ctx, peer.Target{Node: a.NodeID, Addr: m.store.AddressOf(a.NodeID)}, promise); err != nil {
			m.say("founding", "the node at "+a.Address+" does not let this node found: "+err.Error())
			return
		}
	}
	m.mu.Lock()
	m.founder = true
	m.mu.Unlock()
	if err := m.store.Bootstrap(p.level()); err != nil {
		m.say("founding", err.Error())
		return
	}
	m.cfg.Logger.Info("this node founds the cluster", "node", p.id, "members", len(promise.Sees))
}

// maxRefusals is how often in a row a leader must call this node removed before it
// believes it: one that was deposed a moment ago may not know of it yet.
const maxRefusals = 3

// outcast ends a node that was removed from the cluster. Were it to go on, the zones
// that it carries would never hear of a change again, and nobody would know.
func (m *Membership) outcast() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refusals < maxRefusals {
		return nil
	}
	return m.refusal
}

// joinAt asks the leader that others name to take this node in, or to note its
// address.
func (m *Membership) joinAt(ctx context.Context, answers []peer.Hello) {
	request := peer.JoinRequest{NodeID: m.store.NodeID(), Boot: m.boot, Address: m.cfg.Advertise, HoldsState: m.store.HoldsState(), Level: state.Level, NonVoter: m.cfg.NonVoter}
	if m.content() {
		return
	}
	leader, known := peer.Target{}, false
	for _, a := range answers {
		known = known || a.HoldsState
		if a.HoldsState && a.Leader == a.NodeID {
			leader = peer.Target{Node: a.NodeID, Addr: m.store.AddressOf(a.NodeID)} // its own word counts most
			break
		}
		if a.HoldsState && a.Leader != "" && a.Leader != request.NodeID {
			leader = peer.Target{Node: a.Leader, Addr: a.LeaderAddress}
		}
	}
	if leader.Addr == "" {
		if known {
			m.say("joining", "a cluster exists but has no leader: waiting for one")
		}
		return
	}
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	err := m.cfg.Peers.Join(ctx, leader, request)
	m.mu.Lock()
	if e := federation.AsError(err); e != nil && e.Reason == reasonRemoved {
		m.refusals, m.refusal = m.refusals+1, e
	} else {
		m.refusals = 0
	}
	m.mu.Unlock()
	if err != nil {
		m.say("joining", "the leader does not take this node in yet: "+err.Error(), "hint", federation.AsError(err).Hint)
	}
}
