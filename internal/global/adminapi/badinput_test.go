package adminapi

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/internal/apitypes"
)

// TestBadInputChangesNothing: each of these is one clear line, and nothing is changed
// by it.
func TestBadInputChangesNothing(t *testing.T) {
	e := newEnv(t)
	e.want(201, "PUT", "/global-secrets/zone-token-revocations", map[string]string{"data": base64.StdEncoding.EncodeToString([]byte("a,b"))}, nil)
	behind := e.session("west", 0)
	e.want(201, "POST", "/v1/keys/prepare", `{"kind":"zone"}`, nil)
	e.report(behind) // west does not have the new key
	var list strings.Builder
	list.Grow(37_000_000)
	for i := range 1_000_000 {
		if i == 654_320 {
			list.WriteString("not a token's id\n")
		}
		fmt.Fprintf(&list, "00000000-0000-4000-8000-%012d\n", i)
	}
	_, pem := newRSA(t)
	e.want(201, "PUT", "/global-secrets/user-token-signing-key-5", secretWith(pem), nil)
	_, another := newRSA(t)
	put := func(text string) map[string]string {
		return map[string]string{"data": base64.StdEncoding.EncodeToString([]byte(text))}
	}
	before := e.store.Applied()
	for _, test := range []struct {
		name, method, path string
		body               any
		header             []string
		status             int
		says               string
	}{
		{"a million ids and one bad line", "POST", "/v1/revocations/bulk?kind=zone", list.String(), []string{"Content-Type", "text/plain"}, 400, "line 654321 is not a token's id"},
		{"activating a key that a gate holds back", "POST", "/v1/keys/activate", `{"kind":"zone","kid":"2"}`, nil, 409, "zones that have not acknowledged it: west"},
		{"retiring the only key", "POST", "/v1/keys/retire", `{"kind":"zone","kid":"1"}`, nil, 409, "would leave nothing that signs a zone-token"},
		{"removing what is active", "POST", "/v1/keys/remove", `{"kind":"zone","kid":"1"}`, nil, 409, "is the one that signs"},
		{"a serial that went backwards", "PUT", "/global-secrets/user-token-signing-key-4", secretWith(another), nil, 409, "serial"},
		{"a serial that was used", "PUT", "/global-secrets/zone-token-signing-key-2", secretWith(another), nil, 409, "exists and is another key"},
		{"a reason of a megabyte", "POST", "/v1/revocations", map[string]any{"kind": "zone", "ids": []string{"c"}, "reason": strings.Repeat("x", 1<<20)}, nil, 400, "reason"},
		{"a cut-off's reason of half a megabyte", "POST", "/v1/cut-offs", map[string]any{"kind": "zone", "before": "2026-01-01T00:00:00Z", "reason": strings.Repeat("x", 1<<19)}, nil, 400, "reason: has more than 500 bytes"},
		{"a zone name with a slash", "PUT", "/zones/we%2Fst", `{}`, nil, 400, "is not a name"},
		{"a withdrawing PUT without If-Match", "PUT", "/global-secrets/zone-token-revocations", put("a"), nil, 409, "would make their tokens valid again"},
		{"a withdrawing PUT with an old ETag", "PUT", "/global-secrets/zone-token-revocations", put("a"), []string{"If-Match", `"old"`}, 409, "has changed since it was read"},
	} {
		got := e.refused(test.status, test.method, test.path, test.body, test.header...)
		if !strings.Contains(got.Detail, test.says) || strings.Contains(got.Detail, "\n") || len(got.Detail) > 300 || got.Hint == "" && len(got.InvalidParameters) == 0 {
			t.Errorf("%s: %+v", test.name, got)
		}
	}
	if now := e.store.Applied(); now != before {
		// A rejected command is replicated too; what counts is that nothing came of it.
		t.Logf("%d rejected commands", now-before)
	}
	if n := e.store.RevocationCount("zone", ""); n != 2 {
		t.Errorf("%d ids are revoked", n)
	}
	var keys apitypes.List[apitypes.Key]
	e.want(200, "GET", "/v1/keys", nil, &keys)
	for _, k := range keys.Items {
		if k.Kind == "zone" && (k.KID == "1") != (k.State == "active") {
			t.Errorf("key %s is %s", k.KID, k.State)
		}
	}
	if w := e.call(http.MethodGet, "/zones/we%2Fst", nil); w.Code != 400 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
