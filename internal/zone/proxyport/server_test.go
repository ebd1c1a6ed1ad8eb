package proxyport

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/zone/keysets"
	"github.com/meridiankds/meridian/internal/zone/proxyauth"
	"github.com/meridiankds/meridian/keysync"
)

var testNow = time.Unix(1_800_000_000, 0)

// testSigner is a private key for tokens, made once: RSA keys are slow to make.
var testSigner = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// sign makes a token with kid "1". A claim of value nil is left out.
func sign(t *testing.T, claims map[string]any) string {
	t.Helper()
	all := map[string]any{"jti": "7d444840-9dc0-4cd1-b245-5ffdce74fad2", "iat": testNow.Unix(), "nbf": testNow.Unix() - 300, "exp": testNow.Unix() + 3600}
	for name, v := range claims {
		all[name] = v
		if v == nil {
			delete(all, name)
		}
	}
	payload, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding
	input := enc.EncodeToString([]byte(`{"alg":"RS256","kid":"1","typ":"JWT"}`)) + "." + enc.EncodeToString(payload)
	sum := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPKCS1v15(rand.Reader, testSigner(), crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + enc.EncodeToString(sig)
}

// zone is a running zone without ports.
type zone struct {
	t      *testing.T
	store  *keysync.Store
	now    time.Time
	log    bytes.Buffer
	server *Server
	index  uint64
}

func newZone(t *testing.T, edit func(*Config)) *zone {
	t.Helper()
	return newZoneOf(t, proxyauth.Config{}, edit)
}

// newZoneOf returns a zone whose proxies authenticate as auth says.
func newZoneOf(t *testing.T, auth proxyauth.Config, edit func(*Config)) *zone {
	t.Helper()
	z := &zone{t: t, now: testNow}
	store, err := keysync.Open(filepath.Join(t.TempDir(), "zone.db"), keysync.Options{Zone: "west"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	z.store = store
	clock := func() time.Time { return z.now }
	cfg := Config{
		Zone: "west", Instance: store.Instance(), Version: "1.2.3", Store: store,
		Verifier: cptoken.NewVerifier(cptoken.VerifierOptions{Now: clock, CacheBytes: 1 << 20}),
		KeySets:  keysets.Open(keysets.Config{Path: filepath.Join(t.TempDir(), "key-sets.json"), Logger: slog.New(slog.DiscardHandler), Now: clock}),
		Logger:   slog.New(slog.NewTextHandler(&z.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Now: clock,
	}
	if err := auth.Settings.Complete(); err != nil {
		t.Fatal(err)
	}
	auth.Zone, auth.Verifier, auth.Now = "west", cfg.Verifier.(*cptoken.Verifier), clock
	auth.Contact = func() time.Time {
		_, at := store.Contact()
		return at
	}
	if auth.Keyring, err = keyring.New(keyring.Config{Source: held{store}, Settings: auth.Settings}); err != nil {
		t.Fatal(err)
	}
	if cfg.Auth, err = proxyauth.New(auth); err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(&cfg)
	}
	z.server = New(cfg)
	return z
}

// held is a zone's copy as its keyring sees it.
type held struct{ *keysync.Store }

func (h held) View() cptoken.View { return h.Store.View() }

// learn gives the zone the key of every kind, and more.
func (z *zone) learn(changes ...cptoken.Change) {
	z.t.Helper()
	history := federation.History{ID: "00000000000000a1", Created: 1}
	p := cptoken.Part{Cluster: "c1", To: federation.Revision{History: history, Index: z.index + 1}, Last: true, Changes: changes}
	if z.index == 0 {
		p.Full = true
		der, err := x509.MarshalPKIXPublicKey(&testSigner().PublicKey)
		if err != nil {
			z.t.Fatal(err)
		}
		for _, id := range []cptoken.KeyID{{Kind: cptoken.Zone, KID: "1"}, {Kind: cptoken.User, KID: "1"}, {Kind: cptoken.Dataplane, Mesh: "default", KID: "1"}} {
			k, err := cptoken.NewPublicKey(id, cptoken.AlgRS256, cptoken.Active, der, nil)
			if err != nil {
				z.t.Fatal(err)
			}
			p.Changes = append(p.Changes, cptoken.Change{Index: 1, Key: k})
		}
	} else {
		p.From = federation.Revision{History: history, Index: z.index}
	}
	z.index++
	if err := z.store.Apply(z.t.Context(), p); err != nil {
		z.t.Fatal(err)
	}
}

// answer is what an API said, of success or failure.
type answer struct {
	status int
	header http.Header
	body   string
	Reason string `json:"reason"`
	Hint   string `json:"hint"`
	Type   string `json:"type"`
	Detail string `json:"detail"`
}

func (z *zone) do(h http.Handler, r *http.Request) answer {
	z.t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	a := answer{status: w.Code, header: w.Header(), body: w.Body.String()}
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		z.t.Fatalf("an answer that is not JSON: %d %q", w.Code, w.Body)
	}
	if w.Code >= 400 && (a.Type != "/std-errors" || a.Detail == "") {
		z.t.Errorf("an error of another shape: %s", w.Body)
	}
	return a
}

func (z *zone) authenticate(req apitypes.AuthenticateRequest) answer {
	z.t.Helper()
	b, err := json.Marshal(req)
	if err != nil {
		z.t.Fatal(err)
	}
	a := z.do(z.server.Proxies(), httptest.NewRequest(http.MethodPost, "/v1/authenticate", bytes.NewReader(b)))
	if req.Token != "" && (strings.Contains(z.log.String(), req.Token) || strings.Contains(a.body, req.Token)) {
		z.t.Error("the token stands in the log or the answer")
	}
	return a
}

func TestAuthenticate(t *testing.T) {
	zoneToken := map[string]any{"Zone": "west", "Scope": []string{"egress"}}
	dpToken := map[string]any{"Mesh": "default", "Name": "dp1", "Tags": map[string][]string{"kuma.io/service": {"backend"}}, "Type": ""}
	with := func(base map[string]any, name string, v any) map[string]any {
		m := map[string]any{name: v}
		for k, v := range base {
			if k != name {
				m[k] = v
			}
		}
		return m
	}
	backend := map[string][]string{"kuma.io/service": {"backend"}}
	tests := map[string]struct {
		claims map[string]any
		req    apitypes.AuthenticateRequest
		status int
		reason string
	}{
		"egress":              {zoneToken, apitypes.AuthenticateRequest{ProxyType: "egress"}, 200, ""},
		"egress with a mesh":  {zoneToken, apitypes.AuthenticateRequest{ProxyType: "egress", Mesh: "default", Name: "e1"}, 200, ""},
		"as ingress":          {zoneToken, apitypes.AuthenticateRequest{ProxyType: "ingress"}, 403, "out_of_scope"},
		"of another zone":     {with(zoneToken, "Zone", "east"), apitypes.AuthenticateRequest{ProxyType: "egress"}, 403, "wrong_zone"},
		"expired":             {with(zoneToken, "exp", testNow.Unix()-10), apitypes.AuthenticateRequest{ProxyType: "egress"}, 401, "expired"},
		"not yet valid":       {with(zoneToken, "nbf", testNow.Unix()+1000), apitypes.AuthenticateRequest{ProxyType: "egress"}, 401, "not_yet_valid"},
		"as a data plane":     {zoneToken, apitypes.AuthenticateRequest{ProxyType: "dataplane", Mesh: "default"}, 401, "wrong_kind"},
		"data plane":          {dpToken, apitypes.AuthenticateRequest{ProxyType: "dataplane", Mesh: "default", Name: "dp1", Tags: backend}, 200, ""},
		"data plane, other":   {dpToken, apitypes.AuthenticateRequest{ProxyType: "dataplane", Mesh: "default", Name: "dp2", Tags: backend}, 403, "wrong_name"},
		"data plane, no tags": {dpToken, apitypes.AuthenticateRequest{ProxyType: "dataplane", Mesh: "default", Name: "dp1"}, 403, "tag_mismatch"},
		"data plane, mesh":    {dpToken, apitypes.AuthenticateRequest{ProxyType: "dataplane", Mesh: "other", Name: "dp1", Tags: backend}, 403, "wrong_mesh"},
		"data plane, no mesh": {dpToken, apitypes.AuthenticateRequest{ProxyType: "dataplane", Name: "dp1"}, 400, ""},
		"as an egress":        {dpToken, apitypes.AuthenticateRequest{ProxyType: "egress"}, 401, "wrong_kind"},
		"no type":             {zoneToken, apitypes.AuthenticateRequest{}, 400, ""},
		"unknown type":        {zoneToken, apitypes.AuthenticateRequest{ProxyType: "gateway"}, 400, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			z := newZone(t, nil)
			z.learn()
			test.req.Token = sign(t, test.claims)
			a := z.authenticate(test.req)
			if a.status != test.status || a.Reason != test.reason {
				t.Fatalf("%d %s", a.status, a.body)
			}
			if a.status >= 400 {
				return
			}
			var id apitypes.Identity
			if err := json.Unmarshal([]byte(a.body), &id); err != nil {
				t.Fatal(err)
			}
			if id.Zone != "west" || id.ID != "7d444840-9dc0-4cd1-b245-5ffdce74fad2" || !id.Expires.Equal(testNow.Add(time.Hour)) ||
				id.Revision != "00000000000000a1-1@1" || id.Kind == "" {
				t.Errorf("identity %s", a.body)
			}
		})
	}
}

func TestAuthenticateFollowsTheView(t *testing.T) {
	z := newZone(t, nil)
	req := apitypes.AuthenticateRequest{Token: sign(t, map[string]any{"Zone": "west", "Scope": []string{"egress"}}), ProxyType: "egress"}
	expect := func(when string, status int, reason string) {
		t.Helper()
		if a := z.authenticate(req); a.status != status || a.Reason != reason {
			t.Errorf("%s: %d %s", when, a.status, a.body)
		}
	}
	expect("before anything is known", 503, "no_keys")
	z.learn()
	expect("with the key", 200, "")
	expect("again, from the cache", 200, "")
	run := &cptoken.RevokedRun{Kind: cptoken.Zone, IDs: []cptoken.RevokedID{{ID: "7d444840-9dc0-4cd1-b245-5ffdce74fad2"}}}
	z.learn(cptoken.Change{Index: 2, Revoked: run})
	expect("revoked", 401, "revoked")
	z.learn(cptoken.Change{Index: 3, Withdrawn: run})
	expect("withdrawn", 200, "")
	z.learn(cptoken.Change{Index: 4, CutOff: &cptoken.CutOff{CutOffID: cptoken.CutOffID{Kind: cptoken.Zone}, Before: testNow.Add(time.Second)}})
	expect("cut off", 401, "cut_off")
	z.learn(cptoken.Change{Index: 5, CutOffWithdrawn: &cptoken.CutOffID{Kind: cptoken.Zone}})
	expect("not cut off any more", 200, "")
	z.learn(cptoken.Change{Index: 6, RemovedKey: &cptoken.KeyID{Kind: cptoken.Zone, KID: "1"}})
	expect("without the key", 401, "unknown_key")
	if log := z.log.String(); !strings.Contains(log, "reason=revoked") || !strings.Contains(log, "remote=192.0.2.1") {
		t.Errorf("the log does not tell who was refused, and why: %s", log)
	}
}

func TestMaxStale(t *testing.T) {
	z := newZoneOf(t, proxyauth.Config{MaxStale: time.Hour}, nil)
	z.learn()
	req := apitypes.AuthenticateRequest{Token: sign(t, map[string]any{"Zone": "west", "Scope": []string{"egress"}}), ProxyType: "egress"}
	if a := z.authenticate(req); a.status != 503 || a.Reason != "stale" || a.Hint == "" {
		t.Errorf("never heard: %d %s", a.status, a.body)
	}
	z.store.Heard("node", testNow)
	if a := z.authenticate(req); a.status != 200 {
		t.Errorf("just heard: %d %s", a.status, a.body)
	}
	z.now = z.now.Add(time.Hour + time.Second)
	if a := z.authenticate(req); a.Reason != "stale" {
		t.Errorf("heard long ago: %d %s", a.status, a.body)
	}
	if a := z.do(z.server.Diagnostics(), httptest.NewRequest(http.MethodGet, "/ready", nil)); a.status != 503 || a.Reason != "stale" {
		t.Errorf("ready: %d %s", a.status, a.body)
	}
}

func TestBadRequests(t *testing.T) {
	z := newZone(t, nil)
	z.learn()
	tests := map[string]struct {
		method, path, body string
		status             int
	}{
		"GET":            {http.MethodGet, "/v1/authenticate", "", 405},
		"another path":   {http.MethodPost, "/v1/authenticate/", "", 404},
		"nothing":        {http.MethodPost, "/v1/authenticate", "", 400},
		"not JSON":       {http.MethodPost, "/v1/authenticate", "token=x", 400},
		"unknown member": {http.MethodPost, "/v1/authenticate", `{"token":"x","proxyType":"egress","admin":true}`, 400},
		"twice":          {http.MethodPost, "/v1/authenticate", `{"token":"x","token":"y","proxyType":"egress"}`, 400},
		"no token":       {http.MethodPost, "/v1/authenticate", `{"proxyType":"egress"}`, 401},
		"no JWT":         {http.MethodPost, "/v1/authenticate", `{"token":"x","proxyType":"egress"}`, 401},
		"9 KiB token":    {http.MethodPost, "/v1/authenticate", `{"token":"` + strings.Repeat("x", 9<<10) + `","proxyType":"egress"}`, 401},
		"20 KiB":         {http.MethodPost, "/v1/authenticate", `{"token":"` + strings.Repeat("x", 20<<10) + `","proxyType":"egress"}`, 413},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := z.do(z.server.Proxies(), httptest.NewRequest(test.method, test.path, strings.NewReader(test.body)))
			if a.status != test.status {
				t.Errorf("%d %s", a.status, a.body)
			}
			if a.status == 405 && a.header.Get("Allow") != http.MethodPost {
				t.Errorf("Allow: %q", a.header.Get("Allow"))
			}
		})
	}
	if a := z.authenticate(apitypes.AuthenticateRequest{ProxyType: "egress", Token: "e30.e30.e30", Name: strings.Repeat("n", 9000)}); a.status != 401 || len(z.log.String()) > 9000 {
		t.Errorf("a stranger fills the log: %d, %d bytes", a.status, len(z.log.String()))
	}
}

func TestStatus(t *testing.T) {
	since := testNow.Add(-time.Minute)
	link := Link{Address: "g:5685", Since: since, LastError: "refused"}
	roles, err := access.NewRoles([]access.Binding{{Role: access.Auditor, Users: []string{"ann"}}})
	if err != nil {
		t.Fatal(err)
	}
	z := newZone(t, func(c *Config) {
		c.LocalhostIsAdmin, c.Link, c.Roles = true, func() Link { return link }, func() *access.Roles { return roles }
	})
	get := func(path, token string) answer {
		r := httptest.NewRequest(http.MethodGet, "http://localhost:5681"+path, nil)
		r.RemoteAddr = "127.0.0.1:1"
		if token != "" {
			r.RemoteAddr = "192.0.2.1:1"
			r.Header.Set("Authorization", "Bearer "+token)
		}
		return z.do(z.server.API(), r)
	}
	read := func() (s apitypes.ZoneStatus) {
		t.Helper()
		if err := json.Unmarshal([]byte(get("/v1/status", "").body), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := read(); !s.Empty || s.Revision != "none" || s.Cluster != "" || s.Global.Connected || s.Global.LastError != "refused" ||
		s.Global.AgeSeconds != nil || s.Keys == nil || len(s.Keys) != 0 || !s.Global.Since.Equal(since) {
		t.Errorf("before anything is known: %+v", s)
	}
	z.learn(cptoken.Change{Index: 1, Revoked: &cptoken.RevokedRun{Kind: cptoken.User, IDs: []cptoken.RevokedID{{ID: "a"}, {ID: "b"}}}})
	z.store.Heard("node-1", testNow.Add(-2*time.Second))
	link = Link{Connected: true, Address: "g:5685", Member: "node-2"}
	s := read()
	if s.Empty || s.Revision != "00000000000000a1-1@1" || s.Cluster != "c1" || s.Zone != "west" || s.Instance != z.store.Instance() || s.Version != "1.2.3" ||
		!s.Global.Connected || s.Global.Member != "node-2" || *s.Global.AgeSeconds != 2 || s.Revocations["user"] != 2 || s.Revocations["zone"] != 0 {
		t.Errorf("status %+v", s)
	}
	if len(s.Keys) != 3 || s.Keys[0].Kind != "zone" || s.Keys[0].KID != "1" || s.Keys[0].State != "active" || s.Keys[1].Mesh != "default" || len(s.Keys[0].Fingerprint) != 64 {
		t.Errorf("keys %+v", s.Keys)
	}
	if a := get("/", ""); !strings.Contains(a.body, `"product":"Meridian"`) || !strings.Contains(a.body, `"zone":"west"`) {
		t.Errorf("index %s", a.body)
	}
	if a := get("/nothing", ""); a.status != 404 {
		t.Errorf("%d %s", a.status, a.body)
	}
	// Auditors and admins may read; nobody else, and a bad token not even from here.
	here := []string{cptoken.ZoneAudience("west")}
	for user, want := range map[string]int{"ann": 200, "eve": 403} {
		if a := get("/v1/status", sign(t, map[string]any{"Name": user, "Groups": []string{"ops"}, "aud": here})); a.status != want {
			t.Errorf("%s: %d %s", user, a.status, a.body)
		}
		if a := get("/", sign(t, map[string]any{"Name": user, "Groups": []string{"ops"}, "aud": here})); a.status != want {
			t.Errorf("%s, index: %d %s", user, a.status, a.body)
		}
	}
	if a := get("/v1/status", sign(t, map[string]any{"Name": "eve", "Groups": []string{"admin"}, "aud": here})); a.status != 200 {
		t.Errorf("an admin: %d %s", a.status, a.body)
	}
	for _, aud := range []any{nil, "zone:east", []string{}} {
		if a := get("/v1/status", sign(t, map[string]any{"Name": "eve", "Groups": []string{"admin"}, "aud": aud})); a.status != 403 || !strings.Contains(a.body, "wrong_audience") {
			t.Errorf("an admin's token for %v: %d %s", aud, a.status, a.body)
		}
	}
	if a := get("/v1/status", sign(t, map[string]any{"Zone": "west", "Scope": []string{"egress"}})); a.status != 401 {
		t.Errorf("a zone token: %d %s", a.status, a.body)
	}
	if a := get("/v1/status", "forged"); a.status != 401 {
		t.Errorf("a forged token: %d %s", a.status, a.body)
	}
	r := httptest.NewRequest(http.MethodGet, "http://evil.example/v1/status", nil)
	r.RemoteAddr = "127.0.0.1:1"
	if a := z.do(z.server.API(), r); a.status != 403 {
		t.Errorf("a rebound name: %d %s", a.status, a.body)
	}
}

func TestDiagnostics(t *testing.T) {
	z := newZone(t, nil)
	get := func(path string) answer {
		return z.do(z.server.Diagnostics(), httptest.NewRequest(http.MethodGet, path, nil))
	}
	if a := get("/healthy"); a.status != 200 {
		t.Errorf("healthy: %d %s", a.status, a.body)
	}
	if a := get("/ready"); a.status != 503 || a.Reason != "no_keys" || a.Hint == "" {
		t.Errorf("ready without keys: %d %s", a.status, a.body)
	}
	z.learn()
	if a := get("/ready"); a.status != 200 || strings.Contains(a.body, "notices") {
		t.Errorf("ready: %d %s", a.status, a.body)
	}
	// What is wrong with what proxies are given is told, and takes no zone out.
	z.server.cfg.XDSProblems = func() []error { return []error{errors.New("all: bad"), errors.New("egress: gone")} }
	if a := get("/ready"); a.status != 200 || !strings.Contains(a.body, "2 problems in the folder of resources") {
		t.Errorf("ready with a bad folder: %d %s", a.status, a.body)
	}
	z.server.cfg.Unready = func() error {
		return federation.Errorf(federation.Unavailable, "the certificate is not valid yet").WithReason("certificate_not_valid")
	}
	if a := get("/ready"); a.status != 503 || a.Reason != "certificate_not_valid" {
		t.Errorf("ready while its certificate does not hold: %d %s", a.status, a.body)
	}
	if a := get("/v1/status"); a.status != 404 {
		t.Errorf("the API on the diagnostics port: %d", a.status)
	}
}

// TestGrantsOfLoopbackAreLogged: who is an administrator without a token.
func TestGrantsOfLoopbackAreLogged(t *testing.T) {
	z := newZone(t, func(c *Config) { c.LocalhostIsAdmin = true })
	r := httptest.NewRequest(http.MethodGet, "http://localhost:5681/v1/proxies", nil)
	r.RemoteAddr = "127.0.0.1:7"
	w := httptest.NewRecorder()
	if z.server.API().ServeHTTP(w, r); w.Code != 200 || !strings.Contains(z.log.String(), "level=WARN") || !strings.Contains(z.log.String(), "forwarder") {
		t.Errorf("%d, logged %q", w.Code, z.log.String())
	}
}

// TestTokensUnderTestAreKnown: each route of the port for proxies is asked with its
// caller's own token, with one that is under test, or with none.
func TestTokensUnderTestAreKnown(t *testing.T) {
	z := newZone(t, nil)
	under := map[string]bool{"/bootstrap": false, "/v1/authenticate": true, "/v1/authenticate/batch": true, "/v1/introspect": true, "/v1/authorize": true, "/v1/jwks/zone": false}
	for path := range z.server.proxyRoutes() {
		want, listed := under[path]
		if got := z.server.TestsTokens(httptest.NewRequest(http.MethodPost, path, nil)); got != want || !listed {
			t.Errorf("%s: tests tokens %t, listed %t", path, got, listed)
		}
	}
	if !z.server.TestsTokens(httptest.NewRequest(http.MethodGet, "/v1/authorize/orders", nil)) {
		t.Error("what is asked below /v1/authorize is not known to be about a token under test")
	}
}

func TestStrangersCannotFillTheLog(t *testing.T) {
	z := newZone(t, nil)
	send := func(h http.Handler, method, path string) int {
		r := httptest.NewRequest("GET", "http://zone.example/", strings.NewReader(`{"token":"x","proxyType":"egress"}`))
		r.Method, r.URL.Path = method, path
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	z.server.cfg.Logger = slog.New(slog.NewTextHandler(&z.log, nil))
	for range 1000 {
		send(z.server.Proxies(), "POST", "/v1/authenticate")
		send(z.server.API(), "GET", "/v1/status")
		if status := send(z.server.API(), strings.Repeat("M", 5000), "/v1/status"); status != 405 {
			t.Fatalf("status %d", status)
		}
	}
	if n := strings.Count(z.log.String(), "\n"); n == 0 || n > 100 || z.log.Len() > 50<<10 {
		t.Errorf("%d lines, %d bytes for 3000 requests", n, z.log.Len())
	}
	z.now = z.now.Add(time.Second)
	send(z.server.Proxies(), "POST", "/v1/authenticate")
	if !strings.Contains(z.log.String(), "suppressed=980") {
		t.Error("the log does not say how many lines were left out")
	}
	if status := send(z.server.API(), "OPTIONS", "*"); status != 405 {
		t.Errorf("OPTIONS *: %d", status)
	}
}
