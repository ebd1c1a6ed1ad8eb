package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/global/clocks"
	"github.com/meridiankds/meridian/internal/global/peer"
	"github.com/meridiankds/meridian/internal/metrics"
)

const (
	// clockEvery is how often a member asks each other one what time it is: often enough
	// that one lost answer leaves no clock unknown. It looks for new ones more often.
	clockEvery = 5 * time.Second
	clockLook  = 500 * time.Millisecond
	// clockTimeout is how long an answer may take; half of it is how wrong it can be.
	clockTimeout = 2 * time.Second
)

// compareClocks asks the other members what time it is, again and again, and says whose
// clock does not agree.
func (n *Node) compareClocks(ctx context.Context) error {
	ticker := time.NewTicker(clockLook)
	defer ticker.Stop()
	said, asked := map[string]bool{}, map[string]time.Time{}
	for {
		n.peers.askClocks(ctx, asked)
		n.sayClocks(n.peers.Clocks(), said)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// askClocks asks every other member whose turn it is, all at a time, and notes when.
// Who does not answer has no clock for now.
func (p *peers) askClocks(ctx context.Context, asked map[string]time.Time) {
	ctx, cancel := context.WithTimeout(ctx, clockTimeout)
	defer cancel()
	var wait sync.WaitGroup
	for _, m := range p.store.Members() {
		if at, before := asked[m.ID]; m.ID == p.store.NodeID() || before && clock.Since(at) < clockEvery {
			continue
		}
		asked[m.ID] = time.Now()
		to := peer.Target{Node: m.ID, Addr: m.Address}
		wait.Go(func() {
			_ = p.clocks.Ask(m.ID, func() (time.Time, error) { return p.client.Clock(ctx, to) })
		})
	}
	wait.Wait()
}

// Now is part of peer.Node.
func (p *peers) Now() time.Time { return p.now() }

// Clocks is part of adminapi.Cluster.
func (p *peers) Clocks() clocks.Picture {
	var all []clocks.Member
	for _, m := range p.store.Members() {
		all = append(all, clocks.Member{ID: m.ID, Voter: m.Voter})
	}
	return p.clocks.Picture(p.store.NodeID(), all)
}

// stampNow is the time that this member, leading, writes into changes: what most members
// agree on where its own clock is off, and never less than any clock that agrees, so that
// a cut-off of now is not ahead of the change that makes it.
func (p *peers) stampNow() time.Time {
	if p.store == nil { // it is being opened
		return p.now()
	}
	picture := p.Clocks()
	return picture.Latest()
}

// Issue is part of adminapi.Cluster.
func (p *peers) Issue(ctx context.Context, member, path string, body []byte, caller access.Caller, requestID string) (token, newer string, err error) {
	to := peer.Target{Node: member, Addr: p.store.AddressOf(member)}
	token, header, err := p.client.Issue(ctx, to, path, body, caller, requestID)
	return token, header.Get(apitypes.HeaderKeyWaiting), err
}

// sayClocks logs once whose clock is off, and once that it is right again.
func (n *Node) sayClocks(p clocks.Picture, said map[string]bool) {
	for _, c := range p.Members {
		if c.Off == said[c.Member] || !c.Known && said[c.Member] {
			continue
		}
		said[c.Member] = c.Off
		args := []any{"member", c.Member, "aheadSeconds", int(c.Ahead.Seconds()), "this", c.Member == p.Own.Member}
		if c.Off {
			n.cfg.Logger.Warn("a member's clock is off: it issues no tokens", append(args, "hint", "set that machine's clock right")...)
		} else {
			n.cfg.Logger.Info("a member's clock is right again", args...)
		}
	}
	const apart = "" // no member's id
	if differ := !p.Agreed && p.Apart > clocks.Tolerance; differ != said[apart] {
		said[apart] = differ
		if differ {
			n.cfg.Logger.Warn("the members' clocks differ and no majority agrees: nobody can tell which is right",
				"apart", fmt.Sprint(p.Apart.Round(time.Second)), "hint", "set the clocks of all members right")
		}
	}
}

// clockSamples tell how far each member's clock is ahead, as far as this member knows.
func (n *Node) clockSamples() (samples []metrics.Sample) {
	for _, c := range n.peers.Clocks().Members {
		if c.Known {
			samples = append(samples, metrics.Sample{Labels: []string{c.Member}, Value: c.Ahead.Seconds()})
		}
	}
	return samples
}

// clockOff tells whether this member's own clock keeps it from issuing.
func (n *Node) clockOff() []metrics.Sample { return metrics.Bool(n.peers.Clocks().Own.Off) }
