package proxyport

import (
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/meridiankds/meridian/internal/zone/envoyres"
	"github.com/meridiankds/meridian/internal/zone/rollout"

	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/zone/proxies"
	"github.com/meridiankds/meridian/internal/zone/proxyauth"
	proxyres "github.com/meridiankds/meridian/internal/zone/resource"
	"github.com/meridiankds/meridian/internal/zone/sessions"
)

const backendResource = `{"type":"Dataplane","mesh":"default","name":"backend-1","networking":{"address":"10.0.0.1","inbound":[{"port":8080,"tags":{"kuma.io/service":"backend"}}]},"unknown":1}`

var backendToken = map[string]any{"Mesh": "default", "Name": "backend-1", "Tags": map[string][]string{"kuma.io/service": {"backend"}}}

// post sends a body to the port for proxies as it is.
func (z *zone) post(path string, body any, header ...string) *httptest.ResponseRecorder {
	z.t.Helper()
	data, ok := body.([]byte)
	if !ok {
		var err error
		if data, err = json.Marshal(body); err != nil {
			z.t.Fatal(err)
		}
	}
	r := httptest.NewRequest(http.MethodPost, "https://zone.example:5678"+path, bytes.NewReader(data))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	z.server.Proxies().ServeHTTP(w, r)
	return w
}

// bootstrapOf reads the YAML of an answer.
func bootstrapOf(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var a struct {
		Bootstrap string
		Sidecar   map[string]any `json:"kumaSidecarConfiguration"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != 200 || a.Sidecar == nil {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	text, err := base64.StdEncoding.DecodeString(a.Bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestBootstrap(t *testing.T) {
	z := newZone(t, func(c *Config) {
		c.Bootstrap.CA = func() string { return "the CA of the zone" }
		c.Bootstrap.Covers = func(host string) bool { return host == "zone.example" }
	})
	z.learn()
	token := sign(t, backendToken)
	request := map[string]any{"mesh": "default", "name": "backend-1", "proxyType": "dataplane", "dataplaneToken": token + "\n"}

	// Nobody knows the proxy yet: kuma-dp waits.
	if w := z.post("/bootstrap", request); w.Code != 404 || w.Body.Len() != 0 {
		t.Errorf("not there yet: %d %q", w.Code, w.Body)
	}
	request["dataplaneResource"] = backendResource
	text := bootstrapOf(t, z.post("/bootstrap", request))
	for _, want := range []string{"value: " + token + "\n", "id: default.backend-1", "address: zone.example", "portValue: 5678", "the CA of the zone", "exact: zone.example", `"unknown":1`} {
		if !strings.Contains(text, want) {
			t.Errorf("the bootstrap lacks %q:\n%s", want, text)
		}
	}
	// It is known now, and need not say it all again.
	delete(request, "dataplaneResource")
	request["dataplaneToken"] = ""
	if text := bootstrapOf(t, z.post("/bootstrap", request, "Authorization", "Bearer "+token)); strings.Contains(text, "dataplane.resource") {
		t.Errorf("registered before:\n%s", text)
	}
	if strings.Contains(z.log.String(), token) {
		t.Error("the log has the token")
	}
}

func TestBootstrapByTokenPath(t *testing.T) {
	z := newZone(t, func(c *Config) { c.Bootstrap.TokenPath = true })
	z.learn()
	token := sign(t, map[string]any{"Zone": "west", "Scope": []string{"egress"}})
	request := map[string]any{"name": "e-1", "proxyType": "egress", "dataplaneToken": token, "dataplaneTokenPath": "/var/run/the-token",
		"dataplaneResource": `{"type":"ZoneEgress","name":"e-1","networking":{"address":"10.0.0.1","port":10002}}`}
	text := bootstrapOf(t, z.post("/bootstrap", request))
	if !strings.Contains(text, "filename: /var/run/the-token") || strings.Contains(text, token) {
		t.Errorf("the bootstrap is\n%s", text)
	}
	const warning = "does not end with the token"
	if strings.Contains(z.log.String(), warning) {
		t.Errorf("a warning of a good file: %s", z.log.String())
	}
	request["dataplaneToken"] = token + "\n"
	if bootstrapOf(t, z.post("/bootstrap", request)); !strings.Contains(z.log.String(), warning) {
		t.Errorf("no warning of a newline: %s", z.log.String())
	}
	// Our own agent's Envoy follows files of the agent's.
	request["meridianAgent"] = map[string]any{"tokenFile": "/run/a/token.json", "controlPlanes": []string{"zone.example:5678"}}
	if text := bootstrapOf(t, z.post("/bootstrap", request)); strings.Contains(text, "/var/run/the-token") || strings.Contains(text, token) || !strings.Contains(text, "path: /run/a/token.json") {
		t.Errorf("for our agent the bootstrap is\n%s", text)
	}
	delete(request, "meridianAgent")
	delete(request, "dataplaneTokenPath")
	if text := bootstrapOf(t, z.post("/bootstrap", request)); !strings.Contains(text, token) {
		t.Errorf("without a file the bootstrap is\n%s", text)
	}
}

func TestBootstrapRefuses(t *testing.T) {
	z := newZone(t, nil)
	good := sign(t, backendToken)
	with := func(name string, value any) map[string]any {
		m := map[string]any{"mesh": "default", "name": "backend-1", "proxyType": "dataplane", "dataplaneToken": good, "dataplaneResource": backendResource}
		m[name] = value
		return m
	}
	if w := z.post("/bootstrap", with("x", 1)); w.Code != 503 || !strings.Contains(w.Body.String(), "no_keys") {
		t.Errorf("without keys: %d %s", w.Code, w.Body)
	}
	z.learn()
	unknown := with("dataplaneResource", "")
	unknown["dataplaneToken"] = "hello"
	for name, tc := range map[string]struct {
		body   any
		header []string
		status int
		text   string
	}{
		"no JSON":            {[]byte("mesh: ["), nil, 401, "missing_token: "},
		"no JSON, a token":   {[]byte("mesh: ["), []string{"Authorization", good}, 400, "line 1: not YAML"},
		"no token":           {with("dataplaneToken", ""), nil, 401, "missing_token: "},
		"a bad token":        {with("dataplaneToken", "hello"), nil, 401, "malformed: "},
		"a stranger":         {unknown, nil, 401, "malformed: "},
		"two tokens":         {with("dataplaneToken", ""), []string{"Authorization", good, "Authorization", good}, 401, "malformed: there are 2 authorization headers"},
		"one here and there": {with("x", 1), []string{"Authorization", "another"}, 401, "malformed: "},
		"another name":       {with("dataplaneToken", sign(t, map[string]any{"Mesh": "default", "Name": "other"})), nil, 403, "wrong_name: "},
		"a bad resource":     {with("dataplaneResource", `{"type":"Dataplane","name":"backend-1"}`), nil, 400, "dataplaneResource: line 1: networking.address"},
		"a resource of another zone": {map[string]any{"proxyType": "egress", "dataplaneToken": sign(t, map[string]any{"Zone": "west", "Scope": []string{"egress"}}),
			"dataplaneResource": `{"type":"ZoneEgress","name":"e","zone":"east","networking":{"address":"10.0.0.1","port":1}}`}, nil, 403, "wrong_zone: "},
		"10 MB":      {with("dataplaneResource", strings.Repeat(" ", 10<<20)), nil, 413, "bytes"},
		"a bad host": {with("host", "a b"), nil, 400, "host: "},
	} {
		w := z.post("/bootstrap", tc.body, tc.header...)
		if w.Code != tc.status || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") || !strings.Contains(w.Body.String(), tc.text) {
			t.Errorf("%s: %d %q, want %d %q", name, w.Code, w.Body, tc.status, tc.text)
		}
	}
	w := z.post("/bootstrap", with("dataplaneToken", "hello"), "Accept", "application/problem+json")
	if w.Code != 401 || !strings.Contains(w.Body.String(), `"reason":"malformed"`) {
		t.Errorf("as JSON: %d %s", w.Code, w.Body)
	}
	if log := z.log.String(); strings.Contains(log, "eyJ") || !strings.Contains(log, "reason=wrong_name") {
		t.Errorf("the log has a token, or lacks a reason: %s", log)
	}
}

func TestBatch(t *testing.T) {
	z := newZone(t, nil)
	z.learn()
	zone := sign(t, map[string]any{"Zone": "west", "Scope": []string{"egress"}})
	w := z.post("/v1/authenticate/batch", BatchRequest{Requests: []apitypes.AuthenticateRequest{
		{Token: zone, ProxyType: "egress"}, {Token: zone, ProxyType: "ingress"}, {Token: sign(t, backendToken), ProxyType: "dataplane", Mesh: "default", Name: "backend-1", Tags: map[string][]string{"kuma.io/service": {"backend"}}}, {},
	}})
	var a BatchAnswer
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != 200 || len(a.Results) != 4 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if a.Results[0].Status != 200 || a.Results[0].Identity.Kind != "zone" || a.Results[1].Status != 403 || a.Results[1].Error.Reason != "out_of_scope" ||
		a.Results[2].Identity.Name != "backend-1" || a.Results[3].Status != 400 {
		t.Errorf("%s", w.Body)
	}
	for name, body := range map[string]any{"nothing": BatchRequest{}, "too many": BatchRequest{Requests: make([]apitypes.AuthenticateRequest, MaxBatch+1)}, "a list": []int{1}} {
		if w := z.post("/v1/authenticate/batch", body); w.Code != 400 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

func TestJWKS(t *testing.T) {
	z := newZone(t, nil)
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		z.server.Proxies().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w
	}
	if w := get("/v1/jwks/zone"); w.Code != 503 {
		t.Errorf("without keys: %d %s", w.Code, w.Body)
	}
	z.learn()
	pub := testSigner().PublicKey
	key := fmt.Sprintf(`{"kty":"RSA","use":"sig","alg":"RS256","kid":"1","n":"%s","e":"AQAB"}`, base64.RawURLEncoding.EncodeToString(pub.N.Bytes()))
	for path, want := range map[string]string{
		"/v1/jwks/zone": `{"keys":[` + key + `]}`, "/v1/jwks/dataplane/default": `{"keys":[` + key + `]}`,
	} {
		w := get(path)
		if w.Code != 200 || strings.TrimSpace(w.Body.String()) != want || w.Header().Get("Cache-Control") != "public, max-age=60" {
			t.Errorf("%s: %d %s %v", path, w.Code, w.Body, w.Header())
		}
	}
	if big.NewInt(int64(pub.E)).Cmp(big.NewInt(65537)) != 0 {
		t.Fatal("the test's key has another exponent")
	}
	for _, path := range []string{"/v1/jwks/user", "/v1/jwks/", "/v1/jwks/control-plane", "/v1/jwks/zone/default", "/v1/jwks/zone/", "/v1/jwks/dataplane", "/v1/jwks/dataplane/default/", "/v1/jwks/dataplane/..", "/v1/jwks/dataplane/other", "/v1/jwks"} {
		if w := get(path); w.Code != 404 {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	// A copy is asked for again without being sent again, and is another one after a change.
	tag := get("/v1/jwks/zone").Header().Get("ETag")
	r := httptest.NewRequest(http.MethodGet, "/v1/jwks/zone", nil)
	r.Header.Set("If-None-Match", tag)
	w := httptest.NewRecorder()
	if z.server.Proxies().ServeHTTP(w, r); w.Code != 304 || tag == "" || w.Body.Len() > 0 {
		t.Errorf("with the ETag %s: %d %s", tag, w.Code, w.Body)
	}
	z.learn(cptoken.Change{Index: 2, RemovedKey: &cptoken.KeyID{Kind: cptoken.Zone, KID: "1"}})
	if w := get("/v1/jwks/zone"); strings.TrimSpace(w.Body.String()) != `{"keys":[]}` {
		t.Errorf("a removed key: %s", w.Body)
	}
	if get("/v1/jwks/zone").Header().Get("ETag") == tag {
		t.Error("another set has the same ETag")
	}
}

// TestKeySetsHaveWhatTheyCanExpress: a registered key stands in the set unless it is
// bound by something that the set cannot say, and the status says which are not and why.
func TestKeySetsHaveWhatTheyCanExpress(t *testing.T) {
	z := newZone(t, nil)
	der, err := x509.MarshalPKIXPublicKey(&testSigner().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]struct {
		bounds cptoken.Constraints
		why    string // "" where the key stands in the set
	}{
		"unbound":   {cptoken.Constraints{AllowNoExpiry: true, AllowNoID: true}, ""},
		"defaults":  {cptoken.Constraints{Scopes: cptoken.DefaultScopes[:]}, ""},
		"zone-own":  {cptoken.Constraints{Scopes: []cptoken.Scope{"ingress", "egress", "dataplane"}}, ""},
		"one-scope": {cptoken.Constraints{Scopes: []cptoken.Scope{"egress"}}, "scopes"},
		"one-zone":  {cptoken.Constraints{Zones: []string{"west"}}, "zones west"},
		"short":     {cptoken.Constraints{MaxLifetime: time.Hour}, "lifetime 1h0m0s"},
	}
	var changes []cptoken.Change
	for kid, k := range all {
		key, err := cptoken.NewPublicKey(cptoken.KeyID{Kind: cptoken.Zone, KID: kid}, cptoken.AlgRS256, cptoken.Retiring, der, &k.bounds)
		if err != nil {
			t.Fatal(err)
		}
		changes = append(changes, cptoken.Change{Index: 1, Key: key})
	}
	z.learn(changes...)
	w := httptest.NewRecorder()
	z.server.Proxies().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/jwks/zone", nil))
	in := w.Body.String()
	w = httptest.NewRecorder()
	z.server.status(w, nil)
	var status apitypes.ZoneStatus
	if err := json.Unmarshal(w.Body.Bytes(), &status); err != nil {
		t.Fatal(err)
	}
	told := map[string]string{}
	for _, k := range status.Keys {
		told[k.KID] = k.NotInKeySet
	}
	for kid, k := range all {
		if strings.Contains(in, `"kid":"`+kid+`"`) != (k.why == "") || !strings.Contains(told[kid], k.why) || (told[kid] == "") != (k.why == "") {
			t.Errorf("%s: told %q, the set is %s", kid, told[kid], in)
		}
	}
}

func TestProxiesAreListed(t *testing.T) {
	z := newZone(t, func(c *Config) { c.LocalhostIsAdmin = true })
	z.server.cfg.Proxies = proxies.New(proxies.Config{Sessions: sessions.New(sessions.Config{Source: held{z.store}, Now: z.server.cfg.Now}), Now: z.server.cfg.Now})
	z.learn()
	list := func() answer {
		r := httptest.NewRequest(http.MethodGet, "http://localhost:5681/v1/proxies", nil)
		r.RemoteAddr = "127.0.0.1:1"
		return z.do(z.server.API(), r)
	}
	if a := list(); a.body != `{"total":0,"items":[]}`+"\n" {
		t.Errorf("nobody: %s", a.body)
	}
	resource, err := proxyres.ParseRequest([]byte(backendResource))
	if err != nil {
		t.Fatal(err)
	}
	admission, err := z.server.cfg.Auth.Authenticate(t.Context(), proxyauth.Proxy{Type: "dataplane", Mesh: "default", Name: "backend-1", Tags: resource.Tags()}, sign(t, backendToken))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := z.server.cfg.Proxies.Attach(t.Context(), resource, admission, proxies.Caller{Remote: "192.0.2.1:7", Protocol: "ads", Version: "envoy 1.30.6"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Sent("type.googleapis.com/envoy.config.cluster.v3.Cluster", "v1", "1")
	conn.Answered("type.googleapis.com/envoy.config.cluster.v3.Cluster", "1", "")
	conn.Sent("type.googleapis.com/envoy.config.cluster.v3.Cluster", "v2", "2")
	conn.Answered("type.googleapis.com/envoy.config.cluster.v3.Cluster", "2", "no such type")
	want := `{"total":1,"items":[{"type":"dataplane","mesh":"default","name":"backend-1","tags":{"kuma.io/service":["backend"]},` +
		`"identity":{"method":"dpToken","kind":"dataplane","zone":"west","mesh":"default","name":"backend-1","tags":{"kuma.io/service":["backend"]},"jti":"7d444840-9dc0-4cd1-b245-5ffdce74fad2","expires":"2027-01-15T09:00:00Z","proved":["proxyType","mesh","name","tag/kuma.io/service"],"revision":"00000000000000a1-1@1"},` +
		`"remote":"192.0.2.1:7","protocol":"ads","version":"envoy 1.30.6","since":"2027-01-15T08:00:00Z","resources":[{"type":"type.googleapis.com/envoy.config.cluster.v3.Cluster","sent":"v2","nonce":"2","acknowledged":"v1","refused":"no such type","at":"2027-01-15T08:00:00Z"}]}]}` + "\n"
	if a := list(); a.body != want {
		t.Errorf("listed as %s", a.body)
	}
	conn.Observe(holding{
		{Key: envoyres.Key{Kind: types.Secret, Name: "cert"}, State: rollout.Acknowledged, Has: packed(t, secretWith("the-private-key")), Wanted: packed(t, secretWith("the-private-key"))},
		{Key: envoyres.Key{Kind: types.Secret, Name: "next"}, State: rollout.Refused, Reason: "no such curve", Wanted: packed(t, secretWith("another-private-key"))},
	})
	config := func(query string) answer {
		r := httptest.NewRequest(http.MethodGet, "http://localhost:5681/v1/proxies/config"+query, nil)
		r.RemoteAddr = "127.0.0.1:1"
		return z.do(z.server.API(), r)
	}
	const resource1 = `{"type":"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret","name":"cert","state":"acknowledged","has":{"name":"cert","tlsCertificate":{"privateKey":{"inlineString":"[secret]"}}}}`
	const resource2 = `{"type":"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret","name":"next","state":"refused","reason":"no such curve","wanted":{"name":"cert","tlsCertificate":{"privateKey":{"inlineString":"[secret]"}}}}`
	want = `{"items":[{"type":"dataplane","mesh":"default","name":"backend-1","remote":"192.0.2.1:7","protocol":"ads","resources":[` + resource1 + "," + resource2 + `]}]}` + "\n"
	for _, query := range []string{"?name=backend-1", "?name=backend-1&type=dataplane&mesh=default"} {
		if a := config(query); a.body != want {
			t.Errorf("%s: %s", query, a.body)
		}
	}
	for query, status := range map[string]int{"": 400, "?name=backend-2": 404, "?name=backend-1&mesh=other": 404, "?name=backend-1&type=egress": 404} {
		if a := config(query); a.status != status || a.Hint == "" {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
	}
}

// holding is what a connection says of itself.
type holding []rollout.Holding

func (h holding) Status() []rollout.Status    { return nil }
func (h holding) Holdings() []rollout.Holding { return h }

func secretWith(key string) *tlsv3.Secret {
	return &tlsv3.Secret{Name: "cert", Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
		PrivateKey: &core.DataSource{Specifier: &core.DataSource_InlineString{InlineString: key}}}}}
}

func packed(t *testing.T, message types.Resource) *envoyres.Resource {
	t.Helper()
	r, err := envoyres.New(message)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestFetchesOfKeySetsAreCounted: of those that were answered, also where the copy was
// still good, and of no others.
func TestFetchesOfKeySetsAreCounted(t *testing.T) {
	z := newZone(t, nil)
	get := func(method, path string, header ...string) int {
		r := httptest.NewRequest(method, path, nil)
		if len(header) == 2 {
			r.Header.Set(header[0], header[1])
		}
		w := httptest.NewRecorder()
		z.server.Proxies().ServeHTTP(w, r)
		return w.Code
	}
	get("GET", "/v1/jwks/zone") // refused: the zone knows nothing yet
	z.learn()
	for range 3 {
		get("GET", "/v1/jwks/zone")
	}
	get("GET", "/v1/jwks/dataplane/default")
	get("GET", "/v1/jwks/dataplane/other")
	get("GET", "/v1/jwks/zone/")
	get("GET", "/v1/jwks/zone/x")
	get("GET", "/v1/jwks/dataplane/default/")
	get("HEAD", "/v1/jwks/dataplane/default")
	get("POST", "/v1/jwks/dataplane/default")
	if got := get("GET", "/v1/jwks/dataplane/default", "If-None-Match", "*"); got != 304 {
		t.Errorf("a good copy: %d", got)
	}
	var status apitypes.ZoneStatus
	w := httptest.NewRecorder()
	z.server.APISocket().ServeHTTP(w, httptest.NewRequest("GET", "/v1/status", nil))
	if err := json.Unmarshal(w.Body.Bytes(), &status); err != nil {
		t.Fatal(err)
	}
	want := []apitypes.KeySetUse{{Set: "dataplane/default", Count: 2, Last: testNow.UTC()}, {Set: "zone", Count: 3, Last: testNow.UTC()}}
	if !reflect.DeepEqual(status.KeySets, want) {
		t.Errorf("key sets %+v, want %+v", status.KeySets, want)
	}
}
