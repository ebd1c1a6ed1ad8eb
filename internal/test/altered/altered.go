// Package altered changes snapshots and backups as somebody does who can write files and
// knows the format: one field at a time, with every checksum made right again.
//
// Tests only.
package altered

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/meridiankds/meridian/raftstore/storepb"
)

// head is the magic and the format of a snapshot.
const head = 12

// Records takes a snapshot or a backup apart.
func Records(t testing.TB, snapshot []byte) []*storepb.Record {
	t.Helper()
	var all []*storepb.Record
	for at := head; at < len(snapshot); {
		n := int(binary.BigEndian.Uint32(snapshot[at:]))
		r := new(storepb.Record)
		if err := proto.Unmarshal(snapshot[at+8:at+8+n], r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
		at += 8 + n
	}
	return all
}

// Assemble puts records together again in the place of a snapshot's, as somebody without
// the seal key can: with every checksum right, and the MAC as it was.
func Assemble(t testing.TB, snapshot []byte, records []*storepb.Record) []byte {
	t.Helper()
	out, sum := bytes.Clone(snapshot[:head]), sha256.New()
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

// Forge puts records together as Assemble does, and writes a MAC over them with mac, as
// somebody with a cluster secret can.
func Forge(t testing.TB, snapshot []byte, records []*storepb.Record, mac func(frames []byte) ([]byte, error)) []byte {
	t.Helper()
	frames := sha256.New()
	records = slices.Clone(records)
	for i, r := range records {
		if r.GetEnd() != nil {
			records[i] = proto.CloneOf(r)
			var err error
			if records[i].GetEnd().Mac, err = mac(frames.Sum(nil)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		payload, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		frames.Write(binary.BigEndian.AppendUint32(nil, uint32(len(payload))))
		frames.Write(payload)
	}
	return Assemble(t, snapshot, records)
}

// EachField calls visit for every way to flip, drop or add to a field of a message, and
// of those in it, on a copy of the record: "Type.field flipped".
func EachField(record *storepb.Record, visit func(what string, changed *storepb.Record)) {
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
