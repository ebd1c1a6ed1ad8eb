package cptoken

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/federation"
)

func TestParseReadsEveryKind(t *testing.T) {
	reg := Registered{
		ID:        "d602fcb4-c4e4-44d6-8fad-1c40fb97c3ca",
		ExpiresAt: time.Unix(1800100000, 0).UTC(),
		NotBefore: time.Unix(1799999700, 0).UTC(),
		IssuedAt:  time.Unix(1800000000, 0).UTC(),
	}
	tail := "," + times + `,"jti":"` + reg.ID + `"}`
	for what, test := range map[string]struct {
		header, claims string
		want           Claims
	}{
		"zone":              {header1, west, Claims{Kind: Zone, Registered: reg, Zone: "west", Scope: []Scope{ScopeEgress, ScopeIngress}}},
		"zone, no scope":    {header1, `{"Zone":"west"}`, Claims{Kind: Zone, Zone: "west"}},
		"zone, null scope":  {header1, `{"Zone":"west","Scope":null}`, Claims{Kind: Zone, Zone: "west"}},
		"control plane":     {`{"alg":"HS256"}`, `{"Zone":"west","TokenSerialNumber":7` + tail, Claims{Kind: ControlPlane, Registered: reg, Zone: "west", TokenSerialNumber: 7}},
		"zone alone, HS256": {`{"alg":"HS256"}`, `{"Zone":"west"}`, Claims{Kind: ControlPlane, Zone: "west"}},
		"dataplane": {header1, `{"Name":"dp","Mesh":"default","Tags":{"a":["x","y"],"b":null},"Type":"ingress"` + tail,
			Claims{Kind: Dataplane, Registered: reg, Name: "dp", Mesh: "default", Type: "ingress", Tags: map[string][]string{"a": {"x", "y"}, "b": nil}}},
		"dataplane, null tags": {header1, `{"Name":"","Mesh":"default","Tags":null,"Type":""}`, Claims{Kind: Dataplane, Mesh: "default"}},
		"user":                 {header1, `{"Name":"john","Groups":["a","b"]` + tail, Claims{Kind: User, Registered: reg, Name: "john", Groups: []string{"a", "b"}}},
		"user, null groups":    {header1, `{"Name":"john","Groups":null}`, Claims{Kind: User, Name: "john"}},
		"nothing":              {header1, `{}`, Claims{}},
		"of two kinds":         {header1, `{"Zone":"west","Scope":["egress"],"Mesh":"default"}`, Claims{Zone: "west", Scope: []Scope{ScopeEgress}, Mesh: "default"}},
		"of zone and user":     {header1, `{"Zone":"west","Groups":["admin"]}`, Claims{Zone: "west", Groups: []string{"admin"}}},
		"zone with a serial":   {header1, `{"Zone":"west","Scope":["cp"],"TokenSerialNumber":1}`, Claims{Zone: "west", Scope: []Scope{ScopeCP}, TokenSerialNumber: 1}},
		"strange claims":       {header1, `{"zone":"east","iss":1,"aud":["a",{"b":[true,false,null,-1.5e3]}],"Zone":"west"}`, Claims{Kind: Zone, Zone: "west"}},
		"escapes":              {header1, `{"\u005aone":"we\u0073t","jti":"\/"}`, Claims{Kind: Zone, Zone: "west", Registered: Registered{ID: "/"}}},
	} {
		t.Run(what, func(t *testing.T) {
			tok, err := Parse(unsigned(test.header, test.claims) + ".")
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(norm(tok.Claims), norm(test.want)) {
				t.Errorf("got  %+v\nwant %+v", tok.Claims, test.want)
			}
			if tok.ClaimsJSON() != test.claims || tok.HeaderJSON() != test.header {
				t.Error("the JSON that is shown is not the token's")
			}
		})
	}
}

// norm makes empty lists nil, so that claims can be compared.
func norm(c Claims) Claims {
	if len(c.Scope) == 0 {
		c.Scope = nil
	}
	if len(c.Groups) == 0 {
		c.Groups = nil
	}
	if len(c.Tags) == 0 {
		c.Tags = nil
	}
	return c
}

func TestParseDatesFallToTheStricterSide(t *testing.T) {
	tok, err := Parse(unsigned(header1, `{"exp":1800000000.9,"nbf":1799999999.1,"iat":1.8000000005e9}`) + ".")
	if err != nil {
		t.Fatal(err)
	}
	if got := tok.Claims.ExpiresAt.Unix(); got != 1800000000 {
		t.Errorf("exp %d", got)
	}
	if got := tok.Claims.NotBefore.Unix(); got != 1800000000 {
		t.Errorf("nbf %d", got)
	}
	if got := tok.Claims.IssuedAt.Unix(); got != 1800000000 {
		t.Errorf("iat %d", got)
	}
	tok, err = Parse(unsigned(header1, `{"exp":0}`) + ".")
	if err != nil || tok.Claims.ExpiresAt.IsZero() {
		t.Errorf("exp 0 is taken for none (%v): the token would never expire", err)
	}
}

func TestParseRefusesTokens(t *testing.T) {
	good := sign(t, testKeys()[0], header1, west)
	header, rest, _ := strings.Cut(good, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	join := func(parts ...string) string { return strings.Join(parts, ".") }
	for what, raw := range map[string]string{
		"nothing":                      "",
		"a word":                       "token",
		"one dot":                      header + "." + payload,
		"three dots":                   good + ".",
		"JSON serialisation":           `{"payload":"x","signatures":[]}`,
		"an encrypted token":           "a.b.c.d.e",
		"no header":                    join("", payload, signature),
		"no claims":                    join(header, "", signature),
		"a blank before":               " " + good,
		"a line break behind":          good + "\n",
		"a line break in the header":   header[:4] + "\n" + good[4:],
		"a carriage return inside":     join(header, payload[:8]+"\r"+payload[8:], signature),
		"a line break in the end":      good[:len(good)-2] + "\n" + good[len(good)-2:],
		"padding":                      good + "==",
		"standard base64":              join(header, payload, strings.Repeat("+/", 171)),
		"a part of impossible length":  join(header, payload, signature+"AAA"),
		"stray bits behind":            strayBits(t, good),
		"a header that is no JSON":     join(b64("alg"), payload, signature),
		"a header that is an array":    join(b64("[]"), payload, signature),
		"claims that are a string":     join(header, b64(`"west"`), signature),
		"claims that are null":         join(header, b64(`null`), signature),
		"a header that is not UTF-8":   join(b64("{\"alg\":\"\xff\"}"), payload, signature),
		"overlong UTF-8":               join(header, b64("{\"Zone\":\"\xc0\x80\"}"), signature),
		"a byte order mark":            join(header, b64("\ufeff{}"), signature),
		"the scheme still on it":       "Bearer " + good,
		"two tokens":                   good + good,
		"a header of another type":     join(b64(`{"alg":"RS256","kid":"1","typ":"at+jwt"}`), payload, signature),
		"crit":                         join(b64(`{"alg":"RS256","kid":"1","crit":["exp"]}`), payload, signature),
		"unencoded payload (RFC 7797)": join(b64(`{"alg":"RS256","kid":"1","b64":false,"crit":["b64"]}`), payload, signature),
		"a numeric kid":                join(b64(`{"alg":"RS256","kid":1}`), payload, signature),
		"a null kid":                   join(b64(`{"alg":"RS256","kid":null}`), payload, signature),
		"a kid in an array":            join(b64(`{"alg":"RS256","kid":["1"]}`), payload, signature),
		"a very long kid":              join(b64(`{"alg":"RS256","kid":"`+strings.Repeat("k", MaxKIDLen+1)+`"}`), payload, signature),
		"a numeric alg":                join(b64(`{"alg":256,"kid":"1"}`), payload, signature),
		"two algs":                     join(b64(`{"alg":"RS256","kid":"1","alg":"none"}`), payload, signature),
		"two kids":                     join(b64(`{"alg":"RS256","kid":"1","\u006bid":"2"}`), payload, signature),
		"a tail behind the header":     join(b64(`{"alg":"RS256"} {}`), payload, signature),
	} {
		t.Run(what, func(t *testing.T) {
			_, err := Parse(raw)
			refused(t, err, Malformed)
		})
	}
}

func TestParseRefusesClaimsOfWrongTypes(t *testing.T) {
	for _, claims := range []string{
		`{"Zone":1}`, `{"Zone":null}`, `{"Zone":["west"]}`, `{"Zone":{"x":1}}`, `{"Zone":true}`,
		`{"Zone":"west","Zone":"east"}`, `{"Zone":"west","\u005aone":"east"}`,
		`{"TokenSerialNumber":"1"}`, `{"TokenSerialNumber":-1}`, `{"TokenSerialNumber":1.0}`, `{"TokenSerialNumber":1e0}`,
		`{"TokenSerialNumber":18446744073709551616}`, `{"TokenSerialNumber":null}`,
		`{"Scope":"egress"}`, `{"Scope":[1]}`, `{"Scope":[null]}`, `{"Scope":{"egress":true}}`, `{"Scope":[["egress"]]}`,
		`{"Name":null}`, `{"Mesh":5}`, `{"Type":[]}`, `{"Groups":"admin"}`, `{"Groups":[1]}`,
		`{"Tags":["a"]}`, `{"Tags":{"a":"x"}}`, `{"Tags":{"a":[1]}}`, `{"Tags":{"a":["x"],"a":["y"]}}`,
		`{"exp":"1800000000"}`, `{"exp":null}`, `{"exp":-1}`, `{"exp":253402300800}`, `{"exp":1e300}`, `{"exp":1e999}`, `{"exp":true}`,
		`{"exp":1,"exp":9999999999}`, `{"nbf":"x"}`, `{"iat":[]}`, `{"iat":-0.5}`,
		`{"jti":7}`, `{"jti":null}`, `{"jti":"a,b"}`, `{"jti":"a b"}`, `{"jti":"a\n"}`, `{"jti":"é"}`,
		`{"jti":"sha256:` + strings.Repeat("a", 64) + `"}`, `{"jti":"sha256:x"}`, `{"jti":"` + strings.Repeat("j", MaxIDLen+1) + `"}`,
		`{"x":{"a":1,"a":2}}`,
	} {
		t.Run(claims, func(t *testing.T) {
			_, err := Parse(unsigned(header1, claims) + ".")
			refused(t, err, Malformed)
		})
	}
}

func TestParseBoundsSize(t *testing.T) {
	fill := func(n int) string {
		head := unsigned(header1, west) + "."
		return head + strings.Repeat("A", n-len(head))
	}
	if _, err := Parse(fill(MaxTokenBytes)); ReasonOf(err) == TooLarge {
		t.Errorf("a token of %d bytes: %v", MaxTokenBytes, err)
	}
	_, err := Parse(fill(MaxTokenBytes + 1))
	refused(t, err, TooLarge)
	_, err = Parse(strings.Repeat("{", 64<<20))
	refused(t, err, TooLarge)
}

func TestTokenParts(t *testing.T) {
	raw := sign(t, testKeys()[0], header1, west)
	tok, err := Inspect(raw)
	if err != nil {
		t.Fatal(err)
	}
	if tok.Alg != "RS256" || tok.KID != "1" || !tok.HasKID || tok.Typ != "JWT" {
		t.Errorf("header %q %q %v %q", tok.Alg, tok.KID, tok.HasKID, tok.Typ)
	}
	if got := tok.SigningInput(); got != unsigned(header1, west) {
		t.Errorf("signing input %q", got)
	}
	if base64.RawURLEncoding.EncodeToString(tok.Signature()) != raw[len(tok.SigningInput())+1:] {
		t.Error("signature is not the third part")
	}
	if tok, err = Parse(unsigned(`{"alg":"none"}`, `{}`) + "."); err != nil || tok.HasKID || len(tok.Signature()) != 0 {
		t.Errorf("a token without signature is to be read, to be shown: %v", err)
	}
}

func TestRevocationID(t *testing.T) {
	tok, err := Parse(unsigned(header1, west) + ".AAAA")
	if err != nil {
		t.Fatal(err)
	}
	if got := tok.RevocationID(); got != "d602fcb4-c4e4-44d6-8fad-1c40fb97c3ca" {
		t.Errorf("got %s", got)
	}
	for _, claims := range []string{`{"Zone":"west"}`, `{"Zone":"west","jti":""}`} {
		tok, err := Parse(unsigned(header1, claims) + ".AAAA")
		if err != nil {
			t.Fatal(err)
		}
		if err := ValidateID("id", tok.RevocationID()); err != nil || !strings.HasPrefix(tok.RevocationID(), "sha256:") {
			t.Errorf("%s: %q (%v)", claims, tok.RevocationID(), err)
		}
	}
	// Longer than what is hashed on the stack.
	long := &Token{Raw: strings.Repeat("x", MaxTokenBytes)}
	if got, want := long.RevocationID(), fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(long.Raw))); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestValidateID(t *testing.T) {
	hash := "sha256:" + strings.Repeat("0a", 32)
	for id, ok := range map[string]bool{
		"d602fcb4-c4e4-44d6-8fad-1c40fb97c3ca": true, "x": true, hash: true, strings.Repeat("i", MaxIDLen): true,
		"": false, "a b": false, "a,b": false, "a\n": false, "\x7f": false, "ü": false, strings.Repeat("i", MaxIDLen+1): false,
		"sha256:": false, hash[:len(hash)-1]: false, hash + "0": false, strings.ToUpper(hash[7:]): true, "sha256:" + strings.ToUpper(hash[7:]): false,
	} {
		err := ValidateID("ids[0]", id)
		if (err == nil) != ok {
			t.Errorf("%q: %v", id, err)
		}
		if err != nil && federation.CodeOf(err) != federation.Invalid {
			t.Errorf("%q: code %s", id, federation.CodeOf(err))
		}
	}
}

func TestRefusalSpeaksTheCommonVocabulary(t *testing.T) {
	reasons := map[federation.Code][]Reason{
		federation.Unauthenticated: {Malformed, TooLarge, UnsupportedAlgorithm, MissingKID, UnknownKey, BadSignature, WrongKind,
			Expired, NotYetValid, MissingExpiry, MissingID, Revoked, IssuedBeforeCutOff},
		federation.Forbidden:   {WrongZone, OutOfScope, WrongMesh, WrongName, WrongType, TagMismatch, NotAllowed},
		federation.Unavailable: {NoKeys, Stale},
	}
	var all []Reason
	for code, list := range reasons {
		for _, r := range list {
			err := error(Refuse(r, "detail %d", 1).WithHint("hint"))
			e := federation.AsError(err)
			if e.Code != code || e.Reason != string(r) || e.Detail != "detail 1" || e.Hint != "hint" {
				t.Errorf("%s: %+v", r, e)
			}
			if ReasonOf(err) != r || ReasonOf(e) != r || ReasonOf(errors.Join(errors.New("x"), err)) != r {
				t.Errorf("%s does not come back", r)
			}
		}
		all = append(all, list...)
	}
	if slices.Sort(all); len(slices.Compact(all)) != 22 {
		t.Errorf("%d reasons", len(all))
	}
	if ReasonOf(nil) != "" || ReasonOf(errors.New("x")) != "" {
		t.Error("a reason out of nothing")
	}
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// strayBits returns the token with the unused bits of its last character set:
// another text for the same bytes.
func strayBits(t *testing.T, raw string) string {
	t.Helper()
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, raw[len(raw)-1])
	if last%4 != 0 {
		t.Fatalf("the last of %d characters has no unused bits", len(raw))
	}
	return raw[:len(raw)-1] + string(alphabet[last+1])
}
