package cptoken

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"sync"
	"testing"
	"time"
)

// testNow is the time of every test that does not move it.
var testNow = time.Date(2027, 1, 15, 12, 0, 0, 0, time.UTC)

// testKeys are made once for a run: two keys suffice to be the right one and
// another one.
var testKeys = sync.OnceValue(func() (keys [2]*rsa.PrivateKey) {
	for i := range keys {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys[i] = key
	}
	return keys
})

// publicKey returns the public part of a test key under id.
func publicKey(t testing.TB, id KeyID, key *rsa.PrivateKey, registered *Constraints) *PublicKey {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewPublicKey(id, AlgRS256, Active, der, registered)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// sign makes a token of any header and claims, sound or not.
func sign(t testing.TB, key *rsa.PrivateKey, header, claims string) string {
	t.Helper()
	input := unsigned(header, claims)
	sum := sha256.Sum256([]byte(input))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func unsigned(header, claims string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
}

const (
	header1 = `{"alg":"RS256","kid":"1","typ":"JWT"}`
	times   = `"exp":1800100000,"nbf":1799999700,"iat":1800000000`
	west    = `{"Zone":"west","Scope":["egress","ingress"],` + times + `,"jti":"d602fcb4-c4e4-44d6-8fad-1c40fb97c3ca"}`
)

// fakeView is a View that a test fills.
type fakeView struct {
	keys    map[KeyID]*PublicKey
	revoked map[[3]string]bool
	cutOffs map[KeyID]time.Time
}

func newView(keys ...*PublicKey) *fakeView {
	v := &fakeView{keys: map[KeyID]*PublicKey{}, revoked: map[[3]string]bool{}, cutOffs: map[KeyID]time.Time{}}
	for _, k := range keys {
		v.keys[k.ID] = k
	}
	return v
}

func (v *fakeView) Key(id KeyID) *PublicKey { return v.keys[id] }

func (v *fakeView) Revoked(kind Kind, mesh, id string) bool {
	return v.revoked[[3]string{string(kind), mesh, id}]
}

func (v *fakeView) revoke(kind Kind, mesh, id string) {
	v.revoked[[3]string{string(kind), mesh, id}] = true
}

func (v *fakeView) CutOff(kind Kind, mesh, kid string) time.Time {
	all, one := v.cutOffs[KeyID{Kind: kind, Mesh: mesh}], v.cutOffs[KeyID{Kind: kind, Mesh: mesh, KID: kid}]
	if one.After(all) {
		return one
	}
	return all
}

func (*fakeView) Pruned() (none time.Time) { return none }

// zoneView knows the key zone/1.
func zoneView(t testing.TB) *fakeView {
	return newView(publicKey(t, KeyID{Kind: Zone, KID: "1"}, testKeys()[0], nil))
}

// newVerifier returns a verifier whose clock stands at testNow.
func newVerifier() *Verifier {
	return NewVerifier(VerifierOptions{Now: func() time.Time { return testNow }})
}

// refused fails the test unless err has the reason.
func refused(t testing.TB, err error, want Reason) {
	t.Helper()
	if err == nil {
		t.Fatalf("accepted, want %s", want)
	}
	if got := ReasonOf(err); got != want {
		t.Fatalf("refused with %q (%v), want %q", got, err, want)
	}
}
