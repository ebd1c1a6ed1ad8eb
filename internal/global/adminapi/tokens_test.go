package adminapi

import (
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// verify holds a token of any kind against the store, as who is shown it would.
func (e *env) verify(kind cptoken.Kind, token string) (*cptoken.Claims, error) {
	if kind == cptoken.ControlPlane {
		return issue.VerifyControlPlane(token, e.store, e.store.View(), time.Now())
	}
	return e.api.cfg.Verifier.Verify(e.store.View(), kind, token)
}

func TestIssue(t *testing.T) {
	e := newEnv(t)
	tests := []struct {
		name, path, body string
		kind             cptoken.Kind
		check            func(c *cptoken.Claims) bool
		validity         time.Duration
	}{
		{"control plane", "control-plane", `{"zone":"west"}`, cptoken.ControlPlane,
			func(c *cptoken.Claims) bool { return c.Zone == "west" && c.TokenSerialNumber == 1 }, cptoken.DefaultValidity},
		{"control plane, short", "control-plane", `{"zone":"west","validFor":"90s"}`, cptoken.ControlPlane,
			func(c *cptoken.Claims) bool { return c.Zone == "west" }, 90 * time.Second},
		{"zone", "zone", `{"zone":"west"}`, cptoken.Zone,
			func(c *cptoken.Claims) bool {
				return c.Zone == "west" && c.CheckZoneProxy("west", cptoken.ScopeEgress) == nil && c.CheckZoneProxy("west", cptoken.ScopeIngress) == nil &&
					c.CheckZoneProxy("west", cptoken.ScopeCP) != nil
			}, cptoken.DefaultValidity},
		{"zone, as kumactl asks", "zone", `{"zone":"west","scope":["egress"],"validFor":"720h0m0s"}`, cptoken.Zone,
			func(c *cptoken.Claims) bool {
				return c.CheckZoneProxy("west", cptoken.ScopeEgress) == nil && c.CheckZoneProxy("west", cptoken.ScopeIngress) != nil
			}, 720 * time.Hour},
		{"dataplane", "dataplane", `{"mesh":"default","name":"dp1","tags":{"kuma.io/service":["a","b"]},"type":"dataplane","validFor":"1h"}`, cptoken.Dataplane,
			func(c *cptoken.Claims) bool {
				return c.Mesh == "default" && c.Name == "dp1" && len(c.Tags["kuma.io/service"]) == 2
			}, time.Hour},
		{"dataplane of a mesh alone", "dataplane", `{"mesh":"default"}`, cptoken.Dataplane,
			func(c *cptoken.Claims) bool { return c.Mesh == "default" && c.Name == "" && len(c.Tags) == 0 }, cptoken.DefaultValidity},
		{"user", "user", `{"name":"john","groups":["a","b"],"validFor":"1h"}`, cptoken.User,
			func(c *cptoken.Claims) bool { return c.Name == "john" && len(c.Groups) == 2 }, time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := &env{T: t, admin: e.admin, store: e.store, api: e.api}
			revision, applied := e.head(), e.store.Applied()
			w := e.want(200, "POST", "/tokens/"+tt.path, tt.body, nil)
			if ct := w.Header().Get("Content-Type"); !strings.HasPrefix(ct, "text/plain") {
				t.Errorf("Content-Type %q, want text/plain", ct)
			}
			if w.Header().Get("Cache-Control") != "no-store" {
				t.Error("a cache may keep the token")
			}
			claims, err := e.verify(tt.kind, w.Body.String())
			if err != nil {
				t.Fatalf("the token, alone in the answer, is refused: %v", err)
			}
			if !tt.check(claims) || claims.ExpiresAt.Sub(claims.IssuedAt) != tt.validity {
				t.Errorf("claims %+v", claims)
			}
			if e.head() != revision || e.store.Applied() != applied {
				t.Error("issuing wrote something")
			}
		})
	}
}

func TestIssuingLeavesOnlyTheIDInTheLog(t *testing.T) {
	e := newEnv(t)
	e.log.take()
	token := e.token("zone", `{"zone":"west"}`)
	claims, err := e.verify(cptoken.Zone, token)
	if err != nil {
		t.Fatal(err)
	}
	log := e.log.take()
	if !strings.Contains(log, claims.ID) || !strings.Contains(log, `"zone":"west"`) || !strings.Contains(log, `"caller":"admin socket"`) {
		t.Errorf("the log does not say who issued what: %s", log)
	}
	for part := range strings.SplitSeq(token, ".") {
		if strings.Contains(log, part) {
			t.Errorf("a part of the token is in the log: %s", log)
		}
	}
	if strings.Count(strings.TrimSpace(log), "\n") != 0 {
		t.Errorf("more than one line: %s", log)
	}
}

func TestBadIssuing(t *testing.T) {
	e := newEnv(t)
	long := strings.Repeat("a", 64)
	tests := []struct{ name, path, body, field string }{
		{"no zone", "control-plane", `{}`, "zone"},
		{"bad zone", "control-plane", `{"zone":"West"}`, "zone"},
		{"long zone", "control-plane", `{"zone":"` + long + `"}`, "zone"},
		{"zone is a number", "control-plane", `{"zone":1}`, "zone"},
		{"scope on a control plane token", "control-plane", `{"zone":"west","scope":["cp"]}`, "scope"},
		{"unreadable validity", "control-plane", `{"zone":"west","validFor":"tomorrow"}`, "validFor"},
		{"negative validity", "zone", `{"zone":"west","validFor":"-1h"}`, "validFor"},
		{"no validity", "zone", `{"zone":"west","validFor":"0s"}`, "validFor"},
		{"too long validity", "zone", `{"zone":"west","validFor":"2000000h"}`, "validFor"},
		{"overflowing validity", "zone", `{"zone":"west","validFor":"99999999999h"}`, "validFor"},
		{"validity is a number", "zone", `{"zone":"west","validFor":720}`, "validFor"},
		{"no zone in a zone token", "zone", `{"scope":["egress"]}`, "zone"},
		{"unknown mesh", "dataplane", `{"mesh":"nowhere"}`, "mesh"},
		{"no mesh", "dataplane", `{"name":"dp1"}`, "mesh"},
		{"unknown type", "dataplane", `{"mesh":"default","type":"sidecar"}`, "type"},
		{"tags are a list", "dataplane", `{"mesh":"default","tags":["a"]}`, "tags"},
		{"no name", "user", `{"groups":["admin"]}`, "name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := &env{T: t, admin: e.admin}
			e.badField(tt.field, "POST", "/tokens/"+tt.path, tt.body)
		})
	}
	if got := e.refused(400, "POST", "/tokens/zone", `{"zone":"west","scope":["egress","admin"]}`); !strings.HasPrefix(got.InvalidParameters[0].Field, "scope") {
		t.Errorf("unknown scope: %+v", got)
	}
	e.refused(404, "POST", "/tokens/nothing", `{}`)
}

func TestNoControlPlaneTokenForAZoneThatMayNotJoin(t *testing.T) {
	e := newEnv(t)
	e.want(201, "PUT", "/zones/off", `{"enabled":false}`, nil)
	e.want(201, "PUT", "/zones/gone", `{}`, nil)
	e.want(200, "DELETE", "/zones/gone", nil, nil)
	for zone, reason := range map[string]string{"off": "zone_disabled", "gone": "zone_deleted"} {
		for _, r := range []struct {
			kind string
			body any
		}{
			{"control-plane", apitypes.ControlPlaneTokenRequest{Zone: zone}},
			{"zone", apitypes.ZoneTokenRequest{Zone: zone, Scope: []string{"cp"}}},
		} {
			got := e.refused(409, "POST", "/tokens/"+r.kind, r.body)
			if got.Reason != reason || got.Hint == "" || !strings.Contains(got.Detail, zone) {
				t.Errorf("%s token for %s: %+v", r.kind, zone, got)
			}
		}
		// Its proxies are another matter.
		e.token("zone", apitypes.ZoneTokenRequest{Zone: zone})
	}
}
