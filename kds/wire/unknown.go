package wire

import (
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/kds/kdspb"
)

// unknownIn returns what of a change this version does not understand, or nil: a kind
// of change, a kind, an algorithm, a state, a scope, or a field anywhere in it. A field
// that is not known may narrow what the others say, so the change is not taken without
// it; a newer global sends what refuses in a form that is either understood or seen here.
func unknownIn(m *kdspb.Change) *cptoken.Skipped {
	if s := unknownMesh(m); s != nil {
		return s
	}
	switch w := m.GetWhat().(type) {
	case *kdspb.Change_Key:
		return unknownKey(m, w.Key)
	case *kdspb.Change_RemovedKey:
		return unknownRef(m, "removed_key", w.RemovedKey)
	case *kdspb.Change_Revoked:
		return unknownRun(m, "revoked", w.Revoked.GetKind())
	case *kdspb.Change_Withdrawn:
		return unknownRun(m, "withdrawn", w.Withdrawn.GetKind())
	case *kdspb.Change_CutOff:
		return unknownKind(m, "cut_off", w.CutOff.GetId().GetKind())
	case *kdspb.Change_CutOffWithdrawn:
		return unknownKind(m, "cut_off_withdrawn", w.CutOffWithdrawn.GetKind())
	}
	if field, ok := unknownField(m.ProtoReflect()); ok {
		return &cptoken.Skipped{Name: cptoken.SkippedChange(field)}
	}
	return nil
}

// unknownMesh names the mesh of a change whose name has a form that a newer version
// allows. The zone holds no key of such a mesh and takes no token of it, so that nothing
// that is refused there is missed.
func unknownMesh(m *kdspb.Change) *cptoken.Skipped {
	var of interface {
		GetKind() string
		GetMesh() string
	}
	switch w := m.GetWhat().(type) {
	case *kdspb.Change_Key:
		of = w.Key.GetId()
	case *kdspb.Change_RemovedKey:
		of = w.RemovedKey
	case *kdspb.Change_Revoked:
		of = w.Revoked
	case *kdspb.Change_Withdrawn:
		of = w.Withdrawn
	case *kdspb.Change_CutOff:
		of = w.CutOff.GetId()
	case *kdspb.Change_CutOffWithdrawn:
		of = w.CutOffWithdrawn
	default:
		return nil
	}
	kind, mesh := cptoken.Kind(of.GetKind()), of.GetMesh()
	if !kind.PerMesh() || mesh == "" || kind.ValidateScope(mesh) == nil {
		return nil
	}
	return &cptoken.Skipped{Name: cptoken.SkippedMesh(name(mesh))}
}

// narrows reports whether a change refuses something of a kind, and a mesh, that are known.
func narrows(m *kdspb.Change) bool {
	if unknownMesh(m) != nil {
		return false
	}
	switch w := m.GetWhat().(type) {
	case *kdspb.Change_RemovedKey:
		return cptoken.Kind(w.RemovedKey.GetKind()).Valid()
	case *kdspb.Change_Revoked:
		return known(cptoken.Kind(w.Revoked.GetKind()))
	case *kdspb.Change_CutOff:
		return cptoken.Kind(w.CutOff.GetId().GetKind()).Valid()
	}
	return false
}

func unknownKind(m *kdspb.Change, what, kind string) *cptoken.Skipped {
	if kind == "" {
		return nil // malformed, which reading it says
	}
	if !cptoken.Kind(kind).Valid() {
		return &cptoken.Skipped{Name: cptoken.SkippedKind(name(kind))}
	}
	return unknownBelow(m, what)
}

// unknownRun is unknownKind for what is revoked, or withdrawn.
func unknownRun(m *kdspb.Change, what, kind string) *cptoken.Skipped {
	if cptoken.Kind(kind) == cptoken.Certificate {
		return unknownBelow(m, what)
	}
	return unknownKind(m, what, kind)
}

// known reports whether what is of a kind can be revoked.
func known(kind cptoken.Kind) bool { return kind.Valid() || kind == cptoken.Certificate }

func unknownBelow(m *kdspb.Change, what string) *cptoken.Skipped {
	if field, ok := unknownField(m.ProtoReflect()); ok {
		return &cptoken.Skipped{Name: cptoken.SkippedChange(what + "." + field)}
	}
	return nil
}

// unknownRef is unknownKind for what names one key, which is then trusted no longer.
func unknownRef(m *kdspb.Change, what string, ref *kdspb.KeyRef) *cptoken.Skipped {
	s := unknownKind(m, what, ref.GetKind())
	if s == nil || !cptoken.Kind(ref.GetKind()).Valid() {
		return s
	}
	if id, err := keyIDFromWire(ref); err == nil {
		s.Key = &id
	}
	return s
}

func unknownKey(m *kdspb.Change, k *kdspb.Key) *cptoken.Skipped {
	s := unknownRef(m, "key", k.GetId())
	if s == nil {
		known := cptoken.KnownAlgorithm(k.GetAlg()) && (k.GetState() == "" || cptoken.KeyState(k.GetState()).Valid())
		for _, scope := range k.GetRegistered().GetScopes() {
			known = known && cptoken.Scope(scope).Valid()
		}
		if known {
			return nil
		}
		id, err := keyIDFromWire(k.GetId())
		if err != nil {
			return nil // malformed, which reading it says
		}
		s = &cptoken.Skipped{Key: &id}
	}
	if s.Key != nil {
		s.Name = cptoken.SkippedKey(*s.Key)
	}
	return s
}

// unknownField returns the number of a field that this version does not know, in a
// message or in those below it.
func unknownField(m protoreflect.Message) (number string, ok bool) {
	if raw := m.GetUnknown(); len(raw) > 0 {
		n, _, _ := protowire.ConsumeTag(raw)
		return strconv.Itoa(int(n)), true
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Message() != nil && !f.IsList() && !f.IsMap() {
			number, ok = unknownField(v.Message())
		}
		return !ok
	})
	return number, ok
}

// maxNewName bounds the name of a kind or a mesh that is not known.
const maxNewName = 64

func name(s string) string { return Printable(s[:min(len(s), maxNewName)]) }
