package state

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// everything returns a state in which each field of each record is set somewhere; the
// test that uses it fails where that is no longer so.
func everything(t testing.TB) *core {
	c := fullCore(t)
	by := func(cmd *storepb.Command) { cmd.By = "ann"; c.ok(cmd) }
	imported := cmdPrepare(cptoken.User, "", 2)
	imported.GetPrepareKey().Imported = true
	by(imported)
	by(cmdActivate(step(cptoken.User, "", 2)))
	by(&storepb.Command{Op: &storepb.Command_RegisterKey{RegisterKey: &storepb.RegisterKey{
		Id: &storepb.KeyRef{Kind: "zone", Kid: "ci-2"}, Alg: cptoken.AlgRS256, PublicDer: testDER(),
		Constraints: &storepb.Constraints{Zones: []string{"west"}, Scopes: []string{"ingress"}, MaxLifetimeS: 60, AllowNoExpiry: true, AllowNoId: true},
	}}})
	c.now += 1000
	by(&storepb.Command{Op: &storepb.Command_ApplyZone{ApplyZone: &storepb.ApplyZone{
		Name: "east", Enabled: true, Auth: "token", RelayMeshes: []string{"shop", "default"}, RelayMaxValidityS: 60,
	}}})
	by(&storepb.Command{Op: &storepb.Command_SeeZone{SeeZone: &storepb.SeeZone{Name: "east"}}})
	by(&storepb.Command{Op: &storepb.Command_DeleteZone{DeleteZone: &storepb.DeleteZone{Name: "east"}}})
	why := cmdRevoke(cptoken.Dataplane, "shop", testTime/1000+5, randomUUID(), "text")
	why.GetRevoke().Reason = "laptop lost"
	by(why)
	by(cmdWithdraw(cptoken.Dataplane, "shop", "text"))
	cut := cmdCutOff(cptoken.Dataplane, "1", testTime/1000)
	cut.GetSetCutOff().Id.Mesh, cut.GetSetCutOff().Reason = "shop", "stolen"
	by(cut)
	by(&storepb.Command{Op: &storepb.Command_StagePart{StagePart: &storepb.StagePart{
		StageId: "s2", Withdraw: &storepb.Withdraw{Kind: "dataplane", Mesh: "shop", Ids: []string{"x"}},
	}}})
	long := cmdRevoke(cptoken.Dataplane, "shop", testTime/1000+5, "y").GetRevoke()
	by(&storepb.Command{Op: &storepb.Command_StagePart{StagePart: &storepb.StagePart{StageId: "s3", Revoke: long}}})
	refused := cmdRevoke(cptoken.Zone, "", 0, "a,b")
	refused.RequestId = "r2"
	c.apply(refused)
	refused = &storepb.Command{RequestId: "r3", Op: &storepb.Command_RemoveKey{RemoveKey: step(cptoken.User, "", 2)}}
	c.apply(refused)
	by(&storepb.Command{Op: &storepb.Command_RestorePart{RestorePart: &storepb.RestorePart{RestoreId: "r", Data: []byte("part")}}})
	by(&storepb.Command{Op: &storepb.Command_AddSecret{AddSecret: &storepb.ClusterSecret{Generation: 1, Sealed: fakeSealed()}}})
	by(&storepb.Command{Op: &storepb.Command_AddSecret{AddSecret: &storepb.ClusterSecret{Generation: 2, Sealed: fakeSealed()}}})
	by(&storepb.Command{Op: &storepb.Command_Expel{Expel: &storepb.Expel{Id: "node-9", Subject: "west", Reason: "stolen"}}})
	by(&storepb.Command{Op: &storepb.Command_BlockKey{BlockKey: step(cptoken.User, "", 2)}})
	lost := c.s.Position(1)
	lost.Lineage, lost.Generation, lost.Mac = bytes.Repeat([]byte{7}, 8), 1, []byte("mac")
	by(&storepb.Command{Op: &storepb.Command_ProveLoss{ProveLoss: &storepb.ProveLoss{
		Position: lost, ShownBy: "zone west", History: &storepb.History{Id: historyID(9), CreatedMs: testTime + 9},
	}}})
	by(cmdPrune(testTime - 1))
	c.s.watermark, c.s.floor, c.s.offset = testTime-1, 1, 2
	c.s.sealCheck = withFormer(c.s.sealCheck, []string{"former"})
	return c
}

// dumper writes a value as text, and remembers which fields it saw set.
type dumper struct {
	out  strings.Builder
	seen map[string]bool // "Type.Field" -> it was set somewhere
}

// apart are fields that a snapshot does not hold: marks of the running change, the
// order within an index, which is made anew, and in runs the ids that a later run took
// over; the lists say which run has an id.
var apart = []string{"State.edit", "State.seq", "logKey.seq", "run.uuids", "run.others"}

func (d *dumper) value(v reflect.Value) {
	if v.CanAddr() {
		v = reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
	}
	if v.CanInterface() {
		switch x := v.Interface().(type) {
		case *cptoken.PublicKey:
			if x != nil {
				fmt.Fprintf(&d.out, "%x %s %s", x.DER(), x.Alg, x.State)
			}
			return
		case proto.Message:
			if x.ProtoReflect().IsValid() {
				d.message(x.ProtoReflect())
				d.out.WriteString(prototext.MarshalOptions{}.Format(x))
			}
			return
		case time.Time:
			d.out.WriteString(x.UTC().Format(time.RFC3339Nano))
			return
		}
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			d.value(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			d.value(v.Index(i))
			d.out.WriteByte(',')
		}
	case reflect.Struct:
		if strings.HasPrefix(v.Type().Name(), "Tree[") {
			d.tree(v)
			return
		}
		for i := range v.NumField() {
			name := v.Type().Name() + "." + v.Type().Field(i).Name
			if slices.Contains(apart, name) {
				continue
			}
			d.seen[name] = d.seen[name] || !v.Field(i).IsZero()
			fmt.Fprintf(&d.out, " %s:", name)
			d.value(v.Field(i))
		}
	default:
		fmt.Fprintf(&d.out, "%v", v)
	}
}

// tree writes the entries of a tree, sorted: the order of changes within an index is
// not kept.
func (d *dumper) tree(v reflect.Value) {
	outer := d.out.String()
	var entries []string
	var walk func(n reflect.Value)
	walk = func(n reflect.Value) {
		if n.IsNil() {
			return
		}
		n = n.Elem()
		kids, keys, vals := n.FieldByName("kids"), n.FieldByName("keys"), n.FieldByName("vals")
		for i := range kids.Len() {
			walk(kids.Index(i))
		}
		for i := range vals.Len() {
			d.out.Reset()
			d.value(keys.Index(i))
			d.out.WriteString(" = ")
			d.value(vals.Index(i))
			entries = append(entries, d.out.String())
		}
	}
	walk(v.FieldByName("root"))
	slices.Sort(entries)
	d.out.Reset()
	d.out.WriteString(outer + "\n" + strings.Join(entries, "\n") + "\n")
}

func (d *dumper) message(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		name := string(m.Descriptor().Name()) + "." + string(f.Name())
		d.seen[name] = d.seen[name] || m.Has(f)
		if f.Kind() != protoreflect.MessageKind || !m.Has(f) {
			continue
		}
		if !f.IsList() {
			d.message(m.Get(f).Message())
			continue
		}
		for j := range m.Get(f).List().Len() {
			d.message(m.Get(f).List().Get(j).Message())
		}
	}
}

func dump(s *State) *dumper {
	d := &dumper{seen: map[string]bool{}}
	d.value(reflect.ValueOf(s).Elem())
	return d
}

// TestSnapshotsAndBackupsHoldEachField: a field that the writer or the reader forgets
// makes the states differ, and one that nothing sets is named.
func TestSnapshotsAndBackupsHoldEachField(t *testing.T) {
	c := everything(t)
	want := dump(c.s)
	for field, set := range want.seen {
		if !set {
			t.Errorf("%s is set nowhere: have everything() set it", field)
		}
	}
	for _, field := range []string{"Key.Imported", "Key.By", "Key.RetiringIndex", "Zone.Auth", "Zone.FirstSeen", "RelayPolicy.MaxValidity", "Request.what"} {
		if !want.seen[field] {
			t.Errorf("the dump does not reach %s", field)
		}
	}
	var snapshot, backup bytes.Buffer
	if err := c.s.WriteSnapshot(&snapshot); err != nil {
		t.Fatal(err)
	}
	if err := c.s.WriteBackup(&backup, func([]byte) []byte { return []byte("mac") }); err != nil {
		t.Fatal(err)
	}
	without := c.s.Capture()
	without.staged, without.secrets = stagedRestore{parts: without.staged.none()}, without.secrets[1:]
	for name, tc := range map[string]struct {
		data []byte
		want string
	}{"snapshot": {snapshot.Bytes(), want.out.String()}, "backup": {backup.Bytes(), dump(without).out.String()}} {
		again, err := ReadSnapshot(bytes.NewReader(tc.data))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := dump(again).out.String(); got != tc.want {
			t.Errorf("%s: %s", name, difference(got, tc.want))
		}
	}
}

// difference returns the first lines that differ.
func difference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("read back\n%s\nwas written of\n%s", g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines were read back of %d", len(g), len(w))
}
