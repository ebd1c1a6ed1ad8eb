package adminapi

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/raftstore"
)

// outcome asks what became of a request.
func (e *env) outcome(id string) (told apitypes.RequestOutcome) {
	e.Helper()
	e.want(200, "GET", "/v1/requests/"+id, "", &told)
	return told
}

// What became of a request can be asked under the id that it bore.
func TestWhatBecameOfARequest(t *testing.T) {
	e := newEnv(t)
	made, refused, several, never := uuid.NewString(), uuid.NewString(), uuid.NewString(), uuid.NewString()
	var result apitypes.RevokeResult
	e.want(200, "POST", "/v1/revocations", `{"kind":"zone","ids":["a","b"]}`, &result, "X-Request-Id", made)
	told := e.outcome(strings.ToUpper(made))
	if told.RequestID != made || told.Outcome != apitypes.OutcomeApplied || len(told.Changes) != 1 {
		t.Fatalf("what was made: %+v", told)
	}
	if c := told.Changes[0]; c.Change != "revoke" || c.Revision != result.Revision || c.Changed != 2 || c.RememberedUntil == nil || c.At == nil {
		t.Errorf("what was made: %+v, acknowledged as %+v", c, result)
	}

	e.want(409, "POST", "/v1/keys/remove", `{"kind":"zone","kid":"1","force":true}`, nil, "X-Request-Id", refused)
	if told := e.outcome(refused); told.Outcome != apitypes.OutcomeRefused || len(told.Changes) != 1 || told.Changes[0].Detail == "" {
		t.Errorf("what was refused: %+v", told)
	}

	e.want(200, "POST", "/v1/revocations", `{"kind":"zone","ids":["c"]}`, nil, "X-Request-Id", several)
	e.want(200, "POST", "/v1/revocations/withdraw", `{"kind":"zone","ids":["c"]}`, nil, "X-Request-Id", several)
	if told := e.outcome(several); told.Outcome != apitypes.OutcomeApplied || len(told.Changes) != 2 || told.Changes[1].Change != "withdraw" {
		t.Errorf("two changes: %+v", told)
	}

	if told := e.outcome(never); told.Outcome != apitypes.OutcomeUnknown || told.Changes == nil || len(told.Changes) != 0 || told.Revision == "" {
		t.Errorf("a request that never was: %+v", told)
	}
	for _, bad := range []string{"x", made + "0", "..%2f"} {
		if r := e.call("GET", "/v1/requests/"+bad, ""); r.Code == 200 {
			t.Errorf("id %q: %d %s", bad, r.Code, r.Body)
		}
	}
}

// A proxy in between gives each attempt an X-Request-Id of its own: ours counts, and
// the change has one effect.
func TestTheRequestIDSurvivesAProxy(t *testing.T) {
	e := newEnv(t)
	id := uuid.NewString()
	var first, again apitypes.RevokeResult
	for _, into := range []*apitypes.RevokeResult{&first, &again} {
		w := e.want(200, "POST", "/v1/revocations", `{"kind":"zone","ids":["a"]}`, into, apitypes.HeaderRequestID, id, "X-Request-Id", uuid.NewString())
		if w.Header().Get(apitypes.HeaderRequestID) != id {
			t.Errorf("answered as %q", w.Header().Get(apitypes.HeaderRequestID))
		}
	}
	if first.Revision != again.Revision {
		t.Errorf("two effects: %+v, %+v", first, again)
	}
	if told := e.outcome(id); told.Outcome != apitypes.OutcomeApplied || len(told.Changes) != 1 {
		t.Errorf("asked under our id: %+v", told)
	}
}

// An outcome that is unknown names the command that tells.
func TestAnUnknownOutcomeSaysHowToAsk(t *testing.T) {
	e := newEnv(t, func(cfg *Config) { cfg.Store = losing{cfg.Store} })
	id := uuid.NewString()
	var said apitypes.Error
	e.want(504, "POST", "/v1/revocations", `{"kind":"zone","ids":["a"]}`, &said, "X-Request-Id", id)
	if said.Hint != "ask what became of it: global get request "+id {
		t.Errorf("hint %q", said.Hint)
	}
}

// losing is a store that loses the leadership over each revocation.
type losing struct{ Store }

func (losing) Revoke(context.Context, raftstore.Origin, cptoken.Kind, string, []cptoken.RevokedID, string) (raftstore.Change, error) {
	return raftstore.Change{}, federation.Errorf(federation.UnknownOutcome, "it is unknown whether the change was made: %w", errors.New("leadership lost")).
		WithHint("look whether it was made, then try again")
}

// What takes something away is acknowledged again where its first answer was lost, and
// only to who asked for it.
func TestARepeatedRemovalIsAcknowledged(t *testing.T) {
	e := newEnv(t)
	e.want(201, "POST", "/v1/keys/prepare", `{"kind":"zone"}`, nil)
	e.call("PUT", "/zones/west", `{"type":"Zone","name":"west"}`)
	e.call("PUT", "/meshes/demo", `{"type":"Mesh","name":"demo"}`)
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/v1/keys/remove", `{"kind":"zone","kid":"2"}`},
		{"DELETE", "/zones/west", ""},
		{"DELETE", "/global-secrets/zone-token-signing-key-3", ""},
		{"DELETE", "/meshes/demo", ""},
	} {
		if strings.HasSuffix(c.path, "-3") {
			e.want(201, "POST", "/v1/keys/prepare", `{"kind":"zone"}`, nil)
		}
		id := uuid.NewString()
		first := e.call(c.method, c.path, c.body, "X-Request-Id", id)
		again := e.call(c.method, c.path, c.body, "X-Request-Id", id)
		if first.Code != 200 || again.Code != 200 {
			t.Errorf("%s %s: %d, then %d %s", c.method, c.path, first.Code, again.Code, again.Body)
		}
		if r := e.call(c.method, c.path, c.body, "X-Request-Id", uuid.NewString()); r.Code != 404 {
			t.Errorf("%s %s under another id: %d %s", c.method, c.path, r.Code, r.Body)
		}
	}
}

// TestRequestsBelongToWhoMadeThem: what became of a request is told to who made it and to
// administrators. For others, whatever they may do, it never was.
func TestRequestsBelongToWhoMadeThem(t *testing.T) {
	e := bound(t, access.Binding{Role: access.Revoker, Users: []string{"ann", "bob"}})
	tokens := map[string]string{}
	for _, name := range []string{"ann", "bob"} {
		tokens[name] = e.token("user", apitypes.UserTokenRequest{Name: name})
	}
	made, byAdmin := uuid.NewString(), uuid.NewString()
	if status, answer := e.as(tokens["ann"], "POST", "/v1/revocations", `{"kind":"zone","ids":["a"]}`, "X-Request-Id", made); status != 200 {
		t.Fatalf("%d %s", status, answer)
	}
	e.want(200, "POST", "/v1/revocations", `{"kind":"zone","ids":["b"]}`, nil, "X-Request-Id", byAdmin)
	for _, tt := range []struct{ user, id, want string }{
		{"ann", made, apitypes.OutcomeApplied}, {"bob", made, apitypes.OutcomeUnknown},
		{"ann", byAdmin, apitypes.OutcomeUnknown}, {"bob", byAdmin, apitypes.OutcomeUnknown},
	} {
		status, answer := e.as(tokens[tt.user], "GET", "/v1/requests/"+tt.id, nil)
		if status != 200 || !strings.Contains(answer, `"outcome":"`+tt.want+`"`) {
			t.Errorf("%s asks: %d %s, want %s", tt.user, status, answer, tt.want)
		}
	}
	for _, id := range []string{made, byAdmin} {
		if told := e.outcome(id); told.Outcome != apitypes.OutcomeApplied {
			t.Errorf("an administrator asks: %+v", told)
		}
	}
}
