package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/adminapi/apitypes"
	"github.com/meridiankds/meridian/internal/apiclient"
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
// goroutines or descriptors, or much more memory, than after the first rounds.
func soak(ctx context.Context, s *scope) error {
	length, n := soakLong, soakZones
	if s.quick {
		length, n = soakShort, soakZonesShort
	}
	c, err := s.startCluster(ctx, 3)
	if err != nil {
		return err
	}
	k := &soaking{cluster: c}
	if k.zones, err = c.joinMany(ctx, n); err != nil {
		return err
	}
	checks, err := c.startChecks(ctx)
	if err != nil {
		return err
	}
	if err := k.disturb(ctx); err != nil { // warm: everybody has been everywhere
		return err
	}
	before, err := k.weigh(ctx)
	if err != nil {
		return err
	}
	work, stop := context.WithCancel(ctx)
	defer stop()
	var workers sync.WaitGroup
	workers.Go(func() { k.issue(work) })
	workers.Go(func() { k.revoke(work) })
	for begun := time.Now(); time.Since(begun) < length && err == nil && ctx.Err() == nil; {
		next := time.Now().Add(min(time.Minute, length/3))
		if err = k.disturb(ctx); err == nil {
			wait(ctx, time.Until(next))
		}
	}
	stop()
	workers.Wait()
	if err != nil {
		return err
	}
	seen := checks.stop()
	if err := k.audit(ctx); err != nil {
		return err
	}
	after, err := k.weigh(ctx)
	if err != nil {
		return err
	}
	if k.issued.Load() == 0 || k.acknowledged.Load() == 0 || seen.answers == 0 {
		return fmt.Errorf("the soak did nothing: %d issued, %d revoked, %d verified", k.issued.Load(), k.acknowledged.Load(), seen.answers)
	}
	list := []measurement{
		measured("soak/issued", float64(k.issued.Load()), "tokens"),
		measured("soak/revoked", float64(k.acknowledged.Load()), "ids"),
		measured("soak/verified", float64(seen.answers), "answers"),
		measured("soak/zone-refusals", float64(seen.refused), "answers").within(0),
	}
	var grown []string
	for i, b := range before {
		a := after[i]
		for _, m := range []measurement{
			// A revoked id of a global takes some 300 bytes: growth that is meant.
			measured("soak/"+b.name+"/memory", a.memory/1e6, "MB").beside(b.memory / 1e6).within(1.5*b.memory/1e6 + 20 + float64(k.acknowledged.Load())*1200/1e6),
			measured("soak/"+b.name+"/goroutines", a.goroutines, "goroutines").beside(b.goroutines).within(1.25*b.goroutines + 100),
			measured("soak/"+b.name+"/descriptors", a.files, "files").beside(b.files).within(1.25*b.files + 50),
		} {
			if list = append(list, m); !m.OK {
				grown = append(grown, m.line())
			}
		}
	}
	if err := s.report.add(list...); err != nil {
		return err
	}
	if len(grown) > 0 { // also with --quick: this is what a soak is for
		return fmt.Errorf("more is held at the end than at the beginning: %s", strings.Join(grown, "; "))
	}
	return nil
}

// soaking is a soak that runs.
type soaking struct {
	*cluster
	zones                *zones
	issued, acknowledged atomic.Int64
	turn                 int

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
		if _, err := k.at(i).ZoneToken(ctx, apitypes.ZoneTokenRequest{Zone: "west"}); err == nil {
			k.issued.Add(1)
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
		if result, err := k.at(i).Revoke(ctx, r); err == nil {
			rev, err := federation.ParseRevision(result.Revision)
			k.mu.Lock()
			if err == nil && !k.rev.Covers(rev) {
				k.last, k.rev = id, rev
			}
			k.mu.Unlock()
			k.acknowledged.Add(1)
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

// weight is what a process holds.
type weight struct {
	name                      string
	memory, goroutines, files float64
}

// weigh looks at the members together, and at the process of the zones.
func (k *soaking) weigh(ctx context.Context) ([]weight, error) {
	wait(ctx, 5*time.Second) // what just ended is given back
	// Zones move between the members: what all of them hold together must not grow.
	globals := weight{name: "globals"}
	for _, m := range k.members {
		goroutines, err := metric(ctx, m.ends.Diagnostics, "go_goroutines")
		if err != nil {
			return nil, m.failure(err)
		}
		w, err := weightOf(m.name, m.process, goroutines)
		if err != nil {
			return nil, err
		}
		globals.memory, globals.goroutines, globals.files = globals.memory+w.memory, globals.goroutines+w.goroutines, globals.files+w.files
	}
	u, err := ask[usage](ctx, k.zones.child, "free", none{})
	if err != nil {
		return nil, err
	}
	w, err := weightOf("zones", k.zones.process, float64(u.Goroutines))
	return []weight{globals, w}, err
}

func weightOf(name string, p *process, goroutines float64) (weight, error) {
	memory, err := anonymousMemory(p.pid())
	if err != nil {
		return weight{}, err
	}
	files, err := openFiles(p.pid())
	return weight{name, memory, goroutines, float64(files)}, err
}

// metric reads one number of a node's metrics.
func metric(ctx context.Context, diagnostics, name string) (float64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+diagnostics+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, fmt.Errorf("reading the metrics: %w", err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, 4<<20))
	if err != nil {
		return 0, fmt.Errorf("reading the metrics: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("the metrics have no %s", name)
}
