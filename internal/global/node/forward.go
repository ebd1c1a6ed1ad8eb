package node

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/global/adminapi"
	"github.com/meridiankds/meridian/internal/global/peer"
)

const (
	// refreshEvery bounds how often strangers' tokens make this member ask the leader.
	refreshEvery = time.Second
	// refreshTimeout is how long a caller waits for that.
	refreshTimeout = 2 * time.Second
	// electionPatience is how long a write waits for a leader to be elected, and
	// electionPoll how often it looks: Raft tells nobody.
	electionPatience = time.Second
	electionPoll     = 20 * time.Millisecond
)

// What follows is adminapi.Cluster.

func (p *peers) Forward(w http.ResponseWriter, r *http.Request, caller access.Caller, requestID string) error {
	to, err := p.leader()
	// Reads do not wait for an election: they are answered here.
	if err != nil && r.Method != http.MethodGet && r.Method != http.MethodHead {
		to, err = p.awaitLeader(r.Context())
	}
	if err != nil {
		return err
	}
	return p.client.Forward(w, r, to, caller, requestID, p.store.WaitApplied)
}

// awaitLeader gives an election the time that it mostly needs; nothing was sent yet.
// It returns early where the caller has gone, or this member itself leads by now.
func (p *peers) awaitLeader(ctx context.Context) (to peer.Target, err error) {
	ctx, cancel := context.WithTimeout(ctx, electionPatience)
	defer cancel()
	ticker := time.NewTicker(electionPoll)
	defer ticker.Stop()
	for {
		if to, err = p.leader(); err == nil || p.leading() {
			return to, err
		}
		select {
		case <-ctx.Done():
			return peer.Target{}, err
		case <-ticker.C:
		}
	}
}

func (p *peers) LeaderContact() time.Duration { return p.store.LeaderContact() }

func (p *peers) Members(ctx context.Context) []adminapi.Member {
	var all []adminapi.Member
	for _, s := range p.membership.Standings(ctx) {
		all = append(all, adminapi.Member(s))
	}
	return all
}

func (p *peers) TransferLead(id string) error { return p.membership.TransferLead(id) }

func (p *peers) Remove(ctx context.Context, id string, force bool) error {
	return p.membership.Remove(ctx, id, force)
}

func (p *peers) Refresh(ctx context.Context) (ok bool) { return p.refreshing.do(ctx, p.catchUp) }

// catchUp waits until this member has what was acknowledged anywhere before.
func (p *peers) catchUp(ctx context.Context) bool {
	if p.store.IsLeader() {
		return false // there is nobody who knows more
	}
	to, err := p.leader()
	if err != nil {
		return false
	}
	at, err := p.client.ReadIndex(ctx, to)
	return err == nil && p.store.WaitApplied(ctx, at.Index) == nil
}

// current reports whether this member has all that was acknowledged before it was called,
// once it has caught up. Who asks meanwhile shares the answer of the next time that it is
// found out, which begins after they asked. It is false once ctx ends, of whoever is asking.
func (p *peers) current(ctx context.Context) bool {
	return p.catching.do(ctx, func() bool {
		ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
		defer cancel()
		if p.store.IsLeader() {
			_, err := p.store.ReadIndex()
			return err == nil
		}
		return p.catchUp(ctx)
	})
}

// catching finds out one time after the other, each for all who came before it began.
type catching struct {
	turn chan struct{} // has one in it while it is found out

	mu   sync.Mutex
	next *refresh // has not begun
}

func (c *catching) do(ctx context.Context, catchUp func() bool) bool {
	c.mu.Lock()
	run, mine := c.next, c.next == nil
	if mine {
		run = &refresh{done: make(chan struct{})}
		c.next = run
	}
	c.mu.Unlock()
	if !mine {
		select {
		case <-run.done:
			return run.ok
		case <-ctx.Done():
			return false
		}
	}
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done(): // those who share it ask again
	}
	c.mu.Lock()
	c.next = nil
	c.mu.Unlock()
	defer close(run.done)
	run.ok = ctx.Err() == nil && catchUp()
	return run.ok
}

// refreshing lets one refresh serve all who ask meanwhile, and begins one a second
// at most.
type refreshing struct {
	mu    sync.Mutex
	begun time.Time
	run   *refresh
}

// refresh is one that runs, or ran last. ok is set before done is closed.
type refresh struct {
	done chan struct{}
	ok   bool
}

func (f *refreshing) do(ctx context.Context, catchUp func(context.Context) bool) bool {
	f.mu.Lock()
	run := f.run
	mine := run == nil && clock.Since(f.begun) >= refreshEvery
	if mine {
		run = &refresh{done: make(chan struct{})}
		f.run, f.begun = run, time.Now()
	}
	f.mu.Unlock()
	if run == nil {
		return false
	}
	if mine {
		// For all who wait: it does not end with the first one's request.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refreshTimeout)
		run.ok = catchUp(ctx)
		cancel()
		f.mu.Lock()
		f.run = nil
		f.mu.Unlock()
		close(run.done)
	}
	select {
	case <-run.done:
		return run.ok
	case <-ctx.Done():
		return false
	}
}
