package adminapi

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/fleet"
)

func TestListKeys(t *testing.T) {
	e := newEnv(t)
	var list apitypes.List[apitypes.Key]
	w := e.want(200, "GET", "/v1/keys", nil, &list)
	var names []string
	for _, k := range list.Items {
		names = append(names, k.Name)
		if k.State != "active" || len(k.Fingerprint) != 64 || k.KID != "1" || k.Serial != 1 || k.Created == nil || k.Active == nil {
			t.Errorf("key %+v", k)
		}
	}
	want := []string{"control-plane-signing-key-0001", "zone-token-signing-key-1", "dataplane-token-signing-key-default-1", "user-token-signing-key-1"}
	slices.Sort(want)
	slices.Sort(names)
	if !slices.Equal(names, want) || list.Total != 4 {
		t.Errorf("keys %v of %d, want %v", names, list.Total, want)
	}
	if strings.Contains(w.Body.String(), "PRIVATE") {
		t.Error("a private key is shown")
	}
}

// The whole life of a key, with a zone that has to take each step first.
func TestRotation(t *testing.T) {
	e := newEnv(t)
	e.want(201, "PUT", "/zones/west", `{}`, nil)
	e.want(201, "PUT", "/zones/away", `{}`, nil)
	e.want(201, "PUT", "/zones/off", `{"enabled":false}`, nil)
	old := e.token("zone", `{"zone":"west"}`)
	before := e.session("west", 0)
	e.report(before)

	var key apitypes.Key
	e.want(201, "POST", "/v1/keys/prepare", `{"kind":"zone-token"}`, &key)
	if key.State != "prepared" || key.KID != "2" || key.Kind != "zone" || key.By != "admin socket" || key.Active != nil {
		t.Fatalf("prepared key %+v", key)
	}
	var again apitypes.Key
	e.want(200, "POST", "/v1/keys/prepare", `{"kind":"zone"}`, &again)
	if again.KID != "2" {
		t.Errorf("a second key was prepared: %+v", again)
	}

	var h apitypes.KeyHolding
	e.want(200, "GET", "/v1/keys/zone-token/2/holding", nil, &h)
	if h.Open || !slices.Equal(h.Waiting, []string{"west"}) || !slices.Equal(h.Offline, []string{"away"}) || len(h.Held) != 0 || len(h.Members) != 0 || h.Key.KID != "2" {
		t.Errorf("holding %+v, want west waiting and away offline", h)
	}
	got := e.refused(409, "POST", "/v1/keys/activate", `{"kind":"zone","kid":"2"}`)
	if got.Reason != "not_held" || !strings.Contains(got.Detail, "west") || strings.Contains(got.Detail, "away") || got.Hint == "" {
		t.Errorf("activation is refused with %+v, want not_held naming west", got)
	}
	if e.key(cptoken.Zone, "", cptoken.Active).Serial != 1 {
		t.Fatal("a refused activation took effect")
	}

	e.report(e.session("west", 0))
	var change apitypes.KeyChange
	e.want(200, "POST", "/v1/keys/activate", `{"kind":"zone","kid":"2"}`, &change)
	if change.Key.State != "active" || change.Holding == nil || !slices.Equal(change.Holding.Held, []string{"west"}) {
		t.Errorf("activated %+v", change)
	}
	e.want(200, "POST", "/v1/keys/activate", `{"kind":"zone","kid":"2"}`, nil) // as good
	fresh := e.token("zone", `{"zone":"west"}`)
	for name, token := range map[string]string{"old": old, "new": fresh} {
		if _, err := e.verify(cptoken.Zone, token); err != nil {
			t.Errorf("the %s token is refused after the rotation: %v", name, err)
		}
	}

	retiring := e.key(cptoken.Zone, "", cptoken.Retiring)
	if retiring.Serial != 1 {
		t.Fatalf("retiring is %+v, want key 1", retiring)
	}
	got = e.refused(409, "POST", "/v1/keys/remove", `{"kind":"zone","kid":"1"}`)
	if got.Reason != "still_valid" || !strings.Contains(got.Detail, "issued from") {
		t.Errorf("removal is refused with %+v, want still_valid saying what it would cut", got)
	}
	e.refused(409, "POST", "/v1/keys/remove", `{"kind":"zone","kid":"2","force":true}`)
	e.refused(409, "POST", "/v1/keys/activate", `{"kind":"zone","kid":"1","force":true}`)

	change = apitypes.KeyChange{}
	e.want(200, "POST", "/v1/keys/remove", `{"kind":"zone","kid":"1","force":true}`, &change)
	if change.Key.State != "removed" || !strings.Contains(change.CutOff, "zone-token") {
		t.Errorf("removed %+v", change)
	}
	if _, err := e.verify(cptoken.Zone, old); cptoken.ReasonOf(err) != cptoken.UnknownKey {
		t.Errorf("the removed key's token: %v, want unknown_key", err)
	}
	if _, err := e.verify(cptoken.Zone, fresh); err != nil {
		t.Errorf("the new token is refused: %v", err)
	}
	e.refused(404, "POST", "/v1/keys/remove", `{"kind":"zone","kid":"1","force":true}`)
	e.refused(404, "GET", "/v1/keys/zone/1/holding", nil)
}

func TestForceAndMembers(t *testing.T) {
	e := newEnv(t)
	e.report(e.session("west", 0))
	e.want(201, "POST", "/v1/keys/prepare", `{"kind":"dataplane","mesh":"default"}`, nil)
	e.refused(409, "POST", "/v1/keys/activate", `{"kind":"dataplane","mesh":"default","kid":"2"}`)
	e.log.take()
	e.want(200, "POST", "/v1/keys/activate", `{"kind":"dataplane","mesh":"default","kid":"2","force":true}`, nil)
	if log := e.log.take(); !strings.Contains(log, `"force":true`) || !strings.Contains(log, "dataplane/default/2") {
		t.Errorf("the log does not say that the step was forced: %s", log)
	}

	// A member that did not apply it blocks every kind.
	e.want(201, "POST", "/v1/keys/prepare", `{"kind":"user"}`, nil)
	e.fleet.Update(fleet.Report{Member: e.store.NodeID(), Applied: 1})
	got := e.refused(409, "POST", "/v1/keys/activate", `{"kind":"user","kid":"2"}`)
	if got.Reason != "not_held" || !strings.Contains(got.Detail, e.store.NodeID()) {
		t.Errorf("refused with %+v, want the member named", got)
	}
	// But zones do not block an operator's key.
	e.report(e.session("west", 5))
	e.want(200, "POST", "/v1/keys/activate", `{"kind":"user","kid":"2"}`, nil)

	// Removal waits for members, not for zones.
	e.fleet.Update(fleet.Report{Member: e.store.NodeID(), Applied: 1, Sessions: []fleet.Session{e.session("west", 5)}})
	var h apitypes.KeyHolding
	e.want(200, "GET", "/v1/keys/dataplane/1/holding?mesh=default", nil, &h)
	if h.Open || len(h.Members) != 1 {
		t.Errorf("holding of a retiring key %+v, want it to wait for the member", h)
	}
	e.report(e.session("west", 5))
	e.want(200, "GET", "/v1/keys/dataplane/1/holding?mesh=default", nil, &h)
	if !h.Open || len(h.Waiting) != 1 {
		t.Errorf("holding of a retiring key %+v, want it open although west waits", h)
	}
	e.want(200, "POST", "/v1/keys/remove", `{"kind":"dataplane","mesh":"default","kid":"1","compromised":true}`, nil)
}

func TestRemoveAKeyThatNeverSigned(t *testing.T) {
	e := newEnv(t)
	e.want(201, "POST", "/v1/keys/prepare", `{"kind":"control-plane"}`, nil)
	var change apitypes.KeyChange
	e.want(200, "POST", "/v1/keys/remove", `{"kind":"control-plane-token","kid":"2"}`, &change)
	if !strings.Contains(change.CutOff, "nothing") {
		t.Errorf("cut off %q, want nothing", change.CutOff)
	}
	// Its serial is spent.
	var key apitypes.Key
	e.want(201, "POST", "/v1/keys/prepare", `{"kind":"control-plane"}`, &key)
	if key.KID != "3" {
		t.Errorf("the next key is %s, want 3", key.KID)
	}
}

func TestRetire(t *testing.T) {
	e := newEnv(t)
	var change apitypes.KeyChange
	got := e.refused(409, "POST", "/v1/keys/retire", `{"kind":"zone","kid":"1"}`)
	if got.Reason != "only_key" || !strings.Contains(got.Hint, "rotate") || e.key(cptoken.Zone, "", cptoken.Active).Serial != 1 {
		t.Errorf("retiring the only key is refused with %+v", got)
	}
	e.want(200, "POST", "/v1/keys/retire", `{"kind":"zone","kid":"1","force":true}`, &change)
	if change.Key.State != "retiring" {
		t.Errorf("retired %+v", change)
	}
	e.want(200, "POST", "/v1/keys/retire", `{"kind":"zone","kid":"1"}`, nil)
	// Nothing signs now, and that is said.
	w := e.call("POST", "/tokens/zone", `{"zone":"west"}`)
	if w.Code < 400 || w.Code == 500 {
		t.Errorf("issuing without a key: %d %s", w.Code, w.Body)
	}
}

func TestBadKeyRequests(t *testing.T) {
	e := newEnv(t)
	tests := []struct{ name, path, body, field string }{
		{"no kind", "prepare", `{}`, "kind"},
		{"unknown kind", "prepare", `{"kind":"root"}`, "kind"},
		{"mesh missing", "prepare", `{"kind":"dataplane"}`, "mesh"},
		{"mesh unknown", "prepare", `{"kind":"dataplane","mesh":"nowhere"}`, "mesh"},
		{"mesh where none is", "prepare", `{"kind":"zone","mesh":"default"}`, "mesh"},
		{"no kid", "activate", `{"kind":"zone"}`, "kid"},
		{"long kid", "retire", `{"kind":"zone","kid":"` + strings.Repeat("1", 200) + `"}`, "kid"},
		{"kid is a number", "remove", `{"kind":"zone","kid":1}`, "kid"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := &env{T: t, admin: e.admin}
			e.badField(tt.field, "POST", "/v1/keys/"+tt.path, tt.body)
		})
	}
	for _, step := range []string{"activate", "retire", "remove"} {
		e.refused(404, "POST", "/v1/keys/"+step, `{"kind":"zone","kid":"99"}`)
	}
	e.refused(404, "GET", "/v1/keys/zone/99/holding", nil)
	e.badField("kind", "GET", "/v1/keys/root/1/holding", nil)
	e.badField("mesh", "GET", "/v1/keys/dataplane/1/holding", nil)
}

// A token of the old key is issued while a newer one waits, and the answer says so.
func TestANewerKeyWaits(t *testing.T) {
	e := newEnv(t)
	waiting := func(kind, body string) string {
		return e.want(200, "POST", "/tokens/"+kind, body, nil).Header().Get(apitypes.HeaderKeyWaiting)
	}
	if got := waiting("zone", `{"zone":"west"}`); got != "" {
		t.Errorf("%q waits, and nothing was prepared", got)
	}
	e.want(201, "POST", "/v1/keys/prepare", `{"kind":"zone"}`, nil)
	if got := waiting("zone", `{"zone":"west"}`); got != "zone-token-signing-key-2" {
		t.Errorf("%q waits, want key 2", got)
	}
	if got := waiting("user", `{"name":"jo"}`); got != "" {
		t.Errorf("%q waits for user tokens", got)
	}
	e.want(200, "POST", "/v1/keys/activate", `{"kind":"zone","kid":"2"}`, nil)
	if got := waiting("zone", `{"zone":"west"}`); got != "" {
		t.Errorf("%q waits after its activation", got)
	}
}

// A compromised key is removed at once, and the answer tells who has dropped it.
func TestRemoveCompromised(t *testing.T) {
	for _, kind := range cptoken.Kinds {
		if kind.AtZones() {
			t.Run(string(kind), func(t *testing.T) { removeCompromised(t, kind) })
		}
	}
}

func removeCompromised(t *testing.T, kind cptoken.Kind) {
	e := newEnv(t, func(c *Config) { c.ImportWait = 5 * time.Second })
	key := `{"kind":"` + string(kind) + `"`
	if kind.PerMesh() {
		key += `,"mesh":"default"`
	}
	e.want(201, "PUT", "/zones/away", `{}`, nil)
	e.want(201, "POST", "/v1/keys/prepare", key+`}`, nil)
	e.want(200, "POST", "/v1/keys/activate", key+`,"kid":"2"}`, nil)
	before := e.head()
	e.report(e.session("west", 0))
	acknowledged := make(chan struct{})
	go func() { // west acknowledges a moment later
		defer close(acknowledged)
		for {
			changed := e.store.Watch()
			if e.head() != before {
				break
			}
			<-changed
		}
		e.report(e.session("west", 0))
	}()
	var change apitypes.KeyChange
	e.want(200, "POST", "/v1/keys/remove", key+`,"kid":"1","compromised":true}`, &change)
	<-acknowledged
	if h := change.Holding; h == nil || !slices.Equal(h.Held, []string{"west"}) || !slices.Equal(h.Offline, []string{"away"}) || len(h.Waiting) != 0 {
		t.Errorf("holding %+v, want west to have dropped it and away to be named", h)
	}
}

// TestHintsNameTheMesh: a hint that has somebody rotate the key of a mesh names that mesh.
func TestHintsNameTheMesh(t *testing.T) {
	e := newEnv(t)
	e.want(201, "PUT", "/meshes/payments", `{}`, nil)
	const key = `{"kind":"dataplane","mesh":"payments","kid":"1"`
	for _, tt := range []struct{ path, body string }{
		{"/v1/keys/remove", key + `,"force":true}`},
		{"/v1/keys/retire", key + `}`},
	} {
		if w := e.want(409, "POST", tt.path, tt.body, nil); !strings.Contains(w.Body.String(), "global keys rotate dataplane-token --mesh payments") {
			t.Errorf("%s: %s", tt.path, w.Body)
		}
	}
	e.want(200, "POST", "/v1/keys/retire", key+`,"force":true}`, nil)
	for path, body := range map[string]string{"/v1/keys/activate": key + `}`, "/tokens/dataplane": `{"mesh":"payments"}`} {
		if w := e.want(409, "POST", path, body, nil); !strings.Contains(w.Body.String(), "global keys rotate dataplane-token --mesh payments") {
			t.Errorf("%s: %s", path, w.Body)
		}
	}
}
