package node

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/global/fleet"
	"github.com/meridiankds/meridian/internal/global/peer"
	"github.com/meridiankds/meridian/raftstore"
	"github.com/meridiankds/meridian/raftstore/disk"
	"github.com/meridiankds/meridian/raftstore/state"
)

const (
	// standingEvery is the pace at which members compare what they have applied, and
	// standingGap the least time between two times where it changes: what the others do not
	// know of a member yet they do not miss.
	standingEvery = time.Second
	standingGap   = 100 * time.Millisecond
	// standingTimeout is how long a peer may take; who does not answer bars nobody.
	standingTimeout = 5 * time.Second
)

// standings are what comparing with the other members has come to.
type standings struct {
	mu       sync.Mutex
	diverged []string // members that differ, in order; this one may be among them
}

// Standing is part of peer.Node: it answers another member, and remembers what it says.
func (p *peers) Standing(s peer.Standing) peer.Standings {
	p.membership.At(s.Node, s.Boot, s.Address)
	answer := peer.Standings{Own: p.store.Standing()}
	answer.Seen, _ = p.store.Remembered(s.Node)
	answer.Diverged = p.differs(s.Standing)
	p.store.Remember(s.Standing)
	if s.Proof {
		p.losses.Note(fleet.Shown{By: "member " + s.Node, Position: s.Position})
	}
	return answer
}

// differs reports whether a member applied something else at an index that this one has
// applied too: in the same history, or where this one's began.
func (p *peers) differs(s disk.Standing) bool {
	return p.store.Bypassed(s) ||
		len(s.Lineage) > 0 && p.store.PlaceOf(federation.Revision{History: s.History, Index: s.Index}, s.Lineage) == state.Absent
}

// startStanding compares before Raft starts: a voter that has less than it had does not run,
// nor does one that most of the voters contradict.
func (p *peers) startStanding(ctx context.Context) error {
	own := p.store.Recorded()
	if own.Voters > 1 { // a lone one has nobody to get it from, and proves the loss instead
		if err := p.store.Less(own, "its own record"); err != nil {
			return err
		}
	}
	var mu sync.Mutex
	var barred error
	against := 0
	p.eachPeer(ctx, p.membership.Known(), peer.Standing{Standing: own}, func(id string, a peer.Standings) {
		mu.Lock()
		defer mu.Unlock()
		if err := p.store.Less(a.Seen, "node "+id); err != nil && barred == nil {
			barred = err
		}
		if a.Diverged {
			against++
		}
	})
	if barred == nil && own.Voters > 1 && 2*against > own.Voters {
		return p.contradicted(ctx, own)
	}
	return barred
}

// eachPeer tells peers this member's standing, all at a time, and passes on what they
// answer. Who does not answer is left out.
func (p *peers) eachPeer(ctx context.Context, to []peer.Target, own peer.Standing, answer func(id string, a peer.Standings)) {
	own.Node, own.Boot, own.Address = p.store.NodeID(), p.membership.Boot(), p.advertise
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(p.patience, standingTimeout))
	defer cancel()
	var wait sync.WaitGroup
	for _, t := range to {
		wait.Go(func() {
			if a, err := p.client.Standing(ctx, t, own); err == nil && a.Own.Node != own.Node {
				p.store.Remember(a.Own)
				answer(a.Own.Node, a)
			}
		})
	}
	wait.Wait()
}

// others are the other members, where they are.
func (p *peers) others() (to []peer.Target) {
	for _, m := range p.store.Members() {
		if m.ID != p.store.NodeID() {
			to = append(to, peer.Target{Node: m.ID, Addr: m.Address})
		}
	}
	return to
}

// compareStandings has this member compare what it has applied with the others, for as long
// as it runs. It ends with an error where this member must not go on: it has less than it
// had and has not caught up, or most of the others contradict it.
func (n *Node) compareStandings(ctx context.Context) error {
	p := n.peers
	p.proveOwn()
	ticker := time.NewTicker(standingEvery)
	defer ticker.Stop()
	for {
		var mu sync.Mutex
		var barred error
		var diverged []string
		progress := p.store.WatchApplied()
		own := p.store.Standing()
		p.eachPeer(ctx, p.others(), peer.Standing{Standing: own}, func(id string, a peer.Standings) {
			mu.Lock()
			defer mu.Unlock()
			if err := p.store.Less(a.Seen, "node "+id); err != nil && !n.caughtUp() {
				barred = err
			}
			if a.Diverged || p.differs(a.Own) {
				diverged = append(diverged, id)
			}
		})
		if barred != nil {
			return barred
		}
		if err := n.judgeDiverged(ctx, own, diverged); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-progress:
		case <-ticker.C:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(standingGap):
		}
	}
}

// caughtUp reports whether this member has worked with a majority since it started. From
// then on what it lacks is not its own loss but the cluster's: whoever has it proves it.
func (n *Node) caughtUp() bool {
	select {
	case <-n.store.Ready():
		return true
	default:
		return false
	}
}

// judgeDiverged says who differs. A member that most of the voters contradict stops, and
// hands over its position; between two nobody can tell who is right, so that nobody stops,
// gates stay shut and both are named.
func (n *Node) judgeDiverged(ctx context.Context, own disk.Standing, from []string) error {
	p := n.peers
	voters, against := 0, 0
	for _, m := range p.store.Members() {
		if m.Voter {
			voters++
			if slices.Contains(from, m.ID) {
				against++
			}
		}
	}
	if 2*against > voters {
		return p.contradicted(ctx, own)
	}
	slices.Sort(from)
	if len(from) > 0 && voters < 3 { // which of the two is wrong nobody can tell
		from = append(from, own.Node)
		slices.Sort(from)
	}
	p.standings.mu.Lock()
	before := p.standings.diverged
	p.standings.diverged = from
	p.standings.mu.Unlock()
	p.fleet.Diverged(from)
	for _, id := range from {
		if !slices.Contains(before, id) {
			n.cfg.Logger.Error("a member has diverged: it applied something else at an index that this member has applied too", "member", id,
				"hint", "gates stay shut; see global cluster status and docs/backup.md, \"After a disk went back\"")
		}
	}
	return nil
}

// contradicted has a member that most of the voters contradict hand over its position, and is
// the error with which it stops.
func (p *peers) contradicted(ctx context.Context, own disk.Standing) error {
	p.handOver(ctx, own)
	return federation.Errorf(federation.Conflict, "this node has diverged: at index %d of history %s most members have applied something else", own.Raft, own.History.ID).
		WithReason(raftstore.ReasonDiverged).
		WithHint("save its data directory to find out why (docs/backup.md, \"After a disk went back\"), then empty it, and it joins as a new node")
}

// Diverged is part of adminapi.Cluster: the members that are known to differ.
func (p *peers) Diverged() []string {
	p.standings.mu.Lock()
	defer p.standings.mu.Unlock()
	return slices.Clone(p.standings.diverged)
}

// proveOwn has a member that recorded more than its log has show that to the cluster.
func (p *peers) proveOwn() {
	if own := p.store.Recorded(); own.Raft > 0 && own.Position != nil {
		p.losses.Note(fleet.Shown{By: "member " + own.Node, Position: own.Position})
	}
}

// handOver gives the others this member's position as a proof: what they lack of it is lost.
func (p *peers) handOver(ctx context.Context, own disk.Standing) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cmp.Or(p.patience, standingTimeout))
	defer cancel()
	p.eachPeer(ctx, append(p.others(), p.membership.Known()...), peer.Standing{Standing: own, Proof: true}, func(string, peer.Standings) {})
}
