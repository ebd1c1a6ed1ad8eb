package cptoken

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"
)

func TestVerifyAccepts(t *testing.T) {
	view, v := zoneView(t), newVerifier()
	raw := sign(t, testKeys()[0], header1, west)
	for range 3 { // the first time and from the cache
		c, err := v.Verify(view, Zone, raw)
		if err != nil {
			t.Fatal(err)
		}
		if c.Kind != Zone || c.Zone != "west" || len(c.Scope) != 2 || c.ID == "" {
			t.Errorf("claims %+v", c)
		}
		c.Zone, c.ExpiresAt = "east", time.Time{} // must not stay in the cache
	}
}

func TestVerifyRefusesForgeries(t *testing.T) {
	keys := testKeys()
	good := sign(t, keys[0], header1, west)
	input := unsigned(header1, west)
	view := zoneView(t)
	key := view.keys[KeyID{Kind: Zone, KID: "1"}]
	hs := func(header string, secret []byte) string {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(unsigned(header, west)))
		return unsigned(header, west) + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	pkix := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: key.DER()})
	jwk := `,"jwk":{"kty":"RSA","e":"AQAB","n":"` + base64.RawURLEncoding.EncodeToString(keys[1].N.Bytes()) + `"}`
	for what, test := range map[string]struct {
		raw  string
		want Reason
	}{
		"no signature":                         {input + ".", BadSignature},
		"alg none":                             {unsigned(`{"alg":"none","kid":"1"}`, west) + ".", UnsupportedAlgorithm},
		"alg None":                             {unsigned(`{"alg":"None","kid":"1"}`, west) + ".", UnsupportedAlgorithm},
		"alg none with a true signature":       {unsigned(`{"alg":"none","kid":"1"}`, west) + good[strings.LastIndexByte(good, '.'):], UnsupportedAlgorithm},
		"no alg":                               {sign(t, keys[0], `{"kid":"1"}`, west), UnsupportedAlgorithm},
		"alg in lower case":                    {sign(t, keys[0], `{"alg":"rs256","kid":"1"}`, west), UnsupportedAlgorithm},
		"RS512":                                {sign(t, keys[0], `{"alg":"RS512","kid":"1"}`, west), UnsupportedAlgorithm},
		"PS256":                                {pss(t, keys[0]), UnsupportedAlgorithm},
		"HS256 with the public key's PKCS1PEM": {hs(`{"alg":"HS256","kid":"1"}`, key.PEM()), UnsupportedAlgorithm},
		"HS256 with the public key's PEM":      {hs(`{"alg":"HS256","kid":"1"}`, pkix), UnsupportedAlgorithm},
		"HS256 with the public key's DER":      {hs(`{"alg":"HS256","kid":"1"}`, key.DER()), UnsupportedAlgorithm},
		"HS256 with the modulus":               {hs(`{"alg":"HS256","kid":"1"}`, keys[0].N.Bytes()), UnsupportedAlgorithm},
		"HMAC under the name RS256":            {hs(header1, key.PEM()), BadSignature},
		"no kid":                               {sign(t, keys[0], `{"alg":"RS256"}`, west), MissingKID},
		"an empty kid":                         {sign(t, keys[0], `{"alg":"RS256","kid":""}`, west), MissingKID},
		"an unknown kid":                       {sign(t, keys[0], `{"alg":"RS256","kid":"2"}`, west), UnknownKey},
		"a kid with a leading zero":            {sign(t, keys[0], `{"alg":"RS256","kid":"01"}`, west), UnknownKey},
		"a kid that is a path":                 {sign(t, keys[0], `{"alg":"RS256","kid":"../zone/1"}`, west), UnknownKey},
		"a key of its own in the header":       {sign(t, keys[1], `{"alg":"RS256","kid":"1"`+jwk+`}`, west), BadSignature},
		"a key of its own behind a URL":        {sign(t, keys[1], `{"alg":"RS256","kid":"1","jku":"https://example.com/k","x5u":"https://example.com/c"}`, west), BadSignature},
		"another key":                          {sign(t, keys[1], header1, west), BadSignature},
		"other claims":                         {unsigned(header1, strings.Replace(west, "west", "east", 1)) + good[strings.LastIndexByte(good, '.'):], BadSignature},
		"another header":                       {unsigned(`{"typ":"JWT","kid":"1","alg":"RS256"}`, west) + good[strings.LastIndexByte(good, '.'):], BadSignature},
		"a signature plus the modulus":         {plusModulus(t, good, keys[0].N), BadSignature},
		"a signature with a leading zero":      {input + "." + base64.RawURLEncoding.EncodeToString(append([]byte{0}, signatureOf(t, good)...)), BadSignature},
		"a shorter signature":                  {input + "." + base64.RawURLEncoding.EncodeToString(signatureOf(t, good)[:255]), BadSignature},
		"cut in the claims":                    {good[:len(good)/3], Malformed},
	} {
		t.Run(what, func(t *testing.T) {
			v := newVerifier()
			for range 2 { // a refusal must not be remembered as anything else
				c, err := v.Verify(view, Zone, test.raw)
				refused(t, err, test.want)
				if c != nil {
					t.Error("claims of a refused token")
				}
				if strings.Contains(err.Error(), "west") {
					t.Errorf("tells a claim that nothing vouches for: %v", err)
				}
			}
			if n := v.cache.len(); n != 0 {
				t.Errorf("%d entries in the cache", n)
			}
		})
	}
}

func signatureOf(t *testing.T, raw string) []byte {
	t.Helper()
	tok, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return tok.Signature()
}

// plusModulus returns the token with the modulus added to its signature, which is
// the same number to a careless verifier.
func plusModulus(t *testing.T, raw string, n *big.Int) string {
	t.Helper()
	s := new(big.Int).SetBytes(signatureOf(t, raw))
	return raw[:strings.LastIndexByte(raw, '.')+1] + base64.RawURLEncoding.EncodeToString(s.Add(s, n).Bytes())
}

func pss(t *testing.T, key *rsa.PrivateKey) string {
	t.Helper()
	input := unsigned(`{"alg":"PS256","kid":"1"}`, west)
	sum := sha256.Sum256([]byte(input))
	s, err := key.Sign(rand.Reader, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(s)
}

func TestVerifyJudgesClaims(t *testing.T) {
	at := testNow.Unix()
	claims := func(exp, nbf, iat int64, rest string) string {
		return `{"Zone":"west","Scope":["egress"],"exp":` + itoa(exp) + `,"nbf":` + itoa(nbf) + `,"iat":` + itoa(iat) + rest + `}`
	}
	for what, test := range map[string]struct {
		claims string
		want   Reason // "": accepted
	}{
		"valid":                   {claims(at+1, at-300, at, `,"jti":"a"`), ""},
		"expires now":             {claims(at, at-300, at-300, `,"jti":"a"`), Expired},
		"expired":                 {claims(at-1, at-300, at-300, `,"jti":"a"`), Expired},
		"begins now":              {claims(at+9, at, at, `,"jti":"a"`), ""},
		"not yet valid":           {claims(at+9, at+1, at, `,"jti":"a"`), NotYetValid},
		"no exp":                  {`{"Zone":"west","Scope":["egress"],"jti":"a"}`, MissingExpiry},
		"no jti":                  {claims(at+9, at, at, ``), MissingID},
		"an empty jti":            {claims(at+9, at, at, `,"jti":""`), MissingID},
		"no iat, no nbf":          {`{"Zone":"west","Scope":["egress"],"exp":` + itoa(at+9) + `,"jti":"a"}`, ""},
		"revoked":                 {claims(at+9, at, at, `,"jti":"revoked"`), Revoked},
		"revoked and expired":     {claims(at-1, at-9, at-9, `,"jti":"revoked"`), Expired},
		"revoked in another case": {claims(at+9, at, at, `,"jti":"Revoked"`), ""},
		"no zone":                 {`{"Zone":"","Scope":["egress"],` + times + `,"jti":"a"}`, WrongZone},
		"no Zone claim":           {`{"Scope":["egress"],` + times + `,"jti":"a"}`, WrongZone},
		"a user's claims":         {`{"Name":"john","Groups":["admin"],` + times + `,"jti":"a"}`, WrongKind},
		"a dataplane's claims":    {`{"Name":"","Mesh":"default","Tags":{},"Type":"",` + times + `,"jti":"a"}`, WrongKind},
		"a control plane's":       {`{"Zone":"west","TokenSerialNumber":1,` + times + `,"jti":"a"}`, WrongKind},
		"of two kinds":            {`{"Zone":"west","Scope":["egress"],"Groups":["admin"],` + times + `,"jti":"a"}`, WrongKind},
		"of no kind":              {`{` + times + `,"jti":"a"}`, WrongKind},
		"zone in lower case":      {`{"zone":"west","Scope":["egress"],` + times + `,"jti":"a"}`, UnknownClaim},
	} {
		t.Run(what, func(t *testing.T) {
			view, v := zoneView(t), newVerifier()
			view.revoke(Zone, "", "revoked")
			raw := sign(t, testKeys()[0], header1, test.claims)
			for range 2 {
				_, err := v.Verify(view, Zone, raw)
				if test.want == "" && err != nil {
					t.Fatal(err)
				}
				if test.want != "" {
					refused(t, err, test.want)
				}
			}
		})
	}
}

func itoa(n int64) string { return big.NewInt(n).String() }

func TestVerifyCutOffs(t *testing.T) {
	raw := sign(t, testKeys()[0], header1, west) // iat 1800000000
	noIAT := sign(t, testKeys()[0], header1, `{"Zone":"west","Scope":["egress"],"exp":1800100000,"jti":"a"}`)
	iat := time.Unix(1800000000, 0)
	all, one, other := KeyID{Kind: Zone}, KeyID{Kind: Zone, KID: "1"}, KeyID{Kind: Zone, KID: "2"}
	for what, test := range map[string]struct {
		raw    string
		id     KeyID
		before time.Time
		want   Reason
	}{
		"issued before":               {raw, all, iat.Add(time.Second), IssuedBeforeCutOff},
		"issued before, of this key":  {raw, one, iat.Add(time.Second), IssuedBeforeCutOff},
		"issued in that second":       {raw, all, iat, ""},
		"issued after":                {raw, all, iat.Add(-time.Second), ""},
		"of another key":              {raw, other, iat.Add(time.Hour), ""},
		"of another kind":             {raw, KeyID{Kind: User}, iat.Add(time.Hour), ""},
		"does not say when":           {noIAT, all, iat.Add(-time.Hour), IssuedBeforeCutOff},
		"does not say when, long ago": {noIAT, one, time.Unix(1, 0), IssuedBeforeCutOff},
	} {
		t.Run(what, func(t *testing.T) {
			view, v := zoneView(t), newVerifier()
			if _, err := v.Verify(view, Zone, test.raw); err != nil {
				t.Fatal(err) // and into the cache
			}
			view.cutOffs[test.id] = test.before
			_, err := v.Verify(view, Zone, test.raw)
			if test.want != "" {
				refused(t, err, test.want)
			} else if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestVerifyTokenWithoutIDIsRevokedByHash also tries to get around the hash by
// spelling the same token differently.
func TestVerifyTokenWithoutIDIsRevokedByHash(t *testing.T) {
	view := newView(publicKey(t, KeyID{Kind: Zone, KID: "key-1"}, testKeys()[0], &Constraints{AllowNoID: true, AllowNoExpiry: true}))
	v := newVerifier()
	raw := sign(t, testKeys()[0], `{"alg":"RS256","kid":"key-1"}`, `{"Zone":"west","Scope":["egress"]}`)
	if _, err := v.Verify(view, Zone, raw); err != nil {
		t.Fatal(err)
	}
	tok, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	view.revoke(Zone, "", tok.RevocationID())
	_, err = v.Verify(view, Zone, raw)
	refused(t, err, Revoked)
	for _, other := range []string{raw + "=", raw + "\n", raw + " ", raw[:40] + "\r\n" + raw[40:], strayBits(t, raw)} {
		if _, err := v.Verify(view, Zone, other); err == nil {
			t.Errorf("another spelling is accepted: %d bytes", len(other))
		}
	}
}

func TestVerifyEmptyView(t *testing.T) {
	raw := sign(t, testKeys()[0], header1, west)
	_, err := newVerifier().Verify(emptyView{newView(), true}, Zone, raw)
	refused(t, err, NoKeys)
	_, err = newVerifier().Verify(emptyView{newView(), false}, Zone, raw)
	refused(t, err, UnknownKey)
	_, err = newVerifier().Verify(newView(), Zone, raw)
	refused(t, err, UnknownKey)
}

type emptyView struct {
	*fakeView
	empty bool
}

func (v emptyView) Empty() bool { return v.empty }

func TestVerifyRefusalsSayWhatToDo(t *testing.T) {
	view, v := zoneView(t), newVerifier()
	for _, raw := range []string{
		"", "x", strings.Repeat("x", 9<<10), unsigned(`{"alg":"none"}`, west) + ".", sign(t, testKeys()[0], `{"alg":"RS256"}`, west),
		sign(t, testKeys()[0], `{"alg":"RS256","kid":"9"}`, west), sign(t, testKeys()[1], header1, west),
		sign(t, testKeys()[0], header1, `{"Zone":"west","Scope":[],"exp":1}`), sign(t, testKeys()[0], header1, `{"Zone":"west","Scope":[],"nbf":9000000000}`),
	} {
		_, err := v.Verify(view, Zone, raw)
		r, ok := err.(*Refusal)
		if !ok {
			t.Fatalf("%T: %v", err, err)
		}
		if r.Detail == "" || r.Hint == "" || strings.ContainsAny(r.Detail+r.Hint, "\n\r") || len(r.Detail) > 300 {
			t.Errorf("%s: %q, %q", r.Reason, r.Detail, r.Hint)
		}
		if len(raw) > 100 && strings.Contains(r.Detail+r.Hint, raw[20:60]) {
			t.Errorf("%s repeats the token", r.Reason)
		}
	}
}

// TestSignedProvesTheKeyAlone: what a token says, and when, does not count; who signed it
// does, and as what.
func TestSignedProvesTheKeyAlone(t *testing.T) {
	view := zoneView(t)
	for body, want := range map[string]Reason{
		`{"Zone":"west","Scope":["egress"],"exp":1,"iat":2,"jti":"a"}`: "",
		`{"Zone":"west","Region":"eu"}`:                                "",
		`{"Zone":"","Mesh":"default"}`:                                 "",
	} {
		for key, reason := range map[int]Reason{0: want, 1: BadSignature} {
			token, err := Parse(sign(t, testKeys()[key], header1, body))
			if err != nil {
				t.Fatal(err)
			}
			if err := Signed(view, Zone, token); ReasonOf(err) != reason || (err == nil) != (reason == "") {
				t.Errorf("%s, key %d: %v, want %q", body, key, err, reason)
			}
			for _, kind := range []Kind{ControlPlane, Certificate, "", "root"} {
				if err := Signed(view, kind, token); ReasonOf(err) != WrongKind {
					t.Errorf("%s as %q: %v", body, kind, err)
				}
			}
			if err := Signed(view, User, token); err == nil {
				t.Errorf("%s is signed as a user token", body)
			}
		}
	}
}
