package main

import (
	"context"
	"fmt"
	"time"

	"github.com/meridiankds/meridian/federation"
)

// The size of the row replicas.
const (
	replicaVoters = 3
	replicaCount  = 2
	replicaZones  = 400
)

// replicas spreads zones over voters and read replicas, and as many over the same number
// of voters alone, side by side. A write must not wait for a replica, a revocation must
// reach the zones of a replica like any other's, and the leader has less to do.
func replicas(ctx context.Context, s *scope) error {
	with, err := s.startSpread(ctx, "with", replicaVoters, replicaCount)
	if err != nil {
		return err
	}
	without, err := s.startSpread(ctx, "without", replicaVoters, 0)
	if err != nil {
		return err
	}
	// Writes first, while there is nobody to tell of them.
	var writes, bareWrites []time.Duration
	for range s.pick(200, 10) {
		took, err := with.write(ctx)
		if err != nil {
			return err
		}
		bare, err := without.write(ctx)
		if err != nil {
			return err
		}
		writes, bareWrites = append(writes, took), append(bareWrites, bare)
	}
	n := s.pick(replicaZones, 20)
	for _, c := range []*spread{with, without} {
		if err := c.join(ctx, n); err != nil {
			return err
		}
	}
	var ours, bare spreadOutcome
	for _, rounds := range []int{2, s.pick(30, 3)} { // the first ones warm
		ours, bare = spreadOutcome{}, spreadOutcome{}
		for range rounds {
			if err := with.round(ctx, &ours); err != nil {
				return err
			}
			if err := without.round(ctx, &bare); err != nil {
				return err
			}
		}
	}
	us := func(d time.Duration) float64 { return ms(d) * 1000 }
	return s.report.add(
		measured("replicas", ms(median(ours.slowest)), "ms").beside(ms(median(bare.slowest))),
		measured("replicas/p50", ms(median(ours.fromCommit)), "ms").beside(ms(median(bare.fromCommit))),
		measured("replicas/processor", us(ours.processor)/float64(ours.rounds*n), "µs/zone").beside(us(bare.processor)/float64(bare.rounds*n)),
		measured("replicas/leader-processor", ms(ours.leader)/float64(ours.rounds), "ms").beside(ms(bare.leader)/float64(bare.rounds)),
		measured("replicas/write", ms(median(writes)), "ms").beside(ms(median(bareWrites))),
		measured("replicas/write-p99", ms(percentile(writes, 99)), "ms").beside(ms(percentile(bareWrites, 99))),
	)
}

// write is how long the leader takes over one revocation.
func (c *spread) write(ctx context.Context) (time.Duration, error) {
	leader, err := c.leader(ctx)
	if err != nil {
		return 0, err
	}
	done, err := leader.revoke(ctx, 1)
	return time.Duration(done.Returned - done.Asked), err
}

// join has n zones join, the same number at every member.
func (c *spread) join(ctx context.Context, n int) error {
	leader, err := c.leader(ctx)
	if err != nil {
		return err
	}
	if c.zones, err = c.startZones(ctx, "zone-"+leader.name, leader, n, "", ""); err != nil {
		return err
	}
	for i := range c.zones.join.Zones {
		c.zones.join.Zones[i].Address = c.members[i%len(c.members)].ends.KDS
	}
	if _, err := c.zones.connect(ctx); err != nil {
		return err
	}
	return c.settle(ctx, federation.Revision{})
}

// settle waits until every member carries its share of the zones and has their
// acknowledgements of a revision.
func (c *spread) settle(ctx context.Context, rev federation.Revision) error {
	n := len(c.zones.names)
	return untilEvery(ctx, 20*time.Millisecond, "every zone's acknowledgement", func() (bool, error) {
		for i, g := range c.members {
			share := (n - i + len(c.members) - 1) / len(c.members)
			h, err := ask[held](ctx, g.child, "sessions", rev)
			if err != nil || h.Online != share || h.Holding != share {
				return false, fmt.Errorf("%s carries %d zones, of which %d hold it, and should carry %d: %w", g.name, h.Online, h.Holding, share, err)
			}
		}
		return true, nil
	})
}

// spreadOutcome is what some rounds came to.
type spreadOutcome struct {
	rounds     int
	slowest    []time.Duration // the 99th percentile of each round
	fromCommit []time.Duration
	processor  time.Duration // of all members and the zones together
	leader     time.Duration // of the leader alone
}

// round makes one revocation and waits until every zone has acknowledged it.
func (c *spread) round(ctx context.Context, o *spreadOutcome) error {
	leader, err := c.leader(ctx)
	if err != nil {
		return err
	}
	used := meter{c.zones.process, leader.process}
	for _, g := range c.members {
		if g != leader {
			used = append(used, g.process)
		}
	}
	before, err := used.read()
	if err != nil {
		return err
	}
	f := fanOut{scope: c.scope, global: leader, zones: c.zones}
	a, err := f.revocation(ctx)
	if err != nil {
		return err
	}
	if err := c.settle(ctx, a.revision); err != nil {
		return err
	}
	after, err := used.read()
	if err != nil {
		return err
	}
	for i := range used {
		o.processor += after[i] - before[i]
	}
	o.leader += after[1] - before[1]
	o.rounds++
	o.slowest, o.fromCommit = append(o.slowest, percentile(a.fromCommit, 99)), append(o.fromCommit, a.fromCommit...)
	return nil
}
