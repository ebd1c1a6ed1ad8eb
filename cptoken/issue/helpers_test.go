package issue

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

var testNow = time.Date(2027, 1, 15, 12, 0, 0, 500_000_000, time.UTC)

var (
	zoneRef = Ref{Kind: cptoken.Zone, Serial: 3}
	meshRef = Ref{Kind: cptoken.Dataplane, Mesh: "default", Serial: 1}
	userRef = Ref{Kind: cptoken.User, Serial: 1}
	cpRef   = Ref{Kind: cptoken.ControlPlane, Serial: 2}
)

// testKeys are made once for a run, one of each kind.
var testKeys = sync.OnceValue(func() map[cptoken.Kind]*SigningKey {
	keys := map[cptoken.Kind]*SigningKey{}
	for _, ref := range []Ref{zoneRef, meshRef, userRef, cpRef} {
		key, err := Generate(ref)
		if err != nil {
			panic(err)
		}
		keys[ref.Kind] = key
	}
	return keys
})

// invalid fails the test unless err is Invalid on the field.
func invalid(t testing.TB, what string, err error, field string) {
	t.Helper()
	e := federation.AsError(err)
	if e == nil || e.Code != federation.Invalid || len(e.Fields) != 1 || e.Fields[0].Field != field {
		t.Errorf("%s: %+v, want an Invalid error on %s", what, e, field)
	}
}

// sealKeys returns n new seal keys, and the file that they are in.
func sealKeys(t testing.TB, n int) (*SealKeys, []byte) {
	t.Helper()
	var file bytes.Buffer
	for range n {
		line, err := NewSealKey()
		if err != nil {
			t.Fatal(err)
		}
		file.Write(line)
	}
	keys, err := ParseSealKeys(file.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return keys, file.Bytes()
}

// view is a cptoken.View that a test fills.
type view struct {
	keys    map[cptoken.KeyID]*cptoken.PublicKey
	revoked map[string]bool
	cutOff  time.Time
}

func (v *view) Key(id cptoken.KeyID) *cptoken.PublicKey { return v.keys[id] }

func (v *view) Revoked(kind cptoken.Kind, _, id string) bool { return v.revoked[string(kind)+" "+id] }

func (v *view) CutOff(kind cptoken.Kind, _, kid string) time.Time { return v.cutOff }

func (*view) Pruned() (none time.Time) { return none }

// everyKey is a view of the test keys' public parts.
func everyKey(t testing.TB) *view {
	t.Helper()
	v := &view{keys: map[cptoken.KeyID]*cptoken.PublicKey{}, revoked: map[string]bool{}}
	for _, k := range testKeys() {
		if k.PublicDER() == nil {
			continue
		}
		public, err := k.Public(cptoken.Active)
		if err != nil {
			t.Fatal(err)
		}
		v.keys[public.ID] = public
	}
	return v
}

// secrets are the control plane keys that a test knows, by serial.
type secrets map[uint64]secretKey

type secretKey struct {
	key      *SigningKey
	imported bool
}

func (s secrets) ControlPlaneKey(serial uint64) (*SigningKey, bool) {
	return s[serial].key, s[serial].imported
}
