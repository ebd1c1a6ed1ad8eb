package state

import (
	"bytes"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// TestRestoreInTheCore holds the rules of the commands themselves.
func TestRestoreInTheCore(t *testing.T) {
	c := fullCore(t)
	backup := reread(t, c.s)
	data := snapshotBytes(t, backup)
	part := func(id string, n uint32, data []byte) *storepb.Command {
		return &storepb.Command{Op: &storepb.Command_RestorePart{RestorePart: &storepb.RestorePart{RestoreId: id, Part: n, Data: data}}}
	}
	commit := func(id string, parts uint32, data []byte, history byte) *storepb.Command {
		return &storepb.Command{Op: &storepb.Command_CommitRestore{CommitRestore: &storepb.CommitRestore{
			RestoreId: id, Parts: parts, Sha256: sha256Of(data), Force: true,
			History: &storepb.History{Id: historyID(history), CreatedMs: testTime + int64(history)},
		}}}
	}
	c.refused("conflict", "no_restore", commit("r", 1, data, 2))
	c.refused("conflict", "no_restore", part("r", 1, data))
	c.ok(part("r", 0, data[:1000]))
	c.refused("conflict", "", part("r", 2, data[1000:]))
	c.refused("conflict", "no_restore", commit("r", 1, data, 2))
	c.s = reread(t, c.s) // a member that joins meanwhile
	c.ok(part("r", 1, data[1000:]))
	c.refused("conflict", "", commit("r", 2, data, 0)) // a history that is not newer
	damaged := bytes.Clone(data)
	damaged[500] ^= 1
	if r := c.ok(commit("r", 2, data, 2)); r.Detail != "" {
		t.Errorf("the cluster's own backup replaced cluster %q", r.Detail)
	}
	c.refused("conflict", "no_restore", commit("r", 2, data, 3))
	c.ok(part("d", 0, damaged))
	c.refused("invalid", "damaged", commit("d", 1, damaged, 3))
	c.ok(&storepb.Command{Op: &storepb.Command_DropRestore{DropRestore: &storepb.DropRestore{RestoreId: "d"}}})
	c.refused("conflict", "no_restore", commit("d", 1, damaged, 3))
	c.ok(part("x", 0, data))
	c.ok(part("y", 0, data)) // another restore takes its place
	c.refused("conflict", "no_restore", commit("x", 1, data, 3))
	if c.s.staged.parts.Len() != 1 {
		t.Errorf("%d parts wait", c.s.staged.parts.Len())
	}
	c.now += 48 * 3600 * 1000
	c.ok(cmdPrune(c.now))
	if c.s.staged.id != "" {
		t.Error("an abandoned restore was not pruned")
	}
	reread(t, c.s)
}

// TestUntouched: what counts as a cluster that may be replaced without --force.
func TestUntouched(t *testing.T) {
	if !newCore(t).s.untouched() {
		t.Error("a new cluster holds state")
	}
	for name, cmd := range map[string]*storepb.Command{
		"a zone":       {Op: &storepb.Command_SeeZone{SeeZone: &storepb.SeeZone{Name: "west"}}},
		"a mesh":       cmdMesh("shop", 1),
		"a revocation": cmdRevoke(cptoken.User, "", 0, "x"),
		"a key":        cmdPrepare(cptoken.ControlPlane, "", 2),
		"a cut-off":    cmdCutOff(cptoken.User, "", testTime/1000),
	} {
		c := newCore(t)
		c.ok(cmd)
		if c.s.untouched() {
			t.Errorf("%s does not count", name)
		}
	}
}
