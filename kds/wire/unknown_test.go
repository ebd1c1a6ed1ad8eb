package wire

import (
	"reflect"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/test/kdstest"
	"github.com/meridiankds/meridian/kds/kdspb"
)

// newer returns m with a field behind it that this version does not know.
func newer[M proto.Message](m M) M {
	m.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1))
	return m
}

// TestUnknownWordsAreNamed: what this version does not understand is skipped and named,
// whatever stands in it, and what refuses is taken where only a field is not known.
func TestUnknownWordsAreNamed(t *testing.T) {
	zone := func() *kdspb.KeyRef { return &kdspb.KeyRef{Kind: "zone", Kid: "1"} }
	work := &kdspb.KeyRef{Kind: "job", Kid: "1"}
	key := func(change func(*kdspb.Key)) *kdspb.Change {
		k := &kdspb.Key{Id: zone(), Alg: "RS256", Der: kdstest.DER(), State: "active"}
		change(k)
		return &kdspb.Change{Index: 5, What: &kdspb.Change_Key{Key: k}}
	}
	ids := func(kind string) *kdspb.Ids { return &kdspb.Ids{Kind: kind, Others: []string{"x"}} }
	for name, c := range map[string]struct {
		m     *kdspb.Change
		skip  string
		key   bool // something held must not be trusted any longer
		taken bool
	}{
		"a kind of change":     {newer(&kdspb.Change{Index: 5}), "change:99", false, false},
		"key of a kind":        {key(func(k *kdspb.Key) { k.Id = work }), "kind:job", false, false},
		"key of an algorithm":  {key(func(k *kdspb.Key) { k.Alg = "XS1"; k.Der = []byte{1} }), "key:zone/1", true, false},
		"key in a state":       {key(func(k *kdspb.Key) { k.State = "suspended" }), "key:zone/1", true, false},
		"key of a scope":       {key(func(k *kdspb.Key) { k.Registered = &kdspb.Constraints{Scopes: []string{"all"}} }), "key:zone/1", true, false},
		"a field of a key":     {key(func(k *kdspb.Key) { newer(k) }), "key:zone/1", true, false},
		"a bound of a key":     {key(func(k *kdspb.Key) { k.Registered = newer(&kdspb.Constraints{}) }), "key:zone/1", true, false},
		"a field of its name":  {key(func(k *kdspb.Key) { newer(k.Id) }), "key:zone/1", true, false},
		"ids of a kind":        {&kdspb.Change{Index: 5, What: &kdspb.Change_Revoked{Revoked: ids("job")}}, "kind:job", false, false},
		"a field of revoked":   {&kdspb.Change{Index: 5, What: &kdspb.Change_Revoked{Revoked: newer(ids("zone"))}}, "change:revoked.99", false, true},
		"a field of withdrawn": {&kdspb.Change{Index: 5, What: &kdspb.Change_Withdrawn{Withdrawn: newer(ids("zone"))}}, "change:withdrawn.99", false, false},
		"removal of a kind":    {&kdspb.Change{Index: 5, What: &kdspb.Change_RemovedKey{RemovedKey: work}}, "kind:job", false, false},
		"a field of a removal": {&kdspb.Change{Index: 5, What: &kdspb.Change_RemovedKey{RemovedKey: newer(zone())}}, "change:removed_key.99", true, true},
		"cut-off of a kind":    {&kdspb.Change{Index: 5, What: &kdspb.Change_CutOff{CutOff: &kdspb.CutOff{Id: work, BeforeS: 1}}}, "kind:job", false, false},
		"a field of a cut-off": {&kdspb.Change{Index: 5, What: &kdspb.Change_CutOff{CutOff: newer(&kdspb.CutOff{Id: zone(), BeforeS: 1})}}, "change:cut_off.99", false, true},
		"key of a mesh":        {key(func(k *kdspb.Key) { k.Id = &kdspb.KeyRef{Kind: "dataplane", Mesh: "Shop", Kid: "1"} }), "mesh:Shop", false, false},
		"removal in a mesh":    {&kdspb.Change{Index: 5, What: &kdspb.Change_RemovedKey{RemovedKey: &kdspb.KeyRef{Kind: "dataplane", Mesh: "Shop", Kid: "1"}}}, "mesh:Shop", false, false},
		"revoked in a mesh":    {&kdspb.Change{Index: 5, What: &kdspb.Change_Revoked{Revoked: &kdspb.Ids{Kind: "dataplane", Mesh: "Shop", Others: []string{"x"}}}}, "mesh:Shop", false, false},
		"withdrawn in a mesh":  {&kdspb.Change{Index: 5, What: &kdspb.Change_Withdrawn{Withdrawn: &kdspb.Ids{Kind: "dataplane", Mesh: "a~b", Others: []string{"x"}}}}, "mesh:a~b", false, false},
		"cut-off in a mesh":    {&kdspb.Change{Index: 5, What: &kdspb.Change_CutOff{CutOff: &kdspb.CutOff{Id: &kdspb.KeyRef{Kind: "dataplane", Mesh: "Shop"}, BeforeS: 1}}}, "mesh:Shop", false, false},
		"and its withdrawal":   {&kdspb.Change{Index: 5, What: &kdspb.Change_CutOffWithdrawn{CutOffWithdrawn: &kdspb.KeyRef{Kind: "dataplane", Mesh: "Shop"}}}, "mesh:Shop", false, false},
		"its withdrawal":       {&kdspb.Change{Index: 5, What: &kdspb.Change_CutOffWithdrawn{CutOffWithdrawn: newer(zone())}}, "change:cut_off_withdrawn.99", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := fromWire(c.m)
			if err != nil || len(got) == 0 || got[0].Skipped == nil {
				t.Fatalf("got %+v, %v, want %s skipped", got, err, c.skip)
			}
			s := got[0].Skipped
			if s.Name != c.skip || (s.Key != nil) != c.key || got[0].Index != 5 {
				t.Errorf("skipped %+v at %d, want %s", s, got[0].Index, c.skip)
			}
			if taken := len(got) == 2 && got[1].Skipped == nil; taken != c.taken {
				t.Errorf("got %+v, want it taken beside: %v", got, c.taken)
			}
		})
	}
}

// TestEveryFieldIsLookedInto: a field that is not known is found in each message that
// can stand in a change, also in one that is added later.
func TestEveryFieldIsLookedInto(t *testing.T) {
	fields := (&kdspb.Change{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.Message() == nil {
			continue
		}
		m := (&kdspb.Change{Index: 5}).ProtoReflect()
		m.Mutable(f).Message().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1))
		kind := m.Get(f).Message()
		setKind(kind)
		if unknownIn(m.Interface().(*kdspb.Change)) == nil {
			t.Errorf("a new field of %s is not seen", f.FullName())
		}
	}
}

func TestFreezeOfWhatAVocabularyHas(t *testing.T) {
	// What a vocabulary has: a word more is a level more (cptoken.Vocabulary).
	rest := []string{
		"RS256", "prepared", "active", "retiring",
		"key", "removed_key", "revoked", "withdrawn", "cut_off", "cut_off_withdrawn",
		"Key.id", "Key.alg", "Key.der", "Key.state", "Key.registered",
		"Constraints.zones", "Constraints.scopes", "Constraints.max_lifetime_s", "Constraints.allow_no_expiry", "Constraints.allow_no_id",
		"Ids.kind", "Ids.mesh", "Ids.uuids", "Ids.others", "Ids.expires_s", "CutOff.id", "CutOff.before_s",
		"KeyRef.kind", "KeyRef.mesh", "KeyRef.kid",
	}
	kinds := []string{"control-plane", "zone", "dataplane", "user"}
	frozen := map[int][]string{
		1: slices.Concat(kinds, rest, []string{"names with -."}),
		2: slices.Concat(kinds, []string{"certificate"}, rest, []string{"names with -._"}),
	}
	var now []string
	for _, k := range cptoken.Kinds {
		now = append(now, string(k))
	}
	if cptoken.Certificate.Revocable() {
		now = append(now, string(cptoken.Certificate))
	}
	now = append(now, cptoken.Algorithms[:]...)
	for _, s := range []cptoken.KeyState{cptoken.Prepared, cptoken.Active, cptoken.Retiring} {
		if s.Valid() {
			now = append(now, string(s))
		}
	}
	what := (&kdspb.Change{}).ProtoReflect().Descriptor().Oneofs().Get(0).Fields()
	for i := range what.Len() {
		now = append(now, string(what.Get(i).Name()))
	}
	for _, m := range []proto.Message{&kdspb.Key{}, &kdspb.Constraints{}, &kdspb.Ids{}, &kdspb.CutOff{}, &kdspb.KeyRef{}} {
		d := m.ProtoReflect().Descriptor()
		for i := range d.Fields().Len() {
			now = append(now, string(d.Name())+"."+string(d.Fields().Get(i).Name()))
		}
	}
	inner := ""
	for c := byte('!'); c < 0x7f; c++ {
		letter := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !letter && cptoken.Dataplane.ValidateScope("a"+string(c)+"b") == nil {
			inner += string(c)
		}
	}
	now = append(now, "names with "+inner)
	if want := frozen[cptoken.Vocabulary]; !reflect.DeepEqual(now, want) {
		t.Errorf("vocabulary %d has\n%q\nand was frozen with\n%q\nraise cptoken.Vocabulary and freeze the new level", cptoken.Vocabulary, now, want)
	}
}

// setKind gives whatever names a kind the kind "zone", in a message or one below it.
func setKind(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		switch f := fields.Get(i); {
		case f.Name() == "kind":
			m.Set(f, protoreflect.ValueOfString("zone"))
		case f.Name() == "kid":
			m.Set(f, protoreflect.ValueOfString("1"))
		case f.Name() == "id" && f.Message() != nil:
			setKind(m.Mutable(f).Message())
		}
	}
}
