package state

import (
	"slices"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
)

// idsOf reads a list out of a read view.
func (c *core) idsOf(p ReadView, kind cptoken.Kind, mesh string) (version any, ids []string) {
	version, list := p.Revoked(kind, mesh)
	for id := range list {
		ids = append(ids, string(id))
	}
	return version, ids
}

// TestReadView: a read view lists ids in the order in which they were revoked, names
// another version wherever they differ, and does not change.
func TestReadView(t *testing.T) {
	c := newCore(t)
	first := ReadView{c.s.Capture()}
	if v, ids := c.idsOf(first, cptoken.Zone, ""); v != nil || ids != nil {
		t.Errorf("an empty list is %v %q", v, ids)
	}
	uuid := randomUUID()
	c.ok(cmdRevoke(cptoken.Zone, "", 0, "zz", "mm"))
	c.ok(cmdRevoke(cptoken.Zone, "", 0, uuid, "aa"))
	c.ok(cmdRevoke(cptoken.Dataplane, "default", 0, "other"))
	second := ReadView{c.s.Capture()}
	before, ids := c.idsOf(second, cptoken.Zone, "")
	if want := []string{"zz", "mm", uuid, "aa"}; !slices.Equal(ids, want) {
		t.Errorf("the list is %q, want %q", ids, want)
	}
	c.ok(cmdRevoke(cptoken.Dataplane, "default", 0, "another"))
	if same, _ := c.idsOf(ReadView{c.s.Capture()}, cptoken.Zone, ""); same != before {
		t.Error("the version changed with another list")
	}
	c.ok(cmdWithdraw(cptoken.Zone, "", "mm"))
	after, ids := c.idsOf(ReadView{c.s.Capture()}, cptoken.Zone, "")
	if want := []string{"zz", uuid, "aa"}; !slices.Equal(ids, want) || after == before {
		t.Errorf("the list is %q, version changed: %v", ids, after != before)
	}
	for range first.s.log.All() {
		break // stopping early is allowed
	}
	if _, ids := c.idsOf(second, cptoken.Zone, ""); len(ids) != 4 {
		t.Errorf("a read view that was taken changed to %q", ids)
	}
	_, list := second.Revoked(cptoken.Zone, "")
	for range list {
		break
	}
}

// TestReadViewChanges: a mesh without keys, and what is pruned, are changes of a
// read view; pruning though the revision stands still.
func TestReadViewChanges(t *testing.T) {
	c := newCore(t)
	c.ok(cmdMesh("payments", 1))
	c.ok(cmdRemove(step(cptoken.Dataplane, "payments", 1), true))
	c.ok(cmdRevoke(cptoken.Zone, "", testTime/1000, "old"))
	before := c.s.Capture()
	if got := (ReadView{before}).Meshes(); !slices.Equal(got, []string{"default", "payments"}) {
		t.Errorf("meshes %q", got)
	}
	c.ok(cmdDeleteMesh("payments"))
	if after := c.s.Capture(); !ReadViewChanged(before, after) {
		t.Error("a mesh that went is no change")
	}
	before = c.s.Capture()
	c.now += 100 * 24 * 3600 * 1000
	c.ok(cmdPrune(c.now))
	if after := c.s.Capture(); before.Revision() != after.Revision() || !ReadViewChanged(before, after) {
		t.Error("pruning is no change")
	}
	if keys := (ReadView{c.s.Capture()}).Keys(cptoken.Dataplane); len(keys) != 1 || keys[0].ID.Mesh != "default" {
		t.Errorf("keys %v", keys)
	}
}
