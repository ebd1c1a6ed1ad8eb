package issue

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
)

// hs signs any header and claims with a symmetric key's bytes.
func hs(secret []byte, header, claims string) string {
	input := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

const (
	noKID   = `{"alg":"HS256","typ":"JWT"}`
	kid2    = `{"alg":"HS256","kid":"2","typ":"JWT"}`
	cpTimes = `,"exp":2115374400,"nbf":1800014100,"iat":1800014400`
)

func TestVerifyControlPlane(t *testing.T) {
	key := testKeys()[cptoken.ControlPlane]
	zone := testKeys()[cptoken.Zone]
	own := key.Material()
	rsToken, _, err := zone.Issue(cptoken.Claims{Zone: "west", Scope: []cptoken.Scope{cptoken.ScopeCP}}, 0, testNow)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: zone.PublicDER()})
	const whole = `{"Zone":"west","TokenSerialNumber":2` + cpTimes + `,"jti":"a"}`
	const bare = `{"Zone":"west","TokenSerialNumber":2}`
	for what, test := range map[string]struct {
		raw            string
		want, imported cptoken.Reason // the verdict where the key was made here, and where it was imported
	}{
		"whole":                     {hs(own, kid2, whole), "", ""},
		"no kid":                    {hs(own, noKID, whole), "", ""},
		"no serial":                 {hs(own, kid2, `{"Zone":"west"`+cpTimes+`,"jti":"a"}`), "", ""},
		"bare":                      {hs(own, noKID, bare), cptoken.MissingExpiry, ""},
		"no exp":                    {hs(own, kid2, `{"Zone":"west","TokenSerialNumber":2,"iat":1800014400,"jti":"a"}`), cptoken.MissingExpiry, ""},
		"no jti":                    {hs(own, kid2, `{"Zone":"west","TokenSerialNumber":2`+cpTimes+`}`), cptoken.MissingID, ""},
		"no iat":                    {hs(own, kid2, `{"Zone":"west","TokenSerialNumber":2,"exp":2115374400,"jti":"a"}`), cptoken.Malformed, ""},
		"expired":                   {hs(own, kid2, `{"Zone":"west","TokenSerialNumber":2,"exp":1800014400,"iat":1,"jti":"a"}`), cptoken.Expired, cptoken.Expired},
		"not yet valid":             {hs(own, kid2, `{"Zone":"west","TokenSerialNumber":2,"exp":2115374400,"nbf":1800014402,"iat":1,"jti":"a"}`), cptoken.NotYetValid, cptoken.NotYetValid},
		"revoked":                   {hs(own, kid2, `{"Zone":"west","TokenSerialNumber":2`+cpTimes+`,"jti":"revoked"}`), cptoken.Revoked, cptoken.Revoked},
		"no zone":                   {hs(own, kid2, `{"Zone":"","TokenSerialNumber":2`+cpTimes+`,"jti":"a"}`), cptoken.WrongZone, cptoken.WrongZone},
		"no Zone claim":             {hs(own, kid2, `{"TokenSerialNumber":2`+cpTimes+`,"jti":"a"}`), cptoken.WrongZone, cptoken.WrongZone},
		"two serials":               {hs(own, kid2, `{"Zone":"west","TokenSerialNumber":1`+cpTimes+`,"jti":"a"}`), cptoken.Malformed, cptoken.Malformed},
		"serial 0 beside a kid":     {hs(own, kid2, `{"Zone":"west","TokenSerialNumber":0`+cpTimes+`,"jti":"a"}`), cptoken.Malformed, cptoken.Malformed},
		"zone claims":               {hs(own, kid2, `{"Zone":"west","Scope":["cp"]`+cpTimes+`,"jti":"a"}`), cptoken.WrongKind, cptoken.WrongKind},
		"user claims":               {hs(own, kid2, `{"Name":"x","Groups":["admin"]`+cpTimes+`,"jti":"a"}`), cptoken.WrongKind, cptoken.WrongKind},
		"no claims":                 {hs(own, kid2, `{}`), cptoken.WrongKind, cptoken.WrongKind},
		"an unknown serial":         {hs(own, noKID, `{"Zone":"west","TokenSerialNumber":7}`), cptoken.UnknownKey, cptoken.UnknownKey},
		"serial 0":                  {hs(own, noKID, `{"Zone":"west","TokenSerialNumber":0}`), cptoken.UnknownKey, cptoken.UnknownKey},
		"names no key":              {hs(own, noKID, `{"Zone":"west"`+cpTimes+`,"jti":"a"}`), cptoken.MissingKID, cptoken.MissingKID},
		"an unknown kid":            {hs(own, `{"alg":"HS256","kid":"7"}`, whole), cptoken.UnknownKey, cptoken.UnknownKey},
		"an empty kid":              {hs(own, `{"alg":"HS256","kid":""}`, whole), cptoken.UnknownKey, cptoken.UnknownKey},
		"an odd kid":                {hs(own, `{"alg":"HS256","kid":"02"}`, whole), cptoken.UnknownKey, cptoken.UnknownKey},
		"a numeric kid":             {hs(own, `{"alg":"HS256","kid":2}`, whole), cptoken.Malformed, cptoken.Malformed},
		"a string for a serial":     {hs(own, noKID, `{"Zone":"west","TokenSerialNumber":"2"}`), cptoken.Malformed, cptoken.Malformed},
		"doubled claims":            {hs(own, kid2, `{"Zone":"west","Zone":"east","TokenSerialNumber":2}`), cptoken.Malformed, cptoken.Malformed},
		"another secret":            {hs([]byte("guess"), kid2, whole), cptoken.BadSignature, cptoken.BadSignature},
		"no secret":                 {hs(nil, kid2, whole), cptoken.BadSignature, cptoken.BadSignature},
		"a public key for a secret": {hs(public, kid2, whole), cptoken.BadSignature, cptoken.BadSignature},
		"alg none":                  {hs(own, `{"alg":"none","kid":"2"}`, whole), cptoken.UnsupportedAlgorithm, cptoken.UnsupportedAlgorithm},
		"HS512":                     {hs(own, `{"alg":"HS512","kid":"2"}`, whole), cptoken.UnsupportedAlgorithm, cptoken.UnsupportedAlgorithm},
		"a zone token":              {rsToken, cptoken.UnsupportedAlgorithm, cptoken.UnsupportedAlgorithm},
		"no signature":              {strings.TrimRight(hs(own, kid2, whole), "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"), cptoken.BadSignature, cptoken.BadSignature},
		"too large":                 {strings.Repeat("x", cptoken.MaxTokenBytes+1), cptoken.TooLarge, cptoken.TooLarge},
		"nothing":                   {"", cptoken.Malformed, cptoken.Malformed},
	} {
		for _, imported := range []bool{false, true} {
			want := test.want
			if imported {
				want = test.imported
			}
			v := &view{revoked: map[string]bool{"control-plane revoked": true}}
			c, err := VerifyControlPlane(test.raw, secrets{2: {key, imported}}, v, testNow)
			if got := cptoken.ReasonOf(err); got != want || (err == nil) != (want == "") {
				t.Errorf("%s, imported %v: %v, want %q", what, imported, err, want)
			}
			if err == nil && (c.Kind != cptoken.ControlPlane || c.Zone != "west" || c.TokenSerialNumber != 2) {
				t.Errorf("%s: %+v", what, c)
			}
			if err != nil && (c != nil || err.(*cptoken.Refusal).Hint == "") {
				t.Errorf("%s: claims %v, hint missing or %v", what, c, err)
			}
		}
	}
}

func TestVerifyControlPlaneCutOffAndHash(t *testing.T) {
	key := testKeys()[cptoken.ControlPlane]
	keys := secrets{2: {key, true}}
	bare := hs(key.Material(), noKID, `{"Zone":"west","TokenSerialNumber":2}`)
	whole := hs(key.Material(), kid2, `{"Zone":"west","TokenSerialNumber":2`+cpTimes+`,"jti":"a"}`)
	v := &view{revoked: map[string]bool{}, cutOff: time.Unix(1, 0)}
	if _, err := VerifyControlPlane(bare, keys, v, testNow); cptoken.ReasonOf(err) != cptoken.IssuedBeforeCutOff {
		t.Errorf("a token with no iat under a cut-off: %v", err)
	}
	if _, err := VerifyControlPlane(whole, keys, v, testNow); err != nil {
		t.Errorf("issued after the cut-off: %v", err)
	}
	v.cutOff = time.Unix(1800014401, 0)
	if _, err := VerifyControlPlane(whole, keys, v, testNow); cptoken.ReasonOf(err) != cptoken.IssuedBeforeCutOff {
		t.Errorf("issued before the cut-off: %v", err)
	}
	v.cutOff = time.Time{}
	tok, err := cptoken.Parse(bare)
	if err != nil {
		t.Fatal(err)
	}
	v.revoked["control-plane "+tok.RevocationID()] = true
	if _, err := VerifyControlPlane(bare, keys, v, testNow); cptoken.ReasonOf(err) != cptoken.Revoked {
		t.Errorf("revoked by hash: %v", err)
	}
	for _, other := range []string{bare + "=", bare + "\n", bare[:50] + "\n" + bare[50:]} {
		if _, err := VerifyControlPlane(other, keys, v, testNow); err == nil {
			t.Error("another spelling of a revoked token is accepted")
		}
	}
}

// TestVerifyControlPlaneTakesNoOtherKindsKey guards against a store that answers
// with a key of another kind, whose material is an RSA key.
func TestVerifyControlPlaneTakesNoOtherKindsKey(t *testing.T) {
	zone := testKeys()[cptoken.Zone]
	raw := hs(zone.Material(), kid2, `{"Zone":"west","TokenSerialNumber":2`+cpTimes+`,"jti":"a"}`)
	if _, err := VerifyControlPlane(raw, secrets{2: {zone, false}}, &view{}, testNow); cptoken.ReasonOf(err) != cptoken.UnknownKey {
		t.Errorf("%v", err)
	}
}

// FuzzVerifyControlPlane signs whatever claims it is given, and holds what is
// accepted against encoding/json.
func FuzzVerifyControlPlane(f *testing.F) {
	secret := make([]byte, 32)
	key, err := Import(cpRef, secret)
	if err != nil {
		f.Fatal(err)
	}
	for _, claims := range []string{
		`{"Zone":"west","TokenSerialNumber":2}`, `{"Zone":"west","TokenSerialNumber":2` + cpTimes + `,"jti":"a"}`,
		`{"Zone":"west","Zone":"east"}`, `{"Zone":"\u0077est","x":[1,{"a":null}]}`, `{"exp":1.8e9}`,
	} {
		f.Add(kid2, claims)
		f.Add(noKID, claims)
	}
	f.Fuzz(func(t *testing.T, header, claims string) {
		raw := hs(secret, header, claims)
		c, err := VerifyControlPlane(raw, secrets{2: {key, true}}, &view{}, testNow)
		if err != nil {
			if cptoken.ReasonOf(err) == "" {
				t.Fatalf("an untyped refusal: %v", err)
			}
			return
		}
		var all map[string]any
		d := json.NewDecoder(strings.NewReader(claims))
		d.UseNumber()
		if err := d.Decode(&all); err != nil {
			t.Fatalf("accepted, and not JSON: %q", claims)
		}
		theirs, _ := all["Zone"].(string)
		if c.Zone == "" || c.Zone != theirs {
			t.Fatalf("zone %q, encoding/json reads %q", c.Zone, theirs)
		}
		if !c.ExpiresAt.IsZero() && !testNow.Before(c.ExpiresAt) {
			t.Fatalf("accepted, and expired at %s", c.ExpiresAt)
		}
	})
}

// TestClaimsThatMayNarrowAControlPlaneToken are refused by name, as in the tokens that
// zones verify: whoever issued them meant something by them.
func TestClaimsThatMayNarrowAControlPlaneToken(t *testing.T) {
	key := testKeys()[cptoken.ControlPlane]
	for name, ok := range map[string]bool{
		"Region": false, "Member": false, "zone": false, "ZONE": false, "tokenSerialNumber": false, "Iat": false, "JTI": false, "EXP": false,
		"\u212aid": false, "\u01c5": false, "renewableuntil": false, // a Kelvin sign and a title case letter are capital
		"region": true, "scope": true, "mesh": true, "tags": true, "groups": true, "http://example.com/Zone": true,
	} {
		raw := hs(key.Material(), kid2, `{"`+name+`":"x","Zone":"west","TokenSerialNumber":2`+cpTimes+`,"jti":"a"}`)
		for _, imported := range []bool{false, true} {
			_, err := VerifyControlPlane(raw, secrets{2: {key, imported}}, &view{}, testNow)
			if (err == nil) != ok || err != nil && (cptoken.ReasonOf(err) != cptoken.UnknownClaim || !strings.Contains(err.Error(), name)) {
				t.Errorf("%s, imported %t: %v", name, imported, err)
			}
		}
	}
}
