package node

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"

	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/internal/test/tempdir"
)

// TestNoGlobalEscapesExpulsion: a zone holds whom it takes for the global against who was
// expelled, also where it has no CA of its own and the system's count.
func TestNoGlobalEscapesExpulsion(t *testing.T) {
	n, err := New(config(tempdir.Short(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.close() })
	if got := n.cfg.GlobalTLS.Current().Trusts(); got != tlsutil.TrustSystem {
		t.Errorf("it trusts %q", got)
	}
	tlsOf := n.cfg.globalTLS()
	verify := func() error {
		config, done := tlsOf(func(error) {})
		defer done()
		if config.RootCAs != nil {
			t.Error("other CAs than the system's")
		}
		return config.VerifyConnection(tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}})
	}
	if err := verify(); err != nil {
		t.Fatalf("before: %v", err)
	}
	expelled := errors.New("expelled")
	for _, source := range n.cfg.sources() {
		source.Refuse(func(*x509.Certificate) error { return expelled })
	}
	if err := verify(); !errors.Is(err, expelled) {
		t.Errorf("an expelled certificate: %v", err)
	}
}

// TestTheSelfMadeCertificateIsGoodForItsHosts: a client that reaches the port for proxies by
// a name of --dp-host verifies it, after a restart with another one too, with the same CA.
func TestTheSelfMadeCertificateIsGoodForItsHosts(t *testing.T) {
	dir := tempdir.Short(t)
	for _, host := range []string{"zone.example", "other.example", "192.0.2.7"} {
		cfg := config(dir)
		cfg.DPHosts = []string{host}
		n, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		pool, err := tlsutil.LoadPool(n.cfg.DPCAFile)
		if err != nil {
			t.Fatal(err)
		}
		for name, good := range map[string]bool{host: true, "localhost": true, "another.example": false} {
			listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{*n.cfg.DPTLS.Current().Certificate}})
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan struct{})
			go func() {
				defer close(served)
				if conn, err := listener.Accept(); err == nil {
					_ = conn.(*tls.Conn).Handshake() // the client judges
					conn.Close()
				}
			}()
			conn, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{RootCAs: pool, ServerName: name})
			if err == nil {
				conn.Close()
			}
			listener.Close()
			<-served
			if (err == nil) != good {
				t.Errorf("with --dp-host %s a client of %s says %v", host, name, err)
			}
		}
		if err := n.close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, bad := range []string{"https://zone.example", "zone.example:5678", "", "a b"} {
		cfg := config(tempdir.Short(t))
		cfg.DPHosts = []string{bad}
		if err := cfg.Validate(); err == nil {
			t.Errorf("--dp-host %q was taken", bad)
		}
	}
}
