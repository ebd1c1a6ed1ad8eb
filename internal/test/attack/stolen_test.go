package attack

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/internal/test/cluster"
)

// clusterName is that of testcluster's certificates.
const clusterName = "test"

// routes are a sample of everything that the APIs do, reading and writing.
var routes = []struct{ method, path, body string }{
	{"GET", "/", ""},
	{"GET", "/v1/status", ""},
	{"GET", "/zones", ""},
	{"PUT", "/zones/east", `{"type":"Zone","name":"east"}`},
	{"DELETE", "/zones/west", ""},
	{"GET", "/global-secrets", ""},
	{"PUT", "/global-secrets/zone-token-revocations", `{"type":"GlobalSecret","name":"zone-token-revocations","data":""}`},
	{"DELETE", "/global-secrets/zone-token-signing-key-1", ""},
	{"POST", "/tokens/zone", `{"zone":"east","scope":["egress"]}`},
	{"POST", "/tokens/control-plane", `{"zone":"east"}`},
	{"POST", "/tokens/dataplane", `{"mesh":"default"}`},
	{"POST", "/tokens/user", `{"name":"mallory","groups":["admin"]}`},
	{"GET", "/v1/keys", ""},
	{"POST", "/v1/keys/prepare", `{"kind":"zone"}`},
	{"POST", "/v1/keys/remove", `{"kind":"zone","kid":"1","force":true}`},
	{"GET", "/v1/revocations?kind=zone", ""},
	{"POST", "/v1/revocations", `{"kind":"zone","ids":["00000000-0000-4000-8000-000000000001"]}`},
	{"POST", "/v1/cut-offs", `{"kind":"zone","before":"2026-01-01T00:00:00Z"}`},
	{"GET", "/v1/snapshot", ""},
	{"POST", "/v1/snapshot/restore", "x"},
	{"GET", "/v1/seal", ""},
	{"POST", "/v1/seal/rotate", `{}`},
	{"POST", "/v1/seal/rotate-cluster-secret", `{}`},
	{"POST", "/v1/cluster/remove", `{"id":"x"}`},
}

// TestAStolenZoneTokenOpensNothingElse tries west's control plane token for
// everything but joining as west: the API of the global, over either port, west's own
// API, proxies' port, another zone's name, and the port of the members. Nothing of the
// state has changed afterwards.
func TestAStolenZoneTokenOpensNothingElse(t *testing.T) {
	f := start(t)
	stolen := map[string]string{
		"control plane token":    f.west.Token,
		"zone token of scope cp": f.global.ZoneToken("west", cptoken.ScopeCP),
		"a proxy's zone token":   f.global.ZoneToken("west", cptoken.ScopeEgress, cptoken.ScopeIngress),
	}
	g, z := f.global.Node.Endpoints(), f.west.Node.Endpoints()
	_, before := f.global.Node.Store().Head()
	zones := len(f.global.Node.Store().Zones())
	for name, token := range stolen {
		for _, base := range []string{"http://" + g.API, "https://" + g.APITLS} {
			for _, r := range routes {
				if got := f.http(r.method, base+r.path, token, r.body); got.ok || !strings.HasPrefix(got.text, "401") && !strings.HasPrefix(got.text, "403") {
					t.Errorf("%s: %s %s: %.200s", name, r.method, r.path, got.text)
				}
			}
		}
		if got := f.http("GET", "http://"+z.API+"/v1/status", token, ""); got.ok {
			t.Errorf("%s opens the zone's API", name)
		}
		for _, other := range []string{"east", "WEST", "west ", "west/../east"} {
			if got := f.kds(other, token, nil); got.ok {
				t.Errorf("%s speaks for zone %q", name, other)
			}
		}
		if got := f.peer(nil, token); got.ok {
			t.Errorf("%s opens the port of the members", name)
		}
	}
	for _, proxyType := range []string{"egress", "ingress", "dataplane"} {
		if got := f.west.Authenticate(stolen["control plane token"], proxyType); got == cluster.Accepted {
			t.Errorf("the control plane token passes for a proxy of type %s", proxyType)
		}
	}
	if got := f.kds("west", stolen["a proxy's zone token"], nil); got.ok {
		t.Error("a proxy's zone token joins as a control plane")
	}
	if _, after := f.global.Node.Store().Head(); after != before || len(f.global.Node.Store().Zones()) != zones {
		t.Errorf("the state has moved from %s to %s", before, after)
	}
}

// peer connects to the members' port as somebody, and says who it is over HTTP/2's
// plain neighbour, since a stranger has no reason to keep to a protocol.
func (f *federation) peer(own *tls.Certificate, token string) answer {
	f.t.Helper()
	config := &tls.Config{RootCAs: f.roots, ServerName: "localhost", MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "raft", "http/1.1"}}
	if own != nil {
		config.Certificates = []tls.Certificate{*own}
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: time.Minute}, "tcp", f.global.Node.Endpoints().Peer, config)
	if err != nil {
		return answer{text: err.Error()}
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		f.t.Fatal(err)
	}
	_, _ = conn.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token + "\r\n\r\n"))
	// In TLS 1.3 the refusal of a certificate comes with the first read.
	b := make([]byte, 256)
	n, err := conn.Read(b)
	if err != nil {
		return answer{text: err.Error()}
	}
	return answer{ok: true, text: string(b[:n])}
}

// TestEachPortTakesOneRole shows certificates of the cluster's own CA where another
// role's are taken, and one of another cluster and of another CA everywhere.
func TestEachPortTakesOneRole(t *testing.T) {
	log := &book{}
	c := cluster.StartGlobals(t, logger(log), 1)
	f := &federation{t: t, log: log, global: c.Members[0], roots: c.CA.Pool()}
	roles := map[string]tlsutil.Identity{
		"a zone's": {Cluster: clusterName, Role: tlsutil.RoleZone, Name: "west"},
		"a user's": {Cluster: clusterName, Role: tlsutil.RoleUser, Name: "admin"},
	}
	for who, id := range roles {
		own := c.Certificate(id)
		if got := f.peer(&own, ""); got.ok {
			t.Errorf("%s certificate on the members' port: %q", who, got.text)
		}
	}
	foreign, err := tlsutil.NewAuthority(clusterName, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c.CA, foreign = foreign, c.CA
	impostor := c.Certificate(tlsutil.Identity{Cluster: clusterName, Role: tlsutil.RoleNode, Name: "global-1"})
	c.CA = foreign
	if got := f.peer(&impostor, ""); got.ok {
		t.Errorf("another CA's certificate on the members' port: %q", got.text)
	}
	if got := f.kds("west", "", &impostor); got.ok {
		t.Error("another CA's certificate joins KDS")
	}
	node := c.Certificate(tlsutil.Identity{Cluster: clusterName, Role: tlsutil.RoleNode, Name: "global-9"})
	for _, zone := range []string{"west", "global-9"} {
		if got := f.kds(zone, "", &node); got.ok {
			t.Errorf("a node's certificate joins KDS as %s", zone)
		}
	}
	user := c.Certificate(roles["a user's"])
	if got := f.kds("west", "", &user); got.ok {
		t.Error("a user's certificate joins KDS")
	}
}
