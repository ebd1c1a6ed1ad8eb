package adminapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/net/loglimit"
)

// journal keeps what is logged, a JSON object a line.
type journal struct{ strings.Builder }

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(j, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// lines returns what was logged so far and forgets it.
func (j *journal) lines(t *testing.T) []map[string]any {
	t.Helper()
	var lines []map[string]any
	dec := json.NewDecoder(strings.NewReader(j.String()))
	for {
		var line map[string]any
		if err := dec.Decode(&line); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	j.Reset()
	return lines
}

// verifyFake takes three tokens: of an admin, an auditor, and of somebody without a
// role.
func verifyFake(_ context.Context, token string) (*cptoken.Claims, error) {
	switch token {
	case "admin-token":
		return &cptoken.Claims{Kind: cptoken.User, Name: "ann", Groups: []string{"admin"}}, nil
	case "stranger-token":
		return &cptoken.Claims{Kind: cptoken.User, Name: "zed", Groups: []string{"elsewhere"}}, nil
	case "reader-token":
		return &cptoken.Claims{Kind: cptoken.User, Name: "rob", Groups: []string{"staff"}}, nil
	}
	return nil, cptoken.Refuse(cptoken.BadSignature, "the signature is wrong")
}

func fakeRouter(j *journal, p access.Policy) http.Handler {
	if p.Verify == nil {
		p.Verify = verifyFake
	}
	ok := func(a *act, w http.ResponseWriter, r *http.Request) error {
		a.note(slog.String("noted", r.PathValue("name")))
		return reply(w, http.StatusOK, map[string]string{"name": r.PathValue("name")})
	}
	roles, err := access.NewRoles([]access.Binding{{Role: access.Auditor, Groups: []string{"staff"}}})
	if err != nil {
		panic(err)
	}
	return newRouter(j.logger(), loglimit.New(loglimit.PerSecond, nil), p, func() *access.Roles { return roles }, map[string]route{
		"GET /things/{name}": {access.Read, "get zones", ok},
		"PUT /things/{name}": {access.Administer, "get zones", ok},
		"POST /nobodys":      {"", "get zones", ok},
		"POST /panics":       {access.Administer, "things", func(*act, http.ResponseWriter, *http.Request) error { panic("secret-of-the-defect") }},
		"POST /fails":        {access.Administer, "things", func(*act, http.ResponseWriter, *http.Request) error { return errors.New("disk secret-path is full") }},
		"POST /conflicts": {access.Administer, "things", func(*act, http.ResponseWriter, *http.Request) error {
			return federation.Errorf(federation.Conflict, "no")
		}},
		"POST /unknown-outcome": {access.Administer, "things", func(*act, http.ResponseWriter, *http.Request) error {
			return federation.Errorf(federation.UnknownOutcome, "who knows")
		}},
	})
}

func TestDispatch(t *testing.T) {
	tests := []struct {
		name, method, path, token string
		status                    int
		reason, title             string
		level                     string // of the line in the log; "" for none
	}{
		{"read as admin", "GET", "/things/a", "admin-token", 200, "", "", ""},
		{"read without a role", "GET", "/things/a", "stranger-token", 403, "not_allowed", "Access Denied", "WARN"},
		{"nothing is told of paths without a role", "GET", "/nothing", "stranger-token", 403, "not_allowed", "Access Denied", "WARN"},
		{"a route without a permission, as admin", "POST", "/nobodys", "admin-token", 403, "not_allowed", "Access Denied", "WARN"},
		{"read as auditor", "GET", "/things/a", "reader-token", 200, "", "", ""},
		{"head", "HEAD", "/things/a", "reader-token", 200, "", "", ""},
		{"write as admin", "PUT", "/things/a", "admin-token", 200, "", "", "INFO"},
		{"write as auditor", "PUT", "/things/a", "reader-token", 403, "not_allowed", "Access Denied", "WARN"},
		{"read without a token", "GET", "/things/a", "", 401, "missing_token", "Unauthenticated", "WARN"},
		{"bad token", "GET", "/things/a", "forged", 401, "bad_signature", "Unauthenticated", "WARN"},
		{"nothing is told of paths to strangers", "GET", "/nothing", "", 401, "missing_token", "Unauthenticated", "WARN"},
		{"no such path", "GET", "/nothing", "admin-token", 404, "", "Could not retrieve a resource", ""},
		{"trailing slash", "GET", "/things/a/", "admin-token", 404, "", "Could not retrieve a resource", ""},
		{"unclean path", "GET", "/x/../things/a", "admin-token", 404, "", "Could not retrieve a resource", ""},
		{"doubled slash", "PUT", "//things/a", "admin-token", 404, "", "Could not retrieve a resource", "INFO"},
		{"method not here", "DELETE", "/things/a", "admin-token", 405, "", "Method Not Allowed", "INFO"},
		{"method not here, as auditor", "DELETE", "/things/a", "reader-token", 405, "", "Method Not Allowed", "INFO"},
		{"the server as a whole", "OPTIONS", "*", "admin-token", 405, "", "Method Not Allowed", "INFO"},
		{"the server as a whole, to strangers", "OPTIONS", "*", "", 401, "missing_token", "Unauthenticated", "WARN"},
		{"rejected", "POST", "/conflicts", "admin-token", 409, "", "Conflict", "INFO"},
		{"unknown outcome", "POST", "/unknown-outcome", "admin-token", 504, "", "Unknown Outcome", "ERROR"},
		{"failure", "POST", "/fails", "admin-token", 500, "", "Internal Server Error", "ERROR"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var j journal
			r := httptest.NewRequest(tt.method, "http://global.example"+strings.TrimSuffix(tt.path, "*"), nil)
			if tt.path == "*" { // as net/http reads it
				r.URL, r.RequestURI = &url.URL{Path: "*"}, "*"
			}
			if tt.token != "" {
				r.Header.Set("Authorization", "Bearer "+tt.token)
			}
			w := httptest.NewRecorder()
			fakeRouter(&j, access.Policy{}).ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Fatalf("status %d, want %d: %s", w.Code, tt.status, w.Body)
			}
			if tt.status >= 400 {
				var e apitypes.Error
				if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil {
					t.Fatalf("the error is not JSON: %v: %s", err, w.Body)
				}
				if e.Status != tt.status || e.Title != tt.title || e.Reason != tt.reason || e.Detail == "" || e.Type != "/std-errors" {
					t.Errorf("error = %+v, want status %d, title %q and reason %q", e, tt.status, tt.title, tt.reason)
				}
			}
			if tt.token != "" && strings.Contains(w.Body.String()+j.String(), tt.token) {
				t.Errorf("the token is repeated:\n%s\n%s", w.Body, j.String())
			}
			if strings.Contains(w.Body.String(), "secret-path") {
				t.Errorf("the cause is told to the caller: %s", w.Body)
			}
			checkLine(t, j.lines(t), tt.level, tt.status)
		})
	}
}

// checkLine wants one line of the level, or none.
func checkLine(t *testing.T, lines []map[string]any, level string, status int) {
	t.Helper()
	if level == "" {
		if len(lines) != 0 {
			t.Errorf("logged %v, want nothing", lines)
		}
		return
	}
	if len(lines) != 1 || lines[0]["level"] != level || lines[0]["status"] != float64(status) {
		t.Fatalf("logged %v, want one line of level %s with status %d", lines, level, status)
	}
	for _, key := range []string{"caller", "via", "remote", "request", "requestId"} {
		if _, ok := lines[0][key]; !ok {
			t.Errorf("the line does not say %s: %v", key, lines[0])
		}
	}
}

func TestAllowTellsTheMethods(t *testing.T) {
	var j journal
	r := httptest.NewRequest("DELETE", "http://global.example/things/a", nil)
	r.Header.Set("Authorization", "Bearer admin-token")
	w := httptest.NewRecorder()
	fakeRouter(&j, access.Policy{}).ServeHTTP(w, r)
	if got := w.Header().Get("Allow"); got != "GET, HEAD, PUT" {
		t.Errorf("Allow = %q, want GET, HEAD, PUT", got)
	}
}

func TestDefectIsContained(t *testing.T) {
	var j journal
	r := httptest.NewRequest("POST", "http://global.example/panics", nil)
	r.Header.Set("Authorization", "Bearer admin-token")
	w := httptest.NewRecorder()
	fakeRouter(&j, access.Policy{}).ServeHTTP(w, r)
	if w.Code != 500 || strings.Contains(w.Body.String(), "secret-of-the-defect") || strings.Contains(w.Body.String(), "goroutine") {
		t.Errorf("answer %d %s, want a 500 that tells nothing", w.Code, w.Body)
	}
	if !strings.Contains(w.Body.String(), w.Header().Get("X-Request-Id")) {
		t.Errorf("the answer does not name the request in the log: %s", w.Body)
	}
	if !strings.Contains(j.String(), "secret-of-the-defect") {
		t.Error("the defect is not in the log")
	}
}

func TestPathsAreNotLoggedBeforeTheyAreChecked(t *testing.T) {
	var j journal
	jwt := "eyJhbGciOiJSUzI1NiJ9." + strings.Repeat("c2VjcmV0", 40) + ".c2ln"
	for _, path := range []string{"/nothing/" + jwt, "/things/" + jwt + "/x"} {
		r := httptest.NewRequest("PUT", "http://global.example"+path, nil)
		r.Header.Set("Authorization", "Bearer admin-token")
		fakeRouter(&j, access.Policy{}).ServeHTTP(httptest.NewRecorder(), r)
	}
	if strings.Contains(j.String(), "c2VjcmV0c2VjcmV0") {
		t.Errorf("a token in a path is in the log: %s", j.String())
	}
}

func TestRequestID(t *testing.T) {
	given := "7D444840-9DC0-11D1-B245-5FFDCE74FAD2"
	tests := []struct{ name, header, want string }{
		{"taken, in its usual form", given, strings.ToLower(given)},
		{"none", "", ""},
		{"not a uuid", "request-1", ""},
		{"a uuid in another form", "{" + given + "}", ""},
		{"too long", strings.Repeat("a", 4000), ""},
		{"36 other characters", strings.Repeat("x", 36), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var j journal
			r := httptest.NewRequest("PUT", "http://global.example/things/a", nil)
			r.Header.Set("Authorization", "Bearer admin-token")
			if tt.header != "" {
				r.Header.Set("X-Request-Id", tt.header)
			}
			w := httptest.NewRecorder()
			fakeRouter(&j, access.Policy{}).ServeHTTP(w, r)
			got := w.Header().Get("X-Request-Id")
			if _, err := uuid.Parse(got); err != nil || len(got) != 36 {
				t.Fatalf("the answer's id is %q, want a uuid", got)
			}
			if tt.want != "" && got != tt.want || tt.want == "" && got == tt.header {
				t.Errorf("id %q, want %q", got, tt.want)
			}
			if lines := j.lines(t); len(lines) != 1 || lines[0]["requestId"] != got || lines[0]["noted"] != "a" {
				t.Errorf("logged %v, want the id %s and what was noted", lines, got)
			}
		})
	}
}

func TestOriginDependsOnAllOfARequest(t *testing.T) {
	base := func() *act {
		return &act{caller: access.Caller{Name: "ann", Via: access.ViaToken}, requestID: "7d444840-9dc0-11d1-b245-5ffdce74fad2"}
	}
	first := base().origin("revoke", "zone", "", "a", "bc")
	if first.By != "ann" {
		t.Errorf("by %q, want ann", first.By)
	}
	if again := base().origin("revoke", "zone", "", "a", "bc"); again != first {
		t.Error("the same request has two ids")
	}
	other := base()
	other.caller.Name = "bob"
	another := base()
	another.requestID = uuid.NewString()
	for name, o := range map[string]string{
		"command":          base().origin("withdraw", "zone", "", "a", "bc").RequestID,
		"content":          base().origin("revoke", "zone", "", "a", "bd").RequestID,
		"where parts part": base().origin("revoke", "zone", "", "ab", "c").RequestID,
		"caller":           other.origin("revoke", "zone", "", "a", "bc").RequestID,
		"request":          another.origin("revoke", "zone", "", "a", "bc").RequestID,
	} {
		if o == first.RequestID {
			t.Errorf("another %s has the same id", name)
		}
	}
}

func TestOnlyAdminsCanFillTheLog(t *testing.T) {
	var j journal
	h := fakeRouter(&j, access.Policy{})
	send := func(n int, token string) int {
		for range n {
			r := httptest.NewRequest("PUT", "http://global.example/things/a", nil)
			if token != "" {
				r.Header.Set("Authorization", "Bearer "+token)
			}
			h.ServeHTTP(httptest.NewRecorder(), r)
		}
		return len(j.lines(t))
	}
	// The clock is the real one: a few seconds may pass meanwhile.
	for _, token := range []string{"", "forged", "reader-token"} {
		if n := send(2000, token); n > 500 {
			t.Errorf("%d lines for 2000 requests with the token %q", n, token)
		}
	}
	if n := send(200, "admin-token"); n != 200 {
		t.Errorf("%d lines for 200 changes by an admin", n)
	}
}
