package cptoken_test

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
)

var update = flag.Bool("update-vectors", false, "make the vectors anew, with new keys, and forget the private ones")

// example is the control plane token of the users' documents. Its secret is
// unknown.
const example = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJab25lIjoid2VzdCIsIlRva2VuU2VyaWFsTnVtYmVyIjoxfQ.kIrS5W0CPMkEVhuRXcUxk3F_uUoeI3XK1Gw-uguWMpQ"

// generator makes tokens of any content.
type generator struct {
	t       *testing.T
	keys    map[string]*rsa.PrivateKey
	secrets map[int][]byte
}

// TestUpdateVectors writes testdata. It runs by hand only:
//
//	go test ./cptoken -run TestUpdateVectors -update-vectors
//
// The RSA keys are thrown away with the process. The control plane secrets stay,
// because nobody can verify HS256 without them.
func TestUpdateVectors(t *testing.T) {
	if !*update {
		t.Skip("run with -update-vectors to make the vectors anew")
	}
	g := &generator{t: t, keys: map[string]*rsa.PrivateKey{}, secrets: map[int][]byte{}}
	for _, k := range vectorKeys {
		if g.keys[k.file] == nil {
			key, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				t.Fatal(err)
			}
			g.keys[k.file] = key
			g.write("keys/"+k.file+".pub.pem", string(pem.EncodeToMemory(&pem.Block{
				Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey),
			})))
		}
	}
	for _, serial := range []int{1, 2} {
		g.secrets[serial] = make([]byte, 32)
		if _, err := rand.Read(g.secrets[serial]); err != nil {
			t.Fatal(err)
		}
		g.write(fmt.Sprintf("keys/control-plane-%d.test-only.hex", serial), hex.EncodeToString(g.secrets[serial])+"\n")
	}
	old, err := filepath.Glob("testdata/*.jwt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range old {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	vectors := g.zoneVectors()
	for _, more := range []map[string]string{g.forgedVectors(), g.proxyVectors(), g.controlPlaneVectors()} {
		for name, raw := range more {
			vectors[name] = raw
		}
	}
	for name, raw := range vectors {
		g.write(name+".jwt", raw+"\n")
	}
	byHash, err := cptoken.Parse(vectors["revoked.zone.offline-by-hash"])
	if err != nil {
		t.Fatal(err)
	}
	g.write("revoked.txt", "00000000-0000-4000-8000-00000000dead\n"+byHash.RevocationID()+"\n")
}

func (g *generator) write(name, content string) {
	g.t.Helper()
	path := filepath.Join("testdata", filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		g.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		g.t.Fatal(err)
	}
}

func encode(header, claims string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
}

func (g *generator) rs(key, header, claims string) string {
	g.t.Helper()
	input := encode(header, claims)
	sum := sha256.Sum256([]byte(input))
	s, err := rsa.SignPKCS1v15(nil, g.keys[key], crypto.SHA256, sum[:])
	if err != nil {
		g.t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(s)
}

func hs(secret []byte, header, claims string) string {
	input := encode(header, claims)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Pieces of the vectors. The times are around vectorNow, 1800014400.
const (
	rs1    = `{"alg":"RS256","kid":"1","typ":"JWT"}`
	rsKey1 = `{"alg":"RS256","kid":"key-1","typ":"JWT"}`
	hs2    = `{"alg":"HS256","kid":"2","typ":"JWT"}`
	valid  = `"exp":2115374400,"nbf":1800014100,"iat":1800014400`
	tail   = `,` + valid + `,"jti":"5f0c2a52-8c0d-4f5e-9a7e-3d7f3a1b2c4d"}`
	egress = `{"Zone":"west","Scope":["ingress","egress"]` + tail
)

// zoneVectors are tokens of the zone key and the registered one.
func (g *generator) zoneVectors() map[string]string {
	sign := func(claims string) string { return g.rs("zone-1", rs1, claims) }
	offline := func(claims string) string { return g.rs("offline", rsKey1, claims) }
	good := sign(egress)
	return map[string]string{
		"accepted.zone.egress-and-ingress":     good,
		"accepted.zone.unknown-claims":         sign(`{"iss":"x","aud":["a"],"n":{"a":[1,{}]},"Zone":"west","Scope":["egress"]` + tail),
		"accepted.zone.fractional-times":       sign(`{"Zone":"west","Scope":["egress"],"exp":2115374400.5,"nbf":1.8000141e9,"iat":1800014400,"jti":"a"}`),
		"accepted.zone.no-typ":                 g.rs("zone-1", `{"alg":"RS256","kid":"1"}`, egress),
		"accepted.zone.offline-without-exp":    offline(`{"Zone":"west","Scope":["egress"]}`),
		"accepted.cp.only-scope-cp":            sign(`{"Zone":"west","Scope":["cp"]` + tail),
		"accepted.zone.renewed":                sign(`{"Zone":"west","Scope":["egress"],"RenewableUntil":2115374500,"Renewal":3,"Root":"ab"` + tail),
		"unknown_claim.zone.capital":           sign(`{"Zone":"west","Scope":["egress"],"Ingress":"i-1"` + tail),
		"unknown_claim.zone.capital-not-ascii": sign(`{"Zone":"west","Scope":["egress"],"Écluse":1` + tail),
		"unknown_claim.zone.lower-case":        sign(`{"Zone":"west","scope":["ingress"],"Scope":["egress"]` + tail),
		"unknown_claim.zone.long-s":            sign(`{"Zone":"west","\u017fcope":["ingress"],"Scope":["egress"]` + tail),
		"unknown_claim.zone.upper-case-exp":    sign(`{"Zone":"west","Scope":["egress"],"EXP":1` + tail),
		"unknown_claim.zone.mixed-case-exp":    sign(`{"Zone":"west","Scope":["egress"],"eXp":1` + tail),
		"not_yet_valid.zone.issued-in-2099":    sign(`{"Zone":"west","Scope":["egress"],"exp":4070912400,"nbf":1800014100,"iat":4070908800,"jti":"a"}`),
		"malformed.zone.expires-unissued":      sign(`{"Zone":"west","Scope":["egress"],"exp":1800014500,"nbf":1800014100,"iat":1800014500,"jti":"a"}`),
		"out_of_scope.cp.egress-and-ingress":   good,
		"out_of_scope.cp.cp-and-egress":        sign(`{"Zone":"west","Scope":["cp","egress"]` + tail),
		"wrong_zone.cp.east":                   sign(`{"Zone":"east","Scope":["cp"]` + tail),
		"wrong_zone.zone.east":                 sign(`{"Zone":"east","Scope":["egress"]` + tail),
		"wrong_zone.zone.empty":                sign(`{"Zone":"","Scope":["egress"]` + tail),
		"wrong_zone.zone.absent":               sign(`{"Scope":["egress"]` + tail),
		"out_of_scope.zone.ingress":            sign(`{"Zone":"west","Scope":["ingress"]` + tail),
		"out_of_scope.zone.none":               sign(`{"Zone":"west","Scope":[]` + tail),
		"out_of_scope.zone.cp":                 sign(`{"Zone":"west","Scope":["cp"]` + tail),
		"expired.zone.this-second":             sign(`{"Zone":"west","Scope":["egress"],"exp":1800014400,"nbf":1800000000,"iat":1800000300,"jti":"a"}`),
		"expired.zone.long-ago":                sign(`{"Zone":"west","Scope":["egress"],"exp":1,"nbf":0,"iat":0,"jti":"a"}`),
		"not_yet_valid.zone.in-a-second":       sign(`{"Zone":"west","Scope":["egress"],"exp":2115374400,"nbf":1800014401,"iat":1800014701,"jti":"a"}`),
		"missing_expiry.zone.no-exp":           sign(`{"Zone":"west","Scope":["egress"],"nbf":1800014100,"iat":1800014400,"jti":"a"}`),
		"missing_id.zone.no-jti":               sign(`{"Zone":"west","Scope":["egress"],` + valid + `}`),
		"revoked.zone.by-jti":                  sign(`{"Zone":"west","Scope":["egress"],` + valid + `,"jti":"00000000-0000-4000-8000-00000000dead"}`),
		"revoked.zone.offline-by-hash":         offline(`{"Zone":"west","Scope":["egress"],"nbf":1}`),
		"not_allowed.zone.offline-east":        offline(`{"Zone":"east","Scope":["egress"]` + tail),
		"not_allowed.zone.offline-ingress":     offline(`{"Zone":"west","Scope":["egress","ingress"]` + tail),
		"malformed.zone.doubled-zone":          sign(`{"Zone":"west","Zone":"east","Scope":["egress"]` + tail),
		"malformed.zone.doubled-zone-escaped":  sign(`{"Zone":"east","\u005aone":"west","Scope":["egress"]` + tail),
		"malformed.zone.doubled-exp":           sign(`{"Zone":"west","Scope":["egress"],"exp":1,` + valid + `,"jti":"a"}`),
		"malformed.zone.doubled-unknown":       sign(`{"x":{"a":1,"a":2},"Zone":"west","Scope":["egress"]` + tail),
		"malformed.zone.scope-is-a-string":     sign(`{"Zone":"west","Scope":"egress"` + tail),
		"malformed.zone.exp-is-a-string":       sign(`{"Zone":"west","Scope":["egress"],"exp":"2115374400","jti":"a"}`),
		"malformed.zone.jti-with-comma":        sign(`{"Zone":"west","Scope":["egress"],` + valid + `,"jti":"a,b"}`),
		"malformed.zone.jti-like-a-hash":       sign(`{"Zone":"west","Scope":["egress"],` + valid + `,"jti":"sha256:00"}`),
		"malformed.zone.trailing-claims":       sign(egress + `{}`),
		"malformed.zone.nested-too-deeply":     sign(`{"x":` + strings.Repeat("[", 9) + strings.Repeat("]", 9) + `,` + egress[1:]),
		"malformed.zone.truncated-header":      good[:20],
		"malformed.zone.truncated-claims":      good[:120],
		"malformed.zone.truncated-by-a-byte":   good[:len(good)-1],
		"malformed.zone.padded":                good + "==",
		"malformed.zone.empty":                 "",
		"bad_signature.zone.truncated-by-four": good[:strings.LastIndexByte(good, '.')+1+336],
		"too_large.zone.9-kib":                 g.large(),
	}
}

// large is a token of 9 KiB that is sound but for its size.
func (g *generator) large() string {
	fill := func(n int) string {
		return g.rs("zone-1", rs1, `{"x":"`+strings.Repeat("x", n)+`",`+egress[1:])
	}
	return fill((9<<10 - len(fill(0))) * 3 / 4)
}

// forgedVectors are tokens of which the signature or the header is wrong.
func (g *generator) forgedVectors() map[string]string {
	public := &g.keys["zone-1"].PublicKey
	pkcs1 := x509.MarshalPKCS1PublicKey(public)
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		g.t.Fatal(err)
	}
	good := g.rs("zone-1", rs1, egress)
	hs1 := `{"alg":"HS256","kid":"1","typ":"JWT"}`
	armour := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	return map[string]string{
		"unsupported_algorithm.zone.alg-none":           encode(`{"alg":"none","kid":"1","typ":"JWT"}`, egress) + ".",
		"unsupported_algorithm.zone.alg-none-signed":    g.rs("zone-1", `{"alg":"none","kid":"1","typ":"JWT"}`, egress),
		"unsupported_algorithm.zone.no-alg":             g.rs("zone-1", `{"kid":"1","typ":"JWT"}`, egress),
		"unsupported_algorithm.zone.rs512":              g.rs("zone-1", `{"alg":"RS512","kid":"1","typ":"JWT"}`, egress),
		"unsupported_algorithm.zone.hs256-pem-pkcs1":    hs(armour("RSA PUBLIC KEY", pkcs1), hs1, egress),
		"unsupported_algorithm.zone.hs256-pem-spki":     hs(armour("PUBLIC KEY", spki), hs1, egress),
		"unsupported_algorithm.zone.hs256-der-pkcs1":    hs(pkcs1, hs1, egress),
		"unsupported_algorithm.zone.hs256-der-spki":     hs(spki, hs1, egress),
		"unsupported_algorithm.zone.example":            example,
		"unsupported_algorithm.control-plane.alg-none":  encode(`{"alg":"none","typ":"JWT"}`, `{"Zone":"west","TokenSerialNumber":1}`) + ".",
		"unsupported_algorithm.control-plane.rs256":     good,
		"bad_signature.zone.hmac-called-rs256":          hs(armour("RSA PUBLIC KEY", pkcs1), rs1, egress),
		"bad_signature.zone.none":                       encode(rs1, egress) + ".",
		"bad_signature.zone.one-character-changed":      changed(good),
		"bad_signature.zone.other-claims":               encode(rs1, strings.Replace(egress, "west", "east", 1)) + good[strings.LastIndexByte(good, '.'):],
		"bad_signature.zone.key-of-user-tokens":         g.rs("user-1", rs1, egress),
		"bad_signature.zone.key-in-the-header":          g.rs("user-1", `{"alg":"RS256","kid":"1","jwk":`+g.jwk("user-1")+`}`, egress),
		"bad_signature.control-plane.hs256-public-key":  hs(armour("RSA PUBLIC KEY", pkcs1), hs1, `{"Zone":"west","TokenSerialNumber":1}`),
		"missing_kid.zone.absent":                       g.rs("zone-1", `{"alg":"RS256","typ":"JWT"}`, egress),
		"missing_kid.zone.empty":                        g.rs("zone-1", `{"alg":"RS256","kid":"","typ":"JWT"}`, egress),
		"malformed.zone.kid-is-a-number":                g.rs("zone-1", `{"alg":"RS256","kid":1,"typ":"JWT"}`, egress),
		"malformed.zone.kid-is-null":                    g.rs("zone-1", `{"alg":"RS256","kid":null,"typ":"JWT"}`, egress),
		"malformed.zone.doubled-alg":                    g.rs("zone-1", `{"alg":"RS256","alg":"none","kid":"1"}`, egress),
		"malformed.zone.crit":                           g.rs("zone-1", `{"alg":"RS256","kid":"1","crit":["exp"]}`, egress),
		"malformed.zone.typ-of-another-use":             g.rs("zone-1", `{"alg":"RS256","kid":"1","typ":"at+jwt"}`, egress),
		"unknown_key.zone.kid-2":                        g.rs("zone-1", `{"alg":"RS256","kid":"2","typ":"JWT"}`, egress),
		"unknown_key.zone.kid-with-leading-zero":        g.rs("zone-1", `{"alg":"RS256","kid":"01","typ":"JWT"}`, egress),
		"wrong_kind.zone.user-token":                    g.rs("user-1", rs1, `{"Name":"west","Groups":["egress"]`+tail),
		"wrong_kind.zone.dataplane-token":               g.rs("dataplane-default-1", rs1, `{"Name":"","Mesh":"default","Tags":{},"Type":"egress"`+tail),
		"wrong_kind.zone.dataplane-token-of-shared-key": g.rs("offline", rsKey1, `{"Name":"","Mesh":"default","Tags":{},"Type":"egress"`+tail),
		"wrong_kind.zone.of-two-kinds":                  g.rs("offline", rsKey1, `{"Zone":"west","Scope":["egress"],"Mesh":"default"`+tail),
		"wrong_kind.user.zone-token":                    good,
		"wrong_kind.dataplane.zone-token":               good,
	}
}

// changed returns the token with one character of the signature changed.
func changed(raw string) string {
	i := strings.LastIndexByte(raw, '.') + 12
	c := byte('A')
	if raw[i] == c {
		c = 'B'
	}
	return raw[:i] + string(c) + raw[i+1:]
}

func (g *generator) jwk(key string) string {
	return `{"kty":"RSA","e":"AQAB","n":"` + base64.RawURLEncoding.EncodeToString(g.keys[key].N.Bytes()) + `"}`
}

// proxyVectors are dataplane and user tokens.
func (g *generator) proxyVectors() map[string]string {
	dp := func(claims string) string { return g.rs("dataplane-default-1", rs1, claims+tail) }
	user := func(claims string) string { return g.rs("user-1", rs1, claims) }
	return map[string]string{
		"accepted.dataplane.only-mesh":                  dp(`{"Name":"","Mesh":"default","Tags":{},"Type":""`),
		"accepted.dataplane.null-tags":                  dp(`{"Name":"","Mesh":"default","Tags":null,"Type":""`),
		"accepted.dataplane.all":                        dp(`{"Name":"dp-1","Mesh":"default","Tags":{"kuma.io/service":["backend","backend-admin"],"version":["1","2"]},"Type":"dataplane"`),
		"wrong_name.dataplane.dp-2":                     dp(`{"Name":"dp-2","Mesh":"default","Tags":{},"Type":""`),
		"wrong_type.dataplane.ingress":                  dp(`{"Name":"","Mesh":"default","Tags":{},"Type":"ingress"`),
		"tag_mismatch.dataplane.one-of-two":             dp(`{"Name":"","Mesh":"default","Tags":{"kuma.io/service":["backend"]},"Type":""`),
		"tag_mismatch.dataplane.tag-is-absent":          dp(`{"Name":"","Mesh":"default","Tags":{"team":["a"]},"Type":""`),
		"accepted.dataplane.workload":                   dp(`{"Name":"","Mesh":"default","Tags":{},"Type":"","Workload":"backend"`),
		"wrong_workload.dataplane.other":                dp(`{"Name":"","Mesh":"default","Tags":{},"Type":"","Workload":"web"`),
		"unknown_claim.dataplane.lower-case":            dp(`{"Name":"","Mesh":"default","tags":{"kuma.io/service":["web"]},"Type":""`),
		"unknown_claim.user.lower-case":                 user(`{"Name":"john","groups":["team-a"]` + tail),
		"accepted.dataplane.lower-case-of-another-kind": dp(`{"Name":"","Mesh":"default","Tags":{},"Type":"","zone":"east"`),
		"not_allowed.dataplane.offline-ahead":           g.rs("offline", rsKey1, `{"Name":"","Mesh":"default","Tags":{},"Type":"","exp":1800100860,"nbf":1800014400,"iat":1800014460,"jti":"a"}`),
		"malformed.dataplane.doubled-tag":               dp(`{"Name":"","Mesh":"default","Tags":{"version":["9"],"version":["1"]},"Type":""`),
		"unknown_key.dataplane.unknown-mesh":            dp(`{"Name":"","Mesh":"third","Tags":{},"Type":""`),
		"unknown_key.dataplane.no-mesh":                 dp(`{"Name":"dp-1","Tags":{},"Type":""`),
		"not_allowed.dataplane.offline-long":            g.rs("offline", rsKey1, `{"Name":"","Mesh":"default","Tags":{},"Type":""`+tail),
		"accepted.user.two-groups":                      user(`{"Name":"john","Groups":["team-a","team-b"]` + tail),
		"accepted.user.null-groups":                     user(`{"Name":"john","Groups":null` + tail),
		"cut_off.user.issued-before":                    user(`{"Name":"john","Groups":[],"exp":2115374400,"nbf":1799499700,"iat":1799500000,"jti":"a"}`),
		"cut_off.user.no-iat":                           user(`{"Name":"john","Groups":[],"exp":2115374400,"jti":"a"}`),
		"bad_signature.user.signed-as-zone":             g.rs("zone-1", rs1, `{"Name":"john","Groups":["admin"]`+tail),
		"wrong_mesh.dataplane.other":                    g.rs("dataplane-other-1", rs1, `{"Name":"","Mesh":"other","Tags":{},"Type":""`+tail),
		"bad_signature.dataplane.other-mesh":            dp(`{"Name":"","Mesh":"other","Tags":{},"Type":""`),
	}
}

// controlPlaneVectors are signed with secrets. 1 was imported, 2 was made here.
func (g *generator) controlPlaneVectors() map[string]string {
	one := func(header, claims string) string { return hs(g.secrets[1], header, claims) }
	two := func(claims string) string { return hs(g.secrets[2], hs2, claims) }
	const bare, noKID = `{"Zone":"west","TokenSerialNumber":1}`, `{"alg":"HS256","typ":"JWT"}`
	return map[string]string{
		"accepted.control-plane.issued-here":           two(`{"Zone":"west","TokenSerialNumber":2` + tail),
		"accepted.control-plane.example-shape":         one(noKID, bare),
		"bad_signature.control-plane.example":          example,
		"accepted.control-plane.kid-alone":             two(`{"Zone":"west"` + tail),
		"bad_signature.control-plane.other-secret":     hs(g.secrets[2], noKID, bare),
		"bad_signature.control-plane.truncated":        one(noKID, bare)[:len(one(noKID, bare))-3],
		"unknown_key.control-plane.serial-3":           one(noKID, `{"Zone":"west","TokenSerialNumber":3}`),
		"unknown_key.control-plane.kid-with-zeros":     hs(g.secrets[1], `{"alg":"HS256","kid":"0001"}`, bare),
		"unknown_claim.control-plane.capital":          two(`{"Zone":"west","TokenSerialNumber":2,"Region":"eu"` + tail),
		"unknown_claim.control-plane.lower-case":       one(noKID, `{"zone":"east","Zone":"west","TokenSerialNumber":1}`),
		"accepted.control-plane.renewed":               two(`{"Zone":"west","TokenSerialNumber":2,"RenewableUntil":2115374500,"Renewal":1,"Root":"ab"` + tail),
		"not_yet_valid.control-plane.issued-in-2099":   one(noKID, `{"Zone":"west","TokenSerialNumber":1,"iat":4070908800}`),
		"malformed.control-plane.expires-unissued":     two(`{"Zone":"west","TokenSerialNumber":2,"exp":1800014500,"nbf":1800014100,"iat":1800014600,"jti":"a"}`),
		"missing_kid.control-plane.no-serial":          one(noKID, `{"Zone":"west"`+tail),
		"malformed.control-plane.two-keys-named":       two(`{"Zone":"west","TokenSerialNumber":1` + tail),
		"malformed.control-plane.serial-is-a-string":   one(noKID, `{"Zone":"west","TokenSerialNumber":"1"}`),
		"malformed.control-plane.doubled-serial":       one(noKID, `{"Zone":"west","TokenSerialNumber":1,"TokenSerialNumber":1}`),
		"missing_expiry.control-plane.bare-not-import": two(`{"Zone":"west","TokenSerialNumber":2}`),
		"missing_id.control-plane.no-jti-not-imported": two(`{"Zone":"west","TokenSerialNumber":2,` + valid + `}`),
		"malformed.control-plane.no-iat-not-imported":  two(`{"Zone":"west","TokenSerialNumber":2,"exp":2115374400,"jti":"a"}`),
		"expired.control-plane.issued-here":            two(`{"Zone":"west","TokenSerialNumber":2,"exp":1800014400,"nbf":1,"iat":1,"jti":"a"}`),
		"expired.control-plane.imported":               one(noKID, `{"Zone":"west","TokenSerialNumber":1,"exp":1800014400}`),
		"not_yet_valid.control-plane.issued-here":      two(`{"Zone":"west","TokenSerialNumber":2,"exp":2115374400,"nbf":1800014401,"iat":1800014701,"jti":"a"}`),
		"revoked.control-plane.by-jti":                 two(`{"Zone":"west","TokenSerialNumber":2,` + valid + `,"jti":"00000000-0000-4000-8000-00000000dead"}`),
		"wrong_zone.control-plane.east":                two(`{"Zone":"east","TokenSerialNumber":2` + tail),
		"wrong_zone.control-plane.empty":               one(noKID, `{"Zone":"","TokenSerialNumber":1}`),
		"wrong_kind.control-plane.zone-claims":         two(`{"Zone":"west","Scope":["cp"]` + tail),
		"wrong_kind.control-plane.user-claims":         two(`{"Name":"john","Groups":["admin"]` + tail),
		"malformed.control-plane.kid-is-null":          hs(g.secrets[2], `{"alg":"HS256","kid":null}`, bare),
	}
}
