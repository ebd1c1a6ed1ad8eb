package adminapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/audit"
)

// audited is an API with an audit log, and the folder of its files.
func audited(t *testing.T, change ...func(*Config)) (e *env, dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "audit")
	log, err := audit.Open(dir, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	return newEnv(t, append(change, func(c *Config) { c.Audit = log })...), dir
}

// files is all that stands in the files of an audit log.
func files(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(data)
	}
	return all.String()
}

// lines renders records: who, what, outcome.
func lines(list apitypes.Audit) string {
	var text strings.Builder
	for _, r := range list.Items {
		fmt.Fprintf(&text, "%s %s %s %s\n", r.User, r.Action, r.Outcome, r.Reason)
	}
	return text.String()
}

func TestAudit(t *testing.T) {
	e, dir := audited(t)
	var issued []string
	issue := func(kind string, body any) string {
		token := e.token(kind, body)
		issued = append(issued, token)
		return token
	}
	reader := issue("user", apitypes.UserTokenRequest{Name: "rob", Groups: []string{"staff", "night"}})
	issue("zone", apitypes.ZoneTokenRequest{Zone: "west"})
	issue("control-plane", apitypes.ControlPlaneTokenRequest{Zone: "west"})
	e.want(200, "GET", "/zones", nil, nil) // reads leave no trace
	e.want(201, "PUT", "/zones/west", `{}`, nil, "X-Request-Id", "7d444840-9dc0-11d1-b245-5ffdce74fad2")
	e.want(400, "PUT", "/zones/west", `{"enable":false}`, nil)
	if status, _ := e.as(reader, "DELETE", "/zones/west", nil); status != 403 {
		t.Fatalf("status %d", status)
	}
	if status, _ := e.as("forged", "DELETE", "/zones/west", nil); status != 401 {
		t.Fatalf("status %d", status)
	}
	e.want(200, "POST", "/v1/revocations", apitypes.RevokeRequest{Token: reader, Reason: "left"}, nil)
	e.want(200, "GET", "/v1/snapshot", nil, nil)

	var list apitypes.Audit
	e.want(200, "GET", "/v1/audit", nil, &list)
	want := `admin socket snapshot save done 
admin socket revoke done 
 delete zone refused malformed
rob delete zone refused not_allowed
admin socket apply zone rejected 
admin socket apply zone done 
admin socket generate control-plane-token done 
admin socket generate zone-token done 
admin socket generate user-token done 
`
	if got := lines(list); got != want || list.Next != nil || len(list.Silent) != 0 {
		t.Errorf("got\n%swant\n%s%+v", got, want, list)
	}
	// Who, from where, what, at which revision, request id, outcome.
	put := list.Items[5]
	_, rev := e.store.Head()
	if put.About["zone"] != "west" || put.RequestID != "7d444840-9dc0-11d1-b245-5ffdce74fad2" || put.Status != 201 || put.Revision == "" ||
		put.Via != "socket" || put.Remote == "" || put.Member != e.store.NodeID() || put.Class != "change" || put.Time.IsZero() {
		t.Errorf("%+v", put)
	}
	if revoked := list.Items[1]; revoked.Revision != rev.String() || revoked.Class != "revocation" {
		t.Errorf("%+v, head %s", revoked, rev)
	}
	// Of a token its id, kind, subject and end, never itself.
	parsed, err := cptoken.Inspect(reader)
	if err != nil {
		t.Fatal(err)
	}
	user := list.Items[8]
	if user.About["jti"] != parsed.Claims.ID || user.About["kind"] != "user" || user.About["name"] != "rob" || user.About["groups"] != "staff,night" ||
		user.About["expires"] != parsed.Claims.ExpiresAt.UTC().Format(time.RFC3339) || user.Class != "issue" {
		t.Errorf("%+v", user)
	}
	text := files(t, dir)
	for _, token := range append(issued, "forged") {
		for _, piece := range append(strings.Split(token, "."), token) {
			if strings.Contains(text, piece) {
				t.Errorf("the audit log contains %.20s… of a token", piece)
			}
		}
	}
	if strings.Contains(e.log.take(), reader) {
		t.Error("a token is in the log")
	}

	// Pages and filters.
	got, path := "", "/v1/audit?size=2"
	for path != "" {
		var page apitypes.Audit
		e.want(200, "GET", path, nil, &page)
		got, path = got+lines(page), ""
		if page.Next != nil {
			next, err := url.Parse(*page.Next)
			if err != nil {
				t.Fatal(err)
			}
			path = next.RequestURI()
		}
	}
	if got != want {
		t.Errorf("by pages:\n%s", got)
	}
	for query, n := range map[string]int{
		"user=rob": 1, "outcome=refused": 2, "class=issue": 3, "requestId=7d444840-9dc0-11d1-b245-5ffdce74fad2": 1,
		"about=" + parsed.Claims.ID: 2, "about=west": 4, "since=2000-01-01T00:00:00Z": 9, "until=2000-01-01T00:00:00Z": 0,
	} {
		e.want(200, "GET", "/v1/audit?"+query, nil, &list)
		if len(list.Items) != n {
			t.Errorf("%s: %d records\n%s", query, len(list.Items), lines(list))
		}
	}
	for query, field := range map[string]string{
		"size=0": "size", "class=x": "class", "outcome=x": "outcome", "since=yesterday": "since", "until=1": "until", "before=%25": "before",
		"before=e30&before=e30": "before", "user=a&user=b": "user", "about=" + strings.Repeat("x", 300): "about", "before=W10": "before",
	} {
		e.badField(field, "GET", "/v1/audit?"+query, nil)
	}
	if status, answer := e.as(issue("user", apitypes.UserTokenRequest{Name: "nobody"}), "GET", "/v1/audit", nil); status != 403 {
		t.Errorf("anybody reads the audit log: %d %s", status, answer)
	}
}

// TestNothingWithoutAudit: what cannot be written down does not take place.
// What a change lets somebody do stands in its record.
func TestAuditSaysWhatWasGranted(t *testing.T) {
	e, _ := audited(t)
	e.want(201, "PUT", "/v1/zones/west", `{"relay":{"meshes":["default"],"maxValidity":"48h"}}`, nil)
	_, body := e.offlineKey(func(k *apitypes.PublicKey) { k.Zones, k.AllowNoExpiry, k.AllowNoID = []string{"west"}, true, true })
	e.want(201, "PUT", "/v1/public-keys/zone-token/ci-1", body, nil)
	var list apitypes.Audit
	e.want(200, "GET", "/v1/audit", nil, &list)
	if len(list.Items) != 2 {
		t.Fatalf("records:\n%s", lines(list))
	}
	key, zone := list.Items[0].About, list.Items[1].About
	if zone["relayMeshes"] != "default" || zone["relayMaxValidity"] != "48h0m0s" {
		t.Errorf("the zone: %v", zone)
	}
	if key["zones"] != "west" || key["allowNoExpiry"] != "true" || key["allowNoId"] != "true" || len(key["fingerprint"]) < 32 {
		t.Errorf("the key: %v", key)
	}
}

func TestNothingWithoutAudit(t *testing.T) {
	e, dir := audited(t)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	before := e.store.Applied()
	for _, request := range [][3]string{
		{"PUT", "/zones/west", `{}`}, {"POST", "/tokens/zone", `{"zone":"west"}`}, {"POST", "/v1/keys/prepare", `{"kind":"zone-token"}`},
		{"POST", "/v1/revocations", `{"kind":"zone-token","ids":["a"]}`}, {"GET", "/v1/snapshot", ""},
	} {
		w := e.call(request[0], request[1], request[2])
		if w.Code != 503 || !strings.Contains(w.Body.String(), "audit_unavailable") || w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "eyJ") {
			t.Errorf("%v: %d %s", request, w.Code, w.Body)
		}
	}
	if e.store.Applied() != before {
		t.Error("something was changed")
	}
	e.want(200, "GET", "/zones", nil, nil) // reading goes on
}

// TestAuditOfMembers: the members' records are put in order, and who is silent is
// named and loses nothing.
func TestAuditOfMembers(t *testing.T) {
	at := time.Now().Add(-time.Hour).UTC()
	other := func(n int, q audit.Query) audit.Page { // n records, one a second
		page := audit.Page{Records: []audit.Record{}}
		for seq := n; seq > 0; seq-- {
			if q.Before != 0 && uint64(seq) >= q.Before {
				continue
			}
			if len(page.Records) == q.Limit {
				page.Next = uint64(seq + 1)
				break
			}
			page.Records = append(page.Records, audit.Record{Seq: uint64(seq), Time: at.Add(time.Duration(seq) * time.Second), Class: audit.Change, Action: "b", Outcome: audit.Done})
		}
		return page
	}
	away := true
	e, _ := audited(t, func(c *Config) {
		store := c.Store
		c.Members = func() []string { return []string{store.NodeID(), "b", "c"} }
		c.AuditOf = func(_ context.Context, member string, q audit.Query) (audit.Page, error) {
			if member == "c" && away {
				return audit.Page{}, errors.New("no answer")
			}
			return other(map[string]int{"b": 7, "c": 3}[member], q), nil
		}
	})
	e.want(201, "PUT", "/zones/west", `{}`, nil)
	read := func() (seen []string) {
		t.Helper()
		path := "/v1/audit?size=3"
		for path != "" {
			var page apitypes.Audit
			e.want(200, "GET", path, nil, &page)
			for _, r := range page.Items {
				if r.Member == e.store.NodeID() {
					r.Member = "a"
				}
				seen = append(seen, fmt.Sprintf("%s%d", r.Member, r.Seq))
			}
			if away != (len(page.Silent) == 1) {
				t.Errorf("silent: %v", page.Silent)
			}
			path = ""
			if page.Next != nil {
				next, err := url.Parse(*page.Next)
				if err != nil {
					t.Fatal(err)
				}
				path = next.RequestURI()
			}
		}
		return seen
	}
	if got := strings.Join(read(), " "); got != "a2 b7 b6 b5 b4 b3 b2 b1" {
		t.Errorf("without c: %s", got)
	}
	away = false
	if got := strings.Join(read(), " "); got != "a2 b7 b6 b5 b4 b3 c3 b2 c2 b1 c1" && !strings.HasPrefix(got, "a2 b7 b6 b5 b4 ") || strings.Count(got, "c") != 3 {
		t.Errorf("with c: %s", got)
	}
}

// TestFailuresAreSlowed: who fails is slowed, a good credential from the same address
// is not.
func TestFailuresAreSlowed(t *testing.T) {
	failed := map[string]int{}
	e := newEnv(t, func(c *Config) {
		c.Slow = func(_ context.Context, remote string, err error) error {
			if failed[remote]++; failed[remote] < 3 {
				return err
			}
			return federation.Errorf(federation.Unavailable, "too many").WithReason("too_many_failures")
		}
	})
	good := e.token("user", apitypes.UserTokenRequest{Name: "ann", Groups: []string{"admin"}})
	plain := e.token("user", apitypes.UserTokenRequest{Name: "rob"})
	h := e.api.Handler(Network)
	ask := func(token string) (int, string) {
		r := httptest.NewRequest("GET", "http://global.example/zones", nil)
		r.RemoteAddr = "192.0.2.7:4711"
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		var body apitypes.Error
		_ = json.Unmarshal(w.Body.Bytes(), &body)
		return w.Code, body.Reason
	}
	for i := range 5 {
		want := 401
		if i >= 2 {
			want = 503
		}
		if status, reason := ask("e30.e30.e30"); status != want || want == 503 && reason != "too_many_failures" {
			t.Errorf("failure %d: %d %s", i, status, reason)
		}
		if status, _ := ask(good); status != 200 {
			t.Errorf("a good token is answered %d", status)
		}
		if status, _ := ask(plain); status != 403 { // known, and not allowed: no failure of this kind
			t.Errorf("a token without a role is answered %d", status)
		}
	}
	if failed["192.0.2.7:4711"] != 5 || len(failed) != 1 {
		t.Errorf("failures %v", failed)
	}
}
