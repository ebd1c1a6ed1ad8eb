package attack

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/test/cluster"
	"github.com/meridiankds/meridian/raftstore"
)

func encode(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// opened are the header and claims of a good token.
func opened(t *testing.T, token string) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	for i, into := range []*map[string]any{&header, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return header, claims
}

// with is a copy of a header or claims, changed.
func with(m map[string]any, key string, value any) map[string]any {
	c := maps.Clone(m)
	if value == nil {
		delete(c, key)
	} else {
		c[key] = value
	}
	return c
}

// forgeries are what an attacker makes of a good token whose key they do not have.
func forgeries(t *testing.T, f *federation, p port) map[string]string {
	t.Helper()
	header, claims := opened(t, p.token)
	parts := strings.Split(p.token, ".")
	mine, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rs256 := func(h, c map[string]any) string {
		text := encode(h) + "." + encode(c)
		sum := sha256.Sum256([]byte(text))
		signature, err := rsa.SignPKCS1v15(rand.Reader, mine, crypto.SHA256, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return text + "." + base64.RawURLEncoding.EncodeToString(signature)
	}
	hs256 := func(h, c map[string]any, secret []byte) string {
		text := encode(h) + "." + encode(c)
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(text))
		return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	changed := with(claims, "Zone", "east")
	list := map[string]string{
		"not a token":              "not-a-token",
		"nothing but dots":         "..",
		"no algorithm":             encode(with(header, "alg", "none")) + "." + parts[1] + ".",
		"no algorithm, signed":     encode(with(header, "alg", "none")) + "." + parts[1] + "." + parts[2],
		"algorithm in small":       encode(with(header, "alg", "rs256")) + "." + parts[1] + "." + parts[2],
		"a changed claim":          parts[0] + "." + encode(with(changed, "Name", "mallory")) + "." + parts[2],
		"a later expiry":           parts[0] + "." + encode(with(claims, "exp", time.Now().Add(1e6*time.Hour).Unix())) + "." + parts[2],
		"no expiry":                parts[0] + "." + encode(with(claims, "exp", nil)) + "." + parts[2],
		"no signature":             parts[0] + "." + parts[1] + ".",
		"a key of one's own":       rs256(with(header, "alg", "RS256"), claims),
		"a key in the header":      rs256(with(with(header, "alg", "RS256"), "jwk", map[string]any{"kty": "RSA", "n": base64.RawURLEncoding.EncodeToString(mine.N.Bytes()), "e": "AQAB"}), claims),
		"a key at an address":      rs256(with(with(header, "alg", "RS256"), "jku", "http://127.0.0.1:1/keys"), claims),
		"a kid that nobody has":    encode(with(header, "kid", "999")) + "." + parts[1] + "." + parts[2],
		"a kid that is a path":     encode(with(header, "kid", "../../../dev/null")) + "." + parts[1] + "." + parts[2],
		"a kid that is no string":  encode(with(header, "kid", 1)) + "." + parts[1] + "." + parts[2],
		"an empty secret":          hs256(with(header, "alg", "HS256"), claims, []byte{}),
		"twice the same claim":     parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"Zone":"east","Zone":"west"}`)) + "." + parts[2],
		"eight kilobytes and more": parts[0] + "." + encode(with(claims, "pad", strings.Repeat("x", 9<<10))) + "." + parts[2],
		"a longer signature":       p.token + "AA",
		"two tokens":               p.token + "." + p.token,
	}
	for _, k := range f.global.Node.Store().Keys() {
		if k.Public != nil && k.ID.Kind == p.kind && k.ID.Mesh == meshOf(p.kind) {
			list["the public key as a secret"] = hs256(with(header, "alg", "HS256"), claims, k.Public.DER())
		}
	}
	return list
}

func meshOf(k cptoken.Kind) string {
	if k == cptoken.Dataplane {
		return "default"
	}
	return ""
}

// honest are tokens of the global's own making that a port must refuse all the same.
func honest(f *federation, p port) map[string]string {
	claims := map[cptoken.Kind]cptoken.Claims{
		cptoken.User:         {Kind: cptoken.User, Name: "ann", Groups: []string{"admin"}},
		cptoken.ControlPlane: {Kind: cptoken.ControlPlane, Zone: "west"},
		cptoken.Zone:         {Kind: cptoken.Zone, Zone: "west", Scope: []cptoken.Scope{cptoken.ScopeEgress}},
		cptoken.Dataplane:    {Kind: cptoken.Dataplane, Mesh: "default", Name: "dp-1"},
	}
	list := map[string]string{}
	for kind, c := range claims {
		// KDS takes either kind; the zone token here is a proxy's, and refused there.
		if kind == p.kind || p.name == "KDS with a zone token" && kind == cptoken.ControlPlane {
			continue
		}
		list["of kind "+string(kind)] = f.global.Issue(c, time.Hour)
	}
	if p.kind == cptoken.Zone || p.kind == cptoken.ControlPlane {
		other := claims[p.kind]
		other.Zone = "east"
		list["of another zone"] = f.global.Issue(other, time.Hour)
	}
	return list
}

// TestForgeriesOnEveryPort shows every port every forgery of the token that it takes,
// and tokens of every other kind. Nothing is let in, and no answer repeats a token.
func TestForgeriesOnEveryPort(t *testing.T) {
	f := start(t)
	for _, p := range f.ports() {
		t.Run(p.name, func(t *testing.T) {
			if got := p.show(p.token); !got.ok {
				t.Fatalf("the good token is refused: %s", got.text)
			}
			list := forgeries(t, f, p)
			maps.Copy(list, honest(f, p))
			for _, name := range slices.Sorted(maps.Keys(list)) {
				got := p.show(list[name])
				if got.ok {
					t.Errorf("%s was let in", name)
				}
				if parts := strings.Split(list[name], "."); len(parts[len(parts)-1]) > 20 && strings.Contains(got.text, parts[len(parts)-1]) {
					t.Errorf("%s: the answer repeats the token: %s", name, got.text)
				}
			}
			if got := p.show(p.token); !got.ok {
				t.Errorf("after the forgeries the good token is refused: %s", got.text)
			}
			f.revoke(t, p)
			cluster.Eventually(t, "the revoked token to be refused at "+p.name, func() bool { return !p.show(p.token).ok })
		})
	}
}

// revoke revokes the token of a port.
func (f *federation) revoke(t *testing.T, p port) {
	t.Helper()
	_, claims := opened(t, p.token)
	id, _ := claims["jti"].(string)
	_, err := f.global.Node.Store().Revoke(context.Background(), raftstore.Origin{By: "test"}, p.kind, meshOf(p.kind),
		[]cptoken.RevokedID{{ID: id}}, "")
	if err != nil {
		t.Fatal(err)
	}
}
