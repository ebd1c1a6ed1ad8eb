package wire

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/test/kdstest"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/kdspb"
)

// TestEveryFieldTravels sends what a global sends a zone, with every field filled, and
// compares: a field that one side forgets is found, also one that is added later.
func TestEveryFieldTravels(t *testing.T) {
	changes := kdstest.EveryChange(t)
	d := cptoken.Delta{
		Cluster: kdstest.Cluster, From: kdstest.Revision(1, 0), To: kdstest.Revision(1, 99), Began: 7,
		Position: []byte("position"), Watermark: time.UnixMilli(1_790_000_000_123), Changes: slices.Values(changes),
	}
	for _, full := range []bool{false, true} {
		d.Full, d.Merging = full, full
		b, err := Encode(d, kds.MaxPart)
		if err != nil {
			t.Fatal(err)
		}
		want := cptoken.Part{
			Cluster: d.Cluster, To: d.To, Full: full, Began: d.Began, Watermark: d.Watermark, Position: d.Position, Merging: full, Last: true, Changes: changes,
		}
		if !full {
			want.From = d.From
		}
		got := decodeBatch(t, b)
		if len(got) != 1 || !reflect.DeepEqual(got[0], want) {
			t.Errorf("full %v:\n got %+v\nwant %+v", full, got, want)
		}
		messageIsFilled(t, b, full)
	}
	for i := range reflect.TypeFor[cptoken.Part]().NumField() {
		name := reflect.TypeFor[cptoken.Part]().Field(i).Name
		if !slices.Contains([]string{"Cluster", "From", "To", "Full", "Began", "Watermark", "Position", "Merging", "Number", "Last", "Changes"}, name) {
			t.Errorf("Part.%s is in no message of this test", name)
		}
	}
}

// messageIsFilled wants every field of the messages on the wire to be used, so that
// none is left that nobody writes.
func messageIsFilled(t *testing.T, b *Batch, full bool) {
	t.Helper()
	seen := map[protoreflect.FullName]bool{}
	var walk func(m protoreflect.Message)
	walk = func(m protoreflect.Message) {
		m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			seen[f.FullName()] = true
			switch {
			case f.IsList() && f.Message() != nil:
				for i := range v.List().Len() {
					walk(v.List().Get(i).Message())
				}
			case f.Message() != nil && !f.IsMap():
				walk(v.Message())
			}
			return true
		})
	}
	resp := decodeResponse(t, b.Parts[0])
	var m kdspb.Changes
	if err := proto.Unmarshal(resp.GetResources()[0].GetResource().GetValue(), &m); err != nil {
		t.Fatal(err)
	}
	walk(m.ProtoReflect())
	all := kdspb.File_kds_kdspb_changes_proto.Messages()
	for i := range all.Len() {
		fields := all.Get(i).Fields()
		for j := range fields.Len() {
			name := fields.Get(j).FullName()
			absent := name.Name() == "part" || (name.Name() == "full" || name.Name() == "merging") && !full || name.Name() == "from" || name.Name() == "uuids"
			if !seen[name] && !absent {
				t.Errorf("nothing writes %s", name)
			}
		}
	}
}

// TestEveryFieldOfARelayTravels: what a zone passes on for its user, and the answer.
func TestEveryFieldOfARelayTravels(t *testing.T) {
	request := kdstest.Filled[kds.TokenRequest](t)
	if got := TokenRequestFrom(overTheWire(t, TokenRequestTo(request))); !reflect.DeepEqual(got, request) {
		t.Errorf("a request does not come as it was sent: it differs in %v", differing(got, request))
	}
	token := kdstest.Filled[kds.IssuedToken](t)
	if got, err := IssuedTokenFrom(overTheWire(t, IssuedTokenTo(token, nil))); err != nil || got != token {
		t.Errorf("a token does not come as it was sent: it differs in %v (%v)", differing(got, token), err)
	}
	why := federation.Error{
		Code: federation.TooLarge, Detail: "detail", Hint: "hint", Reason: "reason", RetryAfter: 7 * time.Second,
		Fields: kdstest.Filled[[]federation.FieldError](t),
	}
	_, err := IssuedTokenFrom(overTheWire(t, IssuedTokenTo(kds.IssuedToken{}, &why)))
	got := federation.AsError(err)
	for i := range reflect.TypeFor[federation.Error]().NumField() {
		f := reflect.TypeFor[federation.Error]().Field(i)
		if !f.IsExported() {
			continue // a cause stays where it is
		}
		want := reflect.ValueOf(why).Field(i)
		if want.IsZero() || !reflect.DeepEqual(reflect.ValueOf(*got).Field(i).Interface(), want.Interface()) {
			t.Errorf("a refusal's %s comes as %v, sent as %v", f.Name, reflect.ValueOf(*got).Field(i), want)
		}
	}
}

// differing names the fields in which two structs differ: values may be secret.
func differing(a, b any) (names []string) {
	for i := range reflect.TypeOf(a).NumField() {
		if !reflect.DeepEqual(reflect.ValueOf(a).Field(i).Interface(), reflect.ValueOf(b).Field(i).Interface()) {
			names = append(names, reflect.TypeOf(a).Field(i).Name)
		}
	}
	return names
}

func overTheWire[M proto.Message](t *testing.T, m M) M {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	out := m.ProtoReflect().New().Interface().(M)
	if err := proto.Unmarshal(b, out); err != nil {
		t.Fatal(err)
	}
	return out
}
