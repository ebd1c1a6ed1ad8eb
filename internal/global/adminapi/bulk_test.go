package adminapi

import (
	"context"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/net/preauth"
)

const bulkPath = "/v1/revocations/bulk?kind=zone-token&reason=stolen"

func TestBulk(t *testing.T) {
	e := newEnv(t)
	text := []string{"Content-Type", "text/plain; charset=utf-8"}
	var got apitypes.RevokeResult
	e.want(200, "POST", bulkPath, "id-1\nid-2, id-3\r\n\n id-1 \nid-4", &got, text...)
	if got.Given != 5 || got.Revoked != 4 || len(got.IDs) != 0 || got.Revision == "" {
		t.Errorf("revoked %+v", got)
	}
	for _, rev := range e.store.Revocations(cptoken.Zone, "", "", 0) {
		if rev.Reason != "stolen" || rev.By != "admin socket" {
			t.Errorf("recorded %+v", rev)
		}
	}
	e.want(200, "POST", bulkPath+"&withdraw=true", "id-1,id-9", &got, text...)
	// A zone may keep an id that this cluster lost: the withdrawal of one that is not on the
	// list is a change too.
	if got.Withdrawn != 2 || e.store.RevocationCount(cptoken.Zone, "") != 3 {
		t.Errorf("withdrew %+v", got)
	}
}

// A long list with one bad line changes nothing, and the line is named.
func TestBulkIsAllOrNothing(t *testing.T) {
	e := newEnv(t)
	var list strings.Builder
	for range 30_000 { // several entries of Raft's log
		list.WriteString(uuid.NewString() + "\n")
	}
	head := e.head()
	token := signHS256([]byte("k"), `{"alg":"HS256"}`, `{"Zone":"west"}`)
	for name, c := range map[string]struct{ body, path, field, detail string }{
		"a bad id":       {list.String() + "two words\nid", bulkPath, "ids", "line 30001 is not a token's id"},
		"a token":        {"a,b\nc," + token + "\n", bulkPath, "ids", "line 2 is a token"},
		"a long line":    {"id\n" + strings.Repeat("x", 1<<20), bulkPath, "ids", "line 2 is longer"},
		"nothing":        {"\n , \n", bulkPath, "ids", "are missing"},
		"no kind":        {"id", "/v1/revocations/bulk", "kind", ""},
		"an endless why": {"id", bulkPath + strings.Repeat("x", federation.MaxReason), "reason", "has more than 500 bytes"},
	} {
		got := e.refused(400, "POST", c.path, c.body, "Content-Type", "text/plain")
		if len(got.InvalidParameters) != 1 || got.InvalidParameters[0].Field != c.field || !strings.Contains(got.Detail, c.detail) {
			t.Errorf("%s: %+v", name, got)
		}
		if strings.Contains(got.Detail, "eyJ") {
			t.Errorf("%s: the token is repeated", name)
		}
	}
	if got := e.refused(400, "POST", bulkPath, `["id"]`); got.InvalidParameters[0].Field != "Content-Type" {
		t.Errorf("JSON: %+v", got)
	}
	if e.head() != head || e.store.RevocationCount(cptoken.Zone, "") != 0 {
		t.Error("a refused list changed something")
	}
	var got apitypes.RevokeResult
	e.want(200, "POST", bulkPath, list.String(), &got, "Content-Type", "text/plain")
	if got.Revoked != 30_000 || e.store.RevocationCount(cptoken.Zone, "") != 30_000 {
		t.Errorf("revoked %+v", got)
	}
	// One list at a time.
	leave, err := e.api.bulk.Queue.Enter(t.Context(), preauth.Named("another"))
	if err != nil {
		t.Fatal(err)
	}
	e.api.bulk.Wait = time.Millisecond
	if got := e.refused(503, "POST", bulkPath, "id", "Content-Type", "text/plain"); !strings.Contains(got.Hint, "nothing was changed") {
		t.Errorf("a second list: %+v", got)
	}
	leave()
}

// TestASlowListGivesWay: who sends a list slowly, or stops, keeps others waiting for no
// longer than a turn. The same holds for large bodies of JSON.
func TestASlowListGivesWay(t *testing.T) {
	for path, body := range map[string][2]string{
		bulkPath:          {"text/plain", "one-id\n"},
		"/v1/revocations": {"application/json", `{"kind":"zone","ids":["another-id"]}`},
	} {
		e := newEnv(t)
		e.api.bulk.Hold, e.api.large.Hold = 0, 0
		slow := &slowBody{next: make(chan struct{})}
		ended := make(chan *httptest.ResponseRecorder, 1)
		send := func(body io.Reader, kind string) *httptest.ResponseRecorder {
			r := httptest.NewRequest("POST", path, body) // of no declared length, which counts as large
			r.Header.Set("Content-Type", kind)
			w := httptest.NewRecorder()
			e.admin.ServeHTTP(w, r)
			return w
		}
		go func() { ended <- send(slow, body[0]) }()
		slow.next <- struct{}{} // it has its turn
		other := make(chan *httptest.ResponseRecorder, 1)
		go func() {
			// Another caller, whose requests do not wait for those of the first.
			leave, err := e.api.bulk.Queue.Enter(context.Background(), preauth.Named("another"))
			if path != bulkPath {
				leave, err = e.api.large.Queue.Enter(context.Background(), preauth.Named("another"))
			}
			if err != nil {
				t.Error(err)
				other <- nil
				return
			}
			leave()
			other <- send(io.MultiReader(strings.NewReader(body[1])), body[0])
		}()
		queue := e.api.large.Queue
		if path == bulkPath {
			queue = e.api.bulk.Queue
		}
		// The slow one may have given way before this looks.
		var answered *httptest.ResponseRecorder
		for answered == nil && !queue.WaitingBesides(preauth.Named("")) {
			select {
			case answered = <-ended:
			case <-time.After(time.Millisecond): // between two looks
			}
		}
		for answered == nil {
			select {
			case slow.next <- struct{}{}:
			case answered = <-ended:
			}
		}
		if answered.Code != 503 || answered.Header().Get("Retry-After") == "" {
			t.Errorf("%s: the slow one was answered %d %s", path, answered.Code, answered.Body)
		}
		if w := <-other; w == nil || w.Code != 200 {
			t.Errorf("%s: the other was answered %+v", path, w)
		}
	}
}

// slowBody gives a byte whenever it is told to, and has no end.
type slowBody struct{ next chan struct{} }

func (s *slowBody) Read(p []byte) (int, error) {
	<-s.next
	return copy(p, "i"), nil
}

func TestCutOffs(t *testing.T) {
	e := newEnv(t)
	token := e.token("user", `{"name":"jo"}`)
	at := time.Now().Add(-time.Hour).UTC().Truncate(time.Second).Format(time.RFC3339)
	var got apitypes.CutOffResult
	e.want(200, "POST", "/v1/cut-offs", `{"kind":"user-token","before":"`+at+`","reason":"audit"}`, &got)
	if !got.Changed || got.Before.Format(time.RFC3339) != at || got.Kind != "user" || got.By != "admin socket" {
		t.Errorf("set %+v", got)
	}
	if _, err := e.verify(cptoken.User, token); err != nil {
		t.Errorf("a younger token: %v", err)
	}
	e.want(200, "POST", "/v1/cut-offs", `{"kind":"user","before":"2026-01-01T00:00:00Z"}`, &got)
	if got.Changed || got.Before.Format(time.RFC3339) != at {
		t.Errorf("a cut-off went back: %+v", got)
	}
	e.want(200, "POST", "/v1/cut-offs", `{"kind":"dataplane","mesh":"default","kid":"1","before":"`+at+`"}`, &got)
	var list apitypes.List[apitypes.CutOff]
	e.want(200, "GET", "/v1/cut-offs", nil, &list)
	if list.Total != 2 {
		t.Errorf("list %+v", list)
	}
	future := time.Now().Add(time.Minute).UTC().Format(time.RFC3339)
	e.badField("before", "POST", "/v1/cut-offs", `{"kind":"user","before":"`+future+`"}`)
	e.badField("before", "POST", "/v1/cut-offs", `{"kind":"user","before":"yesterday"}`)
	e.badField("before", "POST", "/v1/cut-offs", `{"kind":"user"}`)
	e.badField("kind", "POST", "/v1/cut-offs", `{"before":"`+at+`"}`)
	e.badField("reason", "POST", "/v1/cut-offs", `{"kind":"user","before":"`+at+`","reason":"`+strings.Repeat("x", 501)+`"}`)
	e.badField("kid", "POST", "/v1/cut-offs", `{"kind":"user","before":"`+at+`","kid":"`+strings.Repeat("1", 200)+`"}`)
	var gone apitypes.CutOffResult
	e.want(200, "POST", "/v1/cut-offs/withdraw", `{"kind":"user"}`, &gone)
	if !gone.Changed || gone.Before != nil {
		t.Errorf("withdrew %+v", gone)
	}
	e.refused(404, "POST", "/v1/cut-offs/withdraw", `{"kind":"user"}`)
	e.badField("before", "POST", "/v1/cut-offs/withdraw", `{"kind":"user","before":"`+at+`"}`)
}

func TestFilteredRevocations(t *testing.T) {
	e := newEnv(t)
	for i := range 25 {
		e.want(200, "POST", "/v1/revocations", fmt.Sprintf(`{"kind":"zone","ids":["a-%02d","ab-%02d"],"reason":"r%d"}`, i, i, i%2), nil)
	}
	since := time.Now().Add(time.Minute).UTC().Format(time.RFC3339)
	for query, want := range map[string]int{
		"": 50, "&id=a-": 25, "&id=ab": 25, "&id=a-07": 1, "&id=a-071": 0, "&id=b": 0, "&id=a": 50, "&reason=r1": 24, "&reason=r": 50, "&by=admin+socket": 50,
		"&by=jo": 0, "&since=" + since: 0, "&id=ab&reason=r0": 13,
	} {
		count, pages := 0, 0
		for next := "/v1/revocations?kind=zone&limit=4" + query; next != ""; pages++ {
			var list apitypes.List[apitypes.Revocation]
			e.want(200, "GET", next, nil, &list)
			if count += len(list.Items); list.Total != 50 || len(list.Items) > 4 {
				t.Fatalf("%s: %+v", query, list)
			}
			next = ""
			if list.Next != nil {
				next = strings.TrimPrefix(*list.Next, "http://global.example")
			}
		}
		if count != want || pages > 14 {
			t.Errorf("%q: %d in %d pages, want %d", query, count, pages, want)
		}
	}
	e.badField("since", "GET", "/v1/revocations?kind=zone&since=x", nil)
	var lists apitypes.List[apitypes.RevocationList]
	e.want(200, "GET", "/v1/revocation-lists", nil, &lists)
	if lists.Total != 4 || lists.Items[1].Revoked+lists.Items[0].Revoked+lists.Items[2].Revoked+lists.Items[3].Revoked != 50 {
		t.Errorf("lists %+v", lists)
	}
}

func TestZoneDetail(t *testing.T) {
	e := newEnv(t)
	e.want(201, "PUT", "/v1/zones/west", `{"relay":{"meshes":["default"]}}`, nil)
	before := e.session("west", 0)
	e.want(200, "POST", "/v1/revocations", `{"kind":"zone","ids":["a","b","c"]}`, nil)
	e.want(201, "POST", "/v1/keys/prepare", `{"kind":"zone"}`, nil)
	e.report(before)
	var z apitypes.ZoneDetail
	e.want(200, "GET", "/v1/zones/west", nil, &z)
	if len(z.Sessions) != 1 || !z.Online || *z.Sessions[0].Behind != 2 || *z.Sessions[0].BehindSeconds < 0 || *z.Sessions[0].BehindSeconds > 60 {
		t.Errorf("west %+v", z)
	}
	if len(z.Waits) != 1 || z.Waits[0] != "activation of zone-token-signing-key-2" || z.Relay == nil {
		t.Errorf("west %+v, want the activation to wait for it", z)
	}
	e.report(e.session("west", 0))
	z = apitypes.ZoneDetail{}
	e.want(200, "GET", "/v1/zones/west", nil, &z)
	if *z.Sessions[0].Behind != 0 || *z.Sessions[0].BehindSeconds != 0 || len(z.Waits) != 0 {
		t.Errorf("west is current: %+v", z)
	}
	e.refused(404, "GET", "/v1/zones/nowhere", nil)
	e.badField("zone", "GET", "/v1/zones/NO", nil)
}
