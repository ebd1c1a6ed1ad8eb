package state

import (
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// The canonical form of what the lineage is made of: the same bytes on every member,
// whatever the version of a library. testdata/lineage.txt freezes it for each level.
// Deterministic marshalling of protobuf promises that for one binary only.

// canonical appends the fields of a message that are set, by number: the number, and a
// number as a varint, text and bytes behind their length, a message as its own fields
// behind their count; a list as one field for each element.
func canonical(b []byte, m protoreflect.Message) []byte {
	fields := m.Descriptor().Fields()
	for number, left := protoreflect.FieldNumber(1), countFields(m); left > 0; number++ {
		f := fields.ByNumber(number)
		if f == nil || !m.Has(f) {
			continue
		}
		left--
		if !f.IsList() {
			b = canonicalValue(b, f, m.Get(f))
			continue
		}
		for i, list := 0, m.Get(f).List(); i < list.Len(); i++ {
			b = canonicalValue(b, f, list.Get(i))
		}
	}
	return b
}

func countFields(m protoreflect.Message) (n int) {
	m.Range(func(protoreflect.FieldDescriptor, protoreflect.Value) bool { n++; return true })
	return n
}

func canonicalValue(b []byte, f protoreflect.FieldDescriptor, v protoreflect.Value) []byte {
	b = binary.AppendUvarint(b, uint64(f.Number()))
	switch f.Kind() {
	case protoreflect.BoolKind:
		if v.Bool() {
			return append(b, 1)
		}
		return append(b, 0)
	case protoreflect.StringKind:
		return appendText(b, v.String())
	case protoreflect.BytesKind:
		return appendText(b, string(v.Bytes()))
	case protoreflect.MessageKind:
		inner := canonical(nil, v.Message())
		return appendText(b, string(inner))
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		return binary.AppendUvarint(b, v.Uint())
	case protoreflect.Int64Kind:
		return binary.AppendVarint(b, v.Int())
	}
	panic("state: " + string(f.FullName()) + " has no canonical form") // a test has every field of every record
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// record is a record behind its name, which tells kinds of records apart.
func record(b []byte, m protoreflect.ProtoMessage) []byte {
	r := m.ProtoReflect()
	return canonical(appendText(b, string(r.Descriptor().Name())), r)
}

func recordSerial(b []byte, id listID, highest uint64) []byte {
	return record(b, &storepb.Serial{Kind: string(id.kind), Mesh: id.mesh, Highest: highest})
}

func recordKey(b []byte, _ cptoken.KeyID, k *KeyRecord) []byte { return record(b, k.record()) }

func recordRemoved(b []byte, id cptoken.KeyID, at logKey) []byte {
	return record(b, &storepb.Tombstone{Index: at.index, RemovedKey: KeyRef(id)})
}

func recordCutOff(b []byte, _ cptoken.CutOffID, c *cutOffRecord) []byte {
	return record(b, cutOffTo(c))
}

func recordZone(b []byte, _ string, z *federation.Zone) []byte { return record(b, zoneTo(z)) }

func recordMesh(b []byte, _ string, m *Mesh) []byte { return record(b, meshTo(m)) }

func recordExpelled(b []byte, _ string, e *storepb.Expelled) []byte { return record(b, e) }

func recordRequest(b []byte, _ string, r *storepb.Request) []byte {
	return record(b, &storepb.Request{Id: r.Id, AtMs: r.AtMs, Result: effect(r.Result), What: r.What})
}

// recordStage leaves the parts to the commands that brought them, which the lineage has:
// hashing them again with each further part would take time by the square of their number.
func recordStage(b []byte, _ string, s *storepb.Stage) []byte {
	b = record(b, &storepb.Stage{Id: s.Id, By: s.By, BegunMs: s.BegunMs})
	return binary.AppendUvarint(b, uint64(len(s.Parts)))
}

// recordUUID and recordID are for ids of a list. There may be millions.
func recordUUID(list listID) func(b []byte, u cptoken.UUID, e idEntry) []byte {
	head := listHead(list)
	return func(b []byte, u cptoken.UUID, e idEntry) []byte {
		return e.record(append(append(b, head...), u[:]...))
	}
}

func recordID(list listID) func(b []byte, id string, e idEntry) []byte {
	head := listHead(list)
	return func(b []byte, id string, e idEntry) []byte {
		return e.record(appendText(append(append(b, head...), make([]byte, len(cptoken.UUID{}))...), id))
	}
}

func listHead(list listID) []byte {
	return appendText(appendText(appendText(nil, "id"), string(list.kind)), list.mesh)
}

func (e idEntry) record(b []byte) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, e.mark), uint64(e.expires&math.MaxInt64))
}
