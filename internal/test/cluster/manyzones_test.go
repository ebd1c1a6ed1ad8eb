package cluster

import (
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	globalnode "github.com/meridiankds/meridian/internal/global/node"
	"github.com/meridiankds/meridian/kds"
)

const (
	// returning is how many zones come back one by one, joining how many of them are let
	// join at a time before, atATime how many come back at the same time.
	returning = 200
	joining   = 16
	atATime   = 40
	// tries is how often a zone may have to connect where many do and the machine is busy.
	tries = 4
)

// TestTwoHundredZonesComeBack to a lone global whose disk went back, one by one, each with
// another position of the lost past. The first has the global begin a history, and the rest
// nothing; each is sent one full state. A second loss within the hour begins none: zones
// wait, connected, until the hour has passed. No zone ever accepts what it had as revoked.
func TestTwoHundredZonesComeBack(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped with -short: two hundred zones of their own file each take some ten seconds")
	}
	var log journal
	var ahead atomic.Int64 // of the global's clock
	g := StartGlobal(t, slog.New(slog.NewTextHandler(&log, nil)), func(g *Global) {
		g.Configure = func(cfg *globalnode.Config) {
			cfg.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		}
	})
	zones := g.lightZones(t, returning)
	kept := []string{revokeNew(t, g)}
	copied := g.copiedWhileStopped()
	lost := g.joinOneByOne(t, zones, kept)
	for i, z := range zones {
		if len(z.held) < i+2 {
			t.Fatalf("%s holds %d revocations, want %d at least", z.name, len(z.held), i+2)
		}
	}
	shown := zones[0].revision()

	g.goBackTo(copied)
	again := []string{revokeNew(t, g), revokeNew(t, g)} // under indexes of the lost past
	var seen histories
	seen.note(g)
	for i, z := range zones {
		z.join(g)
		Eventually(t, "the loss to be known", func() bool { return len(g.Node.Store().Losses()) == 1 })
		Eventually(t, z.name+" to be current", func() bool { return z.current(g) })
		wantHeld(t, []*lightZone{z}, again...)
		seen.note(g)
		if i%25 == 0 {
			again = append(again, revokeNew(t, g))
		}
	}
	await(t, "to be current", zones, func(z *lightZone) bool { return z.current(g) })
	wantHeld(t, zones, slices.Concat(kept, again)...)
	wantNoCircles(t, "after the loss", zones, circles{connects: tries, fulls: 1})
	losses := g.Node.Store().Losses()
	if len(seen) != 2 || len(losses) != 1 || losses[0].ShownBy != "zone "+zones[0].name || losses[0].Shown != shown {
		t.Errorf("histories %v, losses %+v: want one, that %s showed at %s", seen, losses, zones[0].name, shown)
	}
	wantLossTold(t, g)
	leave(slices.Concat(kept, lost, again), zones...)

	// The disk goes back once more, within the hour.
	zones = zones[:atATime]
	copied = g.copiedWhileStopped()
	lost = append(lost, revokeNew(t, g))
	joinAll(g, zones)
	await(t, "to hold what is lost next", zones, func(z *lightZone) bool { return z.revoked(lost[len(lost)-1]) && z.current(g) })
	leave(lost, zones...)
	wantNoCircles(t, "before the second loss", zones, circles{connects: tries})
	g.goBackTo(copied)
	again = append(again, revokeNew(t, g))
	joinAll(g, zones)
	await(t, "to wait for the global", zones, func(z *lightZone) bool { return z.waits(g) })
	Eventually(t, "the limit of one an hour to be told", func() bool {
		return log.Has("level=ERROR", "somebody holds what this cluster does not have", "why=waits", "once more within an hour", "confirm-loss")
	})
	seen.note(g)
	if n := len(g.Node.Store().Losses()); len(seen) != 2 || n != 1 {
		t.Errorf("within the hour: histories %v, %d losses", seen, n)
	}
	wantHeld(t, zones)
	since := connectedSince(zones)
	ahead.Store(int64(time.Hour + time.Minute))
	Eventually(t, "the second loss to be known", func() bool { return len(g.Node.Store().Losses()) == 2 })
	await(t, "to be current", zones, func(z *lightZone) bool { return z.current(g) })
	seen.note(g)
	if n := len(g.Node.Store().Losses()); len(seen) != 3 || n != 2 {
		t.Errorf("after an hour: histories %v, %d losses", seen, n)
	}
	wantHeld(t, zones, slices.Concat(kept, again)...)
	wantNoCircles(t, "after the second loss", zones, circles{connects: tries, fulls: 1})
	waited := 0
	for i, at := range connectedSince(zones) {
		if at.Equal(since[i]) {
			waited++
		}
	}
	if waited < len(zones)/2 { // a machine that is busy may lose some
		t.Errorf("%d of %d zones waited on the connection on which they were sent the state", waited, len(zones))
	}
}

// connectedSince is when the connections of zones began.
func connectedSince(zones []*lightZone) (since []time.Time) {
	for _, z := range zones {
		since = append(since, z.client.Status().Since)
	}
	return since
}

// copiedWhileStopped copies the disk of a global between two starts.
func (g *Global) copiedWhileStopped() putBack {
	g.t.Helper()
	g.Stop()
	p := g.copyDisk(false)
	g.Start()
	return p
}

// goBackTo starts the global again from a copy.
func (g *Global) goBackTo(p putBack) {
	g.t.Helper()
	g.Stop()
	p.putBack()
	g.Start()
}

// joinOneByOne revokes an id for each zone and has it join, and leave once it has that:
// each leaves with another position. It returns the ids.
func (g *Global) joinOneByOne(t *testing.T, zones []*lightZone, before []string) (ids []string) {
	t.Helper()
	settle := func(i int) {
		Eventually(t, zones[i].name+" to hold what was revoked before it came", func() bool { return zones[i].revoked(ids[i]) })
		leave(slices.Concat(before, ids), zones[i])
	}
	for i, z := range zones {
		ids = append(ids, revokeNew(t, g))
		z.join(g)
		if i >= joining {
			settle(i - joining)
		}
	}
	for i := max(0, len(zones)-joining); i < len(zones); i++ {
		settle(i)
	}
	wantNoCircles(t, "at their first joining", zones, circles{connects: tries, fulls: 1})
	return ids
}

func joinAll(g *Global, zones []*lightZone) {
	for _, z := range zones {
		z.join(g)
	}
}

// wander is one cluster of two, between which zones are moved.
type wander struct {
	g    *Global
	log  *journal
	seen histories
}

// cluster and its copy: two lone globals of one past, and zones that have it.
func startWithCopy(t *testing.T, n int) (both [2]*wander, zones []*lightZone) {
	t.Helper()
	for i := range both {
		both[i] = &wander{log: new(journal)}
	}
	first := StartGlobal(t, slog.New(slog.NewTextHandler(both[0].log, nil)))
	zones = first.lightZones(t, n)
	joinAll(first, zones)
	await(t, "to be current", zones, func(z *lightZone) bool { return z.current(first) })
	leave(nil, zones...)
	first.Stop()
	second := &Global{Dir: filepath.Join(TempDir(t), "second"), t: t, log: slog.New(slog.NewTextHandler(both[1].log, nil))}
	copyPrivate(t, second.Dir, first.Dir)
	first.Start()
	second.Start()
	t.Cleanup(second.Stop)
	both[0].g, both[1].g = first, second
	for _, w := range both {
		w.seen.note(w.g)
	}
	return both, zones
}

// TestZonesWanderBetweenAClusterAndItsCopy: half of the zones are at a cluster, half at its
// copy, and all change places again and again, while both revoke. Each of the two begins one
// history. From then on zones that know the newer one wait at the other, which says so; none
// is sent a full state twice, and none accepts what either told it is revoked.
func TestZonesWanderBetweenAClusterAndItsCopy(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped with -short: two globals start, and twenty zones change places six times")
	}
	both, zones := startWithCopy(t, 20)
	var ids []string
	const rounds = 6
	for round := range rounds {
		for _, w := range both {
			ids = append(ids, revokeNew(t, w.g))
		}
		at := func(i int) *wander { return both[(i+round)%2] }
		for i, z := range zones {
			z.join(at(i).g)
		}
		for _, w := range both {
			if round > 0 {
				Eventually(t, "the loss to be known", func() bool { return len(w.g.Node.Store().Losses()) == 1 })
			}
		}
		for i, z := range zones {
			Eventually(t, z.name+" to be current, or to wait", func() bool { return z.current(at(i).g) || z.waitsForGood(at(i).g) })
		}
		for _, w := range both {
			w.seen.note(w.g)
		}
		leave(ids, zones...)
		wantHeld(t, zones)
		if round == 1 {
			wantNoCircles(t, "when each began a history", zones, circles{connects: 2 * tries, fulls: 2})
		}
	}
	wantNoCircles(t, "after each began a history", zones, circles{connects: tries * (rounds - 2), fulls: 1})
	older, newer := both[0], both[1]
	if older.head().Compare(newer.head()) > 0 {
		older, newer = newer, older
	}
	for _, w := range both {
		if n := len(w.g.Node.Store().Losses()); n != 1 || len(w.seen) != 2 {
			t.Errorf("a cluster went through histories %v, and knows of %d losses", w.seen, n)
		}
	}
	older.wantNewer(t, newer.head().ID)
	newer.wantNewer(t)
	if n := strings.Count(older.log.String(), "a newer history is known elsewhere"); n != 1 {
		t.Errorf("the newer history is named %d times in the log", n)
	}

	// The operator decides that the older one stays.
	newer.g.Stop()
	older.g.want(t, http.StatusOK, http.MethodPost, "/v1/cluster/confirm-loss", apitypes.ConfirmLossRequest{Adopt: true}, nil)
	joinAll(older.g, zones)
	await(t, "to be current", zones, func(z *lightZone) bool { return z.current(older.g) })
	wantHeld(t, zones)
	wantNoCircles(t, "after one was stopped", zones, circles{connects: tries, fulls: 1})
	Eventually(t, "the alarms to end", func() bool { return len(older.status(t).NewerHistories) == 0 && len(older.status(t).Losses) == 0 })
}

func (w *wander) head() federation.History {
	_, head := w.g.Node.Store().Head()
	return head.History
}

func (w *wander) status(t *testing.T) (status apitypes.Cluster) {
	t.Helper()
	w.g.want(t, http.StatusOK, http.MethodGet, "/v1/cluster", nil, &status)
	return status
}

// wantNewer wants the status of a cluster to name the histories that it does not know.
func (w *wander) wantNewer(t *testing.T, ids ...string) {
	t.Helper()
	if got := w.status(t).NewerHistories; !slices.Equal(got, ids) {
		t.Errorf("histories that are newer: %q, want %q", got, ids)
	}
}

// TestZonesAreTurnedToAnotherClusterOfTheirName, which shares the CA and the seal key too, and
// back. It refuses their tokens; with tokens of its own, they refuse it, and name both. They
// go on with what they have, try ever more rarely, and go on at home where they left.
func TestZonesAreTurnedToAnotherClusterOfTheirName(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped with -short: zones are refused and try again, which takes seconds as it backs off")
	}
	var log journal
	one := StartGlobals(t, quiet, 1)
	other := NewGlobals(t, slog.New(slog.NewTextHandler(&log, nil)), 1)
	other.CA, other.ca, other.seal = one.CA, one.ca, one.seal
	other.Launch(1)
	home, away := one.Leader(), other.Leader()
	zones := home.lightZones(t, 5)
	var ids []string
	for range 2 {
		ids = append(ids, revokeNew(t, home))
		joinAll(home, zones)
		await(t, "to be current", zones, func(z *lightZone) bool { return z.current(home) })
		leave(ids, zones...)
		wantNoCircles(t, "at home", zones, circles{connects: tries, fulls: 1})

		revokeNew(t, away)
		turned(t, zones, away, "", "failed") // a stranger is told no more
		if !log.Has("level=WARN", "zone="+zones[0].name, "reason="+string(cptoken.BadSignature)) {
			t.Error("the other cluster does not name whom it refused")
		}
		for _, z := range zones {
			z.token = away.lightToken(z.name)
		}
		turned(t, zones, away, kds.ReasonOtherCluster, home.Node.Store().ClusterID(), away.Node.Store().ClusterID())
		wantHeld(t, zones, ids...)
		for _, z := range zones {
			z.token = home.lightToken(z.name)
		}
	}
	for _, g := range []*Global{home, away} {
		w := wander{g: g}
		w.wantNewer(t)
		if losses := g.Node.Store().Losses(); len(losses) > 0 {
			t.Errorf("losses %+v", losses)
		}
	}
	// At home they resume: no full state.
	ids = append(ids, revokeNew(t, home))
	joinAll(home, zones)
	await(t, "to be current", zones, func(z *lightZone) bool { return z.current(home) })
	wantHeld(t, zones, ids...)
	wantNoCircles(t, "home again", zones, circles{connects: tries})
}

// turned has zones try to join a global that they and that will not have each other, and wants
// to hear why: for a reason ("": any), with the words; that they take nothing; and that they
// slow down.
func turned(t *testing.T, zones []*lightZone, g *Global, reason string, words ...string) {
	t.Helper()
	at := make([]federation.Revision, len(zones))
	begun := time.Now()
	for i, z := range zones {
		at[i] = z.revision()
		z.join(g)
	}
	for i, z := range zones {
		Eventually(t, z.name+" to try again and again", func() bool { return z.connects.Load() >= 3 })
		s := z.client.Status()
		z.stop()
		if reason != "" && s.LastReason != reason {
			t.Errorf("%s was refused for %q, want %q: %s", z.name, s.LastReason, reason, s.LastError)
		}
		for _, w := range words {
			if !strings.Contains(s.LastError, w) {
				t.Errorf("%s says %q, which does not name %s", z.name, s.LastError, w)
			}
		}
		// Each wait is twice as long as the one before, or half as long as that.
		least := 100 * time.Millisecond * time.Duration(1<<(z.connects.Load()-1)-1)
		if took := time.Since(begun); took < least {
			t.Errorf("%s tried %d times within %s, want no less than %s", z.name, z.connects.Load(), took, least)
		}
		z.connects.Store(0)
		if z.revision() != at[i] {
			t.Errorf("%s went from %s to %s", z.name, at[i], z.revision())
		}
	}
	wantNoCircles(t, "away", zones, circles{})
}
