package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	zonenode "github.com/meridiankds/meridian/internal/zone/node"
	"github.com/meridiankds/meridian/raftstore"
)

// shown returns the certificate that a port shows, to a caller with the given
// certificate.
func shown(t *testing.T, address string, own *tls.Certificate, protocol string) *x509.Certificate {
	t.Helper()
	cfg := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}} // whatever it shows
	if own != nil {
		cfg.Certificates = []tls.Certificate{*own}
	}
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	conn, err := (&tls.Dialer{Config: cfg, NetDialer: &net.Dialer{}}).DialContext(ctx, "tcp", address)
	if err != nil {
		t.Fatalf("dialling %s: %v", address, err)
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
}

// A whole federation moves to another CA while it runs: every port of the global
// shows the new certificate, and a zone that trusts the new CA alone connects.
func TestCertificatesAreReplacedWithoutARestart(t *testing.T) {
	g := StartGlobal(t, slog.New(slog.DiscardHandler))
	west := g.StartZone("west", g.KDS())
	west.WaitCurrent(g)

	next, err := tlsutil.NewAuthority("next", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	files := g.TLS.Files()
	write := func(path string, data []byte) {
		t.Helper()
		if err := tlsutil.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	former, err := os.ReadFile(files.CA)
	if err != nil {
		t.Fatal(err)
	}
	id, err := tlsutil.IdentityOf(g.TLS.Current().Certificate.Leaf)
	if err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM, err := next.Issue(id, []string{"localhost", "127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	write(files.CA, append(next.CertPEM(), former...))
	write(files.Key, keyPEM)
	write(files.Cert, certPEM)
	g.TLS.Check()

	node, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	e := g.Node.Endpoints()
	for name, port := range map[string]struct{ address, protocol string }{
		"API": {e.APITLS, "http/1.1"}, "KDS": {e.KDS, "h2"}, "peers": {e.Peer, tlsutil.ALPNRaft},
	} {
		if cert := shown(t, port.address, &node, port.protocol); cert.CheckSignatureFrom(next.Certificate()) != nil {
			t.Errorf("the port for %s still shows the former certificate", name)
		}
	}
	east := g.StartZone("east", g.KDS())
	east.WaitCurrent(g)
	west.WaitCurrent(g)

	// The zone's own port, and the CA that it trusts the global by.
	dp := west.Node.Endpoints()
	before := shown(t, dp.DP, nil, "h2")
	dir := filepath.Dir(dp.CAFile)
	own := tlsutil.SelfMadeFiles(dir)
	authority, err := tlsutil.LoadAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	wid, err := tlsutil.IdentityOf(before)
	if err != nil {
		t.Fatal(err)
	}
	if certPEM, keyPEM, err = authority.Issue(wid, []string{"localhost"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	write(own.Key, keyPEM)
	write(own.Cert, certPEM)
	west.Node.CheckTLS()
	if shown(t, dp.DP, nil, "h2").Equal(before) {
		t.Error("the zone still shows its former certificate")
	}
	if n := len(west.Node.Certificates()); n < 4 { // its own and that one's CA, two of the global
		t.Errorf("the zone tells of %d certificates", n)
	}
}

// A zone whose record asks for a certificate joins with its own, and with no
// other's.
func TestZonesProveThemselvesWithCertificates(t *testing.T) {
	g := StartGlobal(t, slog.New(slog.DiscardHandler))
	files := g.TLS.Files()
	authority, err := tlsutil.LoadAuthority(filepath.Dir(files.CA))
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := tlsutil.IdentityOf(g.TLS.Current().Certificate.Leaf)
	if err != nil {
		t.Fatal(err)
	}
	join := func(zone, certificateOf string) *zonenode.Node {
		t.Helper()
		_, err := g.Node.Store().ApplyZone(context.Background(), raftstore.Origin{By: "test"},
			federation.Zone{Name: zone, Enabled: true, Auth: federation.AuthCertificate})
		if err != nil {
			t.Fatal(err)
		}
		dir := TempDir(t)
		own := tlsutil.SelfMadeFiles(dir)
		cert, key, err := authority.Issue(tlsutil.Identity{Cluster: cluster.Cluster, Role: tlsutil.RoleZone, Name: certificateOf}, nil, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for path, data := range map[string][]byte{own.Cert: cert, own.Key: key} {
			if err := tlsutil.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		own.CA = files.CA
		source, err := tlsutil.OpenSource(own, tlsutil.Options{Accept: tlsutil.KeepIdentity(tlsutil.RoleZone)})
		if err != nil {
			t.Fatal(err)
		}
		node, err := zonenode.New(zonenode.Config{
			Zone: zone, DataDir: filepath.Join(dir, "data"), Globals: []string{g.KDS()}, GlobalTLS: source,
			DPAddr: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		running := run(node)
		t.Cleanup(func() {
			if err := running.stop(); err != nil {
				t.Errorf("zone %s ended with: %v", zone, err)
			}
		})
		return node
	}
	west := join("west", "west")
	Eventually(t, "west to be connected", func() bool { return west.Link().Connected })
	east := join("east", "west")
	Eventually(t, "east to be refused", func() bool { return east.Link().LastError != "" })
	if east.Link().Connected {
		t.Error("east joined with west's certificate")
	}
}
