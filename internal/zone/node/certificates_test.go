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
