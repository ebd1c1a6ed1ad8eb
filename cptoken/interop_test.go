package cptoken_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
)

// kumaFile has tokens that Kuma issued. It lies beside the repository on the
// project's own machines, and is not part of it.
var kumaFile = filepath.Join("..", "..", "shared", "interop", "kuma-tokens.json")

type kumaToken struct {
	Kind, Key, Zone, Mesh, Name, Type, Reason string
	Scope                                     []cptoken.Scope
	Tags                                      map[string][]string
	Groups                                    []string
	Valid                                     bool
	Token                                     string
}

// TestKumaTokens holds the tokens that Kuma itself issued against the verdicts
// recorded with them.
func TestKumaTokens(t *testing.T) {
	data, err := os.ReadFile(kumaFile)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("skipped: %s is not there, so no token of Kuma's own was verified", kumaFile)
	} else if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Keys   map[string]string
		Tokens []kumaToken
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	view := kumaView(t, file.Keys)
	v := cptoken.NewVerifier(cptoken.VerifierOptions{Now: func() time.Time { return time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC) }})
	zones := 0
	for i, k := range file.Tokens {
		c, err := v.Verify(view, cptoken.Kind(k.Kind), k.Token)
		if got := string(cptoken.ReasonOf(err)); got != k.Reason || (err == nil) != k.Valid {
			t.Errorf("token %d: %v, want valid %v, reason %q", i, err, k.Valid, k.Reason)
		}
		if k.Kind == "zone" {
			zones++
		}
		if err == nil {
			checkKuma(t, i, k, c)
		}
	}
	if zones < 3 || len(file.Tokens) < 10 {
		t.Errorf("only %d tokens, %d of zones", len(file.Tokens), zones)
	}
}

// kumaView holds each key under the kind that it signs for; the offline key was
// registered for two.
func kumaView(t *testing.T, keys map[string]string) *vectorView {
	t.Helper()
	view := &vectorView{keys: map[cptoken.KeyID]*cptoken.PublicKey{}}
	add := func(name string, id cptoken.KeyID, registered *cptoken.Constraints) {
		block, _ := pem.Decode([]byte(keys[name]))
		if block == nil {
			t.Fatalf("no key %q", name)
		}
		key, err := x509.ParsePKCS1PublicKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if view.keys[id], err = cptoken.NewPublicKey(id, cptoken.AlgRS256, cptoken.Active, der, registered); err != nil {
			t.Fatal(err)
		}
	}
	add("zone 1", cptoken.KeyID{Kind: cptoken.Zone, KID: "1"}, nil)
	add("dataplane default 1", cptoken.KeyID{Kind: cptoken.Dataplane, Mesh: "default", KID: "1"}, nil)
	add("user 1", cptoken.KeyID{Kind: cptoken.User, KID: "1"}, nil)
	add("offline key-1", cptoken.KeyID{Kind: cptoken.Zone, KID: "key-1"}, &cptoken.Constraints{})
	add("offline key-1", cptoken.KeyID{Kind: cptoken.Dataplane, Mesh: "default", KID: "key-1"}, &cptoken.Constraints{})
	return view
}

// checkKuma compares the claims with what was asked of Kuma, and holds them
// against the boundary that they prove.
func checkKuma(t *testing.T, i int, k kumaToken, c *cptoken.Claims) {
	t.Helper()
	if c.Zone != k.Zone || c.Mesh != k.Mesh || c.Name != k.Name || c.Type != k.Type || !slices.Equal(c.Scope, k.Scope) ||
		!slices.Equal(c.Groups, k.Groups) || len(c.Tags)+len(k.Tags) > 0 && !reflect.DeepEqual(c.Tags, k.Tags) {
		t.Errorf("token %d: %+v", i, c)
	}
	var err error
	switch c.Kind {
	case cptoken.Zone:
		for _, scope := range []cptoken.Scope{cptoken.ScopeIngress, cptoken.ScopeEgress, cptoken.ScopeDataplane} {
			if err := c.CheckZoneProxy(k.Zone, scope); (err == nil) != slices.Contains(k.Scope, scope) {
				t.Errorf("token %d as %s: %v", i, scope, err)
			}
		}
		if err := c.CheckZoneProxy(k.Zone+"-2", cptoken.ScopeEgress); cptoken.ReasonOf(err) != cptoken.WrongZone {
			t.Errorf("token %d in another zone: %v", i, err)
		}
	case cptoken.Dataplane:
		err = c.CheckDataplane(cptoken.Proxy{Mesh: k.Mesh, Name: k.Name, Tags: k.Tags, Type: k.Type})
	case cptoken.User:
		if c.Name == "" {
			t.Errorf("token %d names nobody", i)
		}
	}
	if err != nil {
		t.Errorf("token %d: %v", i, err)
	}
}
