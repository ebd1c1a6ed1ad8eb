package adminapi

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// The answers in Kuma's shapes, byte for byte but for what changes.
func TestGolden(t *testing.T) {
	e := newEnv(t)
	e.want(201, "PUT", "/zones/west", `{"type":"Zone","name":"west","enabled":true}`, nil)
	e.want(201, "PUT", "/v1/zones/east", `{"type":"Zone","name":"east","enabled":false,"auth":"cpToken","relay":{"meshes":["default"],"maxValidity":"12h"}}`, nil)
	e.want(201, "PUT", "/meshes/demo", `{"type":"Mesh","name":"demo"}`, nil)
	e.want(200, "POST", "/v1/revocations", `{"kind":"zone","ids":["b","a"],"reason":"lost"}`, nil)
	e.want(200, "POST", "/v1/revocations", `{"kind":"dataplane-token","mesh":"demo","ids":["c"]}`, nil)
	former := e.session("west", 1)
	former.Instance, former.Connected, former.Disconnected = "west-b", former.Connected.Add(-time.Minute), former.Connected
	e.report(e.session("west", 0), former)
	for name, path := range map[string]string{
		"index":              "/",
		"who-am-i":           "/who-am-i",
		"zones":              "/zones",
		"zones-page":         "/zones?size=1&offset=0",
		"zone":               "/zones/west",
		"zones-overview":     "/zones/_overview",
		"meshes":             "/meshes",
		"mesh":               "/meshes/default",
		"global-secrets":     "/global-secrets",
		"global-secret-key":  "/global-secrets/zone-token-signing-key-1",
		"global-secret-cp":   "/global-secrets/control-plane-signing-key-0001",
		"global-secret-list": "/global-secrets/zone-token-revocations",
		"secrets":            "/meshes/demo/secrets",
		"secret-list":        "/meshes/demo/secrets/dataplane-token-revocations-demo",
		"keys":               "/v1/keys",
		"holding":            "/v1/keys/zone/1/holding",
		"v1-zones":           "/v1/zones",
		"revocations":        "/v1/revocations?kind=zone-token",
		"status":             "/v1/status",
		"error-404":          "/zones/nowhere",
		"error-400":          "/zones?size=0",
		"error-path":         "/nothing",
	} {
		t.Run(name, func(t *testing.T) {
			e.golden(name, e.call("GET", path, nil))
		})
	}
	e.golden("error-409", e.call("PUT", "/global-secrets/zone-token-revocations", `{"data":"eA=="}`))
	e.golden("error-405", e.call("POST", "/zones", `{}`))
	for name, c := range map[string]struct{ method, path, body string }{
		"token-error-validfor":  {"POST", "/tokens/zone", `{"zone":"west","validFor":"soon"}`},
		"token-error-zone":      {"POST", "/tokens/zone", `{"scope":["egress"]}`},
		"token-error-mesh":      {"POST", "/tokens/dataplane", `{"name":"dp1","mesh":"nowhere"}`},
		"token-error-user":      {"POST", "/tokens/user", `{"groups":["a"]}`},
		"secret-error-404":      {"GET", "/meshes/demo/secrets/dataplane-token-signing-key-demo-9", ""},
		"secret-error-opaque":   {"PUT", "/global-secrets/my-password", `{"type":"GlobalSecret","name":"my-password","data":"eA=="}`},
		"zone-error-404-delete": {"DELETE", "/zones/nowhere", ""},
	} {
		var body any // none, where there is no text
		if c.body != "" {
			body = c.body
		}
		e.golden(name, e.call(c.method, c.path, body))
	}
	e.golden("secret-key", e.call("GET", "/meshes/default/secrets/dataplane-token-signing-key-default-1", nil))
	e.golden("error-unknown-field", e.call("PUT", "/zones/west", `{"type":"Zone","name":"west","enabeld":true}`))
}

// Every path that takes a body is strict about it, and says what is wrong.
func TestStrictBodies(t *testing.T) {
	e := newEnv(t)
	e.api.listBody = 2 * maxBody
	revision := e.head()
	paths := []string{
		"PUT /zones/west", "PUT /meshes/demo", "PUT /global-secrets/zone-token-signing-key-9", "PUT /global-secrets/zone-token-revocations",
		"PUT /meshes/default/secrets/dataplane-token-revocations-default",
		"POST /tokens/control-plane", "POST /tokens/zone", "POST /tokens/dataplane", "POST /tokens/user",
		"POST /v1/keys/prepare", "POST /v1/keys/activate", "POST /v1/keys/retire", "POST /v1/keys/remove",
		"POST /v1/revocations", "POST /v1/revocations/withdraw",
	}
	bodies := []struct {
		name, body string
		status     int
	}{
		{"empty", "", 400},
		{"not JSON", "zone=west", 400},
		{"cut off", `{"zone":`, 400},
		{"an array", `[]`, 400},
		{"a string", `"west"`, 400},
		{"unknown field", `{"nonsense":1}`, 400},
		{"field in another case", `{"NAME":"x"}`, 400},
		{"trailing data", `{} {}`, 400},
		{"field twice", `{"name":"a","name":"b"}`, 400},
		{"deep", strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000), 400},
		{"too long", `{"name":"` + strings.Repeat("a", 2*maxBody) + `"}`, 413},
	}
	for _, p := range paths {
		method, path, _ := strings.Cut(p, " ")
		for _, b := range bodies {
			t.Run(p+" "+b.name, func(t *testing.T) {
				e := &env{T: t, admin: e.admin}
				e.refused(b.status, method, path, b.body)
			})
		}
		t.Run(p+" form", func(t *testing.T) {
			e := &env{T: t, admin: e.admin}
			e.refused(400, method, path, `{}`, "Content-Type", "application/x-www-form-urlencoded")
		})
	}
	if now := e.head(); now != revision {
		t.Errorf("a refused request changed something: revision %s, was %s", now, revision)
	}
}

func TestBadNamesInPaths(t *testing.T) {
	e := newEnv(t)
	for _, name := range []string{"Up", "_a", "a_", "-a", "a-", "a%2Fb", "a%20b", "%00", "a..b", "..", "%2e%2e", strings.Repeat("a", 64), "%ff", "ü"} {
		for _, p := range []string{"GET /zones/", "PUT /zones/", "DELETE /zones/", "GET /meshes/", "PUT /meshes/", "DELETE /meshes/"} {
			method, path, _ := strings.Cut(p, " ")
			w := e.call(method, path+name, `{}`)
			if w.Code != 400 && w.Code != 404 {
				t.Errorf("%s%s: status %d: %s", p, name, w.Code, w.Body)
			}
		}
	}
	if got := e.store.Zones(); len(got) != 0 {
		t.Errorf("zones %+v were made", got)
	}
}

func TestPaging(t *testing.T) {
	e := newEnv(t)
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		e.want(201, "PUT", "/zones/"+name, `{}`, nil)
	}
	tests := []struct {
		query string
		names string
		next  string // its query; "" for none
	}{
		{"", "abcde", ""},
		{"?size=5", "abcde", ""},
		{"?size=2", "ab", "offset=2&size=2"},
		{"?size=2&offset=2", "cd", "offset=4&size=2"},
		{"?size=2&offset=4", "e", ""},
		{"?offset=5", "", ""},
		{"?offset=2147483648", "", ""},
		{"?unknown=1", "abcde", ""},
		{"?size=&offset=", "abcde", ""}, // as clients of Kuma's write what was not asked for
	}
	for _, tt := range tests {
		var list apitypes.List[apitypes.Zone]
		e.want(200, "GET", "/zones"+tt.query, nil, &list)
		names := ""
		for _, z := range list.Items {
			names += z.Name
		}
		if names != tt.names || list.Total != 5 || list.Items == nil {
			t.Errorf("%s: %q of %d, want %q of 5", tt.query, names, list.Total, tt.names)
		}
		switch {
		case tt.next == "" && list.Next != nil:
			t.Errorf("%s: next is %s, want none", tt.query, *list.Next)
		case tt.next != "" && (list.Next == nil || *list.Next != "http://global.example/zones?"+tt.next):
			t.Errorf("%s: next is %v, want %s", tt.query, list.Next, tt.next)
		}
	}
	for query, field := range map[string]string{
		"size=0": "size", "size=1001": "size", "size=x": "size", "size=-1": "size", "size=1&size=2": "size",
		"offset=-1": "offset", "offset=99999999999999999999": "offset",
	} {
		for _, path := range []string{"/zones", "/meshes", "/global-secrets", "/meshes/default/secrets", "/zones/_overview", "/v1/keys", "/v1/zones"} {
			e.badField(field, "GET", path+"?"+query, nil)
		}
	}
}

func TestWhoAmIAndRoles(t *testing.T) {
	e := newEnv(t)
	admin := e.token("user", apitypes.UserTokenRequest{Name: "ann", Groups: []string{"admin", "ops"}})
	reader := e.token("user", apitypes.UserTokenRequest{Name: "rob"})
	network := e.api.Handler(Network)

	w := e.callAs(network, "GET", "/who-am-i", nil, "Authorization", "Bearer "+admin)
	if w.Code != 200 || strings.TrimSpace(w.Body.String()) != `{"name":"ann","groups":["admin","ops"],"via":"token","roles":["admin"]}` {
		t.Errorf("ann is %d %s", w.Code, w.Body)
	}
	w = e.callAs(network, "GET", "/who-am-i", nil, "Authorization", "Bearer "+reader)
	if w.Code != 200 || strings.TrimSpace(w.Body.String()) != `{"name":"rob","groups":[],"via":"token","roles":[]}` {
		t.Errorf("rob is %d %s", w.Code, w.Body)
	}
	if w := e.callAs(network, "PUT", "/zones/west", `{}`, "Authorization", "Bearer "+reader); w.Code != 403 {
		t.Errorf("a reader writes: %d %s", w.Code, w.Body)
	}
	if w := e.callAs(network, "POST", "/tokens/user", `{"name":"rob","groups":["admin"]}`, "Authorization", "Bearer "+reader); w.Code != 403 {
		t.Errorf("a reader makes an admin of himself: %d %s", w.Code, w.Body)
	}
	if w := e.callAs(network, "PUT", "/zones/west", `{}`, "Authorization", "Bearer "+admin); w.Code != 201 {
		t.Errorf("an admin cannot write: %d %s", w.Code, w.Body)
	}
	zoneToken := e.token("zone", apitypes.ZoneTokenRequest{Zone: "west"})
	if w := e.callAs(network, "GET", "/zones", nil, "Authorization", "Bearer "+zoneToken); w.Code != 401 {
		t.Errorf("a zone token reads the API: %d %s", w.Code, w.Body)
	}
	// The role is the token's, also where nobody would need one.
	for _, h := range []Access{Loopback, Socket} {
		if w := e.callAs(e.api.Handler(h), "PUT", "/zones/east", `{}`, "Authorization", "Bearer "+reader); w.Code != 403 {
			t.Errorf("listener %d: a reader writes: %d %s", h, w.Code, w.Body)
		}
	}
	// A revoked token is refused at once.
	e.want(200, "POST", "/v1/revocations", apitypes.RevokeRequest{Token: admin}, nil)
	if w := e.callAs(network, "GET", "/zones", nil, "Authorization", "Bearer "+admin); w.Code != 401 || !strings.Contains(w.Body.String(), `"revoked"`) {
		t.Errorf("a revoked admin reads: %d %s", w.Code, w.Body)
	}
	if log := e.log.take(); strings.Contains(log, admin) || strings.Contains(log, reader) {
		t.Error("a token is in the log")
	}
}

func TestLoopbackOnlyWhereConfigured(t *testing.T) {
	e := newEnv(t)
	cfg := e.api.cfg
	cfg.LocalhostIsAdmin = false
	off := New(cfg)
	for name, tt := range map[string]struct {
		api    *API
		access Access
		status int
	}{
		"configured":                 {e.api, Loopback, 200},
		"configured, on the network": {e.api, Network, 401},
		"not configured":             {off, Loopback, 401},
		"socket":                     {off, Socket, 200},
	} {
		r := httptest.NewRequest("GET", "/zones", nil)
		r.RemoteAddr, r.Host = "127.0.0.1:4711", "localhost:5681"
		w := httptest.NewRecorder()
		tt.api.Handler(tt.access).ServeHTTP(w, r)
		if w.Code != tt.status {
			t.Errorf("%s: status %d, want %d: %s", name, w.Code, tt.status, w.Body)
		}
	}
}

func TestStatusCounts(t *testing.T) {
	e := newEnv(t)
	e.want(201, "PUT", "/zones/west", `{}`, nil)
	e.want(201, "PUT", "/zones/east", `{}`, nil)
	e.want(201, "PUT", "/zones/gone", `{}`, nil)
	e.want(200, "DELETE", "/zones/gone", nil, nil)
	e.want(200, "POST", "/v1/revocations", `{"kind":"dataplane","mesh":"default","ids":["a","b"]}`, nil)
	e.want(200, "POST", "/v1/revocations", `{"kind":"user","ids":["c"]}`, nil)
	e.report(e.session("west", 0))
	var s apitypes.Status
	e.want(200, "GET", "/v1/status", nil, &s)
	if want := (apitypes.Counts{Keys: 4, Zones: 2, ZonesOnline: 1, Meshes: 1, Revocations: 3}); s.Counts != want {
		t.Errorf("counts %+v, want %+v", s.Counts, want)
	}
	rev, err := federation.ParseRevision(s.Revision)
	if err != nil || rev != e.head() || s.NodeID != e.store.NodeID() || !s.IsLeader || s.Leader != s.NodeID || !s.Sealed || s.Applied < rev.Index {
		t.Errorf("status %+v", s)
	}
}
