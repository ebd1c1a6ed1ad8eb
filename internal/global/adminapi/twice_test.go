package adminapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/fleet"
)

// asked is a request that is sent twice under one request id.
type asked struct {
	path, body string
	header     []string
	// made: it made something, and found it there the second time: 201, then 200.
	made bool
	// moment are the fields of the answer that tell of the moment, or of what is gone.
	moment []string
	// before makes what the request is about.
	before func(e *env, a *asked)
}

// once are the routes whose requests are not repeated, and why.
var once = map[string]string{
	"POST /v1/cluster/transfer-leader": "a hand-over is no change of the state",
	"POST /v1/log-level":               "a member's log is no part of the state",
	"POST /v1/cluster/remove":          "who is a member is Raft's; each expulsion has an id of its own",
	"POST /tokens/control-plane":       "each request has a token of its own, and changes nothing",
	"POST /tokens/zone":                "each request has a token of its own, and changes nothing",
	"POST /tokens/dataplane":           "each request has a token of its own, and changes nothing",
	"POST /tokens/user":                "each request has a token of its own, and changes nothing",
}

// requests are those of all other routes that change something.
func requests() map[string]asked {
	zone := asked{path: "/zones/%s", body: `{"type":"Zone"}`, made: true, moment: []string{"modificationTime"}}
	applied := zone
	applied.path = "/v1/zones/%s"
	prepared := func(e *env, a *asked) {
		var k apitypes.Key
		e.read(e.call("POST", "/v1/keys/prepare", `{"kind":"user"}`).Body.Bytes(), &k)
		a.body = fmt.Sprintf(`{"kind":"user","kid":"%s"}`, k.KID)
	}
	registered := func(e *env, a *asked) { _, a.body = e.offlineKey(nil) }
	all := map[string]asked{
		"PUT /zones/{zone}":    zone,
		"PUT /v1/zones/{zone}": applied,
		"DELETE /zones/{zone}": {path: "/zones/%s", moment: []string{"modificationTime"}, before: func(e *env, a *asked) {
			e.want(201, "PUT", a.path, `{"type":"Zone"}`, nil)
		}},
		"PUT /meshes/{mesh}": {path: "/meshes/%s", body: `{"type":"Mesh"}`, made: true, moment: []string{"modificationTime"}},
		"DELETE /meshes/{mesh}": {path: "/meshes/%s", moment: []string{"creationTime", "modificationTime"}, before: func(e *env, a *asked) {
			e.want(201, "PUT", a.path, `{"type":"Mesh"}`, nil)
		}},
		"POST /v1/cluster/confirm-loss": {path: "/v1/cluster/confirm-loss", body: `{"adopt":true}`},
		"POST /v1/expelled":             {path: "/v1/expelled", body: `{"id":"` + uuid.NewString() + `","subject":"node a","reason":"stolen"}`},
		"DELETE /v1/expelled/{id}": {before: func(e *env, a *asked) {
			id := uuid.NewString()
			e.want(200, "POST", "/v1/expelled", `{"id":"`+id+`","subject":"node b"}`, nil)
			a.path = "/v1/expelled/" + id
		}},
		"POST /v1/keys/prepare":  {path: "/v1/keys/prepare", body: `{"kind":"zone"}`, made: true},
		"POST /v1/keys/activate": {path: "/v1/keys/activate", before: prepared, moment: []string{"holding"}},
		"POST /v1/keys/retire": {path: "/v1/keys/retire", moment: []string{"holding"}, before: func(e *env, a *asked) {
			prepared(e, a)
			e.want(200, "POST", "/v1/keys/activate", a.body, nil)
			a.body = strings.Replace(a.body, "}", `,"force":true}`, 1)
		}},
		"POST /v1/keys/remove":             {path: "/v1/keys/remove", before: prepared, moment: []string{"holding", "key", "cutOff"}},
		"PUT /v1/public-keys/{kind}/{kid}": {path: "/v1/public-keys/zone-token/ci", before: registered, made: true},
		"DELETE /v1/public-keys/{kind}/{kid}": {path: "/v1/public-keys/zone-token/old", moment: []string{"key"}, before: func(e *env, a *asked) {
			_, body := e.offlineKey(nil)
			e.want(201, "PUT", a.path, body, nil)
		}},
		"POST /v1/revocations": {path: "/v1/revocations", body: `{"kind":"zone","ids":["a","b"]}`},
		"POST /v1/revocations/withdraw": {path: "/v1/revocations/withdraw", body: `{"kind":"zone","ids":["w","never"]}`, before: func(e *env, a *asked) {
			e.want(200, "POST", "/v1/revocations", `{"kind":"zone","ids":["w"]}`, nil)
		}},
		"POST /v1/revocations/bulk":           {path: "/v1/revocations/bulk?kind=zone", body: "c\nd\n", header: []string{"Content-Type", "text/plain"}},
		"POST /v1/seal/rotate":                {path: "/v1/seal/rotate"},
		"POST /v1/seal/rotate-cluster-secret": {path: "/v1/seal/rotate-cluster-secret"},
		"POST /v1/cut-offs":                   {path: "/v1/cut-offs", body: `{"kind":"user","before":"2026-01-01T00:00:00Z"}`},
		"POST /v1/cut-offs/withdraw": {path: "/v1/cut-offs/withdraw", body: `{"kind":"zone"}`, before: func(e *env, a *asked) {
			e.want(200, "POST", "/v1/cut-offs", `{"kind":"zone","before":"2026-01-01T00:00:00Z"}`, nil)
		}},
		"POST /v1/snapshot/restore": {path: "/v1/snapshot/restore?force=true", before: func(e *env, a *asked) {
			a.body = e.raw("GET", "/v1/snapshot", nil).Body.String()
		}},
	}
	for under, list := range map[string]string{
		"/global-secrets/{name}": "/global-secrets/user-token-revocations", "/globalsecrets/{name}": "/globalsecrets/zone-token-revocations",
		"/meshes/{mesh}/secrets/{name}": "/meshes/default/secrets/dataplane-token-revocations-default",
	} {
		seen := func(e *env, a *asked) { // the caller withdraws what it has seen
			e.call("PUT", list, written("x,y"))
			_, etag := e.list(list)
			a.header = []string{"If-Match", etag}
		}
		all["PUT "+under] = asked{path: list, body: written("y,z"), before: seen}
		all["DELETE "+under] = asked{path: list, before: seen}
	}
	return all
}

// written is the body of a list of revoked ids.
func written(ids string) string {
	data, err := json.Marshal(struct {
		Data []byte `json:"data"`
	}{[]byte(ids)})
	if err != nil {
		panic(err)
	}
	return string(data)
}

// newerUntil shows a history that is newer than the cluster's, until the cluster has begun
// another.
type newerUntil struct{ e *env }

// Doubts implements Losses.
func (n newerUntil) Doubts() []fleet.Doubt {
	shown := federation.Revision{History: federation.History{ID: "00000000000000ff", Created: 1 << 42}, Index: 1}
	if shown.History.Compare(n.e.head().History) > 0 {
		return []fleet.Doubt{{By: "zone west", Revision: shown, Why: fleet.DoubtNewer}}
	}
	return nil
}

// TestARequestThatIsSentTwice has every route that changes something answer a repetition
// under the same request id as it answered the first time, although something else changed
// in between: the first answer may have been lost. Under another id it is another request.
func TestARequestThatIsSentTwice(t *testing.T) {
	e := newEnv(t)
	e.api.cfg.Losses = newerUntil{e}
	all := requests()
	for pattern := range e.api.routes() {
		_, asks := all[pattern]
		if why, is := once[pattern]; !strings.HasPrefix(pattern, "GET ") && asks == is || is && why == "" {
			t.Errorf("%s: it is asked twice: %t, or says why not: %q", pattern, asks, why)
		}
	}
	patterns := slices.Sorted(maps.Keys(all))
	last := "POST /v1/snapshot/restore"
	patterns = append(slices.DeleteFunc(patterns, func(p string) bool { return p == last }), last)
	for i, pattern := range patterns {
		t.Run(strings.ReplaceAll(pattern, "/", "_"), func(t *testing.T) {
			e.T = t
			a := all[pattern]
			if strings.Contains(a.path, "%s") {
				a.path = fmt.Sprintf(a.path, fmt.Sprint("n", i))
			}
			if a.before != nil {
				a.before(e, &a)
			}
			method, _, _ := strings.Cut(pattern, " ")
			if !slices.Contains(a.header, "Content-Type") {
				a.header = append(a.header, "Content-Type", "application/json")
			}
			send := func(id string) *httptest.ResponseRecorder {
				return e.raw(method, a.path, bytes.NewReader([]byte(a.body)), append(slices.Clone(a.header), "X-Request-Id", id)...)
			}
			id := uuid.NewString()
			first := send(id)
			for range 2 {
				e.want(200, "POST", "/v1/revocations", `{"kind":"zone","ids":["`+uuid.NewString()+`"]}`, nil)
				again := send(id)
				want := first.Code
				if a.made && want == 201 {
					want = 200
				}
				if first.Code/100 != 2 || again.Code != want {
					t.Fatalf("answered %d %s, then %d %s", first.Code, first.Body, again.Code, again.Body)
				}
				if one, two := lasting(t, first, a.moment), lasting(t, again, a.moment); !reflect.DeepEqual(one, two) {
					t.Errorf("answered %v, then %v", one, two)
				}
			}
		})
	}
	e.T = t
}

// lasting is an answer without what is of the moment.
func lasting(t *testing.T, w *httptest.ResponseRecorder, moment []string) map[string]any {
	t.Helper()
	var fields map[string]any
	if w.Body.Len() == 0 {
		return nil
	}
	if err := json.Unmarshal(w.Body.Bytes(), &fields); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	for _, f := range moment {
		delete(fields, f)
	}
	return fields
}
