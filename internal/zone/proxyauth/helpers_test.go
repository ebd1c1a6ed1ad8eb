package proxyauth

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"sync"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
)

var testNow = time.Unix(1_800_000_000, 0)

// The keys of the tests, made once: RSA keys are slow to make.
var (
	globalKey = sync.OnceValue(newKey) // serial 1 of the global
	ownKey    = sync.OnceValue(newKey) // of the zone's settings
)

func newKey() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
}

// sign makes a token of the claims and nothing else.
func sign(t *testing.T, key *rsa.PrivateKey, kid string, claims map[string]any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding
	input := enc.EncodeToString([]byte(`{"alg":"RS256","kid":"`+kid+`","typ":"JWT"}`)) + "." + enc.EncodeToString(payload)
	sum := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + enc.EncodeToString(sig)
}

// registered adds what the global's own tokens have.
func registered(claims map[string]any) map[string]any {
	all := map[string]any{"jti": "7d444840-9dc0-4cd1-b245-5ffdce74fad2", "iat": testNow.Unix(), "nbf": testNow.Unix() - 300, "exp": testNow.Unix() + 3600}
	for name, v := range claims {
		all[name] = v
	}
	return all
}

func publicPEM(key *rsa.PrivateKey) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey)}))
}

// copyOf is a zone's copy that a test writes.
type copyOf struct {
	mu      sync.Mutex
	view    *fakeView
	changed chan struct{}
}

// newCopy returns a copy with the global's keys of serial 1.
func newCopy(t *testing.T) *copyOf {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&globalKey().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	v := &fakeView{keys: map[cptoken.KeyID]*cptoken.PublicKey{}, revoked: map[string]bool{}}
	for _, id := range []cptoken.KeyID{{Kind: cptoken.Zone, KID: "1"}, {Kind: cptoken.Dataplane, Mesh: "default", KID: "1"}} {
		if v.keys[id], err = cptoken.NewPublicKey(id, cptoken.AlgRS256, cptoken.Active, der, nil); err != nil {
			t.Fatal(err)
		}
	}
	return &copyOf{view: v, changed: make(chan struct{})}
}

func (c *copyOf) View() cptoken.View {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.view
}

func (c *copyOf) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// revoke publishes a view in which the ids are revoked.
func (c *copyOf) revoke(ids ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := &fakeView{keys: c.view.keys, revoked: map[string]bool{}}
	for _, id := range ids {
		next.revoked[id] = true
	}
	c.view = next
	close(c.changed)
	c.changed = make(chan struct{})
}

type fakeView struct {
	keys    map[cptoken.KeyID]*cptoken.PublicKey
	revoked map[string]bool
}

func (v *fakeView) Key(id cptoken.KeyID) *cptoken.PublicKey       { return v.keys[id] }
func (v *fakeView) Revoked(_ cptoken.Kind, _, id string) bool     { return v.revoked[id] }
func (v *fakeView) CutOff(cptoken.Kind, string, string) time.Time { return time.Time{} }

func (*fakeView) Pruned() (none time.Time) { return none }
func (v *fakeView) Empty() bool            { return len(v.keys) == 0 }
