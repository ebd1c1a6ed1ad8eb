package cluster

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore"
)

var operator = raftstore.Origin{By: "test"}

func (g *Global) save() []byte {
	g.t.Helper()
	var b bytes.Buffer
	if err := g.Node.Store().Save(context.Background(), raftstore.SaveOptions{}, &b); err != nil {
		g.t.Fatalf("saving: %v", err)
	}
	return b.Bytes()
}

func (g *Global) restore(backup []byte, force bool) federation.Revision {
	g.t.Helper()
	_, change, err := g.Node.Store().Restore(context.Background(), operator, raftstore.RestoreOptions{Force: force}, bytes.NewReader(backup))
	if err != nil {
		g.t.Fatalf("restoring: %v", err)
	}
	return change.Revision
}

// rotate makes a new zone key sign, with the zones given holding it before.
func (g *Global) rotate(zones ...*Zone) cptoken.KeyID {
	g.t.Helper()
	store := g.Node.Store()
	key, err := store.PrepareKey(context.Background(), operator, cptoken.Zone, "")
	if err != nil {
		g.t.Fatal(err)
	}
	for _, z := range zones {
		z.WaitCurrent(g)
	}
	if _, err := store.ActivateKey(context.Background(), operator, key.ID); err != nil {
		g.t.Fatal(err)
	}
	return key.ID
}

// TestRestoreToAnOlderBackup goes back in time under two zones, one of them away, and
// then goes on writing. No zone misses a change, and none accepts what it had revoked.
func TestRestoreToAnOlderBackup(t *testing.T) {
	g := StartGlobal(t, quiet)
	west, east := g.StartZone("west", g.KDS()), g.StartZone("east", g.KDS())
	west.WaitCurrent(g)
	east.WaitCurrent(g)
	relay := NewRelay(t, g.KDS())

	first := g.ZoneToken("west", cptoken.ScopeEgress)
	before := g.ZoneToken("west", cptoken.ScopeEgress)
	revoke(t, g, before)
	backup := g.save()

	// What the backup lacks: a revocation, a rotation, and the removal of the old key.
	after := g.ZoneToken("west", cptoken.ScopeEgress)
	revoke(t, g, after)
	second := g.rotate(west, east)
	ofSecond := g.ZoneToken("west", cptoken.ScopeEgress)
	if _, err := g.Node.Store().RemoveKey(context.Background(), operator, cptoken.KeyID{Kind: cptoken.Zone, KID: "1"}, raftstore.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	third := g.rotate(west, east)
	if _, err := g.Node.Store().RemoveKey(context.Background(), operator, second, raftstore.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	west.WaitCurrent(g)
	east.WaitCurrent(g)
	east.Stop()
	held := west.Revision()

	restored := g.restore(backup, true)
	if restored.History.Compare(held.History) <= 0 {
		t.Fatalf("restored to %s, zones stood at %s", restored, held)
	}
	west.WaitFor(restored)
	checkWest := func() {
		t.Helper()
		west.Expect("a token revoked before the backup, of the removed key", before, "egress", Refused("unknown_key"))
		west.Expect("a token revoked after the backup", after, "egress", Refused("unknown_key"))
		west.Expect("a token of the key that was removed", first, "egress", Refused("unknown_key"))
		west.Expect("a token of another removed key", ofSecond, "egress", Refused("unknown_key"))
		view := west.Node.Store().View()
		parsed, err := cptoken.Parse(after)
		if err != nil {
			t.Fatal(err)
		}
		if !view.Revoked(cptoken.Zone, "", parsed.RevocationID()) {
			t.Error("west no longer knows a revocation of after the backup")
		}
	}
	checkWest()

	// New writes reach everybody. The new key's serial was never used, so that no zone
	// takes it for one that was removed.
	fresh := g.rotate(west)
	if fresh == second || fresh == third {
		t.Errorf("serial %s is given out twice", fresh.KID)
	}
	good, lost := g.ZoneToken("west", cptoken.ScopeEgress), g.ZoneToken("west", cptoken.ScopeEgress)
	west.WaitFor(revoke(t, g, lost))
	west.Expect("a token of the new history", good, "egress", Accepted)
	west.Expect("a token revoked in the new history", lost, "egress", Refused("revoked"))
	checkWest()

	// The zone that was away comes over too, and keeps what it knew.
	east.globals = []string{relay.Addr()}
	east.Start()
	east.WaitCurrent(g)
	forEast := g.ZoneToken("east", cptoken.ScopeEgress)
	east.Expect("a token of the new history", forEast, "egress", Accepted)
	east.Expect("a token of the removed key", first, "egress", Refused("unknown_key"))

	// All of it outlives restarts on both sides.
	g.Stop()
	g.Start()
	west.Stop()
	west.globals = []string{g.KDS()}
	west.Start()
	west.WaitFor(revoke(t, g, g.ZoneToken("west", cptoken.ScopeEgress)))
	west.Expect("a token of the new history after restarts", good, "egress", Accepted)
	checkWest()
}

// TestWithdrawnBeforeAZoneComesOver: what the new history withdrew while a zone was away
// is withdrawn there too; what the backup itself had withdrawn stays refused.
func TestWithdrawnBeforeAZoneComesOver(t *testing.T) {
	t.Parallel()
	g := StartGlobal(t, quiet)
	west := g.StartZone("west", g.KDS())
	west.WaitCurrent(g)
	ctx := context.Background()
	token := func() (raw, id string) {
		raw = g.ZoneToken("west", cptoken.ScopeEgress)
		parsed, err := cptoken.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		return raw, parsed.RevocationID()
	}
	withdraw := func(id string) {
		t.Helper()
		if _, err := g.Node.Store().Withdraw(ctx, operator, cptoken.Zone, "", []string{id}); err != nil {
			t.Fatal(err)
		}
	}
	ofBackup, ofBackupID := token()
	since, sinceID := token()
	kept, _ := token()
	revoke(t, g, ofBackup)
	withdraw(ofBackupID)
	backup := g.save()
	for _, raw := range []string{ofBackup, since, kept} {
		revoke(t, g, raw)
	}
	west.WaitCurrent(g)
	west.Stop()

	g.restore(backup, true)
	revoke(t, g, since) // who withdraws it must find it on the list
	withdraw(sinceID)
	west.Start()
	west.WaitCurrent(g)
	west.Expect("a token that the new history withdrew", since, "egress", Accepted)
	west.Expect("a token that the backup had withdrawn, revoked again since", ofBackup, "egress", Refused("revoked"))
	west.Expect("a token that nobody withdrew", kept, "egress", Refused("revoked"))
}

// TestRestoreIntoANewGlobal: the old global is gone with its disk. A new one with the
// same seal key takes its backup, and the zone comes over by itself.
func TestRestoreIntoANewGlobal(t *testing.T) {
	g := StartGlobal(t, quiet)
	relay := NewRelay(t, g.KDS())
	west := g.StartZone("west", relay.Addr())
	west.WaitCurrent(g)
	token, lost := g.ZoneToken("west", cptoken.ScopeEgress), g.ZoneToken("west", cptoken.ScopeEgress)
	revoke(t, g, g.ZoneToken("west", cptoken.ScopeEgress))
	backup := g.save()
	west.WaitFor(revoke(t, g, lost))
	g.Stop()
	west.Expect("a token without a global", token, "egress", Accepted)

	again := StartGlobal(t, quiet, func(n *Global) {
		if err := os.MkdirAll(filepath.Join(n.Dir, "tls"), 0o700); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(g.Dir, "tls", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, from := range append(files, filepath.Join(g.Dir, "seal.key")) {
			name, err := filepath.Rel(g.Dir, from)
			if err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(from)
			if err == nil {
				err = os.WriteFile(filepath.Join(n.Dir, name), data, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	restored := again.restore(backup, false)
	relay.Retarget(again.KDS())
	west.WaitFor(restored)
	west.Expect("a token of before", token, "egress", Accepted)
	west.Expect("a token that was revoked after the backup", lost, "egress", Refused("revoked"))
	west.WaitFor(revoke(t, again, token))
	west.Expect("a token that was revoked since", token, "egress", Refused("revoked"))
	fresh := again.rotate(west)
	west.Expect("a token of key "+fresh.KID, again.ZoneToken("west", cptoken.ScopeEgress), "egress", Accepted)
}
