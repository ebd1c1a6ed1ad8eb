package cluster

import (
	"context"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/raftstore"
)

// putBack is a copy of a data directory, or of its log alone, as a VM snapshot or a
// careless restore has one.
type putBack struct {
	g       *Global
	copy    string
	logOnly bool
}

// copyDisk copies the directory of a global that is stopped.
func (g *Global) copyDisk(logOnly bool) putBack {
	g.t.Helper()
	p := putBack{g, filepath.Join(TempDir(g.t), "copy"), logOnly}
	copyPrivate(g.t, p.copy, g.Dir)
	return p
}

// loneDisk is the disk of a lone global as it was, and the relay by which its zone finds the
// global again.
type loneDisk struct {
	g     *Global
	relay *Relay
	copy  putBack
}

// startLone starts a global and zone west, which has all that the global has, and copies the
// global's disk.
func startLone(t *testing.T, log *slog.Logger, logOnly bool) (*Global, *Zone, loneDisk) {
	t.Helper()
	return equipLone(StartGlobal(t, log), logOnly)
}

// equipLone is startLone with a global that runs.
func equipLone(g *Global, logOnly bool) (*Global, *Zone, loneDisk) {
	g.t.Helper()
	relay := NewRelay(g.t, g.KDS())
	west := g.StartZone("west", relay.Addr())
	west.WaitCurrent(g)
	g.Stop()
	d := loneDisk{g, relay, g.copyDisk(logOnly)}
	g.Start()
	relay.Retarget(g.KDS())
	return g, west, d
}

// goBack puts the copy back. A load that is under way is told when the global has ended.
func (d loneDisk) goBack(loads ...*tokenLoad) {
	d.g.t.Helper()
	d.g.Stop()
	for _, l := range loads {
		l.membersGoBack()
	}
	d.copy.putBack()
	d.g.Start()
	d.relay.Retarget(d.g.KDS())
}

// copyPrivate copies a directory, with the modes of a data directory.
func copyPrivate(t testing.TB, to, from string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.Chmod(path, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func copyFile(t testing.TB, to, from string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// putBack puts the copy in the place of what the global, which is stopped, has now.
func (p putBack) putBack() {
	p.g.t.Helper()
	if p.logOnly {
		copyFile(p.g.t, filepath.Join(p.g.Dir, "raft.db"), filepath.Join(p.copy, "raft.db"))
		return
	}
	if err := os.RemoveAll(p.g.Dir); err != nil {
		p.g.t.Fatal(err)
	}
	copyPrivate(p.g.t, p.g.Dir, p.copy)
}

// issueAndRevoke issues n tokens of a zone and revokes them.
func issueAndRevoke(t *testing.T, g *Global, n int) (tokens []string) {
	t.Helper()
	for range n {
		token := g.ZoneToken("west", cptoken.ScopeEgress)
		revoke(t, g, token)
		tokens = append(tokens, token)
	}
	return tokens
}

// wantRefused waits until a zone refuses each of the tokens.
func (z *Zone) wantRefused(what string, tokens ...string) {
	z.t.Helper()
	for _, token := range tokens {
		Eventually(z.t, what+" to be refused", func() bool { return !z.accepts(token) })
	}
}

func (z *Zone) accepts(token string) bool {
	parsed, err := cptoken.Parse(token)
	if err != nil {
		z.t.Fatal(err)
	}
	_, err = cptoken.NewVerifier(cptoken.VerifierOptions{}).Verify(z.Node.Store().View(), parsed.Claims.Kind, token)
	return err == nil
}

// TestALoneGlobalIsRolledBack is what a VM snapshot does, under load: revocations that were
// acknowledged are gone from the global, and the indexes that they had are given out anew.
// The zone accepts nothing that it had revoked, misses nothing that is revoked from then on,
// and the loss is known. A global that is alone runs in any case: nobody else has more.
func TestALoneGlobalIsRolledBack(t *testing.T) {
	for name, tt := range map[string]struct{ server, logOnly bool }{
		"its directory": {}, "raft.db alone": {logOnly: true},
		"the directory of a server": {server: true}, "raft.db alone of a server": {server: true, logOnly: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lone := StartGlobal
			if tt.server {
				lone = func(t testing.TB, log *slog.Logger, _ ...Option) *Global { return StartGlobals(t, log, 1).Members[0] }
			}
			g, west, disk := equipLone(lone(t, quiet), tt.logOnly)
			load := loadOn(t, west, g)
			load.goesOn("before the disk goes back")
			before := west.Revision()
			disk.goBack(load)
			load.goesOn("after the disk went back")
			Eventually(t, "the loss to be known", func() bool { return len(g.Node.Store().Losses()) > 0 })
			load.end()
			west.WaitCurrent(g)
			by := "zone west"
			if tt.logOnly { // its own record, which is beside raft.db, knows more
				by = "member " + g.Node.Store().NodeID()
			}
			loss := wantOneLoss(t, g, west)
			if loss.ShownBy != by || loss.Shown.History != before.History || loss.Shown.Index < before.Index {
				t.Errorf("loss %+v, want one that %s showed, at %s or later", loss, by, before)
			}
		})
	}
}

// wantOneLoss wants one loss, told where operators look, one history that began because of it,
// and the zone in that.
func wantOneLoss(t *testing.T, g *Global, west *Zone) raftstore.Loss {
	t.Helper()
	losses := g.Node.Store().Losses()
	if len(losses) != 1 {
		t.Fatalf("losses %+v, want one", losses)
	}
	if at := west.Revision(); at.History != losses[0].Began.History {
		t.Errorf("zone west stands at %s, and the loss began %s", at, losses[0].Began)
	}
	wantLossTold(t, g)
	return losses[0]
}

// wantLossTold looks for the alarm where operators look.
func wantLossTold(t *testing.T, g *Global) {
	t.Helper()
	var status apitypes.Cluster
	g.want(t, http.StatusOK, http.MethodGet, "/v1/cluster", nil, &status)
	if len(status.Losses) == 0 || !strings.Contains(status.Warning, "acknowledged changes were lost") {
		t.Errorf("cluster status says %+v", status)
	}
}

// TestALostKeyIsNotTakenForTheNext: a rotation that was lost with the disk. Its key is not
// given out again under the same serial, tokens that it signed are refused, and the gate
// of the next rotation opens for zones that hold the next key.
func TestALostKeyIsNotTakenForTheNext(t *testing.T) {
	g, west, disk := startLone(t, quiet, false)
	lostKey := g.rotate(west)
	ofLost := g.ZoneToken("west", cptoken.ScopeEgress)
	west.WaitCurrent(g)
	disk.goBack()
	Eventually(t, "the loss to be known", func() bool { return len(g.Node.Store().Losses()) == 1 })
	west.WaitCurrent(g)
	if west.accepts(ofLost) {
		t.Error("a token of the lost key is accepted")
	}
	next := g.rotate(west)
	if next == lostKey {
		t.Errorf("key %s is given out twice", next)
	}
	if token := g.ZoneToken("west", cptoken.ScopeEgress); !west.accepts(token) {
		t.Error("a token of the next key is refused")
	}
}

// TestAKeyThatAZoneKnowsAsRemovedIsReplaced: the disk goes back behind the removal of a
// key, which signs again. The zone goes on refusing it, and the global replaces it.
func TestAKeyThatAZoneKnowsAsRemovedIsReplaced(t *testing.T) {
	g, west, disk := startLone(t, quiet, false)
	first := cptoken.KeyID{Kind: cptoken.Zone, KID: "1"}
	stolen := g.ZoneToken("west", cptoken.ScopeEgress)
	g.rotate(west)
	if _, err := g.Node.Store().RemoveKey(context.Background(), operator, first, raftstore.RemoveOptions{Compromised: true}); err != nil {
		t.Fatal(err)
	}
	west.WaitCurrent(g)
	disk.goBack()
	Eventually(t, "another key to sign", func() bool {
		k, err := g.Node.Store().Signer(cptoken.Zone, "")
		return err == nil && k.Ref().Serial > 100
	})
	west.WaitCurrent(g)
	if west.accepts(stolen) {
		t.Error("a token of the removed key is accepted")
	}
	if token := g.ZoneToken("west", cptoken.ScopeEgress); !west.accepts(token) {
		t.Error("a token of the key in its place is refused")
	}
}

// TestAZoneIsRolledBack under load: it resumes from its earlier position, which is in the past,
// and is sent the rest.
func TestAZoneIsRolledBack(t *testing.T) {
	for name, only := range map[string]string{"its directory": ".", "zone.db alone": "zone.db"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := StartGlobal(t, quiet)
			west := g.StartZone("west", g.KDS())
			west.WaitCurrent(g)
			west.Stop()
			copied := filepath.Join(TempDir(t), "copy")
			copyPrivate(t, copied, west.Dir)
			west.Start()
			load := loadOn(t, west, g)
			load.goesOn("before the disk goes back")
			west.Stop()
			load.zonesGoBack()
			if err := os.RemoveAll(filepath.Join(west.Dir, only)); err != nil {
				t.Fatal(err)
			}
			if only == "." {
				copyPrivate(t, west.Dir, copied)
			} else {
				copyFile(t, filepath.Join(west.Dir, only), filepath.Join(copied, only))
			}
			west.Start()
			load.goesOn("after the disk went back")
			load.end()
			if losses := g.Node.Store().Losses(); len(losses) > 0 {
				t.Errorf("losses %+v", losses)
			}
		})
	}
}

// TestOldZonesRaiseNoAlarm: a restore and a recovery on purpose begin new histories, and
// zones that come from former ones prove nothing.
func TestOldZonesRaiseNoAlarm(t *testing.T) {
	c := StartGlobals(t, quiet, 2)
	leader := c.Leader()
	west, east := leader.StartZone("west", addresses(c.Running())...), leader.StartZone("east", addresses(c.Running())...)
	backup := leader.save()
	tokens := issueAndRevoke(t, leader, 5)
	west.WaitCurrent(leader)
	east.WaitCurrent(leader)
	west.Stop()
	leader.restore(backup, true)
	east.WaitCurrent(leader)
	east.Stop()
	west.globals = addresses(c.Running())
	west.Start()
	west.WaitCurrent(leader)
	west.wantRefused("what the backup lacks", tokens...)
	if losses := leader.Node.Store().Losses(); len(losses) > 0 {
		t.Errorf("after a restore: losses %+v", losses)
	}
	west.Stop()
	for _, g := range c.Running() {
		g.Stop()
	}
	if _, err := raftstore.Recover(leader.Dir, raftstore.RecoverOptions{}); err != nil {
		t.Fatal(err)
	}
	leader.Launch()
	leader.AwaitReady()
	for _, z := range []*Zone{west, east} {
		z.globals = addresses([]*Global{leader})
		z.Start()
		z.WaitCurrent(leader)
		z.wantRefused("what the backup lacks", tokens...)
	}
	if losses := leader.Node.Store().Losses(); len(losses) > 0 {
		t.Errorf("after a recovery: losses %+v", losses)
	}
}

// TestTwoClustersShareAName: a copy of a cluster is started beside it, and a zone wanders
// between the two. Each begins one history at most, the zone never accepts what either told
// it is revoked, and both end in an alarm.
func TestTwoClustersShareAName(t *testing.T) {
	first := StartGlobal(t, quiet)
	relay := NewRelay(t, first.KDS())
	west := first.StartZone("west", relay.Addr())
	west.WaitCurrent(first)
	first.Stop()
	second := &Global{Dir: filepath.Join(TempDir(t), "second"), t: t, log: quiet}
	copyPrivate(t, second.Dir, first.Dir)
	first.Start()
	second.Start()
	t.Cleanup(second.Stop)
	both := []*Global{first, second}
	var revoked []string
	for _, g := range both {
		token := issueAndRevoke(t, g, 1)
		relay.Retarget(g.KDS())
		relay.Cut()
		if g == first {
			west.wantRefused("what the first revoked", token...)
			revoked = append(revoked, token...)
		}
	}
	Eventually(t, "the second to begin a history", func() bool { return len(second.Node.Store().Losses()) == 1 })
	west.WaitCurrent(second)
	for i := range 6 {
		g := both[i%2]
		relay.Retarget(g.KDS())
		relay.Cut()
		if g == first {
			Eventually(t, "the first to be shown a history that it does not know", func() bool {
				var status apitypes.Cluster
				g.want(t, http.StatusOK, http.MethodGet, "/v1/cluster", nil, &status)
				return len(status.NewerHistories) == 1
			})
			continue
		}
		token := issueAndRevoke(t, g, 1)
		west.wantRefused("what the second revoked", token...)
		revoked = append(revoked, token...)
	}
	west.wantRefused("what either revoked", revoked...)
	if a, b := len(first.Node.Store().Losses()), len(second.Node.Store().Losses()); a > 1 || b > 1 {
		t.Errorf("the clusters began %d and %d histories", a, b)
	}
	// The operator decides that the first one stays.
	second.Stop()
	relay.Retarget(first.KDS())
	relay.Cut()
	first.want(t, http.StatusOK, http.MethodPost, "/v1/cluster/confirm-loss", apitypes.ConfirmLossRequest{Adopt: true}, nil)
	west.WaitCurrent(first)
	west.wantRefused("what either revoked", revoked...)
	var status apitypes.Cluster
	Eventually(t, "the alarm to end", func() bool {
		status = apitypes.Cluster{}
		first.want(t, http.StatusOK, http.MethodGet, "/v1/cluster", nil, &status)
		return len(status.NewerHistories) == 0 && len(status.Losses) == 0
	})
}
