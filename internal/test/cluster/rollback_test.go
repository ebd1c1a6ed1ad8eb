package cluster

import (
	"context"
	"io/fs"
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
			g := StartGlobal(t, quiet)
			relay := NewRelay(t, g.KDS())
			west := g.StartZone("west", relay.Addr())
			west.WaitCurrent(g)
			g.Stop()
			disk := g.copyDisk(logOnly)
			g.Start()
			relay.Retarget(g.KDS())
			lost := issueAndRevoke(t, g, 20)
			west.WaitCurrent(g)
			before := west.Revision()
			g.Stop()
			disk.putBack()
			g.Start()
			relay.Retarget(g.KDS())

			again := issueAndRevoke(t, g, 20)
			west.wantRefused("what was revoked after the disk went back", again...)
			west.wantRefused("what was revoked before the disk went back", lost...)
			west.WaitCurrent(g)
			if west.Revision().History == before.History {
				t.Errorf("the zone stands at %s, in the history of before", west.Revision())
			}
			losses := g.Node.Store().Losses()
			if len(losses) != 1 || losses[0].ShownBy != "zone west" || losses[0].Shown != before {
				t.Errorf("losses %+v, want one that zone west showed at %s", losses, before)
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
	g := StartGlobal(t, quiet)
	relay := NewRelay(t, g.KDS())
	west := g.StartZone("west", relay.Addr())
	west.WaitCurrent(g)
	g.Stop()
	disk := g.copyDisk(false)
	g.Start()
	relay.Retarget(g.KDS())
	lostKey := g.rotate(west)
	ofLost := g.ZoneToken("west", cptoken.ScopeEgress)
	west.WaitCurrent(g)
	g.Stop()
	disk.putBack()
	g.Start()
	relay.Retarget(g.KDS())
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
	g := StartGlobal(t, quiet)
	relay := NewRelay(t, g.KDS())
	west := g.StartZone("west", relay.Addr())
	west.WaitCurrent(g)
	first := cptoken.KeyID{Kind: cptoken.Zone, KID: "1"}
	stolen := g.ZoneToken("west", cptoken.ScopeEgress)
	g.Stop()
	disk := g.copyDisk(false)
	g.Start()
	relay.Retarget(g.KDS())
	g.rotate(west)
	if _, err := g.Node.Store().RemoveKey(context.Background(), operator, first, raftstore.RemoveOptions{Compromised: true}); err != nil {
		t.Fatal(err)
	}
	west.WaitCurrent(g)
	g.Stop()
	disk.putBack()
	g.Start()
	relay.Retarget(g.KDS())
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
