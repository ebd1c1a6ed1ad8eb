package kds_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/kds/kuma"
)

// signed is a token as Kuma's global issues one.
func signed(t *testing.T, kid, claims string) string {
	t.Helper()
	enc := base64.RawURLEncoding
	input := enc.EncodeToString([]byte(`{"alg":"RS256","kid":"`+kid+`","typ":"JWT"}`)) + "." + enc.EncodeToString([]byte(claims))
	sum := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPKCS1v15(rand.Reader, throwAway(), crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + enc.EncodeToString(sig)
}

// TestTokensUnderKumasGlobal: tokens of that global hold at the zone, those of a key
// that it sent the private half of too, until they are revoked.
func TestTokensUnderKumasGlobal(t *testing.T) {
	s := filled(t)
	m := joinStock(t, "", s.addr)
	m.has(t, "zone/1", "dataplane/default/1")
	v := cptoken.NewVerifier(cptoken.VerifierOptions{})
	const times = `"exp":4102444800,"nbf":1700000000,"iat":1700000300`
	zone := signed(t, "1", `{"Zone":"west","Scope":["ingress","egress"],`+times+`,"jti":"z-3"}`)
	proxy := signed(t, "1", `{"Name":"dp1","Mesh":"default","Tags":{"kuma.io/service":["backend"]},"Type":"",`+times+`,"jti":"d-3"}`)
	check := func(what string, kind cptoken.Kind, token string, want cptoken.Reason) {
		t.Helper()
		_, err := v.Verify(m.store.View(), kind, token)
		if got := cptoken.ReasonOf(err); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	check("a zone token", cptoken.Zone, zone, "")
	check("a dataplane token", cptoken.Dataplane, proxy, "")
	check("a revoked one", cptoken.Zone, signed(t, "1", `{"Zone":"west","Scope":["egress"],`+times+`,"jti":"z-1"}`), cptoken.Revoked)
	check("one of a key that is not there", cptoken.Zone, signed(t, "2", `{"Zone":"west","Scope":["egress"],`+times+`,"jti":"z-4"}`), cptoken.UnknownKey)
	s.push(kuma.TypeSecret, nil, stockSecret(t, "dataplane-token-revocations-default", "default", "d-1,d-3"))
	m.revoked(t, cptoken.Dataplane, "default", "d-3", true)
	check("one that was revoked since", cptoken.Dataplane, proxy, cptoken.Revoked)
	s.drop()
	check("a zone token with the global away", cptoken.Zone, zone, "")
}

// TestRecordedTokens verifies tokens that Kuma issued, where they are at hand, at a
// zone that was sent the keys by a global of Kuma's.
func TestRecordedTokens(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "shared", "interop", "kuma-tokens.json"))
	if err != nil {
		t.Skipf("no recorded tokens: %v", err)
	}
	var recorded struct {
		Keys   map[string]string
		Tokens []struct {
			Kind, Key, Token string
			Valid            bool
		}
	}
	if err := json.Unmarshal(text, &recorded); err != nil {
		t.Fatal(err)
	}
	s := startStock(t)
	s.set(kuma.TypeGlobalSecret, stockSecret(t, "zone-token-signing-public-key-1", "", recorded.Keys["zone 1"]))
	s.set(kuma.TypeSecret, stockSecret(t, "dataplane-token-signing-key-default-1", "default", recorded.Keys["dataplane default 1"]))
	m := joinStock(t, "", s.addr)
	m.has(t, "zone/1", "dataplane/default/1")
	v := cptoken.NewVerifier(cptoken.VerifierOptions{Now: func() time.Time { return time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC) }})
	tried := 0
	for _, token := range recorded.Tokens {
		if token.Key != "zone 1" && token.Key != "dataplane default 1" {
			continue
		}
		tried++
		if _, err := v.Verify(m.store.View(), cptoken.Kind(token.Kind), token.Token); (err == nil) != token.Valid {
			t.Errorf("%s token %.20s…: %v, valid: %v", token.Kind, token.Token, err, token.Valid)
		}
	}
	if tried < 5 {
		t.Errorf("%d tokens were tried", tried)
	}
}
