package cptoken

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"math/big"
	"testing"
	"time"
)

func TestVerifyOtherKinds(t *testing.T) {
	keys := testKeys()
	user := `{"Name":"john","Groups":["admin"],` + times + `,"jti":"u"}`
	dataplane := `{"Name":"dp","Mesh":"default","Tags":{},"Type":"",` + times + `,"jti":"d"}`
	view := newView(
		publicKey(t, KeyID{Kind: Zone, KID: "1"}, keys[0], nil),
		publicKey(t, KeyID{Kind: User, KID: "1"}, keys[1], nil),
		publicKey(t, KeyID{Kind: Dataplane, Mesh: "default", KID: "1"}, keys[1], nil),
	)
	v := newVerifier()
	tokens := map[Kind]string{
		Zone:      sign(t, keys[0], header1, west),
		User:      sign(t, keys[1], header1, user),
		Dataplane: sign(t, keys[1], header1, dataplane),
	}
	for range 2 { // the second time each is in the cache under its own kind
		for is, raw := range tokens {
			for asked := range tokens {
				c, err := v.Verify(view, asked, raw)
				if asked == is {
					if err != nil {
						t.Errorf("%s: %v", is, err)
					} else if c.Kind != is {
						t.Errorf("%s has the kind %q", is, c.Kind)
					}
					continue
				}
				refused(t, err, WrongKind)
			}
		}
	}
	// Claims of one kind under the key of another are a forgery, not a mistake.
	_, err := v.Verify(view, Zone, sign(t, keys[1], header1, west))
	refused(t, err, BadSignature)
	_, err = v.Verify(view, Zone, sign(t, keys[0], header1, user))
	refused(t, err, WrongKind)
	_, err = v.Verify(view, User, sign(t, keys[0], header1, user))
	refused(t, err, BadSignature)
	for _, kind := range []Kind{ControlPlane, "", "zones"} {
		_, err = v.Verify(view, kind, tokens[Zone])
		refused(t, err, WrongKind)
	}
}

func TestVerifyDataplaneKeysAreOfTheirMesh(t *testing.T) {
	keys, v := testKeys(), newVerifier()
	claims := func(mesh string) string {
		return `{"Name":"","Mesh":"` + mesh + `","Tags":{},"Type":"",` + times + `,"jti":"d"}`
	}
	view := newView(
		publicKey(t, KeyID{Kind: Dataplane, Mesh: "default", KID: "1"}, keys[0], nil),
		publicKey(t, KeyID{Kind: Dataplane, Mesh: "other", KID: "1"}, keys[1], nil),
	)
	if _, err := v.Verify(view, Dataplane, sign(t, keys[0], header1, claims("default"))); err != nil {
		t.Fatal(err)
	}
	_, err := v.Verify(view, Dataplane, sign(t, keys[0], header1, claims("other")))
	refused(t, err, BadSignature)
	for _, mesh := range []string{"", "none", "Default"} {
		_, err = v.Verify(view, Dataplane, sign(t, keys[0], header1, claims(mesh)))
		refused(t, err, UnknownKey)
	}
	view.revoke(Dataplane, "other", "d")
	if _, err := v.Verify(view, Dataplane, sign(t, keys[0], header1, claims("default"))); err != nil {
		t.Errorf("revoked in another mesh: %v", err)
	}
	view.revoke(Dataplane, "default", "d")
	_, err = v.Verify(view, Dataplane, sign(t, keys[0], header1, claims("default")))
	refused(t, err, Revoked)
}

func TestVerifyRegisteredKeys(t *testing.T) {
	full := func(zone, scope string, life int64) string {
		return `{"Zone":"` + zone + `","Scope":["` + scope + `"],"exp":` + itoa(1800000000+life) + `,"iat":1800000000,"jti":"a"}`
	}
	bare := `{"Zone":"west","Scope":["egress"]}`
	for what, test := range map[string]struct {
		reg    Constraints
		claims string
		want   Reason
	}{
		"unbound":                     {Constraints{}, full("west", "egress", 90000), ""},
		"unbound, bare":               {Constraints{}, bare, MissingExpiry},
		"may lack exp":                {Constraints{AllowNoExpiry: true}, bare, MissingID},
		"may lack both":               {Constraints{AllowNoExpiry: true, AllowNoID: true}, bare, ""},
		"may lack jti":                {Constraints{AllowNoID: true}, bare, MissingExpiry},
		"may lack exp but has a life": {Constraints{AllowNoExpiry: true, AllowNoID: true, MaxLifetime: time.Hour}, bare, MissingExpiry},
		"zone allowed":                {Constraints{Zones: []string{"east", "west"}}, full("west", "egress", 90000), ""},
		"zone not allowed":            {Constraints{Zones: []string{"east"}}, full("west", "egress", 90000), NotAllowed},
		"scope allowed":               {Constraints{Scopes: []Scope{ScopeEgress}}, full("west", "egress", 90000), ""},
		"scope not allowed":           {Constraints{Scopes: []Scope{ScopeEgress}}, full("west", "cp", 90000), NotAllowed},
		"one scope not allowed":       {Constraints{Scopes: []Scope{ScopeEgress}}, full("west", `egress","ingress`, 90000), NotAllowed},
		"life reached":                {Constraints{MaxLifetime: 25 * time.Hour}, full("west", "egress", 90000), ""},
		"life exceeded":               {Constraints{MaxLifetime: 25 * time.Hour}, full("west", "egress", 90001), NotAllowed},
		"life unknown":                {Constraints{MaxLifetime: 25 * time.Hour}, `{"Zone":"west","Scope":["egress"],"exp":1800090000,"jti":"a"}`, NotAllowed},
	} {
		t.Run(what, func(t *testing.T) {
			view := newView(publicKey(t, KeyID{Kind: Zone, KID: "key-1"}, testKeys()[0], &test.reg))
			now := time.Unix(1800000060, 0)
			v := NewVerifier(VerifierOptions{Now: func() time.Time { return now }})
			raw := sign(t, testKeys()[0], `{"alg":"RS256","kid":"key-1"}`, test.claims)
			for range 2 {
				_, err := v.Verify(view, Zone, raw)
				if test.want != "" {
					refused(t, err, test.want)
				} else if err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestVerifyOneKeyForTwoKinds: a public key that an operator registered for two
// kinds still vouches for each token once.
func TestVerifyOneKeyForTwoKinds(t *testing.T) {
	key, v := testKeys()[0], newVerifier()
	view := newView(
		publicKey(t, KeyID{Kind: Zone, KID: "key-1"}, key, &Constraints{}),
		publicKey(t, KeyID{Kind: Dataplane, Mesh: "default", KID: "key-1"}, key, &Constraints{}),
	)
	header := `{"alg":"RS256","kid":"key-1"}`
	dp := sign(t, key, header, `{"Name":"dp","Mesh":"default","Tags":{},"Type":"",`+times+`,"jti":"d"}`)
	mixed := sign(t, key, header, `{"Zone":"west","Scope":["egress"],"Mesh":"default",`+times+`,"jti":"m"}`)
	for range 2 {
		if _, err := v.Verify(view, Dataplane, dp); err != nil {
			t.Fatal(err)
		}
		_, err := v.Verify(view, Zone, dp)
		refused(t, err, WrongKind)
		for _, kind := range []Kind{Zone, Dataplane} {
			_, err = v.Verify(view, kind, mixed)
			refused(t, err, WrongKind)
		}
	}
}

func TestNewPublicKeyRefuses(t *testing.T) {
	id := KeyID{Kind: Zone, KID: "1"}
	der := func(n *big.Int, e int) []byte {
		b, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n, E: e})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	n := testKeys()[0].N
	good := der(n, 65537)
	for what, test := range map[string]struct {
		alg string
		der []byte
	}{
		"HS256": {AlgHS256, good}, "none": {"none", good}, "no alg": {"", good},
		"nothing": {AlgRS256, nil}, "PKCS1": {AlgRS256, x509.MarshalPKCS1PublicKey(&testKeys()[0].PublicKey)},
		"a tail": {AlgRS256, append(append([]byte{}, good...), 0)}, "cut": {AlgRS256, good[:len(good)-1]},
		"1024 bits": {AlgRS256, der(new(big.Int).Rsh(n, 1024), 65537)}, "too large": {AlgRS256, der(new(big.Int).Lsh(n, MaxRSABits), 65537)},
		"exponent 3": {AlgRS256, der(n, 3)}, "an even exponent": {AlgRS256, der(n, 65538)},
	} {
		if _, err := NewPublicKey(id, test.alg, Active, test.der, nil); err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
	k, err := NewPublicKey(id, AlgRS256, Active, good, nil)
	if err != nil {
		t.Fatal(err)
	}
	good[len(good)-1] ^= 1 // the caller's bytes, for example of a database page
	if sha256.Sum256(k.DER()) != k.Fingerprint() {
		t.Error("the key shares the caller's bytes")
	}
	if r := k.WithState(Removed); r.State != Removed || k.State != Active {
		t.Error("WithState changes the key itself")
	}
}
