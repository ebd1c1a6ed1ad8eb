package proxyport

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/zone/proxyauth"
)

// introspect asks as clients of RFC 7662 do: a form, with Basic authentication that
// means nothing here.
func (z *zone) introspect(form string) (status int, body string) {
	z.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/v1/introspect", strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded;charset=UTF-8")
	r.SetBasicAuth("client", "secret")
	w := httptest.NewRecorder()
	z.server.Proxies().ServeHTTP(w, r)
	return w.Code, strings.TrimSpace(w.Body.String())
}

func TestIntrospect(t *testing.T) {
	z := newZone(t, nil)
	z.learn()
	const registered = `"exp":1800003600,"iat":1800000000,"nbf":1799999700`
	const jti = `"jti":"7d444840-9dc0-4cd1-b245-5ffdce74fad2"`
	inactive := `{"active":false}`
	for form, want := range map[string]string{
		"token=" + sign(t, map[string]any{"Zone": "west", "Scope": []string{"egress", "ingress", "x cp"}}):      `{"active":true,"scope":"egress ingress","token_type":"Bearer",` + registered + `,"sub":"zone/west",` + jti + `,"zone":"west"}`,
		"token_type_hint=access_token&x=y&token=" + sign(t, map[string]any{"Mesh": "default", "Workload": "w"}): `{"active":true,"token_type":"Bearer",` + registered + `,"sub":"dataplane/default",` + jti + `,"mesh":"default","workload":"w"}`,
		"token=" + sign(t, map[string]any{"Mesh": "default", "Name": "b/", "Tags": map[string]any{"kuma.io/service": []string{"x"}}}): `{"active":true,"token_type":"Bearer",` + registered +
			`,"sub":"dataplane/default/b/",` + jti + `,"mesh":"default","name":"b/","tags":{"kuma.io/service":["x"]}}`,
		"token=" + sign(t, map[string]any{"Zone": "east", "Scope": []string{"egress"}}):  inactive,
		"token=" + sign(t, map[string]any{"Zone": "west", "Scope": []string{"cp"}}):      inactive,
		"token=" + sign(t, map[string]any{"Mesh": "default", "exp": testNow.Unix() - 1}): inactive,
		"token=" + sign(t, map[string]any{"Name": "root", "Groups": []string{"admin"}}):  inactive,
		"token=garbage": inactive,
	} {
		if status, body := z.introspect(form); status != 200 || body != want {
			t.Errorf("%s: %d\n got %s\nwant %s", form[:20], status, body, want)
		}
	}
	for _, form := range []string{"", "token=", "token_type_hint=x", "token=a&token=b", "%zz"} {
		if status, body := z.introspect(form); status != 400 {
			t.Errorf("%q: %d %s", form, status, body)
		}
	}
	if status, _ := z.introspect("token=" + strings.Repeat("x", maxAuthenticate)); status != 413 {
		t.Errorf("too long: %d", status)
	}
}

// A zone that cannot decide says so: clients would take {"active":false} for a token
// that is bad.
func TestIntrospectWhereNothingCanBeDecided(t *testing.T) {
	z := newZone(t, nil) // knows no keys
	token := "token=" + sign(t, map[string]any{"Zone": "west", "Scope": []string{"egress"}})
	if status, body := z.introspect(token); status != 503 {
		t.Errorf("%d %s", status, body)
	}
	none := newZoneOf(t, proxyauth.Config{Settings: keyring.Settings{Auth: keyring.AuthSettings{Type: keyring.None}}}, nil)
	if status, body := none.introspect(token); status != 200 || body != `{"active":false}` {
		t.Errorf("where nothing is verified: %d %s", status, body)
	}
}

// TestEveryRefusalIsCounted, also those that come before a token is looked at.
func TestEveryRefusalIsCounted(t *testing.T) {
	counted := map[[2]string]int{}
	z := newZoneOf(t, proxyauth.Config{Verified: func(labels ...string) { counted[[2]string(labels)]++ }}, nil)
	post := func(path, body string) int {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
		r.Header.Set("X-Request-Id", "r-"+path)
		z.server.Proxies().ServeHTTP(w, r)
		return w.Code
	}
	for _, tc := range []struct {
		path, body string
		want       [2]string
	}{
		{"/v1/authenticate", `{`, [2]string{"unknown", "invalid"}},
		{"/v1/authenticate", `{"token":"x"}`, [2]string{"unknown", "invalid"}},
		{"/v1/authenticate", `{"token":"x","require":null}`, [2]string{"unknown", "invalid"}},
		{"/v1/authenticate", `{"token":"x","require":{"name":null}}`, [2]string{"unknown", "misconfigured"}},
		{"/v1/authenticate", `{"token":"` + strings.Repeat("x", 20000) + `"}`, [2]string{"unknown", "too_large"}},
		{"/v1/authenticate", `{"proxyType":"egress"}`, [2]string{"zone", "missing_token"}},
		{"/v1/authenticate", `{"token":"x","require":{"nmae":"x"}}`, [2]string{"unknown", "misconfigured"}},
		{"/v1/authenticate", `{"token":"x","mesh":"x","require":{"name":"x"}}`, [2]string{"unknown", "invalid"}},
		{"/v1/authenticate/batch", `{}`, [2]string{"unknown", "invalid"}},
		{"/v1/authenticate/batch", `[`, [2]string{"unknown", "invalid"}},
		{"/v1/introspect", ``, [2]string{"unknown", "invalid"}},
		{"/v1/introspect", `token=x`, [2]string{"dataplane", "malformed"}},
		{"/bootstrap", `{`, [2]string{"dataplane", "missing_token"}}, // the token counts before the rest
		{"/bootstrap", strings.Repeat("x", 2<<20), [2]string{"unknown", "too_large"}},
	} {
		clear(counted)
		z.log.Reset()
		if status := post(tc.path, tc.body); counted[tc.want] != 1 || len(counted) != 1 {
			t.Errorf("%s %.40s: %d, counted %v, want %v", tc.path, tc.body, status, counted, tc.want)
		}
		if line := z.log.String(); !strings.Contains(line, "path="+tc.path+" ") || !strings.Contains(line, "requestId=r-"+tc.path) {
			t.Errorf("%s %.40s: logged %q", tc.path, tc.body, line)
		}
	}
}
