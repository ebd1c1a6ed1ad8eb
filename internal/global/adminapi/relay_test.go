package adminapi

import (
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// TestRelayBounds: the zone's record bounds what a zone may ask for, and the user's
// role what the user gets, in whichever zone they ask.
func TestRelayBounds(t *testing.T) {
	e := newEnv(t)
	e.want(201, "PUT", "/meshes/shop", `{}`, nil)
	e.want(201, "PUT", "/v1/zones/west", `{"relay":{"meshes":["default"]}}`, nil)
	e.want(201, "PUT", "/v1/zones/east", `{"relay":{"meshes":["default","shop","gone"],"maxValidity":"720h"}}`, nil)
	e.want(201, "PUT", "/zones/north", `{}`, nil)
	e.want(201, "PUT", "/v1/zones/south", `{"enabled":false,"relay":{"meshes":["default"]}}`, nil)
	admin := e.want(200, "POST", "/tokens/user", `{"name":"ann","groups":["admin"],"forZone":["west","east","north","south","nowhere"]}`, nil).Body.String()
	reader := e.want(200, "POST", "/tokens/user", `{"name":"rob","forZone":["west","east","north","south","nowhere"]}`, nil).Body.String()
	revoked := e.want(200, "POST", "/tokens/user", `{"name":"eve","groups":["admin"],"forZone":["west","east","north","south","nowhere"]}`, nil).Body.String()
	e.want(200, "POST", "/v1/revocations", `{"token":"`+revoked+`"}`, nil)
	everywhere := e.want(200, "POST", "/tokens/user", `{"name":"ann","groups":["admin"]}`, nil).Body.String()
	east := e.want(200, "POST", "/tokens/user", `{"name":"ann","groups":["admin"],"forZone":["east"]}`, nil).Body.String()
	zoneToken := e.want(200, "POST", "/tokens/zone", `{"zone":"west"}`, nil).Body.String()
	ask := func(mesh, validFor string) apitypes.DataplaneTokenRequest {
		return apitypes.DataplaneTokenRequest{Mesh: mesh, Name: "dp1", ValidFor: validFor}
	}
	for name, tt := range map[string]struct {
		zone, user string
		request    apitypes.DataplaneTokenRequest
		reason     string
		life       time.Duration
	}{
		"silent, 24h":          {"west", admin, ask("default", ""), "", 24 * time.Hour},
		"within 24h":           {"west", admin, ask("default", "2h"), "", 2 * time.Hour},
		"longer than 24h":      {"west", admin, ask("default", "25h"), "too_long", 0},
		"as the record says":   {"east", admin, ask("shop", "720h"), "", 720 * time.Hour},
		"silent, as it says":   {"east", admin, ask("shop", ""), "", 720 * time.Hour},
		"longer than it says":  {"east", admin, ask("shop", "721h"), "too_long", 0},
		"a mesh that is gone":  {"east", admin, ask("gone", ""), "", -1},
		"another mesh":         {"west", admin, ask("shop", ""), "relay_not_allowed", 0},
		"no mesh":              {"west", admin, ask("", ""), "relay_not_allowed", 0},
		"a zone without relay": {"north", admin, ask("default", ""), "relay_not_allowed", 0},
		"a disabled zone":      {"south", admin, ask("default", ""), "zone_disabled", 0},
		"an unknown zone":      {"nowhere", admin, ask("default", ""), "relay_not_allowed", 0},
		"a user without role":  {"west", reader, ask("default", ""), "not_allowed", 0},
		"a revoked user token": {"west", revoked, ask("default", ""), "revoked", 0},
		"good at the global":   {"west", everywhere, ask("default", ""), "wrong_audience", 0},
		"for another zone":     {"west", east, ask("default", ""), "wrong_audience", 0},
		"the zone's own token": {"west", zoneToken, ask("default", ""), "wrong_kind", 0},
		"no token":             {"west", "", ask("default", ""), "malformed", 0},
		"two tokens":           {"west", admin + " " + admin, ask("default", ""), "malformed", 0},
		"no duration":          {"west", admin, ask("default", "1d"), "", -1},
	} {
		token, _, err := e.api.RelayDataplaneToken(t.Context(), Relayed{Zone: tt.zone, UserToken: tt.user, Request: tt.request})
		log := e.log.take()
		for _, secret := range []string{admin, reader, revoked, everywhere, east, token} {
			if secret != "" && strings.Contains(log, secret) {
				t.Fatalf("%s: a token stands in the log", name)
			}
		}
		if tt.life == -1 { // the request is wrong in itself
			if federation.CodeOf(err) != federation.Invalid {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if got := federation.AsError(err); (err == nil) != (tt.reason == "") || err != nil && got.Reason != tt.reason {
			t.Errorf("%s: %v, want reason %q", name, err, tt.reason)
			continue
		}
		if err != nil {
			if !strings.Contains(log, `"throughZone":"`+tt.zone+`"`) || !strings.Contains(log, tt.reason) {
				t.Errorf("%s: the log does not tell: %s", name, log)
			}
			continue
		}
		c, err := e.verify(cptoken.Dataplane, token)
		if err != nil || c.ExpiresAt.Sub(c.IssuedAt) != tt.life || c.Mesh != tt.request.Mesh || c.Name != "dp1" {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
		if !strings.Contains(log, c.ID) || !strings.Contains(log, `"caller":"ann"`) {
			t.Errorf("%s: the log does not tell who got which token: %s", name, log)
		}
	}
}
