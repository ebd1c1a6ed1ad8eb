package cluster

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/raftstore"
)

var byTest = raftstore.Origin{By: "test"}

func (z *kumaZone) waitFor(key string, ok func(data string) bool) {
	z.t.Helper()
	Eventually(z.t, "the zone of Kuma's to have "+key, func() bool {
		data, there := z.get(key)
		return there && ok(data)
	})
}

func anything(string) bool { return true }

func (g *Global) cpToken(zone string) string {
	return g.Issue(cptoken.Claims{Kind: cptoken.ControlPlane, Zone: zone}, time.Hour)
}

// admin is the header of an administrator.
func (g *Global) admin() []string {
	return []string{"Authorization", "Bearer " + g.Issue(cptoken.Claims{Kind: cptoken.User, Name: "admin", Groups: []string{"admin"}}, time.Hour)}
}

// TestKumaZoneUnderOurGlobal: a zone of Kuma's joins with a token, has keys and
// lists, opens gates by what it acknowledges, and is shown as what it is.
func TestKumaZoneUnderOurGlobal(t *testing.T) {
	g := StartGlobal(t, quiet)
	store, ctx := g.Node.Store(), context.Background()
	z := g.joinKuma("west", kumaOption{token: g.cpToken("west")})
	z.waitFor("Config/kuma-cluster-id.", func(data string) bool { return data == store.ClusterID() })
	z.waitFor("Mesh/default.", anything)
	z.waitFor("GlobalSecret/zone-token-signing-public-key-1.", func(data string) bool {
		block, rest := pem.Decode([]byte(data))
		if block == nil || len(rest) != 0 || block.Type != "RSA PUBLIC KEY" {
			return false
		}
		_, err := x509.ParsePKCS1PublicKey(block.Bytes)
		return err == nil
	})

	// It is shown online, with its version and instance.
	var zones apitypes.List[apitypes.ZoneState]
	Eventually(t, "the zone to be online", func() bool {
		g.want(t, http.StatusOK, "GET", "/v1/zones", nil, &zones, g.admin()...)
		return len(zones.Items) == 1 && zones.Items[0].Online
	})
	if s := zones.Items[0].Sessions[0]; s.Version != "2.8.8" || s.Instance != "west-729d" || s.Meridian || s.Behind == nil || *s.Behind != 0 || !s.Authenticated {
		t.Errorf("session %+v", s)
	}
	var overview apitypes.List[apitypes.ZoneOverview]
	g.want(t, http.StatusOK, "GET", "/zones/_overview", nil, &overview, g.admin()...)
	if subs := overview.Items[0].ZoneInsight.Subscriptions; len(subs) != 1 || subs[0].DisconnectTime != nil ||
		subs[0].Version.KumaCP.Version != "2.8.8" || subs[0].Config != `{"store":{"type":"memory"}}` || subs[0].Status.Total.ResponsesSent < 6 || subs[0].Status.Total.ResponsesAcknowledged < 6 {
		t.Errorf("subscriptions %+v", subs)
	}

	// A key of zone tokens waits for it.
	z.with(func(z *kumaZone) { z.refuse["GlobalSecret"] = "no room on this device" })
	key, err := store.PrepareKey(ctx, byTest, cptoken.Zone, "")
	if err != nil {
		t.Fatal(err)
	}
	activate := apitypes.KeyStepRequest{Kind: "zone", KID: key.ID.KID}
	Eventually(t, "the refusal to be shown", func() bool {
		g.want(t, http.StatusOK, "GET", "/v1/zones", nil, &zones, g.admin()...)
		return strings.Contains(zones.Items[0].Sessions[0].Nack, "no room on this device")
	})
	if r := g.want(t, http.StatusConflict, "POST", "/v1/keys/activate", activate, nil, g.admin()...); !strings.Contains(string(r.body), "west") {
		t.Errorf("the refusal does not name the zone: %s", r.body)
	}
	z.with(func(z *kumaZone) { delete(z.refuse, "GlobalSecret") })
	lost := g.ZoneToken("west", cptoken.ScopeEgress)
	revoke(t, g, lost) // something new, with which the key comes too
	z.waitFor("GlobalSecret/zone-token-signing-public-key-2.", anything)
	parsed, err := cptoken.Parse(lost)
	if err != nil {
		t.Fatal(err)
	}
	z.waitFor("GlobalSecret/zone-token-revocations.", func(data string) bool { return data == parsed.RevocationID() })
	Eventually(t, "the gate to open", func() bool {
		r, err := g.ask("POST", "/v1/keys/activate", activate, g.admin()...)
		return err == nil && r.status == http.StatusOK
	})

	// A list of a mesh, and a key that goes.
	if _, err := store.Revoke(ctx, byTest, cptoken.Dataplane, "default", []cptoken.RevokedID{{ID: "aaaa"}, {ID: "bbb"}}, ""); err != nil {
		t.Fatal(err)
	}
	z.waitFor("Secret/dataplane-token-revocations-default.default", func(data string) bool { return data == "aaaa,bbb" })
	if _, err := store.RemoveKey(ctx, byTest, cptoken.KeyID{Kind: cptoken.Zone, KID: "1"}, raftstore.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "the removed key to go", func() bool {
		_, there := z.get("GlobalSecret/zone-token-signing-public-key-1.")
		return !there
	})

	// A mesh that is made while it is here has tokens at once; a later key of that mesh
	// waits for an operator who says that the zone's configuration has it.
	g.want(t, http.StatusCreated, "PUT", "/meshes/payments", apitypes.Mesh{Type: "Mesh", Name: "payments"}, nil, g.admin()...)
	z.waitFor("Mesh/payments.", anything)
	g.want(t, http.StatusOK, "POST", "/tokens/dataplane", apitypes.DataplaneTokenRequest{Mesh: "payments"}, nil, g.admin()...)
	next, err := store.PrepareKey(ctx, byTest, cptoken.Dataplane, "payments")
	if err != nil {
		t.Fatal(err)
	}
	step := apitypes.KeyStepRequest{Kind: "dataplane", Mesh: "payments", KID: next.ID.KID}
	if r := g.want(t, http.StatusConflict, "POST", "/v1/keys/activate", step, nil, g.admin()...); !strings.Contains(string(r.body), "kuma-zone-config") {
		t.Errorf("the refusal does not say what to do: %s", r.body)
	}
	step.Force = true
	g.want(t, http.StatusOK, "POST", "/v1/keys/activate", step, nil, g.admin()...)

	// Never a signing key, in whatever form.
	for _, key := range z.keys() {
		if strings.Contains(key, "dataplane-token-signing") || strings.Contains(key, "user-token") || strings.Contains(key, "control-plane-signing") {
			t.Errorf("the zone was sent %s", key)
		}
	}
	z.with(func(z *kumaZone) {
		if strings.Contains(string(z.bytes), "PRIVATE KEY") {
			t.Error("the zone was sent a private key")
		}
		for method, err := range z.ended {
			if method != kumaHealth || err != nil {
				t.Errorf("%s ended with %v", method, err)
			}
		}
	})
}

// TestKumaZoneReconnects: a zone that was away begins from nothing, and has what
// happened meanwhile.
func TestKumaZoneReconnects(t *testing.T) {
	g := StartGlobal(t, quiet)
	store := g.Node.Store()
	z := g.joinKuma("west", kumaOption{token: g.cpToken("west"), instance: "a"})
	z.waitFor("GlobalSecret/zone-token-signing-public-key-1.", anything)
	z.leave()
	if _, err := store.Revoke(context.Background(), byTest, cptoken.Dataplane, "default", []cptoken.RevokedID{{ID: "meanwhile"}}, ""); err != nil {
		t.Fatal(err)
	}
	g.Stop()
	g.Start()
	z = g.joinKuma("west", kumaOption{token: g.cpToken("west"), instance: "b"})
	z.waitFor("Secret/dataplane-token-revocations-default.default", func(data string) bool { return data == "meanwhile" })
	z.waitFor("Config/kuma-cluster-id.", func(data string) bool { return data == store.ClusterID() })
}

// TestHowKumaZonesAuthenticate: a token of either kind, a certificate, or nothing,
// as the zone's record says; and nobody with another zone's.
func TestHowKumaZonesAuthenticate(t *testing.T) {
	var log journal
	c := StartGlobals(t, slog.New(slog.NewTextHandler(&log, nil)), 1)
	g := c.Members[0]
	certificate := c.Certificate(tlsutil.Identity{Cluster: clusterName, Role: tlsutil.RoleZone, Name: "west"})
	for _, tt := range []struct {
		name string
		auth federation.AuthMode
		o    kumaOption
		ok   bool
	}{
		{"a control plane token", "", kumaOption{token: g.cpToken("west")}, true},
		{"a zone token of scope cp", "", kumaOption{token: g.ZoneToken("west", cptoken.ScopeCP)}, true},
		{"another zone's token", "", kumaOption{token: g.cpToken("east")}, false},
		{"a zone token of another scope", "", kumaOption{token: g.ZoneToken("west", cptoken.ScopeEgress)}, false},
		{"nothing", "", kumaOption{}, false},
		{"a certificate where a token is wanted", "", kumaOption{certificate: &certificate}, false},
		{"a certificate", federation.AuthCertificate, kumaOption{certificate: &certificate}, true},
		{"nothing where a certificate is wanted", federation.AuthCertificate, kumaOption{}, false},
		{"nothing where nothing is wanted", federation.AuthNone, kumaOption{}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			auth := string(tt.auth)
			if auth == "" {
				auth = "token"
			}
			if _, err := g.ask("PUT", "/v1/zones/west", json.RawMessage(`{"type":"Zone","name":"west","enabled":true,"auth":"`+auth+`"}`)); err != nil {
				t.Fatal(err)
			}
			before := log.String()
			z := g.joinKuma("west", tt.o)
			defer z.leave()
			if tt.ok {
				z.waitFor("GlobalSecret/zone-token-signing-public-key-1.", anything)
				Eventually(t, "the health check", func() bool { _, over := z.over(kumaHealth); return over })
				if err, _ := z.over(kumaHealth); err != nil {
					t.Errorf("the health check: %v", err)
				}
				for _, method := range append([]string{kumaDown}, kumaSilent...) {
					if err, over := z.over(method); over {
						t.Errorf("%s ended with %v", method, err)
					}
				}
				return
			}
			for _, method := range append([]string{kumaDown, kumaHealth}, kumaSilent...) {
				Eventually(t, "the refusal of "+method, func() bool { _, over := z.over(method); return over })
				err, _ := z.over(method)
				told := grpcstatus.Convert(err).Message()
				if grpcstatus.Code(err) != codes.Unauthenticated || strings.Contains(told, "authentication failed: missing_token: ") != (tt.name == "nothing" || tt.o.certificate != nil) ||
					strings.Contains(told, "missing_token") != strings.Contains(told, "auth: certificate, for a relay beside it, or with auth: none") {
					t.Errorf("%s ended with %v", method, err)
				}
			}
			if lines := strings.Count(strings.TrimPrefix(log.String(), before), "Remote CP refused"); lines != 1 {
				t.Errorf("six calls of one connection are %d lines of the log, want one", lines)
			}
			if keys := z.keys(); !slices.Equal(keys, nil) {
				t.Errorf("it was sent %q", keys)
			}
		})
	}
}

// TestNamesThatKumaAllows: a zone with an underscore in its name joins, with a token of
// its own, and is shown.
func TestNamesThatKumaAllows(t *testing.T) {
	g := StartGlobal(t, quiet)
	z := g.joinKuma("z_1", kumaOption{token: g.cpToken("z_1")})
	z.waitFor("GlobalSecret/zone-token-signing-public-key-1.", anything)
	if _, err := g.ask("PUT", "/meshes/m_1", json.RawMessage(`{"type":"Mesh","name":"m_1"}`)); err != nil {
		t.Fatal(err)
	}
	z.waitFor("Mesh/m_1.", anything)
	if _, known := g.Node.Store().Zone("z_1"); !known {
		t.Error("the zone is not recorded")
	}
}

// TestRevocationsReachKumaZonesOfEveryVersion: zones up to 2.9 look for a mesh's list
// among its secrets, later ones among global secrets; the global says which of them heed
// a list of zone tokens, and names them to who revokes one or removes a dataplane key.
func TestRevocationsReachKumaZonesOfEveryVersion(t *testing.T) {
	g := StartGlobal(t, quiet)
	old := g.joinKuma("old", kumaOption{token: g.cpToken("old"), version: "2.8.8"})
	today := g.joinKuma("today", kumaOption{token: g.cpToken("today"), version: "2.14.3"})
	Eventually(t, "both versions to be known", func() bool {
		zones, err := g.ask("GET", "/v1/zones", nil)
		return err == nil && strings.Contains(string(zones.body), `"2.8.8"`) && strings.Contains(string(zones.body), `"2.14.3"`)
	})
	if _, err := g.ask("POST", "/v1/revocations", json.RawMessage(`{"kind":"dataplane","mesh":"default","ids":["lost-1"]}`)); err != nil {
		t.Fatal(err)
	}
	lost := func(data string) bool { return data == "lost-1" }
	old.waitFor("Secret/dataplane-token-revocations-default.default", lost)
	today.waitFor("GlobalSecret/dataplane-token-revocations-default.", lost)
	var result apitypes.RevokeResult
	answer, err := g.ask("POST", "/v1/revocations", json.RawMessage(`{"kind":"zone","ids":["lost-2"]}`))
	if err == nil {
		err = json.Unmarshal(answer.body, &result)
	}
	if err != nil || len(result.Unheeding) != 1 || result.Unheeding[0] != (apitypes.UnheedingZone{Zone: "old", Version: "2.8.8", What: "lists of zone tokens"}) {
		t.Errorf("not heeded by %+v, %v", result.Unheeding, err)
	}
	today.waitFor("GlobalSecret/zone-token-revocations.", func(data string) bool { return data == "lost-2" })
}
