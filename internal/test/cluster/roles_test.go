package cluster

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/meridiankds/meridian/internal/access"
	globalnode "github.com/meridiankds/meridian/internal/global/node"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// tlsClient calls HTTPS ports with a client certificate, or none.
func (c *Globals) tlsClient(cert *tls.Certificate) *http.Client {
	cfg := tlsutil.Client(c.CA.Pool())
	if cert != nil {
		cfg.Certificates = []tls.Certificate{*cert}
	}
	transport := &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true}
	c.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: Patience}
}

// said is an answer of the API.
type said struct {
	status int
	Reason string   `json:"reason"`
	Name   string   `json:"name"`
	Via    string   `json:"via"`
	Roles  []string `json:"roles"`
	body   string
}

func ask(t *testing.T, client *http.Client, method, url, body string) (said, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return said{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	s := said{status: resp.StatusCode, body: string(data)}
	_ = json.Unmarshal(data, &s) // a token is text
	return s, nil
}

// TestUsersWithCertificates: a user's certificate is an identity at the HTTPS port,
// its roles count at the member that is asked and at the leader, and no other
// certificate gets anywhere.
func TestUsersWithCertificates(t *testing.T) {
	file := filepath.Join(TempDir(t), "roles.yaml")
	bind := func(text string) *access.File {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := access.OpenFile(file, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	roles := bind(`bindings: [{role: admin, users: [jane]}, {role: auditor, users: [aud]}, {role: revoker, users: [soc]}]`)
	c := NewGlobals(t, slog.New(slog.DiscardHandler), 3)
	c.Configure = func(cfg *globalnode.Config) { cfg.Roles, cfg.LocalhostIsAdmin = roles, false }
	for _, g := range c.Members {
		g.Launch()
	}
	for _, g := range c.Members {
		g.AwaitReady()
	}
	c.AwaitVoters(3)
	follower := c.Followers()[0]
	base := "https://" + follower.Node.Endpoints().APITLS
	as := func(cluster string, role tlsutil.Role, name string) *http.Client {
		cert := c.Certificate(tlsutil.Identity{Cluster: cluster, Role: role, Name: name})
		return c.tlsClient(&cert)
	}
	jane, aud, soc := as(clusterName, tlsutil.RoleUser, "jane"), as(clusterName, tlsutil.RoleUser, "aud"), as(clusterName, tlsutil.RoleUser, "soc")

	for _, test := range []struct {
		name, method, path, body string
		client                   *http.Client
		status                   int
		reason                   string
	}{
		{"admin", "GET", "/who-am-i", "", jane, 200, ""},
		{"admin writes through a follower", "PUT", "/zones/west", `{}`, jane, 201, ""},
		{"admin issues", "POST", "/tokens/zone", `{"zone":"west"}`, jane, 200, ""},
		{"auditor reads", "GET", "/zones", "", aud, 200, ""},
		{"auditor writes", "PUT", "/zones/east", `{}`, aud, 403, "not_allowed"},
		{"revoker through a follower", "POST", "/v1/revocations", `{"kind":"zone","ids":["a"]}`, soc, 200, ""},
		{"revoker reads zones", "GET", "/zones", "", soc, 403, "not_allowed"},
		{"nobody", "GET", "/zones", "", as(clusterName, tlsutil.RoleUser, "eve"), 403, "not_allowed"},
		{"no certificate", "GET", "/zones", "", c.tlsClient(nil), 401, "missing_token"},
		{"a zone's", "GET", "/who-am-i", "", as(clusterName, tlsutil.RoleZone, "jane"), 403, "wrong_role"},
		{"a node's", "GET", "/who-am-i", "", as(clusterName, tlsutil.RoleNode, "jane"), 403, "wrong_role"},
		{"another cluster's, of the same CA", "GET", "/who-am-i", "", as("other", tlsutil.RoleUser, "jane"), 403, "other_cluster"},
	} {
		got, err := ask(t, test.client, test.method, base+test.path, test.body)
		if err != nil || got.status != test.status || got.Reason != test.reason {
			t.Errorf("%s: %d %s, %v", test.name, got.status, got.body, err)
		}
	}
	if me, err := ask(t, jane, "GET", base+"/who-am-i", ""); err != nil || me.Name != "jane" || me.Via != "cert" || len(me.Roles) != 1 {
		t.Errorf("%+v, %v", me, err)
	}
	ca, err := tlsutil.NewAuthority(clusterName, c.CA.Certificate().NotBefore)
	if err != nil {
		t.Fatal(err)
	}
	stranger := certificate(t, ca, tlsutil.Identity{Cluster: clusterName, Role: tlsutil.RoleUser, Name: "jane"})
	// The client is told which CAs count and shows nothing else; so that what does is refused, it is made to.
	client := c.tlsClient(nil)
	client.Transport.(*http.Transport).TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &stranger, nil }
	if got, err := ask(t, client, "GET", base+"/who-am-i", ""); err == nil {
		t.Errorf("a certificate of another CA: %d %s", got.status, got.body)
	}

	// A binding that is taken away counts on open connections at once.
	bind(`bindings: [{role: auditor, users: [jane]}]`)
	roles.Check()
	roles.Check()
	if got, err := ask(t, jane, "PUT", base+"/zones/north", `{}`); err != nil || got.status != 403 {
		t.Errorf("after the binding is gone: %d %s, %v", got.status, got.body, err)
	}
	if got, err := ask(t, jane, "GET", base+"/zones", ""); err != nil || got.status != 200 {
		t.Errorf("with the new binding: %d %s, %v", got.status, got.body, err)
	}
}

// TestTheLeaderChecksToo: what one member's bindings allow and the leader's do not
// is refused.
func TestTheLeaderChecksToo(t *testing.T) {
	file := filepath.Join(TempDir(t), "roles.yaml")
	if err := os.WriteFile(file, []byte(`bindings: [{role: admin, users: [jane]}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	lax, err := access.OpenFile(file, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c := NewGlobals(t, slog.New(slog.DiscardHandler), 3)
	// Only the last member knows jane; should it lead, the leadership is handed on.
	c.Configure = func(cfg *globalnode.Config) {
		if cfg.Advertise == c.Members[2].Name {
			cfg.Roles = lax
		}
	}
	for _, g := range c.Members {
		g.Launch()
	}
	for _, g := range c.Members {
		g.AwaitReady()
	}
	c.AwaitVoters(3)
	Eventually(t, "another leader", func() bool {
		leader := c.Leader()
		if leader != c.Members[2] {
			return true
		}
		_ = leader.Node.Store().TransferLead("") // tried again
		return false
	})
	cert := c.Certificate(tlsutil.Identity{Cluster: clusterName, Role: tlsutil.RoleUser, Name: "jane"})
	jane, base := c.tlsClient(&cert), "https://"+c.Members[2].Node.Endpoints().APITLS
	if got, err := ask(t, jane, "GET", base+"/zones", ""); err != nil || got.status != 200 {
		t.Errorf("reads of its own: %d %s, %v", got.status, got.body, err)
	}
	if got, err := ask(t, jane, "PUT", base+"/zones/west", `{}`); err != nil || got.status != 403 || got.Reason != "not_allowed" {
		t.Errorf("the leader takes another member's word: %d %s, %v", got.status, got.body, err)
	}
}
