package state

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// zoneCopy is what a zone makes of the changes that it is told, in the simplest
// way that follows the rules.
type zoneCopy struct {
	rev     federation.Revision
	keys    map[cptoken.KeyID]cptoken.KeyState
	revoked map[string]int64
	cutOffs map[cptoken.CutOffID]int64
}

func (z *zoneCopy) clone() *zoneCopy {
	return &zoneCopy{z.rev, maps.Clone(z.keys), maps.Clone(z.revoked), maps.Clone(z.cutOffs)}
}

func (z *zoneCopy) apply(t *rapid.T, d cptoken.Delta) {
	if d.Full {
		*z = zoneCopy{keys: map[cptoken.KeyID]cptoken.KeyState{}, revoked: map[string]int64{}, cutOffs: map[cptoken.CutOffID]int64{}}
	} else if d.From != z.rev {
		t.Fatalf("a delta from %v for a copy at %v", d.From, z.rev)
	}
	last := uint64(0)
	for c := range d.Changes {
		if c.Index < last || c.Index > d.To.Index || !d.Full && c.Index <= d.From.Index {
			t.Fatalf("change at %d after %d, from %v to %v", c.Index, last, d.From, d.To)
		}
		last = c.Index
		z.change(t, c)
	}
	for id, expires := range z.revoked {
		if expires > 0 && expires*1000 < d.Watermark.Add(-cptoken.PruneAfter).UnixMilli() {
			delete(z.revoked, id)
		}
	}
	z.rev = d.To
}

func (z *zoneCopy) change(t *rapid.T, c cptoken.Change) {
	switch {
	case c.Key != nil:
		z.keys[c.Key.ID] = c.Key.State
	case c.RemovedKey != nil:
		delete(z.keys, *c.RemovedKey)
	case c.Revoked != nil:
		if len(c.Revoked.IDs) > cptoken.MaxRun {
			t.Fatalf("a run of %d ids", len(c.Revoked.IDs))
		}
		for _, r := range c.Revoked.IDs {
			z.revoked[string(c.Revoked.Kind)+"/"+c.Revoked.Mesh+"/"+r.ID] = r.Expires
		}
	case c.Withdrawn != nil:
		for _, r := range c.Withdrawn.IDs {
			delete(z.revoked, string(c.Withdrawn.Kind)+"/"+c.Withdrawn.Mesh+"/"+r.ID)
		}
	case c.CutOff != nil:
		z.cutOffs[c.CutOff.CutOffID] = c.CutOff.Before.Unix()
	case c.CutOffWithdrawn != nil:
		delete(z.cutOffs, *c.CutOffWithdrawn)
	default:
		t.Fatal("an empty change")
	}
}

func (z *zoneCopy) equal(t *rapid.T, what string, want *zoneCopy) {
	if z.rev != want.rev || !maps.Equal(z.keys, want.keys) || !maps.Equal(z.revoked, want.revoked) || !maps.Equal(z.cutOffs, want.cutOffs) {
		t.Fatalf("%s:\n got %+v\nwant %+v", what, z, want)
	}
}

// oracle is what zones must come to, kept by a second, naive hand.
type oracle struct {
	*zoneCopy
	withdrawn map[string]tombstone
	cpRevoked map[string]bool
	serials   map[listID]uint64
	meshes    map[string]bool
}

// tombstone is what is remembered of a withdrawn id for 30 days.
type tombstone struct{ expires, at int64 }

// commands draws random changes and makes them to a state and to the oracle.
type commands struct {
	*core
	rt *rapid.T
	o  oracle
}

var (
	propKinds = []cptoken.Kind{cptoken.ControlPlane, cptoken.Zone, cptoken.User, cptoken.Dataplane}
	propIDs   = func() (ids []string) {
		for i := range 40 {
			ids = append(ids, cptoken.UUID{byte(i * 6), 1}.String(), "other-"+strconv.Itoa(i))
		}
		return ids
	}()
)

func newCommands(t testing.TB, rt *rapid.T) *commands {
	c := &commands{core: newCore(t), rt: rt, o: oracle{
		zoneCopy:  &zoneCopy{keys: map[cptoken.KeyID]cptoken.KeyState{}, revoked: map[string]int64{}, cutOffs: map[cptoken.CutOffID]int64{}},
		withdrawn: map[string]tombstone{},
		cpRevoked: map[string]bool{}, serials: map[listID]uint64{}, meshes: map[string]bool{"default": true},
	}}
	for _, kind := range propKinds {
		list := listID{kind: kind}
		if kind.PerMesh() {
			list.mesh = "default"
		}
		c.o.serials[list] = 1
		if kind.AtZones() {
			c.o.keys[cptoken.KeyID{Kind: kind, Mesh: list.mesh, KID: "1"}] = cptoken.Active
		}
	}
	return c
}

func (c *commands) draw() {
	c.now += rapid.Int64Range(0, 3*24*3600*1000).Draw(c.rt, "later")
	kind := rapid.SampledFrom(propKinds).Draw(c.rt, "kind")
	mesh := ""
	if kind.PerMesh() {
		mesh = rapid.SampledFrom([]string{"default", "shop"}).Draw(c.rt, "mesh")
	}
	ids := rapid.SliceOfN(rapid.SampledFrom(propIDs), 1, 25).Draw(c.rt, "ids")
	switch rapid.IntRange(0, 8).Draw(c.rt, "op") {
	case 0, 1:
		c.revoke(kind, mesh, ids)
	case 2:
		c.withdraw(kind, mesh, ids)
	case 3:
		c.rotate(kind, mesh)
	case 4:
		c.remove(kind, mesh)
	case 5:
		c.cutOff(kind, mesh)
	case 6:
		c.mesh()
	case 7:
		c.prune()
	case 8:
		c.staged(kind, mesh, ids)
	}
}

func (c *commands) expires() int64 {
	return rapid.SampledFrom([]int64{0, c.now/1000 + 3600, c.now/1000 - 3600, c.now/1000 + 5*24*3600}).Draw(c.rt, "expires")
}

func (c *commands) revoke(kind cptoken.Kind, mesh string, ids []string) {
	expires := c.expires()
	if r := c.apply(cmdRevoke(kind, mesh, expires, ids...)); r.Code == "" {
		c.revoked(kind, mesh, expires, ids)
	}
}

func (c *commands) revoked(kind cptoken.Kind, mesh string, expires int64, ids []string) {
	for _, id := range ids {
		if !kind.AtZones() {
			c.o.cpRevoked[id] = true
			continue
		}
		name := string(kind) + "/" + mesh + "/" + id
		old, ok := c.o.zoneCopy.revoked[name]
		if was, gone := c.o.withdrawn[name]; gone {
			old, ok = was.expires, true
			delete(c.o.withdrawn, name)
		}
		if ok && !later(expires, old) {
			c.o.zoneCopy.revoked[name] = old
		} else {
			c.o.zoneCopy.revoked[name] = expires
		}
	}
}

func (c *commands) staged(kind cptoken.Kind, mesh string, ids []string) {
	expires := c.expires()
	var parts []*storepb.StagePart
	for i, id := range ids {
		r := cmdRevoke(kind, mesh, expires, id).GetRevoke()
		parts = append(parts, &storepb.StagePart{StageId: "s", Part: uint32(i), Revoke: r})
	}
	rev := c.s.Revision()
	for _, p := range parts {
		c.ok(&storepb.Command{Op: &storepb.Command_StagePart{StagePart: p}})
	}
	if c.s.Revision() != rev {
		c.rt.Fatal("a part alone moved the revision")
	}
	if rapid.Bool().Draw(c.rt, "drop") {
		c.ok(&storepb.Command{Op: &storepb.Command_DropStage{DropStage: &storepb.DropStage{StageId: "s"}}})
		return
	}
	r := c.apply(&storepb.Command{Op: &storepb.Command_CommitStage{CommitStage: &storepb.CommitStage{
		StageId: "s", Parts: uint32(len(parts)), Digest: StageDigest(parts),
	}}})
	if r.Code == "" {
		c.revoked(kind, mesh, expires, ids)
	} else {
		c.ok(&storepb.Command{Op: &storepb.Command_DropStage{DropStage: &storepb.DropStage{StageId: "s"}}})
	}
}

func (c *commands) withdraw(kind cptoken.Kind, mesh string, ids []string) {
	c.ok(cmdWithdraw(kind, mesh, ids...))
	for _, id := range ids {
		if !kind.AtZones() {
			delete(c.o.cpRevoked, id)
		}
		name := string(kind) + "/" + mesh + "/" + id
		expires := c.o.zoneCopy.revoked[name] // of one that was never revoked it is unknown
		if _, gone := c.o.withdrawn[name]; kind.AtZones() && !gone {
			c.o.withdrawn[name] = tombstone{expires, c.now}
			delete(c.o.zoneCopy.revoked, name)
		}
	}
}

func (c *commands) rotate(kind cptoken.Kind, mesh string) {
	list := listID{kind, mesh}
	serial := c.o.serials[list] + 1
	if r := c.apply(cmdPrepare(kind, mesh, serial)); r.Code != "" {
		return
	}
	c.o.serials[list] = serial
	c.o.set(kind, mesh, serial, cptoken.Prepared)
	if !rapid.Bool().Draw(c.rt, "activate") {
		c.ok(cmdRemove(step(kind, mesh, serial), false))
		delete(c.o.keys, cptoken.KeyID{Kind: kind, Mesh: mesh, KID: cptoken.SerialKID(serial)})
		return
	}
	c.ok(cmdActivate(step(kind, mesh, serial)))
	for id, state := range c.o.keys {
		if id.Kind == kind && id.Mesh == mesh && state == cptoken.Active {
			c.o.keys[id] = cptoken.Retiring
		}
	}
	c.o.set(kind, mesh, serial, cptoken.Active)
}

func (o *oracle) set(kind cptoken.Kind, mesh string, serial uint64, state cptoken.KeyState) {
	if kind.AtZones() {
		o.keys[cptoken.KeyID{Kind: kind, Mesh: mesh, KID: cptoken.SerialKID(serial)}] = state
	}
}

func (c *commands) remove(kind cptoken.Kind, mesh string) {
	serial := rapid.Uint64Range(1, 6).Draw(c.rt, "serial")
	if r := c.apply(cmdRemove(step(kind, mesh, serial), true)); r.Code == "" {
		delete(c.o.keys, cptoken.KeyID{Kind: kind, Mesh: mesh, KID: cptoken.SerialKID(serial)})
	}
}

func (c *commands) cutOff(kind cptoken.Kind, mesh string) {
	id := cptoken.CutOffID{Kind: kind, Mesh: mesh, KID: rapid.SampledFrom([]string{"", "1", "2"}).Draw(c.rt, "kid")}
	ref := KeyRef(cptoken.KeyID(id))
	if rapid.IntRange(0, 2).Draw(c.rt, "withdraw") == 0 {
		c.ok(&storepb.Command{Op: &storepb.Command_WithdrawCutOff{WithdrawCutOff: &storepb.WithdrawCutOff{Id: ref}}})
		delete(c.o.cutOffs, id)
		return
	}
	before := c.now/1000 - rapid.Int64Range(0, 10*24*3600).Draw(c.rt, "before")
	r := c.apply(&storepb.Command{Op: &storepb.Command_SetCutOff{SetCutOff: &storepb.SetCutOff{Id: ref, BeforeS: before}}})
	if r.Code == "" && kind.AtZones() && before > c.o.cutOffs[id] {
		c.o.cutOffs[id] = before
	}
}

func (c *commands) mesh() {
	list := listID{cptoken.Dataplane, "shop"}
	if c.o.meshes["shop"] {
		c.ok(cmdDeleteMesh("shop"))
		c.o.meshes["shop"] = false
		maps.DeleteFunc(c.o.keys, func(id cptoken.KeyID, _ cptoken.KeyState) bool { return id.Mesh == "shop" })
		return
	}
	serial := c.o.serials[list] + 1
	c.ok(cmdMesh("shop", serial))
	c.o.meshes["shop"], c.o.serials[list] = true, serial
	c.o.set(cptoken.Dataplane, "shop", serial, cptoken.Prepared)
}

func (c *commands) prune() {
	c.ok(cmdPrune(c.now))
	maps.DeleteFunc(c.o.zoneCopy.revoked, func(_ string, expires int64) bool {
		return expires > 0 && expires*1000 < c.now-cptoken.PruneAfter.Milliseconds()
	})
	maps.DeleteFunc(c.o.withdrawn, func(_ string, w tombstone) bool { return w.at < c.now-tombstoneLife.Milliseconds() })
}

// TestChangesSinceAnyRevision draws a history of changes. A zone that was told
// everything at some revision, and is then told the changes since, holds what the
// full state says, and what a naive model says; from a state that went through a
// snapshot too.
func TestChangesSinceAnyRevision(t *testing.T) {
	testDER()
	rapid.Check(t, func(rt *rapid.T) {
		c := newCommands(t, rt)
		var copies []*zoneCopy
		for range rapid.IntRange(1, 60).Draw(rt, "changes") {
			if rapid.IntRange(0, 3).Draw(rt, "look") == 0 {
				copies = append(copies, fullCopy(rt, c.s))
			}
			if rapid.IntRange(0, 9).Draw(rt, "restart") == 0 {
				c.s = reread(rt, c.s)
			}
			c.draw()
		}
		full := fullCopy(rt, c.s)
		c.o.rev = full.rev
		full.equal(rt, "full state", c.o.zoneCopy)
		checkControlPlane(rt, c)
		for _, s := range []*State{c.s, reread(rt, c.s)} {
			for _, z := range copies {
				from := z.rev
				z = z.clone()
				d, err := s.Since(from)
				if err != nil {
					rt.Fatalf("since %v: %v", from, err)
				}
				z.apply(rt, d)
				z.equal(rt, fmt.Sprintf("since %v (full %v)", from, d.Full), full)
			}
		}
	})
}

func checkControlPlane(rt *rapid.T, c *commands) {
	for _, id := range propIDs {
		revoked := (view{c.s}).Revoked(cptoken.ControlPlane, "", id)
		if revoked && !c.o.cpRevoked[id] {
			rt.Fatalf("%s is revoked for control planes", id)
		}
	}
}

func fullCopy(t *rapid.T, s *State) *zoneCopy {
	d, err := s.Since(federation.Revision{})
	if err != nil || !d.Full {
		t.Fatalf("full state: %v, full %v", err, d.Full)
	}
	z := new(zoneCopy)
	z.apply(t, d)
	return z
}

// reread takes a state through a snapshot, and checks that the next snapshot of it
// is the same to the byte.
func reread(t interface{ Fatalf(string, ...any) }, s *State) *State {
	var first, second bytes.Buffer
	if err := s.Capture().WriteSnapshot(&first); err != nil {
		t.Fatalf("write: %v", err)
	}
	again, err := ReadSnapshot(bytes.NewReader(first.Bytes()))
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	if err := again.Capture().WriteSnapshot(&second); err != nil {
		t.Fatalf("write again: %v", err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Fatalf("the snapshot of a restored state differs: %d and %d bytes", first.Len(), second.Len())
	}
	return again
}

func TestCapturesDoNotChange(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := newCommands(t, rt)
		type capture struct {
			s    *State
			data []byte
		}
		var captures []capture
		for range rapid.IntRange(1, 40).Draw(rt, "changes") {
			c.draw()
			s := c.s.Capture()
			captures = append(captures, capture{s, snapshotBytes(rt, s)})
		}
		for i, old := range captures {
			if !bytes.Equal(snapshotBytes(rt, old.s), old.data) {
				rt.Fatalf("capture %d changed", i)
			}
		}
	})
}

func snapshotBytes(t interface{ Fatalf(string, ...any) }, s *State) []byte {
	var b bytes.Buffer
	if err := s.WriteSnapshot(&b); err != nil {
		t.Fatalf("write: %v", err)
	}
	return b.Bytes()
}

func TestSinceRefusesAndFallsBack(t *testing.T) {
	c := newCore(t)
	c.ok(cmdRevoke(cptoken.Zone, "", 0, "a", "b"))
	at := c.s.Revision()
	ahead := federation.Revision{History: at.History, Index: at.Index + 1}
	_, err := c.s.Since(ahead)
	wantCode(t, err, federation.Unavailable, "behind")
	newerHistory := federation.Revision{History: federation.History{ID: historyID(9), Created: testTime + 1}, Index: 1}
	_, err = c.s.Since(newerHistory)
	wantCode(t, err, federation.Unavailable, "behind")
	older := federation.Revision{History: federation.History{ID: historyID(9), Created: testTime - 1}, Index: 1 << 40}
	if d, err := c.s.Since(older); err != nil || !d.Full {
		t.Errorf("an older history: %v, full %v", err, d.Full)
	}
	if d, err := c.s.Since(at); err != nil || d.Full || len(slices.Collect(d.Changes)) != 0 {
		t.Errorf("nothing new: %v, full %v", err, d.Full)
	}

	// The tombstone of a withdrawal is there for 30 days, then only full state helps.
	c.ok(cmdWithdraw(cptoken.Zone, "", "a"))
	c.now += tombstoneLife.Milliseconds()
	c.ok(cmdPrune(c.now))
	if d, _ := c.s.Since(at); d.Full || len(slices.Collect(d.Changes)) != 1 {
		t.Error("a tombstone is gone within 30 days")
	}
	c.now++
	c.ok(cmdPrune(c.now))
	if d, _ := c.s.Since(at); !d.Full {
		t.Error("a zone from before a forgotten tombstone gets a delta")
	}
	if d, _ := c.s.Since(c.s.Revision()); d.Full {
		t.Error("a zone that saw the tombstone gets full state")
	}

	// A new history: everybody takes full state, the revision still grows.
	rev := c.s.Revision()
	c.ok(&storepb.Command{Op: &storepb.Command_BeginHistory{BeginHistory: &storepb.BeginHistory{
		History: &storepb.History{Id: historyID(2), CreatedMs: testTime + 5},
	}}})
	if d, err := c.s.Since(rev); err != nil || !d.Full || d.To.History.ID != historyID(2) || d.To.Index <= rev.Index {
		t.Errorf("after a new history: %v %+v", err, d)
	}
	c.refused(federation.Conflict, "", &storepb.Command{Op: &storepb.Command_BeginHistory{BeginHistory: &storepb.BeginHistory{
		History: &storepb.History{Id: historyID(1), CreatedMs: testTime},
	}}})
}

// TestFullStateTellsOfWithdrawals: a zone that comes from an older history keeps
// its revocations until it is told that they were withdrawn.
func TestFullStateTellsOfWithdrawals(t *testing.T) {
	c := newCore(t)
	c.ok(cmdRevoke(cptoken.Zone, "", 0, "a"))
	c.ok(cmdWithdraw(cptoken.Zone, "", "a"))
	d, err := c.s.Since(federation.Revision{})
	if err != nil {
		t.Fatal(err)
	}
	for change := range d.Changes {
		if w := change.Withdrawn; w != nil && w.IDs[0].ID == "a" {
			return
		}
	}
	t.Error("full state does not name the withdrawal")
}

func TestControlPlaneSecretsStayHere(t *testing.T) {
	c := newCore(t)
	rev := c.s.Revision()
	c.ok(cmdRevoke(cptoken.ControlPlane, "", 0, "a"))
	c.ok(cmdPrepare(cptoken.ControlPlane, "", 2))
	c.ok(cmdCutOff(cptoken.ControlPlane, "", testTime/1000-5))
	if c.s.Revision() == rev {
		t.Error("an acknowledged change that zones do not see did not move the revision: no position proves it")
	}
	d, _ := c.s.Since(federation.Revision{})
	for change := range d.Changes {
		if change.Key != nil && change.Key.ID.Kind == cptoken.ControlPlane || change.CutOff != nil || change.Revoked != nil {
			t.Errorf("zones are told of %+v", change)
		}
	}
	if !(view{c.s}).Revoked(cptoken.ControlPlane, "", "a") {
		t.Error("the revocation is not in the global's own view")
	}
}
