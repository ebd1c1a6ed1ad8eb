package cluster

import (
	"context"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
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
	g := StartGlobal(t, log)
	relay := NewRelay(t, g.KDS())
	west := g.StartZone("west", relay.Addr())
	west.WaitCurrent(g)
	g.Stop()
	d := loneDisk{g, relay, g.copyDisk(logOnly)}
	g.Start()
	relay.Retarget(g.KDS())
	return g, west, d
}

// goBack puts the copy back.
func (d loneDisk) goBack() {
	d.g.t.Helper()
	d.g.Stop()
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

// putBack puts the copy in the place of what the global, which is stopped, has now.
func (p putBack) putBack() {
	p.g.t.Helper()
	if p.logOnly {
		data, err := os.ReadFile(filepath.Join(p.copy, "raft.db"))
		if err == nil {
			err = os.WriteFile(filepath.Join(p.g.Dir, "raft.db"), data, 0o600)
		}
		if err != nil {
			p.g.t.Fatal(err)
		}
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

// TestALoneGlobalIsRolledBack is what a VM snapshot does: revocations that were
// acknowledged are gone from the global, and the indexes that they had are given out anew.
// No zone accepts what it had revoked, none misses what is revoked from then on, and the
// loss is known.
func TestALoneGlobalIsRolledBack(t *testing.T) {
	for name, logOnly := range map[string]bool{"its directory": false, "raft.db alone": true} {
		t.Run(name, func(t *testing.T) {
			g, west, disk := startLone(t, quiet, logOnly)
			lost := issueAndRevoke(t, g, 20)
			west.WaitCurrent(g)
			before := west.Revision()
			disk.goBack()

			again := issueAndRevoke(t, g, 20)
			west.wantRefused("what was revoked after the disk went back", again...)
			west.wantRefused("what was revoked before the disk went back", lost...)
			west.WaitCurrent(g)
			if west.Revision().History == before.History {
				t.Errorf("the zone stands at %s, in the history of before", west.Revision())
			}
			by := "zone west"
			if logOnly { // its own record, which is beside raft.db, knows more
				by = "member " + g.Node.Store().NodeID()
			}
			losses := g.Node.Store().Losses()
			if len(losses) != 1 || losses[0].ShownBy != by || losses[0].Shown != before {
				t.Errorf("losses %+v, want one that %s showed at %s", losses, by, before)
			}
			wantLossTold(t, g)
		})
	}
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

// rolled is a cluster of three with a zone, and what each member's disk was before 20
// tokens were issued and revoked.
type rolled struct {
	c     *Globals
	all   []*Global
	disks map[*Global]putBack
	zone  *Zone
	lost  []string
}

// startRolled starts n members, copies their disks, and revokes.
func startRolled(t *testing.T, n int, logOnly bool) *rolled {
	t.Helper()
	c := StartGlobals(t, quiet, n)
	r := &rolled{c: c, all: c.Running(), disks: map[*Global]putBack{}}
	issueAndRevoke(t, c.Leader(), 1)
	for _, g := range r.all {
		g.Stop()
	}
	for _, g := range r.all {
		r.disks[g] = g.copyDisk(logOnly)
	}
	r.launch(r.all...)
	leader := c.Leader()
	r.zone = leader.StartZone("west", addresses(r.all)...)
	r.lost = issueAndRevoke(t, leader, 20)
	r.zone.WaitCurrent(leader)
	head := leader.Node.Store().Standing().Raft
	for _, g := range r.all {
		for _, o := range r.all {
			Eventually(t, o.Name+" to remember what "+g.Name+" has", func() bool {
				seen, _ := o.Node.Store().Remembered(g.Node.Store().NodeID())
				return g == o || seen.Raft >= head
			})
		}
	}
	return r
}

func addresses(all []*Global) (kds []string) {
	for _, g := range all {
		kds = append(kds, g.KDS())
	}
	return kds
}

func (r *rolled) launch(globals ...*Global) {
	for _, g := range globals {
		g.Launch()
	}
	for _, g := range globals {
		g.AwaitReady()
	}
}

// wantRefused starts a member and wants it to refuse to run.
func (r *rolled) wantRefused(t *testing.T, g *Global, why string) {
	t.Helper()
	g.Launch()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if err := g.Ended(ctx); err == nil || !strings.Contains(err.Error(), why) {
		t.Fatalf("%s: %v, want it to say %q", g.Name, err, why)
	}
	g.once.Do(func() {}) // it has ended, as it should
}

// TestOneOfThreeIsRolledBack, while the others are up: it does not run, and nothing is lost.
func TestOneOfThreeIsRolledBack(t *testing.T) {
	for name, logOnly := range map[string]bool{"its directory": false, "raft.db alone": true} {
		t.Run(name, func(t *testing.T) {
			r := startRolled(t, 3, logOnly)
			back := r.c.Followers()[0]
			back.Stop()
			r.disks[back].putBack()
			by := "node " // the others, before it could vote
			if logOnly {
				by = "its own record"
			}
			r.wantNotRun(t, back, by)
			again := issueAndRevoke(t, r.c.Leader(), 5)
			r.zone.wantRefused("what was revoked meanwhile", again...)
			if losses := r.c.Leader().Node.Store().Losses(); len(losses) > 0 {
				t.Errorf("losses %+v", losses)
			}
		})
	}
}

// TestOneOfThreeIsRolledBackWhileAnotherIsDown: the one that is up remembers what the other
// one had, which does not run: there is no leader until the third is back, and nothing is
// lost.
func TestOneOfThreeIsRolledBackWhileAnotherIsDown(t *testing.T) {
	r := startRolled(t, 3, false)
	followers := r.c.Followers()
	back, down := followers[0], followers[1]
	down.Kill()
	back.Stop()
	r.disks[back].putBack()
	r.wantNotRun(t, back, "node "+r.c.Running()[0].Node.Store().NodeID())
	r.launch(down)
	store := r.c.Leader().Node.Store()
	for _, token := range r.lost {
		if parsed, err := cptoken.Parse(token); err != nil || !store.View().Revoked(cptoken.Zone, "", parsed.RevocationID()) {
			t.Fatalf("an acknowledged revocation is lost (%v)", err)
		}
	}
	if losses := store.Losses(); len(losses) > 0 {
		t.Errorf("losses %+v", losses)
	}
}

// TestTwoOfThreeAreRolledBack while the third is away: they elect one of themselves. The
// third, which has what was acknowledged, proves it when it returns.
func TestTwoOfThreeAreRolledBack(t *testing.T) {
	r := startRolled(t, 3, false)
	others := r.c.Followers()
	for _, g := range r.all {
		g.Stop()
	}
	// Two go back; the third keeps what it has, and stays away.
	third := others[0]
	var two []*Global
	for _, g := range r.all {
		if g != third {
			r.disks[g].putBack()
			two = append(two, g)
		}
	}
	r.zone.Stop()
	r.launch(two...)
	issueAndRevoke(t, r.c.Leader(), 3)
	r.wantRefused(t, third, "something else")
	Eventually(t, "the loss to be known", func() bool { return len(r.c.Leader().Node.Store().Losses()) == 1 })
	loss := r.c.Leader().Node.Store().Losses()[0]
	if !strings.HasPrefix(loss.ShownBy, "member ") {
		t.Errorf("loss %+v, want one that a member showed", loss)
	}
	wantLossTold(t, r.c.Leader())
	// The zone returns from the former history, and keeps what it refused.
	r.zone.globals = addresses(two)
	r.zone.Start()
	r.zone.WaitCurrent(r.c.Leader())
	r.zone.wantRefused("what was revoked before", r.lost...)
	if n := len(r.c.Leader().Node.Store().Losses()); n != 1 {
		t.Errorf("%d losses", n)
	}
}

// TestAllOfThreeAreRolledBack: nobody but a zone knows.
func TestAllOfThreeAreRolledBack(t *testing.T) {
	r := startRolled(t, 3, false)
	for _, g := range r.all {
		g.Stop()
		r.disks[g].putBack()
	}
	r.zone.Stop()
	r.launch(r.all...)
	again := issueAndRevoke(t, r.c.Leader(), 25)
	r.zone.globals = addresses(r.all)
	r.zone.Start()
	r.zone.wantRefused("what was revoked after the disks went back", again...)
	r.zone.wantRefused("what was revoked before", r.lost...)
	Eventually(t, "the loss to be known", func() bool { return len(r.c.Leader().Node.Store().Losses()) == 1 })
	wantLossTold(t, r.c.Leader())
}

// TestMidLoadRollback stops a lone global in the middle of revoking, puts its disk back, and
// goes on revoking: what was acknowledged stays refused where the zone had it.
func TestMidLoadRollback(t *testing.T) {
	g, west, disk := startLone(t, quiet, false)
	var held []string
	for range 30 { // the zone takes them as they come, and is cut off in between
		held = append(held, issueAndRevoke(t, g, 1)...)
	}
	Eventually(t, "the zone to hold some of them", func() bool { return !west.accepts(held[len(held)/2]) })
	held = slices.DeleteFunc(held, west.accepts)
	g.Stop()
	disk.copy.putBack()
	g.Start()
	again := issueAndRevoke(t, g, 10)
	disk.relay.Retarget(g.KDS())
	again = append(again, issueAndRevoke(t, g, 10)...)
	west.wantRefused("what was revoked after the disk went back", again...)
	west.wantRefused("what the zone had acknowledged", held...)
	Eventually(t, "the loss to be known", func() bool { return len(g.Node.Store().Losses()) == 1 })
}

// TestAZoneIsRolledBack: it resumes from its earlier position, which is in the past, and is
// sent the rest.
func TestAZoneIsRolledBack(t *testing.T) {
	g := StartGlobal(t, quiet)
	west := g.StartZone("west", g.KDS())
	west.WaitCurrent(g)
	west.Stop()
	copied := filepath.Join(TempDir(t), "copy")
	copyPrivate(t, copied, west.Dir)
	west.Start()
	tokens := issueAndRevoke(t, g, 5)
	west.WaitCurrent(g)
	west.Stop()
	if err := os.RemoveAll(west.Dir); err != nil {
		t.Fatal(err)
	}
	copyPrivate(t, west.Dir, copied)
	west.Start()
	west.wantRefused("what the zone forgot", tokens...)
	if losses := g.Node.Store().Losses(); len(losses) > 0 {
		t.Errorf("losses %+v", losses)
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
