package adminapi

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/internal/apitypes"
)

func TestRevokeByID(t *testing.T) {
	e := newEnv(t)
	token := e.token("dataplane", `{"mesh":"default"}`)
	claims, err := e.verify(cptoken.Dataplane, token)
	if err != nil {
		t.Fatal(err)
	}
	var got apitypes.RevokeResult
	e.want(200, "POST", "/v1/revocations", apitypes.RevokeRequest{Kind: "dataplane-token", Mesh: "default", IDs: []string{claims.ID, "x", "x"}, Reason: "lost"}, &got)
	if got.Revoked != 2 || !slices.Equal(got.IDs, []string{claims.ID, "x"}) || got.Revision != e.head().String() || got.Kind != "dataplane" || got.Mesh != "default" {
		t.Errorf("answer %+v", got)
	}
	if _, err := e.verify(cptoken.Dataplane, token); cptoken.ReasonOf(err) != cptoken.Revoked {
		t.Errorf("the revoked token: %v", err)
	}
	e.want(200, "POST", "/v1/revocations", apitypes.RevokeRequest{Kind: "dataplane", Mesh: "default", IDs: []string{"x"}}, &got)
	if got.Revoked != 0 {
		t.Errorf("revoked again: %+v", got)
	}
	var withdrawn apitypes.WithdrawResult
	e.want(200, "POST", "/v1/revocations/withdraw", apitypes.WithdrawRequest{Kind: "dataplane", Mesh: "default", IDs: []string{claims.ID, "never"}}, &withdrawn)
	if withdrawn.Withdrawn != 2 || withdrawn.Revision != e.head().String() {
		t.Errorf("answer %+v", withdrawn)
	}
	if _, err := e.verify(cptoken.Dataplane, token); err != nil {
		t.Errorf("the token whose revocation was withdrawn: %v", err)
	}
}

func TestRevokeByToken(t *testing.T) {
	e := newEnv(t)
	tests := []struct {
		kind, mesh string
		body       string
	}{
		{"control-plane", "", `{"zone":"west"}`},
		{"zone", "", `{"zone":"west"}`},
		{"dataplane", "default", `{"mesh":"default"}`},
		{"user", "", `{"name":"ann"}`},
	}
	for _, tt := range tests {
		t.Run(tt.kind, func(t *testing.T) {
			e := &env{T: t, admin: e.admin, store: e.store, api: e.api}
			token := e.token(tt.kind, tt.body)
			claims, err := e.verify(cptoken.Kind(tt.kind), token)
			if err != nil {
				t.Fatal(err)
			}
			var got apitypes.RevokeResult
			e.want(200, "POST", "/v1/revocations", apitypes.RevokeRequest{Token: token, Reason: "lost"}, &got)
			if got.Kind != tt.kind || got.Mesh != tt.mesh || got.Revoked != 1 || !slices.Equal(got.IDs, []string{claims.ID}) {
				t.Errorf("answer %+v", got)
			}
			if _, err := e.verify(cptoken.Kind(tt.kind), token); cptoken.ReasonOf(err) != cptoken.Revoked {
				t.Errorf("the revoked token: %v", err)
			}
			// With its expiry, so that the entry can be forgotten one day.
			entries := e.store.Revocations(cptoken.Kind(tt.kind), tt.mesh, "", 10)
			if len(entries) != 1 || entries[0].Expires != claims.ExpiresAt.Unix() || entries[0].Reason != "lost" || entries[0].By == "" {
				t.Errorf("entries %+v", entries)
			}
			// Revoked already, and naming the kind: as good.
			e.want(200, "POST", "/v1/revocations", apitypes.RevokeRequest{Token: token, Kind: tt.kind + "-token", Mesh: tt.mesh}, &got)
			if got.Revoked != 0 {
				t.Errorf("revoked again: %+v", got)
			}
		})
	}
}

// Tokens that nobody accepts any longer can be revoked all the same.
func TestRevokeExpiredToken(t *testing.T) {
	e := newEnv(t)
	for _, kind := range []cptoken.Kind{cptoken.Zone, cptoken.ControlPlane} {
		key, err := e.store.Signer(kind, "")
		if err != nil {
			t.Fatal(err)
		}
		token, claims, err := key.Issue(cptoken.Claims{Zone: "west"}, time.Hour, time.Now().Add(-48*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.verify(kind, token); cptoken.ReasonOf(err) != cptoken.Expired {
			t.Fatalf("the token is not expired: %v", err)
		}
		var got apitypes.RevokeResult
		e.want(200, "POST", "/v1/revocations", apitypes.RevokeRequest{Token: token}, &got)
		if !slices.Equal(got.IDs, []string{claims.ID}) {
			t.Errorf("answer %+v", got)
		}
	}
}

// A token of an imported control plane key that has no id is revoked by its hash.
func TestRevokeTokenWithoutID(t *testing.T) {
	e := newEnv(t)
	secret := []byte(strings.Repeat("s", 32))
	e.want(201, "PUT", "/global-secrets/control-plane-signing-key-0002", secretWith(secret), nil)
	token := signHS256(secret, `{"alg":"HS256","typ":"JWT"}`, `{"Zone":"west","TokenSerialNumber":2}`)
	if _, err := e.verify(cptoken.ControlPlane, token); err != nil {
		t.Fatalf("a token in the older shape is refused: %v", err)
	}
	var got apitypes.RevokeResult
	e.want(200, "POST", "/v1/revocations", apitypes.RevokeRequest{Token: token}, &got)
	if len(got.IDs) != 1 || !strings.HasPrefix(got.IDs[0], "sha256:") {
		t.Errorf("answer %+v", got)
	}
	if _, err := e.verify(cptoken.ControlPlane, token); cptoken.ReasonOf(err) != cptoken.Revoked {
		t.Errorf("the revoked token: %v", err)
	}
}

// Where others sign with the same key, another token can have the same id and live
// longer: such a revocation is kept for good.
func TestRevocationsThatNeverEnd(t *testing.T) {
	e := newEnv(t)
	private, body := e.offlineKey(nil)
	e.want(201, "PUT", "/v1/public-keys/zone-token/ci", body, nil)
	registered := e.offline(private, "ci", cptoken.Claims{Kind: cptoken.Zone, Zone: "west"}, time.Hour)
	secret := []byte(strings.Repeat("s", 32))
	e.want(201, "PUT", "/global-secrets/control-plane-signing-key-0002", secretWith(secret), nil)
	exp := strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10)
	imported := signHS256(secret, `{"alg":"HS256","kid":"2","typ":"JWT"}`, `{"Zone":"west","jti":"one","exp":`+exp+`}`)
	importedRSA, err := issue.GeneratePEM()
	if err != nil {
		t.Fatal(err)
	}
	e.want(201, "PUT", "/global-secrets/user-token-signing-key-7", secretWith(importedRSA), nil)
	key, err := e.store.Signer(cptoken.User, "")
	if err != nil || key.Ref().Serial != 7 {
		t.Fatalf("the imported key does not sign: %v", err)
	}
	importedUser, _, err := key.Issue(cptoken.Claims{Name: "ann"}, time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for kind, token := range map[cptoken.Kind]string{cptoken.Zone: registered, cptoken.ControlPlane: imported, cptoken.User: importedUser} {
		var got apitypes.RevokeResult
		e.want(200, "POST", "/v1/revocations", apitypes.RevokeRequest{Token: token, Kind: string(kind)}, &got)
		if entries := e.store.Revocations(kind, "", "", 10); len(entries) != 1 || entries[0].Expires != 0 {
			t.Errorf("%s: %+v, want no expiry", kind, entries)
		}
	}
}

// TestRevokingWhatNoZoneOfOursAccepts: Kuma zones know neither the rules of dates nor the
// bounds of keys, and pass over claims that may narrow a token. Who shows such a token has
// it revoked, if a key of this cluster signed it.
func TestRevokingWhatNoZoneOfOursAccepts(t *testing.T) {
	e := newEnv(t)
	private, body := e.offlineKey(func(k *apitypes.PublicKey) {
		k.Zones, k.Scopes, k.MaxLifetime = []string{"west"}, []string{"egress"}, "1h"
	})
	e.want(201, "PUT", "/v1/public-keys/zone-token/ci", body, nil)
	now := time.Now().Unix()
	for name, claims := range map[string]map[string]any{
		"issued in 2099":        {"iat": 4070908800, "exp": 4070908800 + 3600},
		"issued after it ends":  {"iat": now + 200, "exp": now + 100},
		"valid after it ends":   {"iat": now, "nbf": now + 9000, "exp": now + 3000},
		"without dates":         {},
		"for longer":            {"iat": now, "exp": now + 86400},
		"for another zone":      {"iat": now, "exp": now + 60, "Zone": "east"},
		"for no zone":           {"iat": now, "exp": now + 60, "Zone": ""},
		"for another scope":     {"iat": now, "exp": now + 60, "Scope": []string{"cp"}},
		"with a narrower claim": {"iat": now, "exp": now + 60, "Region": "eu"},
		"in another case":       {"iat": now, "exp": now + 60, "zone": "east"},
		"of two kinds":          {"iat": now, "exp": now + 60, "Mesh": "default"},
	} {
		all := map[string]any{"Zone": "west", "Scope": []string{"egress"}, "jti": strings.ReplaceAll(name, " ", "-")}
		for k, v := range claims {
			all[k] = v
		}
		token := signRS256(t, private, "ci", all)
		if _, err := e.verify(cptoken.Zone, token); err == nil {
			t.Errorf("%s: is accepted", name)
		}
		var got apitypes.RevokeResult
		e.want(200, "POST", "/v1/revocations", apitypes.RevokeRequest{Token: token, Kind: "zone-token"}, &got)
		if !slices.Equal(got.IDs, []string{all["jti"].(string)}) || got.Mesh != "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	mixed := signRS256(t, private, "ci", map[string]any{"Zone": "west", "Mesh": "default", "jti": "mixed"})
	e.badField("kind", "POST", "/v1/revocations", apitypes.RevokeRequest{Token: mixed})
	for _, entry := range e.store.Revocations(cptoken.Zone, "", "", 100) {
		if entry.Expires != 0 {
			t.Errorf("%s ends at %d", entry.ID, entry.Expires)
		}
	}
}

// signRS256 signs claims as they are, with a key in PEM.
func signRS256(t *testing.T, private []byte, kid string, claims map[string]any) string {
	t.Helper()
	block, _ := pem.Decode(private)
	if block == nil {
		t.Fatal("no PEM")
	}
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding
	input := enc.EncodeToString([]byte(`{"alg":"RS256","kid":"`+kid+`"}`)) + "." + enc.EncodeToString(payload)
	sum := sha256.Sum256([]byte(input))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + enc.EncodeToString(signature)
}

// The revocation of a token that may be renewed outlives every renewal.
func TestRevocationOfARenewableToken(t *testing.T) {
	e := newEnv(t)
	claims := cptoken.Claims{Kind: cptoken.Zone, RenewableUntil: time.Unix(2000, 0), Registered: cptoken.Registered{ExpiresAt: time.Unix(1000, 0)}}
	token := &cptoken.Token{KID: "1", HasKID: true, Claims: claims}
	if got := e.api.keepUntil(token); got != 2000 {
		t.Errorf("kept until %d, want 2000", got)
	}
}

func TestForeignTokensAreNotRevoked(t *testing.T) {
	e := newEnv(t)
	ours := e.token("zone", `{"zone":"west"}`)
	foreignKey, err := issue.Generate(issue.Ref{Kind: cptoken.Zone, Serial: 1})
	if err != nil {
		t.Fatal(err)
	}
	foreign, _, err := foreignKey.Issue(cptoken.Claims{Zone: "west"}, 0, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	unknownKey, err := issue.Generate(issue.Ref{Kind: cptoken.Zone, Serial: 7})
	if err != nil {
		t.Fatal(err)
	}
	unknown, _, err := unknownKey.Issue(cptoken.Claims{Zone: "west"}, 0, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	symmetric, err := issue.Generate(issue.Ref{Kind: cptoken.ControlPlane, Serial: 1})
	if err != nil {
		t.Fatal(err)
	}
	foreignCP, _, err := symmetric.Issue(cptoken.Claims{Zone: "west"}, 0, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(ours, ".")
	e.log.take()
	tests := []struct{ name, token, reason string }{
		{"another global's", foreign, "bad_signature"},
		{"another global's control plane token", foreignCP, "bad_signature"},
		{"a key that is not here", unknown, "unknown_key"},
		{"no signature", parts[0] + "." + parts[1] + ".", "bad_signature"},
		{"not a token", "token", "malformed"},
		{"too large", strings.Repeat("a", 9<<10), "too_large"},
		{"cut off", ours[:len(ours)-22], "bad_signature"},
		{"algorithm none", "eyJhbGciOiJub25lIiwia2lkIjoiMSJ9." + parts[1] + ".", "unsupported_algorithm"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sub := &env{T: t, admin: e.admin}
			got := sub.refused(400, "POST", "/v1/revocations", apitypes.RevokeRequest{Token: tt.token})
			if got.InvalidParameters[0].Field != "token" || got.Reason != tt.reason || got.Hint == "" {
				t.Errorf("refused with %+v, want %s", got, tt.reason)
			}
		})
	}
	if log := e.log.take(); strings.Contains(log, parts[1]) || strings.Contains(log, foreign) || strings.Contains(log, foreignCP) {
		t.Error("a token is in the log")
	}
	if n := e.store.RevocationCount(cptoken.Zone, ""); n != 0 {
		t.Errorf("%d ids are revoked", n)
	}
}

func TestBadRevocations(t *testing.T) {
	e := newEnv(t)
	token := e.token("zone", `{"zone":"west"}`)
	tests := []struct{ name, path, body, field string }{
		{"no kind", "", `{"ids":["a"]}`, "kind"},
		{"unknown kind", "", `{"kind":"root","ids":["a"]}`, "kind"},
		{"no mesh", "", `{"kind":"dataplane","ids":["a"]}`, "mesh"},
		{"unknown mesh", "", `{"kind":"dataplane","mesh":"nowhere","ids":["a"]}`, "mesh"},
		{"mesh where none is", "", `{"kind":"zone","mesh":"default","ids":["a"]}`, "mesh"},
		{"no ids", "", `{"kind":"zone"}`, "ids"},
		{"empty id", "", `{"kind":"zone","ids":["a",""]}`, "ids"},
		{"long id", "", `{"kind":"zone","ids":["` + strings.Repeat("a", 129) + `"]}`, "ids"},
		{"id with a comma", "", `{"kind":"zone","ids":["a,b"]}`, "ids"},
		{"a token as an id", "", `{"kind":"zone","ids":["` + token + `"]}`, "ids"},
		{"ids are text", "", `{"kind":"zone","ids":"a"}`, "ids"},
		{"long reason", "", `{"kind":"zone","ids":["a"],"reason":"` + strings.Repeat("a", 501) + `"}`, "reason"},
		{"both", "", `{"token":"` + token + `","ids":["a"]}`, "ids"},
		{"token of another kind", "", `{"kind":"user","token":"` + token + `"}`, "kind"},
		{"token of another mesh", "", `{"mesh":"default","token":"` + token + `"}`, "mesh"},
		{"withdraw without a kind", "/withdraw", `{"ids":["a"]}`, "kind"},
		{"withdraw nothing", "/withdraw", `{"kind":"zone"}`, "ids"},
		{"withdraw an empty id", "/withdraw", `{"kind":"zone","ids":[""]}`, "ids"},
		{"withdraw by token", "/withdraw", `{"token":"x"}`, "token"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := &env{T: t, admin: e.admin}
			e.badField(tt.field, "POST", "/v1/revocations"+tt.path, tt.body)
		})
	}
	for query, field := range map[string]string{
		"": "kind", "?kind=x": "kind", "?kind=dataplane": "mesh", "?kind=zone&limit=0": "limit", "?kind=zone&limit=1001": "limit",
		"?kind=zone&after=" + strings.Repeat("a", 129): "after",
	} {
		e.badField(field, "GET", "/v1/revocations"+query, nil)
	}
}

func TestListRevocations(t *testing.T) {
	e := newEnv(t)
	var ids []string
	for i := range 250 {
		ids = append(ids, fmt.Sprintf("id-%03d", i))
	}
	e.want(200, "POST", "/v1/revocations", apitypes.RevokeRequest{Kind: "zone", IDs: ids, Reason: "many"}, nil)
	var found []string
	path := "/v1/revocations?kind=zone-token&limit=100"
	for pages := 0; path != ""; pages++ {
		if pages > 3 {
			t.Fatal("the list does not end")
		}
		var list apitypes.List[apitypes.Revocation]
		e.want(200, "GET", path, nil, &list)
		if list.Total != 250 {
			t.Errorf("total %d, want 250", list.Total)
		}
		for _, r := range list.Items {
			found = append(found, r.ID)
			if r.Reason != "many" || r.By != "admin socket" || r.At == nil || r.Expires != nil {
				t.Fatalf("item %+v", r)
			}
		}
		path = ""
		if list.Next != nil {
			path = strings.TrimPrefix(*list.Next, "http://global.example")
		}
	}
	if !slices.Equal(found, ids) {
		t.Errorf("found %d ids, want all 250 in order", len(found))
	}
	var empty apitypes.List[apitypes.Revocation]
	e.want(200, "GET", "/v1/revocations?kind=user", nil, &empty)
	if empty.Total != 0 || empty.Items == nil || empty.Next != nil {
		t.Errorf("an empty list: %+v", empty)
	}
}

// The same request twice has one effect; two requests under one id have two.
func TestRequestIDsOfWrites(t *testing.T) {
	e := newEnv(t)
	const id = "7d444840-9dc0-11d1-b245-5ffdce74fad2"
	var first, again, other apitypes.RevokeResult
	e.want(200, "POST", "/v1/revocations", `{"kind":"zone","ids":["a"]}`, &first, "X-Request-Id", id)
	e.want(200, "POST", "/v1/revocations", `{"kind":"zone","ids":["a"]}`, &again, "X-Request-Id", id)
	if first.Revoked != 1 || again.Revoked != 1 {
		t.Errorf("answers %+v and %+v, want the same", first, again)
	}
	e.want(200, "POST", "/v1/revocations/withdraw", `{"kind":"zone","ids":["a"]}`, nil, "X-Request-Id", id)
	e.want(200, "POST", "/v1/revocations", `{"kind":"zone","ids":["a"]}`, &again, "X-Request-Id", id)
	if again.Revoked != 1 || e.store.RevocationCount(cptoken.Zone, "") != 1 {
		t.Errorf("revoked again after it was withdrawn: %+v", again)
	}
	e.want(200, "POST", "/v1/revocations", `{"kind":"zone","ids":["b"]}`, &other, "X-Request-Id", id)
	if other.Revoked != 1 || e.store.RevocationCount(cptoken.Zone, "") != 2 {
		t.Errorf("another request under the same id: %+v", other)
	}
	for _, enabled := range []string{"false", "true", "false"} {
		var z apitypes.Zone
		e.call("PUT", "/zones/west", `{"enabled":`+enabled+`}`, "X-Request-Id", id)
		e.want(200, "GET", "/zones/west", nil, &z)
		if boolText(*z.Enabled) != enabled {
			t.Errorf("the zone is enabled: %v, want %s", *z.Enabled, enabled)
		}
	}
}
