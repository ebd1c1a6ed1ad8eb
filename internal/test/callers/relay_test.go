package callers

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// TestEnvoyRelaysAKumaZone: a real Envoy with the configuration of docs/kuma.md carries a zone
// that speaks HTTP/2 without TLS to a global that takes client certificates alone, and proves
// whose relay it is.
func TestEnvoyRelaysAKumaZone(t *testing.T) {
	needEnvoy(t)
	dir := t.TempDir()
	ca, err := tlsutil.NewClusterAuthority("prod", time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	issue := func(role tlsutil.Role, name string, hosts ...string) tls.Certificate {
		cert, key, err := ca.Issue(tlsutil.Identity{Cluster: "prod", Role: role, Name: name}, hosts, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for file, data := range map[string][]byte{name + ".crt": cert, name + ".key": key, "ca.crt": ca.CertPEM()} {
			if err := os.WriteFile(filepath.Join(dir, file), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}
	issue(tlsutil.RoleZone, "west")
	global := &http.Server{
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{issue(tlsutil.RoleNode, "global", "global.example.com")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool()},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, r.Proto, " ", r.TLS.PeerCertificates[0].URIs[0])
		}),
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- global.ServeTLS(listener, "", "") }()
	t.Cleanup(func() { global.Close(); <-ended })

	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "kuma.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, block, there := strings.Cut(string(page), "   ```yaml\n")
	block, _, ends := strings.Cut(block, "   ```\n")
	if !there || !ends {
		t.Fatal("docs/kuma.md has no configuration of a relay")
	}
	_, at, _ := net.SplitHostPort(listener.Addr().String())
	port := freePort(t)
	config := strings.NewReplacer("port_value: 5686", "port_value: "+port, "address: global.example.com, port_value: 5685", "address: 127.0.0.1, port_value: "+at,
		"filename: ", "filename: "+dir+"/").Replace(block)
	startEnvoy(t, config, port)
	resp, err := h2(t).Get("http://127.0.0.1:" + port)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if said, err := io.ReadAll(resp.Body); err != nil || string(said) != "HTTP/2.0 meridian://prod/zone/west" {
		t.Errorf("through the relay: %q, %v", said, err)
	}
}
