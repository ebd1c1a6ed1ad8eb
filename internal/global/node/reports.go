package node

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math/bits"
	"time"

	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/global/fleet"
	"github.com/meridiankds/meridian/internal/global/peer"
	"github.com/meridiankds/meridian/kds"
	kdsserver "github.com/meridiankds/meridian/kds/server"
	"github.com/meridiankds/meridian/raftstore/state"
)

const (
	// reportEvery is how often a member renews the lease on its sessions.
	reportEvery = time.Second
	// lease is how long a member's report counts without being renewed.
	lease = 10 * time.Second
	// reportGap bounds how often changes are reported: thousands of zones
	// acknowledge a change within a moment. Where a report takes long because there
	// are so many, the next one waits reportRest times as long: what members are
	// told must not cost the zones their turn.
	reportGap  = 20 * time.Millisecond
	reportRest = 20
	// reportTimeout is how long a report may take. A later one says more.
	reportTimeout = 3 * time.Second
	// heardEvery is how often a report looks at all sessions where none has changed:
	// only when each was heard last can be another time.
	heardEvery = 5 * time.Second
)

// reportSessions tells the leader which zones this member carries and what they
// hold: on every change of either, and once a second to renew the lease.
func (n *Node) reportSessions(ctx context.Context) error {
	ticker := time.NewTicker(reportEvery)
	defer ticker.Stop()
	var r fleet.Report
	var open []kdsserver.Session
	var since <-chan struct{} // is closed when a session is not as r has it
	var looked time.Time
	for {
		begun := time.Now()
		sessions, state := n.kds.SessionsChanged(), n.store.Watch()
		_, head := n.store.Head()
		n.propagation.head(head, n.cfg.Now())
		if sessions != since || clock.Elapsed(looked, begun) >= heardEvery {
			r, open = n.report()
			since, looked = sessions, begun
		} else {
			r = n.renewed(r.Sessions)
		}
		n.fleet.Update(r)
		n.propagation.sessions(open, n.cfg.Now())
		if !n.store.IsLeader() {
			n.peers.report(ctx, r, n.cfg.Version, n.cfg.Logger.Debug)
		}
		gap := max(reportGap, min(reportRest*clock.Since(begun), reportEvery))
		select {
		case <-ctx.Done():
			return nil
		case <-sessions:
		case <-state:
		case <-ticker.C:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(gap):
		}
	}
}

// followLeadership has this member's fleet begin anew as soon as it leads.
func (n *Node) followLeadership(ctx context.Context) error {
	for {
		lead, err := n.store.LeaderContext(ctx)
		if err != nil || ctx.Err() != nil {
			return nil // ctx has ended
		}
		n.peers.leading()
		<-lead.Done()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// report sends a report to the leader, without the sessions where it has them.
func (p *peers) report(ctx context.Context, r fleet.Report, version string, debug func(string, ...any)) {
	to, err := p.leader()
	if err != nil {
		return // there is nobody to tell; the new leader asks for everything anyway
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	out := peer.Report{Member: r.Member, Boot: p.membership.Boot(), Applied: r.Applied, Version: version, Level: state.Level, NonVoter: p.nonVoter, Trusts: r.Trusts, Shows: r.Shows, Digest: digestOf(r.Sessions), Shown: p.losses.Pending()}
	answer, err := p.client.Report(ctx, to, out)
	if err == nil && answer.Full {
		out.Full, out.Sessions = true, r.Sessions
		_, err = p.client.Report(ctx, to, out)
	}
	if err != nil && ctx.Err() == nil {
		debug("the leader did not take this member's report", "leader", to.Addr, "error", err)
	}
}

// digestOf names sessions by all but when they were last heard, which changes
// every second, and how often key sets were fetched; when they were counts coarsely.
func digestOf(sessions []fleet.Session) string {
	sum := sha256.New()
	enc := json.NewEncoder(sum)
	for _, s := range sessions {
		s.LastHeard, s.KeySets = time.Time{}, coarse(s.KeySetUses())
		_ = enc.Encode(s) // a hash takes everything, and the type has no cycle
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// keySetsEvery is how much later a key set must have been fetched for the leader to be
// told of nothing else.
const keySetsEvery = 6 * time.Hour

// coarse is what is worth telling of key sets that were fetched, and of the sessions that
// each key has: of those the order of magnitude, since they come and go all the time.
func coarse(uses []kds.KeySetUse) string {
	for i := range uses {
		if _, live := uses[i].Live(); live {
			uses[i].Count = uint64(bits.Len64(uses[i].Count))
			continue
		}
		uses[i].Count, uses[i].Last = 0, uses[i].Last.Truncate(keySetsEvery)
	}
	return kds.FormatKeySets(uses)
}
