package cluster

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// askToken asks a zone's HTTP API for a dataplane token, as the user.
func (z *Zone) askToken(t *testing.T, user string, request apitypes.DataplaneTokenRequest) (status int, body string) {
	t.Helper()
	data, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+z.Node.Endpoints().API+"/tokens/dataplane", bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if user != "" {
		req.Header.Set("Authorization", "Bearer "+user)
	}
	client := http.Client{Timeout: Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// TestZoneRelaysTokens plays it through every layer: a user asks at the zone, the
// global issues within the zone's record and the user's role, and the zone accepts
// the token; with the global away it says so, and what was issued stays good.
func TestZoneRelaysTokens(t *testing.T) {
	var log journal
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	g := StartGlobal(t, logger)
	z := g.StartZone("west", g.KDS())
	Eventually(t, "the zone is connected", func() bool { return z.Node.Link().Connected })
	z.WaitCurrent(g)
	west := []string{cptoken.ZoneAudience("west")}
	user := g.Issue(cptoken.Claims{Kind: cptoken.User, Name: "ann", Groups: []string{"admin"}, Audience: west}, time.Hour)
	reader := g.Issue(cptoken.Claims{Kind: cptoken.User, Name: "rob", Audience: west}, time.Hour)
	everywhere := g.Issue(cptoken.Claims{Kind: cptoken.User, Name: "ann", Groups: []string{"admin"}}, time.Hour)
	elsewhere := g.Issue(cptoken.Claims{Kind: cptoken.User, Name: "ann", Groups: []string{"admin"}, Audience: []string{cptoken.ZoneAudience("east")}}, time.Hour)
	request := apitypes.DataplaneTokenRequest{Mesh: "default", Name: "dp1", Tags: map[string][]string{"kuma.io/service": {"backend"}}}
	refused := func(name string, want int, reason, user string) {
		t.Helper()
		if status, body := z.askToken(t, user, request); status != want || !strings.Contains(body, `"reason":"`+reason+`"`) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}

	refused("the record names no mesh", 403, "relay_not_allowed", user)
	g.want(t, 200, "PUT", "/v1/zones/west", map[string]any{"relay": map[string]any{"meshes": []string{"default"}}}, nil)
	refused("a user without a role", 403, "not_allowed", reader)
	refused("from loopback without a token", 401, "missing_token", "")
	refused("a forged token", 401, "malformed", "forged")

	refused("a token that is good at the global", 403, "wrong_audience", everywhere)
	refused("a token for another zone", 403, "wrong_audience", elsewhere)
	if _, body := z.askToken(t, everywhere, request); !strings.Contains(body, "global generate user-token --name ann --for-zone west") {
		t.Errorf("the refusal does not say how to get a token for the zone: %s", body)
	}
	g.want(t, 403, "GET", "/zones", nil, nil, "Authorization", "Bearer "+user)
	g.want(t, 200, "GET", "/zones", nil, nil, "Authorization", "Bearer "+everywhere)

	status, token := z.askToken(t, user, request)
	if status != 200 {
		t.Fatalf("%d %s", status, token)
	}
	proxy := map[string]any{"token": token, "proxyType": "dataplane", "mesh": "default", "name": "dp1", "tags": request.Tags}
	if verdict := z.Present(proxy); verdict != Accepted {
		t.Errorf("the zone refuses the token: %+v", verdict)
	}
	proxy["name"] = "dp2"
	if verdict := z.Present(proxy); verdict.Reason != "wrong_name" {
		t.Errorf("as another proxy: %+v", verdict)
	}
	proxy["name"] = "dp1"

	g.Stop()
	Eventually(t, "the zone noticed", func() bool { return !z.Node.Link().Connected })
	refused("the global is away", 503, "global_away", user)
	if verdict := z.Present(proxy); verdict != Accepted {
		t.Errorf("with the global away the zone refuses the token: %+v", verdict)
	}
	for _, secret := range []string{user, reader, everywhere, elsewhere, token} {
		if log.Has(secret) || log.Has(secret[strings.LastIndex(secret, ".")+1:]) {
			t.Error("a token, or its signature, stands in a log")
		}
	}
	if !log.Has("api request", "ann", "throughZone=west") || !log.Has("asked of the global, and refused", "rob", "not_allowed") {
		t.Error("the logs do not tell who asked through which zone")
	}
}
