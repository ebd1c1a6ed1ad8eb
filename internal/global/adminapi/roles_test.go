package adminapi

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// bound is an API with some bindings.
func bound(t *testing.T, bindings ...access.Binding) *env {
	t.Helper()
	roles, err := access.NewRoles(bindings)
	if err != nil {
		t.Fatal(err)
	}
	return newEnv(t, func(c *Config) { c.Roles = func() *access.Roles { return roles } })
}

// as sends a request with a user's token over the network.
func (e *env) as(token, method, path string, body any, header ...string) (status int, answer string) {
	e.Helper()
	w := e.callAs(e.api.Handler(Network), method, path, body, append(header, "Authorization", "Bearer "+token)...)
	return w.Code, w.Body.String()
}

// TestEveryRouteNamesItsPermission: one that names none is closed to everybody, and
// this test says which it is.
func TestEveryRouteNamesItsPermission(t *testing.T) {
	known := []access.Permission{access.Self, access.AnyRole, access.Read, access.ReadRevocations, access.Issue, access.Revoke, access.Administer}
	api := &API{}
	for pattern, to := range api.routes() {
		found := false
		for _, p := range known {
			found = found || p == to.need
		}
		read := strings.HasPrefix(pattern, "GET ")
		switch {
		case !found:
			t.Errorf("%s names no permission", pattern)
		case to.need == access.Self && pattern != "GET /who-am-i":
			t.Errorf("%s is open to users without a role", pattern)
		case read && (to.need == access.Issue || to.need == access.Revoke), !read && (to.need == access.Read || to.need == access.AnyRole || to.need == access.ReadRevocations):
			t.Errorf("%s asks for %q", pattern, to.need)
		}
	}
}

// TestRoutesByRole asks every route with a token of every role: who lacks the
// permission is refused before anything else is looked at.
func TestRoutesByRole(t *testing.T) {
	e := bound(t,
		access.Binding{Role: access.Auditor, Users: []string{"aud"}},
		access.Binding{Role: access.Revoker, Users: []string{"rev"}},
		access.Binding{Role: access.Issuer, Users: []string{"iss"}, Kinds: []string{"zone-token"}, Zones: []string{"west"}})
	roles := map[string]access.Role{"aud": access.Auditor, "rev": access.Revoker, "iss": access.Issuer, "nobody": ""}
	tokens := map[string]string{}
	for user := range roles {
		tokens[user] = e.token("user", apitypes.UserTokenRequest{Name: user, Groups: []string{"staff"}})
	}
	may := map[access.Permission]string{
		access.Self: "aud rev iss nobody", access.AnyRole: "aud rev iss", access.Read: "aud", access.ReadRevocations: "aud rev",
		access.Issue: "iss", access.Revoke: "rev", access.Administer: "",
	}
	before := e.store.Applied()
	for pattern, to := range e.api.routes() {
		method, path, _ := strings.Cut(pattern, " ")
		path = strings.NewReplacer("{$}", "", "{zone}", "west", "{mesh}", "default", "{name}", "zone-token-signing-key-1", "{kind}", "zone-token", "{kid}", "1").Replace(path)
		path = strings.Replace(path, "/meshes/default/secrets/zone-token-signing-key-1", "/meshes/default/secrets/dataplane-token-signing-key-default-1", 1)
		for user := range roles {
			// An empty body keeps those who get through from changing anything.
			status, answer := e.as(tokens[user], method, path, nil)
			refused := status == http.StatusForbidden && strings.Contains(answer, `"not_allowed"`) && strings.Contains(answer, "that needs the role") ||
				status == http.StatusForbidden && strings.Contains(answer, "has no role here")
			allowed := strings.Contains(may[to.need], user)
			if path == "/" && user == "nobody" { // is answered as a stranger is: with the kind of API
				if status != http.StatusOK || strings.Contains(answer, e.store.ClusterID()) || strings.Contains(answer, e.store.NodeID()) {
					t.Errorf("GET / without a role: %d %s", status, answer)
				}
				continue
			}
			// A revoker who writes a key is let into the route, and refused in it.
			if method == "PUT" && to.need == access.Revoke {
				allowed = false
			}
			if refused == allowed {
				t.Errorf("%s %s as %s: %d %s", method, path, user, status, answer)
			}
		}
	}
	if now := e.store.Applied(); now != before {
		t.Errorf("the state went from %d to %d", before, now)
	}
}

// TestIssuersDoNotEscalate: what an issuer gets is what its binding says, however it
// asks.
func TestIssuersDoNotEscalate(t *testing.T) {
	e := bound(t,
		access.Binding{Role: access.Issuer, Users: []string{"ci"}, Kinds: []string{"zone-token", "user-token"}, Zones: []string{"west"}, TokenUsers: []string{"*"}, TokenGroups: []string{"staff"}, MaxValidity: "48h"},
		access.Binding{Role: access.Auditor, Users: []string{"aud"}})
	token := e.token("user", apitypes.UserTokenRequest{Name: "ci"})
	for _, test := range []struct {
		path, body string
		status     int
	}{
		{"/tokens/zone", `{"zone":"west"}`, 200},
		{"/tokens/zone", `{"zone":"west","validFor":"48h"}`, 200},
		{"/tokens/zone", `{"zone":"west","validFor":"48h1s"}`, 403},
		{"/tokens/zone", `{"zone":"west","scope":["cp"]}`, 403},
		{"/tokens/zone", `{"zone":"west","scope":["ingress","dataplane"]}`, 403},
		{"/tokens/zone", `{"zone":"east"}`, 403},
		{"/tokens/control-plane", `{"zone":"west"}`, 403},
		{"/tokens/dataplane", `{"mesh":"default","name":"a"}`, 403},
		{"/tokens/user", `{"name":"bob","groups":["staff"]}`, 200},
		{"/tokens/user", `{"name":"bob","groups":["admin"]}`, 403},
		{"/tokens/user", `{"name":"bob","groups":["staff","admin"]}`, 403},
		{"/tokens/user", `{"name":"aud"}`, 403},
		{"/tokens/user", `{"name":"ci"}`, 403},
	} {
		status, answer := e.as(token, "POST", test.path, test.body)
		if status != test.status {
			t.Errorf("%s %s: %d %s", test.path, test.body, status, answer)
			continue
		}
		if status != 200 {
			continue
		}
		parsed, err := cptoken.Inspect(answer)
		if err != nil {
			t.Fatal(err)
		}
		if life := parsed.Claims.ExpiresAt.Sub(parsed.Claims.IssuedAt); life > 48*3600e9 {
			t.Errorf("%s %s lives %s", test.path, test.body, life)
		}
	}
}

// TestRevokersOnlyRevoke: whatever makes a revoked token valid again is an admin's.
func TestRevokersOnlyRevoke(t *testing.T) {
	e := bound(t, access.Binding{Role: access.Revoker, Users: []string{"soc"}, Kinds: []string{"zone-token"}})
	token := e.token("user", apitypes.UserTokenRequest{Name: "soc"})
	data := func(text string) map[string]string {
		return map[string]string{"data": base64.StdEncoding.EncodeToString([]byte(text))}
	}
	id1, id2 := "0d4cd35c-8b5e-4ba4-8b8c-0b3d6f6bb5c4", "1d4cd35c-8b5e-4ba4-8b8c-0b3d6f6bb5c4"
	e.want(201, "PUT", "/global-secrets/zone-token-revocations", data(id1+","+id2), nil)
	etag := e.want(200, "GET", "/global-secrets/zone-token-revocations", nil, nil).Header().Get("ETag")
	for _, test := range []struct {
		method, path string
		body         any
		header       []string
		status       int
	}{
		{"POST", "/v1/revocations", `{"kind":"zone-token","ids":["a"]}`, nil, 200},
		{"POST", "/v1/revocations", `{"kind":"user-token","ids":["a"]}`, nil, 403},
		{"POST", "/v1/revocations/bulk?kind=zone-token", "b\nc\n", []string{"Content-Type", "text/plain"}, 200},
		{"POST", "/v1/revocations/bulk?kind=user-token", "b\nc\n", []string{"Content-Type", "text/plain"}, 403},
		{"POST", "/v1/revocations/bulk?kind=zone-token&withdraw=true", "b\nc\n", []string{"Content-Type", "text/plain"}, 403},
		{"POST", "/v1/revocations/withdraw", `{"kind":"zone-token","ids":["a"]}`, nil, 403},
		{"POST", "/v1/cut-offs", `{"kind":"zone-token","before":"2020-01-01T00:00:00Z"}`, nil, 200},
		{"POST", "/v1/cut-offs", `{"kind":"user-token","before":"2020-01-01T00:00:00Z"}`, nil, 403},
		{"POST", "/v1/cut-offs/withdraw", `{"kind":"zone-token"}`, nil, 403},
		{"PUT", "/global-secrets/zone-token-revocations", data(id1), []string{"If-Match", etag}, 409},
		{"PUT", "/global-secrets/user-token-revocations", data(id1), nil, 403},
		{"PUT", "/global-secrets/zone-token-signing-key-7", data("x"), nil, 403},
		{"DELETE", "/global-secrets/zone-token-revocations", nil, []string{"If-Match", etag}, 403},
		{"DELETE", "/global-secrets/zone-token-signing-key-1", nil, nil, 403},
	} {
		if status, answer := e.as(token, test.method, test.path, test.body, test.header...); status != test.status {
			t.Errorf("%s %s: %d %s", test.method, test.path, status, answer)
		}
	}
	// With the ETag of now, the written list would withdraw.
	etag = e.want(200, "GET", "/global-secrets/zone-token-revocations", nil, nil).Header().Get("ETag")
	if status, answer := e.as(token, "PUT", "/global-secrets/zone-token-revocations", data(id1), "If-Match", etag); status != 403 {
		t.Errorf("a revoker withdraws through a secret: %d %s", status, answer)
	}
	if n := e.store.RevocationCount(cptoken.Zone, ""); n != 5 {
		t.Errorf("%d ids are revoked, want 5", n)
	}
}

// TestNamesOfMembers: Meridian's own command lines learn what operators call each member, and
// nobody else does who only asks who answers.
func TestNamesOfMembers(t *testing.T) {
	e := newEnv(t)
	id := e.store.NodeID()
	got := e.call("GET", "/zones", nil, "User-Agent", "global/v1").Header().Get(apitypes.HeaderMembers)
	if want := id + "=" + e.store.MemberNames()[id]; got != want || len(want) <= len(id)+1 {
		t.Errorf("%s: %q, want %q", apitypes.HeaderMembers, got, want)
	}
	for _, w := range []*httptest.ResponseRecorder{
		e.call("GET", "/zones", nil, "User-Agent", "kumactl/2.14.3"),
		e.callAs(e.api.Handler(Network), "GET", "/", nil, "User-Agent", "global/v1"),
		e.callAs(e.api.Handler(Network), "GET", "/zones", nil, "User-Agent", "global/v1"),
	} {
		if names := w.Header().Get(apitypes.HeaderMembers); names != "" {
			t.Errorf("status %d: %s: %q", w.Code, apitypes.HeaderMembers, names)
		}
	}
}

// TestWhoAmIShowsBounds: an issuer learns how far its binding reaches, what it does not say
// included, and not whom else it is bound to.
func TestWhoAmIShowsBounds(t *testing.T) {
	e := bound(t, access.Binding{Role: access.Issuer, Users: []string{"ci", "ann"}, Kinds: []string{"zone-token"}, Zones: []string{"west"}},
		access.Binding{Role: access.Issuer, Users: []string{"ci"}, Kinds: []string{"dataplane-token"}, Meshes: []string{"*"}, MaxValidity: "720h"},
		access.Binding{Role: access.Revoker, Users: []string{"ci"}}, access.Binding{Role: access.Auditor, Users: []string{"ci"}})
	token := e.token("user", apitypes.UserTokenRequest{Name: "ci"})
	w := e.callAs(e.api.Handler(Network), "GET", "/who-am-i", nil, "Authorization", "Bearer "+token)
	want := `{"name":"ci","groups":[],"via":"token","roles":["issuer","revoker","auditor"],"bounds":[` +
		`{"role":"issuer","kinds":["zone-token"],"zones":["west"],"scopes":["egress","ingress"],"maxValidity":"24h0m0s"},` +
		`{"role":"issuer","kinds":["dataplane-token"],"meshes":["*"],"maxValidity":"720h0m0s"},{"role":"revoker"}]}`
	if got := strings.TrimSpace(w.Body.String()); w.Code != 200 || got != want {
		t.Errorf("status %d:\n%s, want\n%s", w.Code, got, want)
	}
}
