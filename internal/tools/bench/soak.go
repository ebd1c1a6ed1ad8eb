package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// soakZones is how many zones are connected: in ten minutes, or in one.
const (
	soakZones, soakZonesShort = 2000, 300
	soakLong                  = 10 * time.Minute
	soakShort                 = time.Minute
)

// soak runs three real globals with many zones and a real one under constant
// issuing, verifying and revoking. Every minute a key is rotated and a member is
// killed and comes back. At the end every zone must hold every revocation, no
// answer to a good token may have been a refusal, and no process may hold more
// goroutines or descriptors, or much more memory, than after the first minute, nor
// answer slower. Then somebody floods the zone with garbage.
func soak(ctx context.Context, s *scope) error {
	length, n := soakLong, soakZones
	if s.quick {
		length, n = soakShort, soakZonesShort
	}
	minute := min(time.Minute, length/3)
	c, err := s.startCluster(ctx, 3)
	if err != nil {
		return err
	}
	k := &soaking{cluster: c}
	if k.zones, err = c.joinMany(ctx, n); err != nil {
		return err
	}
	if k.checks, err = c.startChecks(ctx); err != nil {
		return err
	}
	if err := k.disturb(ctx); err != nil { // warm: everybody has been everywhere
		return err
	}
	first, err := k.busy(ctx, minute, minute)
	if err != nil {
		return err
	}
	before, err := k.weigh(ctx)
	if err != nil {
		return err
	}
	acknowledged := k.revoking.count()
	last, err := k.busy(ctx, length-minute, minute)
	if err != nil {
		return err
	}
	seen := k.checks.stop()
	if err := k.audit(ctx); err != nil {
		return err
	}
	list := []measurement{
		measured("soak/issued", float64(k.issuing.count()), "tokens"),
		measured("soak/revoked", float64(k.revoking.count()), "ids"),
		measured("soak/verified", float64(seen.answers), "answers"),
		measured("soak/zone-refusals", float64(seen.refused), "answers").within(0),
	}
	for _, l := range []struct {
		name string
		took *latencies
	}{{"issue", &k.issuing}, {"revoke", &k.revoking}, {"verify", &k.checks.took}} {
		early, late := l.took.within(first), l.took.within(last)
		if len(early) == 0 || len(late) == 0 {
			return fmt.Errorf("the soak did too little: %d times %s in its first minute, %d in its last", len(early), l.name, len(late))
		}
		// Twice is noise on a machine that carries all of it; the worst are the kills.
		list = append(list,
			measured("soak/"+l.name+"/p50", ms(median(late)), "ms").beside(ms(median(early))).within(2*ms(median(early))+1),
			measured("soak/"+l.name+"/p99", ms(percentile(late, 99)), "ms").beside(ms(percentile(early, 99))))
	}
	garbage, err := k.garbage(ctx)
	if err != nil {
		return err
	}
	after, err := k.weigh(ctx)
	if err != nil {
		return err
	}
	held, beyond := grown(before, after, k.revoking.count()-acknowledged, n)
	if err := s.report.add(slices.Concat(list, garbage, held)...); err != nil {
		return err
	}
	if seen.refused > 0 { // these also with --quick: they are what a soak is for
		return fmt.Errorf("the zone refused a good token %d times: %w", seen.refused, seen.err)
	}
	if len(beyond) > 0 {
		return fmt.Errorf("more is held at the end than after the first minute: %s", strings.Join(beyond, "; "))
	}
	return nil
}

// busy issues and revokes for so long, and disturbs every minute. It returns when
// the last minute was.
func (k *soaking) busy(ctx context.Context, length, minute time.Duration) (last stretch, err error) {
	work, stop := context.WithCancel(ctx)
	var workers sync.WaitGroup
	defer func() {
		stop()
		workers.Wait()
	}()
	workers.Go(func() { k.issue(work) })
	workers.Go(func() { k.revoke(work) })
	for begun := time.Now(); time.Since(begun) < length; {
		last.from = time.Now()
		if err := k.disturb(ctx); err != nil {
			return last, err
		}
		wait(ctx, time.Until(last.from.Add(minute)))
		if last.to = time.Now(); ctx.Err() != nil {
			return last, context.Cause(ctx)
		}
	}
	return last, nil
}

// soaking is a soak that runs.
type soaking struct {
	*cluster
	zones             *zones
	checks            *checks
	issuing, revoking latencies // of what was answered
	turn              int

	mu   sync.Mutex
	last string // id that was revoked last
	rev  federation.Revision
}

// joinMany has n zones join the cluster, each knowing every member.
func (c *cluster) joinMany(ctx context.Context, n int) (*zones, error) {
	z := &zones{join: zonesJoin{CAFile: c.trust + "/ca.crt"}}
	for _, m := range c.members {
		z.join.Others = append(z.join.Others, m.ends.KDS)
	}
	for i := range n {
		name := fmt.Sprintf("crowd-%d", i)
		issued, err := c.members[i%len(c.members)].api.ControlPlaneToken(ctx, apitypes.ControlPlaneTokenRequest{Zone: name})
		if err != nil {
			return nil, err
		}
		z.names, z.join.Zones = append(z.names, name), append(z.join.Zones, joinZone{Name: name, Token: issued.Token})
	}
	var err error
	if z.child, err = c.role("zones", "crowd"); err != nil {
		return nil, err
	}
	_, err = z.connect(ctx)
	return z, err
}

// disturb kills one member after the other, and rotates the zone key once all are
// there again.
func (k *soaking) disturb(ctx context.Context) error {
	m := k.members[k.turn%len(k.members)]
	k.turn++
	m.kill()
	if err := m.launch(); err != nil {
		return err
	}
	if err := m.await(ctx); err != nil {
		return err
	}
	if err := k.awaitVoters(ctx); err != nil {
		return err
	}
	return until(ctx, "a rotation", func() (bool, error) {
		_, err := k.run(ctx, "global", "keys", "rotate", "zone-token", "--wait", "20s", "--yes", "--address", "http://"+m.ends.API)
		return err == nil, err
	})
}

// issue asks for tokens, at any member that answers.
func (k *soaking) issue(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		begun := time.Now()
		if _, err := k.at(i).ZoneToken(ctx, apitypes.ZoneTokenRequest{Zone: "west"}); err == nil {
			k.issuing.note(begun)
		}
		wait(ctx, 20*time.Millisecond)
	}
}

// at is one member's API. A member that is started anew has another one.
func (k *soaking) at(i int) *apiclient.Global {
	k.reading.RLock()
	defer k.reading.RUnlock()
	return k.members[i%len(k.members)].api
}

// revoke revokes, and notes what was acknowledged.
func (k *soaking) revoke(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		id, r := newRevocation()
		begun := time.Now()
		if result, err := k.at(i).Revoke(ctx, r); err == nil {
			rev, err := federation.ParseRevision(result.Revision)
			k.mu.Lock()
			if err == nil && !k.rev.Covers(rev) {
				k.last, k.rev = id, rev
			}
			k.mu.Unlock()
			k.revoking.note(begun)
		}
		wait(ctx, 50*time.Millisecond)
	}
}

// audit waits until every zone refuses what was revoked last.
func (k *soaking) audit(ctx context.Context) error {
	return untilEvery(ctx, 100*time.Millisecond, "every zone to hold every revocation", func() (bool, error) {
		l, err := ask[lacking](ctx, k.zones.child, "hold", expected{k.rev, k.last})
		if err == nil && l.Zones > 0 {
			err = fmt.Errorf("%d zones do not: %s", l.Zones, l.Why)
		}
		return err == nil, err
	})
}
