package adminapi

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// A new mesh's key is as much a key as any other: it signs when zones have it.
func TestFirstKeyOfAMeshWaitsForZones(t *testing.T) {
	e := newEnv(t)
	e.report(e.session("west", 0))
	e.want(201, "PUT", "/meshes/demo", `{}`, nil)
	e.key(cptoken.Dataplane, "demo", cptoken.Prepared)
	if w := e.call("POST", "/tokens/dataplane", `{"mesh":"demo"}`); w.Code < 400 || w.Code == 500 {
		t.Fatalf("a token of a key that west lacks: %d %s", w.Code, w.Body)
	}
	e.key(cptoken.Dataplane, "demo", cptoken.Prepared)
	e.report(e.session("west", 0))
	token := e.token("dataplane", `{"mesh":"demo"}`)
	if _, err := e.verify(cptoken.Dataplane, token); err != nil {
		t.Error(err)
	}
	e.key(cptoken.Dataplane, "demo", cptoken.Active)

	// What an operator retired stays so.
	e.want(200, "POST", "/v1/keys/retire", `{"kind":"dataplane","mesh":"demo","kid":"1","force":true}`, nil)
	e.want(201, "POST", "/v1/keys/prepare", `{"kind":"dataplane","mesh":"demo"}`, nil)
	e.report(e.session("west", 0))
	if w := e.call("POST", "/tokens/dataplane", `{"mesh":"demo"}`); w.Code < 400 {
		t.Errorf("asking for a token activated a key: %s", w.Body)
	}
	e.key(cptoken.Dataplane, "demo", cptoken.Prepared)
}

func TestPutMeshAgainActivatesItsKey(t *testing.T) {
	e := newEnv(t)
	e.report(e.session("west", 0))
	e.want(201, "PUT", "/meshes/demo", `{}`, nil)
	e.report(e.session("west", 0))
	e.want(200, "PUT", "/meshes/demo", `{}`, nil)
	e.key(cptoken.Dataplane, "demo", cptoken.Active)
}

// A PUT of a key answers when the last zone has acknowledged it.
func TestImportWaitsForZones(t *testing.T) {
	e := newEnv(t, func(c *Config) { c.ImportWait = time.Hour })
	_, text := newRSA(t)
	e.report(e.session("west", 0))
	watch := e.store.Watch()
	answered := make(chan *httptest.ResponseRecorder, 1)
	go func() {
		answered <- e.call("PUT", "/global-secrets/zone-token-signing-key-2", secretWith(text))
	}()
	select {
	case <-watch: // the key is prepared
	case w := <-answered:
		t.Fatalf("answered before the key was there: %d %s", w.Code, w.Body)
	}
	e.key(cptoken.Zone, "", cptoken.Prepared)
	e.report(e.session("west", 0))
	if w := <-answered; w.Code != 201 || !strings.Contains(w.Body.String(), `"active"`) {
		t.Errorf("answer %d %s, want the active key", w.Code, w.Body)
	}
}

// follow makes an API one of a member that does not lead.
func follow(c *Config) { c.Store, c.Leads = follower{c.Store}, func() bool { return false } }

// follower is a store that leads nothing.
type follower struct{ Store }

func (follower) Leader() (id, addr string) { return "node-9", "192.0.2.9:5683" }

// Only the leader hears from all members, so only it may judge a gate.
func TestGatesAreTheLeaders(t *testing.T) {
	e := newEnv(t)
	_, text := newRSA(t)
	e.want(201, "POST", "/v1/keys/prepare", `{"kind":"zone"}`, nil)
	cfg := e.api.cfg
	cfg.Store = e.store
	follow(&cfg)
	e.admin = New(cfg).Handler(Socket)
	for _, r := range [][2]string{
		{"POST /v1/keys/activate", `{"kind":"zone","kid":"2"}`},
		{"POST /v1/keys/activate", `{"kind":"zone","kid":"2","force":true}`},
		{"PUT /global-secrets/zone-token-signing-key-3", secretWith(text)},
	} {
		method, path, _ := strings.Cut(r[0], " ")
		w := e.call(method, path, r[1])
		if w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "not_leader") || !strings.Contains(w.Body.String(), "192.0.2.9:5683") {
			t.Errorf("%s: %d %s, want 503 naming the leader", r[0], w.Code, w.Body)
		}
	}
	// Reading is any node's.
	e.want(200, "GET", "/v1/keys/zone/2/holding", nil, nil)
	e.token("zone", `{"zone":"west"}`)
	if len(e.store.Keys()) != 5 {
		t.Error("a refused write made a key")
	}
}

// crowded is a store with a list that is too long for a secret.
type crowded struct{ Store }

func (c crowded) RevocationCount(kind cptoken.Kind, mesh string) int {
	if kind == cptoken.Zone {
		return maxShown + 1
	}
	return c.Store.RevocationCount(kind, mesh)
}

func TestListsTooLongToShow(t *testing.T) {
	e := newEnv(t)
	e.want(200, "POST", "/v1/revocations", `{"kind":"zone","ids":["a"]}`, nil)
	cfg := e.api.cfg
	cfg.Store = crowded{e.store}
	e.admin = New(cfg).Handler(Socket)
	const path = "/global-secrets/zone-token-revocations"
	if got := e.refused(413, "GET", path, nil); !strings.Contains(got.Hint, "/v1/revocations?kind=zone") {
		t.Errorf("refused with %+v", got)
	}
	var list apitypes.List[apitypes.Secret]
	e.want(200, "GET", "/global-secrets", nil, &list)
	if list.Total != 4 {
		t.Errorf("%d secrets, want 4", list.Total)
	}
	// It can be added to, and not withdrawn from unseen.
	var change apitypes.SecretChange
	e.want(200, "PUT", path, secretWith([]byte("b")), &change)
	if change.Added != 1 || change.Withdrawn != 0 {
		t.Errorf("answer %+v", change)
	}
	e.refused(413, "PUT", path, secretWith([]byte("b")), "If-Match", `"x"`)
	e.refused(409, "DELETE", path, nil)
	if n := e.store.RevocationCount(cptoken.Zone, ""); n != 2 {
		t.Errorf("%d ids are revoked, want 2", n)
	}
}
