package raftstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// backupHead is the magic and the format of a backup.
const backupHead = 12

// records takes a backup apart.
func records(t testing.TB, backup []byte) []*storepb.Record {
	t.Helper()
	var all []*storepb.Record
	for at := backupHead; at < len(backup); {
		n := int(binary.BigEndian.Uint32(backup[at:]))
		r := new(storepb.Record)
		if err := proto.Unmarshal(backup[at+8:at+8+n], r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
		at += 8 + n
	}
	return all
}

// assemble puts records together again as somebody without the seal key can: with every
// checksum right, and the MAC as it was.
func assemble(t testing.TB, head []byte, records []*storepb.Record) []byte {
	t.Helper()
	out, sum := bytes.Clone(head), sha256.New()
	for i, r := range records {
		if end := r.GetEnd(); end != nil {
			r = proto.CloneOf(r)
			r.GetEnd().Records, r.GetEnd().Sha256 = uint64(i), sum.Sum(nil)
		}
		payload, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		out = binary.BigEndian.AppendUint32(out, uint32(len(payload)))
		out = binary.BigEndian.AppendUint32(out, crc32.Checksum(payload, crc32.MakeTable(crc32.Castagnoli)))
		out = append(out, payload...)
		sum.Write(payload)
	}
	return out
}

// eachField calls change for every way to flip, drop or add to a field of a message, and
// of those in it, on a copy of the record.
func eachField(record *storepb.Record, visit func(what string, changed *storepb.Record)) {
	var walk func(path []protoreflect.FieldDescriptor, m protoreflect.Message)
	walk = func(path []protoreflect.FieldDescriptor, m protoreflect.Message) {
		fields := m.Descriptor().Fields()
		for i := range fields.Len() {
			f := fields.Get(i)
			alter := func(what string, change func(m protoreflect.Message)) {
				c := proto.CloneOf(record)
				at := c.ProtoReflect()
				for _, p := range path {
					at = at.Mutable(p).Message()
				}
				change(at)
				if !proto.Equal(c, record) {
					visit(fmt.Sprintf("%s.%s %s", m.Descriptor().Name(), f.Name(), what), c)
				}
			}
			alter("dropped", func(m protoreflect.Message) { m.Clear(f) })
			switch {
			case f.IsList():
				alter("added", func(m protoreflect.Message) { l := m.Mutable(f).List(); l.Append(l.NewElement()) })
			case f.Kind() == protoreflect.MessageKind:
				if m.Has(f) {
					walk(append(path[:len(path):len(path)], f), m.Get(f).Message())
				}
			default:
				alter("flipped", func(m protoreflect.Message) { m.Set(f, flipped(f, m.Get(f))) })
			}
		}
	}
	path := []protoreflect.FieldDescriptor{record.ProtoReflect().WhichOneof(record.ProtoReflect().Descriptor().Oneofs().Get(0))}
	walk(path, record.ProtoReflect().Get(path[0]).Message())
}

func flipped(f protoreflect.FieldDescriptor, v protoreflect.Value) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(!v.Bool())
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(v.String() + "x")
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(append(bytes.Clone(v.Bytes()), 1))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(v.Uint()) ^ 1)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(v.Uint() ^ 1)
	}
	return protoreflect.ValueOfInt64(v.Int() ^ 1)
}

// TestChangedBackupsAreRefused: each field of each record flipped, dropped or added to,
// each record dropped or repeated, with every checksum made right again. Nothing of it is
// restored, and nothing is changed.
func TestChangedBackupsAreRefused(t *testing.T) {
	m := start(t, alone(t, t.TempDir(), testSeal(t))).awaitReady()
	ctx := context.Background()
	revokeOn(t, m, "one", randomUUID())
	if _, err := m.ApplyZone(ctx, ann, federation.Zone{Name: "west", Enabled: true, Auth: federation.AuthToken}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.SetCutOff(ctx, ann, cptoken.CutOff{CutOffID: cptoken.CutOffID{Kind: cptoken.User}, Before: m.cfg.Now()}, "why"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Withdraw(ctx, ann, cptoken.Zone, "", []string{"one"}); err != nil {
		t.Fatal(err)
	}
	backup := save(t, m)
	all := records(t, backup)
	if got := assemble(t, backup[:backupHead], all); !bytes.Equal(got, backup) {
		t.Fatal("a backup that is only taken apart is another one")
	}
	before := snapshotBytes(t, m.fsm.current())
	n := 0
	refuse := func(what string, changed []*storepb.Record) {
		t.Helper()
		n++
		_, _, err := m.Restore(ctx, ann, RestoreOptions{Force: true}, bytes.NewReader(assemble(t, backup[:backupHead], changed)))
		if federation.CodeOf(err) != federation.Invalid {
			t.Errorf("%s: %v", what, err)
		}
		if !bytes.Equal(snapshotBytes(t, m.fsm.current()), before) {
			t.Fatalf("%s: something was changed", what)
		}
	}
	with := func(i int, r ...*storepb.Record) []*storepb.Record {
		return append(append(append([]*storepb.Record(nil), all[:i]...), r...), all[i+1:]...)
	}
	for i, r := range all {
		eachField(r, func(what string, changed *storepb.Record) {
			if e := r.GetEnd(); e != nil && bytes.Equal(changed.GetEnd().Mac, e.Mac) {
				return // the checksums, which assemble puts right
			}
			refuse(what, with(i, changed))
		})
		refuse(fmt.Sprintf("record %d dropped", i), with(i))
		refuse(fmt.Sprintf("record %d twice", i), with(i, r, r))
	}
	if n < 200 {
		t.Errorf("%d changes only were tried", n)
	}
	if _, _, err := m.Restore(ctx, ann, RestoreOptions{Force: true}, bytes.NewReader(backup)); err != nil {
		t.Errorf("the backup itself: %v", err)
	}
}

// TestBackupsThatNobodyVouchesFor: one without a MAC, and one whose secret was made by
// somebody else, name the way out.
func TestBackupsThatNobodyVouchesFor(t *testing.T) {
	seal := testSeal(t)
	m := start(t, alone(t, t.TempDir(), seal)).awaitReady()
	backup := save(t, m)
	all := records(t, backup)
	bare := proto.CloneOf(all[len(all)-1])
	bare.GetEnd().Mac = nil
	_, _, err := m.Restore(context.Background(), ann, RestoreOptions{Force: true},
		bytes.NewReader(assemble(t, backup[:backupHead], append(append([]*storepb.Record(nil), all[:len(all)-1]...), bare))))
	wantCode(t, err, "invalid", "no_mac")

	for i, r := range all {
		if r.GetSecret() == nil {
			continue
		}
		// The secret of another cluster, sealed under the same seal key.
		sealed, err := seal.NewClusterSecret("another", 1)
		if err != nil {
			t.Fatal(err)
		}
		other := append([]*storepb.Record(nil), all...)
		other[i] = &storepb.Record{What: &storepb.Record_Secret{Secret: &storepb.ClusterSecret{Generation: 1, Sealed: sealedTo(sealed)}}}
		_, _, err = m.Restore(context.Background(), ann, RestoreOptions{Force: true}, bytes.NewReader(assemble(t, backup[:backupHead], other)))
		wantCode(t, err, "invalid", "damaged")
		return
	}
	t.Error("the backup has no secret")
}

// TestSecretRotation: backups of both generations are restored, and the secret follows
// the seal key.
func TestSecretRotation(t *testing.T) {
	m := start(t, alone(t, t.TempDir(), testSeal(t))).awaitReady()
	ctx := context.Background()
	former := save(t, m)
	if n, err := m.RotateSecret(ctx, ann); err != nil || n != 2 {
		t.Fatalf("generation %d: %v", n, err)
	}
	for name, backup := range map[string][]byte{"former": former, "new": save(t, m)} {
		if _, _, err := m.Restore(ctx, ann, RestoreOptions{Force: true}, bytes.NewReader(backup)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := len(m.fsm.current().Secrets()); got != 2 {
			t.Errorf("%s: %d generations are left", name, got)
		}
	}
}

// TestBackupOfAKeyThatIsNotItsOwn: whoever has the cluster secret and no key of a kind
// cannot have tokens of another key believed.
func TestBackupOfAKeyThatIsNotItsOwn(t *testing.T) {
	seal := testSeal(t)
	m := start(t, alone(t, t.TempDir(), seal)).awaitReady()
	backup := save(t, m)
	all := records(t, backup)
	for _, r := range all {
		if k := r.GetKey(); k.GetId().GetKind() == string(cptoken.User) {
			k.PublicDer = anotherDER(t)
		}
	}
	secret, err := openSecret(seal, m.ClusterID(), m.fsm.current().Secrets())
	if err != nil {
		t.Fatal(err)
	}
	resigned := assembleWithMAC(t, backup[:backupHead], all, secret)
	_, _, err = m.Restore(context.Background(), ann, RestoreOptions{Force: true}, bytes.NewReader(resigned))
	wantCode(t, err, "invalid", "damaged")
}

func assembleWithMAC(t testing.TB, head []byte, records []*storepb.Record, secret *issue.ClusterSecret) []byte {
	t.Helper()
	frames := sha256.New()
	for _, r := range records {
		if end := r.GetEnd(); end != nil {
			mac, err := secret.BackupMAC(frames.Sum(nil))
			if err != nil {
				t.Fatal(err)
			}
			end.Mac = mac
			break
		}
		payload, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		frames.Write(binary.BigEndian.AppendUint32(nil, uint32(len(payload))))
		frames.Write(payload)
	}
	return assemble(t, head, records)
}
