package state

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// frozen is the vocabulary of each level: per message its fields, and the words of those
// that take some. A level that is there never changes: what is new gets the next one.
//
//go:embed testdata/vocabulary.txt
var frozen string

// fieldPath leads from a command or a record to a field in it.
type fieldPath []protoreflect.FieldDescriptor

func (p fieldPath) last() protoreflect.FieldDescriptor { return p[len(p)-1] }

// paths yields every field that can be reached from a message.
func paths(m protoreflect.MessageDescriptor, before fieldPath, yield func(fieldPath)) {
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		path := append(slices.Clone(before), f)
		yield(path)
		if f.Message() != nil {
			paths(f.Message(), path, yield)
		}
	}
}

func ruleOf(f protoreflect.FieldDescriptor) fieldRule {
	return fieldRules[f.FullName().Parent()][f.Name()]
}

// nameOf is message and field, without the package.
func nameOf(f protoreflect.FieldDescriptor) string {
	return strings.TrimPrefix(string(f.FullName()), string(f.ParentFile().Package())+".")
}

func TestTheVocabularyOfALevelIsFrozen(t *testing.T) {
	lines := map[string]bool{}
	add := func(p fieldPath) {
		f := p.last()
		if f.IsMap() || f.Kind() == protoreflect.EnumKind {
			t.Errorf("%s: needs does not look into maps and enumerations", nameOf(f))
		}
		rule := ruleOf(f)
		lines[fmt.Sprintf("%d %s %d %s %s", max(FirstLevel, rule.since), nameOf(f), f.Number(), f.Cardinality(), f.Kind())] = true
		for word, since := range rule.words {
			lines[fmt.Sprintf("%d %s %q", since, nameOf(f), word)] = true
		}
	}
	for _, m := range []protoreflect.Message{new(storepb.Command).ProtoReflect(), new(storepb.Record).ProtoReflect()} {
		paths(m.Descriptor(), nil, add)
	}
	for i, k := range kinds {
		lines[fmt.Sprintf("%d kind %q is number %d, per mesh: %v, at zones: %v", k.since, k.kind, i, k.perMesh, k.atZones)] = true
	}
	have := slices.SortedFunc(maps.Keys(lines), cmp.Compare[string])
	want := strings.Split(strings.TrimSpace(frozen), "\n")
	for _, line := range have {
		if !slices.Contains(want, line) {
			t.Errorf("not in a level that is frozen: %s", line)
		}
	}
	for _, line := range want {
		if !lines[line] {
			t.Errorf("gone from its level: %s", line)
		}
	}
}

// message returns root with the field at the end of the path set to a word.
func message(root protoreflect.Message, p fieldPath, word string) protoreflect.Message {
	m := root
	for i, f := range p {
		v := protoreflect.ValueOfString(word)
		if i < len(p)-1 {
			v = m.NewField(f)
			if f.IsList() {
				v = v.List().NewElement()
			}
		}
		if f.IsList() {
			m.Mutable(f).List().Append(v)
		} else {
			m.Set(f, v)
		}
		if i < len(p)-1 {
			m = v.Message()
		}
	}
	return root
}

// TestAValueThatIsNotKnownStopsTheNode sets each field that takes words to one that no
// level has, in each place of a command and of a record.
func TestAValueThatIsNotKnownStopsTheNode(t *testing.T) {
	words := 0
	paths(new(storepb.Command).ProtoReflect().Descriptor(), nil, func(p fieldPath) {
		if ruleOf(p.last()).words == nil {
			return
		}
		words++
		cmd := message(new(storepb.Command).ProtoReflect(), p, "workload").Interface().(*storepb.Command)
		if err := newCoreState(t).MayPropose(cmd); federation.CodeOf(err) != federation.Invalid {
			t.Errorf("%s in %T is proposed: %v", nameOf(p.last()), cmd.Op, err)
		}
		cmd.Level = Level
		data, err := EncodeCommand(cmd)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeCommand(data); !errors.Is(err, ErrNewer) {
			t.Errorf("%s in %T: %v", nameOf(p.last()), cmd.Op, err)
		}
	})
	paths(new(storepb.Record).ProtoReflect().Descriptor(), nil, func(p fieldPath) {
		if ruleOf(p.last()).words == nil {
			return
		}
		words++
		record := message(new(storepb.Record).ProtoReflect(), p, "workload").Interface().(*storepb.Record)
		file := snapshotOf(t, Level, record)
		if _, err := ReadSnapshot(bytes.NewReader(file)); !errors.Is(err, ErrNewer) {
			t.Errorf("%s in a snapshot's %T: %v", nameOf(p.last()), record.What, err)
		}
		if _, err := ReadBackup(bytes.NewReader(file)); federation.AsError(err).Reason != "newer" {
			t.Errorf("%s in a backup's %T: %v", nameOf(p.last()), record.What, err)
		}
	})
	if words < 20 {
		t.Errorf("only %d places take words", words)
	}
}

// TestALevelHasOnlyItsOwn meets each field of a later level at the level before it: it is
// neither proposed, nor applied, nor read from a snapshot.
func TestALevelHasOnlyItsOwn(t *testing.T) {
	root := new(storepb.Command).ProtoReflect().Descriptor()
	paths(root, nil, func(p fieldPath) {
		rule := ruleOf(p.last())
		if rule.since <= FirstLevel {
			return
		}
		cmd := filled(new(storepb.Command).ProtoReflect(), p).Interface().(*storepb.Command)
		s := newCoreState(t)
		s.level = rule.since - 1
		if err := s.MayPropose(cmd); federation.AsError(err).Reason != "level" || cmd.Level != rule.since {
			t.Errorf("%s is proposed at level %d: %v, as of level %d", nameOf(p.last()), s.level, err, cmd.Level)
		}
		if err := s.admit(cmd); federation.AsError(err).Reason != "level" {
			t.Errorf("%s is applied at level %d: %v", nameOf(p.last()), s.level, err)
		}
		cmd.Level = rule.since - 1
		data, err := EncodeCommand(cmd)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeCommand(data); err == nil {
			t.Errorf("%s is taken from a command that says it is of level %d", nameOf(p.last()), cmd.Level)
		}
	})
	paths(new(storepb.Record).ProtoReflect().Descriptor(), nil, func(p fieldPath) {
		rule := ruleOf(p.last())
		if rule.since <= FirstLevel || p[0].Name() == "header" {
			return
		}
		record := filled(new(storepb.Record).ProtoReflect(), p).Interface().(*storepb.Record)
		if _, err := ReadSnapshot(bytes.NewReader(snapshotOf(t, rule.since-1, record))); err == nil || !strings.Contains(err.Error(), "brought, in a snapshot") {
			t.Errorf("%s is read from a snapshot of level %d: %v", nameOf(p.last()), rule.since-1, err)
		}
	})
	s := newCoreState(t)
	s.level = LevelTrust - 1
	if check := s.supersede(&storepb.SealCheck{Sealed: &storepb.Sealed{SealKeyId: "b"}}); len(check.FormerIds) != 0 {
		t.Error("former seal keys are remembered below their level")
	}
}

// filled is message for a field of any type.
func filled(root protoreflect.Message, p fieldPath) protoreflect.Message {
	f := p.last()
	if f.Kind() == protoreflect.StringKind {
		return message(root, p, "x")
	}
	m := root
	if len(p) > 1 {
		for _, f := range p[:len(p)-1] {
			if f.IsList() {
				m = m.Mutable(f).List().AppendMutable().Message()
			} else {
				m = m.Mutable(f).Message()
			}
		}
	}
	switch {
	case f.IsList():
		m.Mutable(f).List().AppendMutable()
	case f.Message() != nil:
		m.Mutable(f)
	case f.Kind() == protoreflect.BoolKind:
		m.Set(f, protoreflect.ValueOfBool(true))
	case f.Kind() == protoreflect.BytesKind:
		m.Set(f, protoreflect.ValueOfBytes([]byte("x")))
	default:
		panic("no value for " + nameOf(f))
	}
	return root
}

func newCoreState(t *testing.T) *State { return newCore(t).s }

// snapshotOf is a snapshot with one record after its header.
func snapshotOf(t *testing.T, level uint32, record *storepb.Record) []byte {
	t.Helper()
	header := NewState().header()
	header.Level = level
	var file bytes.Buffer
	w := &snapshotWriter{w: bufio.NewWriter(&file), sum: sha256.New(), frames: sha256.New()}
	_, w.err = w.w.Write(binary.BigEndian.AppendUint32([]byte(snapshotMagic), snapshotFormat))
	w.put(&storepb.Record{What: &storepb.Record_Header{Header: header}})
	w.put(record)
	w.put(&storepb.Record{What: &storepb.Record_End{End: &storepb.End{Records: w.records, Sha256: w.sum.Sum(nil)}}})
	if err := cmp.Or(w.err, w.w.Flush()); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// TestOtherPackagesKnowTheVocabulary: the state gives them what it holds.
func TestOtherPackagesKnowTheVocabulary(t *testing.T) {
	for _, k := range kinds {
		if !k.kind.Valid() || k.kind.PerMesh() != k.perMesh || k.kind.AtZones() != k.atZones {
			t.Errorf("kind %s is another one in cptoken", k.kind)
		}
	}
	for alg := range algorithms {
		if alg != cptoken.AlgHS256 && !cptoken.KnownAlgorithm(alg) {
			t.Errorf("cptoken does not know algorithm %s", alg)
		}
	}
	for state := range keyStates {
		if !cptoken.KeyState(state).Valid() {
			t.Errorf("cptoken does not know state %s", state)
		}
	}
	for scope := range scopes {
		if !cptoken.Scope(scope).Valid() {
			t.Errorf("cptoken does not know scope %s", scope)
		}
	}
	for mode := range authModes {
		if got, err := federation.ParseAuthMode("auth", mode); err != nil || string(got) != mode {
			t.Errorf("federation does not know mode %s", mode)
		}
	}
}
