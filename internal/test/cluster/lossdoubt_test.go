package cluster

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// history is what the status of a global says of its history.
func (g *Global) history(t *testing.T) (status apitypes.Cluster) {
	t.Helper()
	g.want(t, http.StatusOK, http.MethodGet, "/v1/cluster", nil, &status)
	return status
}

// wantDoubt waits until the status names a revision that the cluster does not have.
func (g *Global) wantDoubt(t *testing.T, by string, shown federation.Revision, why string) {
	t.Helper()
	want := apitypes.Doubt{ShownBy: by, Shown: shown.String(), Why: why}
	Eventually(t, "the status to doubt "+want.Shown+" of "+by+" ("+why+")", func() bool {
		status := g.history(t)
		for _, d := range status.Doubts {
			if d == want {
				return strings.Contains(status.Warning, by+" holds revision "+want.Shown)
			}
		}
		return false
	})
}

func (g *Global) confirmLoss(t *testing.T, adopt bool) {
	t.Helper()
	g.want(t, http.StatusOK, http.MethodPost, "/v1/cluster/confirm-loss", apitypes.ConfirmLossRequest{Adopt: adopt}, nil)
}

// TestALossBehindARotationOfTheSecretIsAnAlarm: positions of before are under a generation of
// the cluster secret that nobody knows any more, or that is another one by now. They prove
// nothing, so that no history begins, and are told to the operator.
func TestALossBehindARotationOfTheSecretIsAnAlarm(t *testing.T) {
	for name, c := range map[string]struct{ logOnly, rotatedAgain bool }{
		"its directory": {}, "raft.db alone": {logOnly: true}, "and rotated again": {rotatedAgain: true},
	} {
		t.Run(name, func(t *testing.T) {
			g, west, disk := startLone(t, quiet, c.logOnly)
			rotate := func() {
				if _, err := g.Node.Store().RotateSecret(context.Background(), operator); err != nil {
					t.Fatal(err)
				}
			}
			rotate()
			lost := issueAndRevoke(t, g, 1)
			west.WaitCurrent(g)
			held := west.Revision()
			g.Stop()
			disk.copy.putBack()
			g.Start() // under another address
			if c.rotatedAgain {
				rotate()
			}
			disk.relay.Retarget(g.KDS())
			by := "zone west"
			if c.logOnly {
				by = "member " + g.Node.Store().NodeID()
			}
			g.wantDoubt(t, by, held, "unproved")
			again := issueAndRevoke(t, g, 2)
			west.wantRefused("what was revoked after the disk went back", again...)
			west.wantRefused("what was revoked before the disk went back", lost...)
			if losses := g.Node.Store().Losses(); len(losses) > 0 {
				t.Errorf("a history began for what nothing proves: %+v", losses)
			}
			g.confirmLoss(t, true)
			Eventually(t, "the alarm to end", func() bool { return len(g.history(t).Doubts) == 0 })
			west.WaitCurrent(g)
			west.wantRefused("what was revoked", append(lost, again...)...)
		})
	}
}

// TestMoreThanWasProvedIsNamed: the first zone that returns proves the loss, and it need not be
// the one that holds most.
func TestMoreThanWasProvedIsNamed(t *testing.T) {
	g, west, disk := startLone(t, quiet, false)
	east := g.StartZone("east", disk.relay.Addr())
	issueAndRevoke(t, g, 1)
	west.WaitCurrent(g)
	west.Stop()
	lost := issueAndRevoke(t, g, 1)
	east.WaitCurrent(g)
	most := east.Revision()
	east.Stop()
	disk.goBack()

	west.Start()
	g.wantLosses(t, 1)
	if status := g.history(t); len(status.Doubts) > 0 {
		t.Errorf("nobody showed more yet: %+v", status.Doubts)
	}
	east.Start()
	g.wantDoubt(t, "zone east", most, "more")
	east.WaitCurrent(g)
	east.wantRefused("what was revoked before the disk went back", lost...)
	g.confirmLoss(t, false)
	Eventually(t, "the alarm to end", func() bool { return len(g.history(t).Doubts) == 0 })
}

// TestAHistoryThatWasLostInBetweenIsNamed: a disk goes back twice to the same copy. The first
// zone that returns the second time has not seen the history in between, and proves the first
// loss again; what was acknowledged in between is lost as well.
func TestAHistoryThatWasLostInBetweenIsNamed(t *testing.T) {
	g, west, disk := startLone(t, quiet, false)
	east := g.StartZone("east", disk.relay.Addr())
	issueAndRevoke(t, g, 1)
	west.WaitCurrent(g)
	east.WaitCurrent(g)
	west.Stop()
	disk.goBack()
	g.wantLosses(t, 1) // east proved it
	east.WaitCurrent(g)
	lost := issueAndRevoke(t, g, 1)
	east.WaitCurrent(g)
	between := east.Revision()
	east.Stop()
	disk.goBack()

	west.Start()
	g.wantLosses(t, 1)
	east.Start()
	g.wantDoubt(t, "zone east", between, "more")
	east.WaitCurrent(g)
	east.wantRefused("what was revoked in between", lost...)
}

// TestALossWithinTheHourIsNamed: no second history begins within an hour, and the zone is sent
// nothing. The status says so.
func TestALossWithinTheHourIsNamed(t *testing.T) {
	g, west, disk := startLone(t, quiet, false)
	issueAndRevoke(t, g, 1)
	west.WaitCurrent(g)
	disk.goBack()
	g.wantLosses(t, 1)
	west.WaitCurrent(g)
	g.Stop()
	disk.copy = g.copyDisk(false)
	g.Start()
	disk.relay.Retarget(g.KDS())
	lost := issueAndRevoke(t, g, 1)
	west.WaitCurrent(g)
	held := west.Revision()
	disk.goBack()
	g.wantDoubt(t, "zone west", held, "waits")
	g.wantLosses(t, 1)
	west.wantRefused("what was revoked", lost...)
	west.Stop()
	g.Stop()
	g.Start()
	disk.relay.Retarget(g.KDS())
	g.wantDoubt(t, "zone west", held, "waits") // the alarm outlives a restart
	west.Start()
	g.confirmLoss(t, false)
	Eventually(t, "the loss to be proved", func() bool {
		losses := g.Node.Store().Losses()
		return len(losses) == 1 && losses[0].Shown == held
	})
	west.WaitCurrent(g)
	Eventually(t, "the doubt to end", func() bool { return len(g.history(t).Doubts) == 0 })
}

// TestANewerHistoryIsNamedAfterARestart, although the zone that showed it is away.
func TestANewerHistoryIsNamedAfterARestart(t *testing.T) {
	g, west, disk := startLone(t, quiet, false)
	issueAndRevoke(t, g, 1)
	west.WaitCurrent(g)
	disk.goBack()
	g.wantLosses(t, 1)
	west.WaitCurrent(g)
	disk.goBack()
	newer := func() bool { return len(g.history(t).NewerHistories) == 1 }
	Eventually(t, "the zone to show a history that nobody knows", newer)
	west.Stop()
	g.Stop()
	g.Start()
	Eventually(t, "the alarm to outlive the restart", newer)
}

// TestALossBehindARotationOfControlPlaneKeysIsAnAlarm: the key of the zone's token is among what
// was lost, so that the zone is refused. What it shows proves the loss all the same.
func TestALossBehindARotationOfControlPlaneKeysIsAnAlarm(t *testing.T) {
	g, west, disk := startLone(t, quiet, false)
	ctx, store := context.Background(), g.Node.Store()
	key, err := store.PrepareKey(ctx, operator, cptoken.ControlPlane, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.ActivateKey(ctx, operator, key.ID); err != nil {
		t.Fatal(err)
	}
	west.Stop()
	west.Token = g.Issue(cptoken.Claims{Kind: cptoken.ControlPlane, Zone: "west"}, time.Hour)
	west.Start()
	lost := issueAndRevoke(t, g, 1)
	west.WaitCurrent(g)
	held := west.Revision()
	disk.goBack()
	g.wantLosses(t, 1)
	if l := g.Node.Store().Losses()[0]; l.ShownBy != "zone west" || l.Shown != held {
		t.Errorf("loss %+v, want one that zone west showed, of %s", l, held)
	}
	west.wantRefused("what was revoked", lost...)
	if sessions := g.Node.Sessions(); len(sessions) > 0 {
		t.Errorf("the zone was let in: %+v", sessions)
	}
	west.Stop()
	west.Token = g.Issue(cptoken.Claims{Kind: cptoken.ControlPlane, Zone: "west"}, time.Hour)
	west.Start()
	west.WaitCurrent(g)
	west.wantRefused("what was revoked", lost...)
}

// wantLosses waits until n losses are known and not confirmed.
func (g *Global) wantLosses(t *testing.T, n int) {
	t.Helper()
	Eventually(t, "the loss to be known", func() bool { return len(g.Node.Store().Losses()) == n })
}

// TestAMemberThatLagsTakesNothingFromAZone: it lacks the secret that the zone's position is
// under, and cannot tell where the zone stands. The full state that it has would take a key
// from the zone with which tokens may be signed, and lead it back.
func TestAMemberThatLagsTakesNothingFromAZone(t *testing.T) {
	c := StartGlobals(t, quiet, 3)
	leader := c.Leader()
	lags := c.Followers()[0]
	relay := NewRelay(t, leader.KDS())
	west := leader.StartZone("west", relay.Addr())
	west.WaitCurrent(leader)
	Eventually(t, "the member to know the zone", func() bool {
		z, known := lags.Node.Store().Zone("west")
		return known && !z.FirstSeen.IsZero()
	})
	c.Net.Cut(lags.Name, true)
	ctx := context.Background()
	if _, err := leader.Node.Store().RotateSecret(ctx, operator); err != nil {
		t.Fatal(err)
	}
	key, err := leader.Node.Store().PrepareKey(ctx, operator, cptoken.Zone, "")
	if err != nil {
		t.Fatal(err)
	}
	west.WaitCurrent(leader)
	before := west.Revision()
	holds := func() bool {
		return west.Node.Store().View().Key(key.ID) != nil && west.Revision().Covers(before)
	}

	relay.Retarget(lags.KDS())
	Eventually(t, "the zone to come to the member that lags, and to be sent nothing", func() bool {
		s, open := lags.open("west")
		return !holds() || open && strings.Contains(s.Nack, "it waits")
	})
	if !holds() {
		t.Fatalf("the zone went back to %s, from %s", west.Revision(), before)
	}
	c.Net.Cut(lags.Name, false)
	Eventually(t, "the member to know where the zone stands", func() bool {
		s, open := lags.open("west")
		return !holds() || open && s.Full && s.Acked.Covers(before)
	})
	if !holds() {
		t.Fatalf("the zone went back to %s, from %s", west.Revision(), before)
	}
	if status := c.Leader().history(t); len(status.Losses)+len(status.NewerHistories)+len(status.Doubts) > 0 {
		t.Errorf("the status doubts: %s", status.Warning)
	}
}
