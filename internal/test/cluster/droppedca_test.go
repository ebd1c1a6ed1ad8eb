package cluster

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/endpoints"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/kds/kdspb"
)

// asksForCertificate reports whether a port speaks TLS and asks its callers for a
// certificate.
func asksForCertificate(t *testing.T, address string) (asks bool) {
	t.Helper()
	cfg := &tls.Config{
		InsecureSkipVerify: true, // whatever it shows
		NextProtos:         []string{"h2", "http/1.1", tlsutil.ALPNPeerHTTP2},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asks = true
			return &tls.Certificate{}, nil
		},
	}
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	_ = tls.Client(raw, cfg).HandshakeContext(ctx) // a port that speaks no TLS asks for nothing
	return asks
}

// TestADroppedCAEndsConnections opens a connection to every port that takes certificates,
// with one of a CA that is dropped then. The connection is ended, whoever is on it; those
// of the CA that stays go on.
func TestADroppedCAEndsConnections(t *testing.T) {
	g := StartGlobal(t, slog.New(slog.DiscardHandler))
	west := g.StartZone("west", g.KDS())
	west.WaitCurrent(g)
	files := g.TLS.Files()
	former, err := tlsutil.LoadAuthority(filepath.Dir(files.CA))
	if err != nil {
		t.Fatal(err)
	}
	next, err := tlsutil.NewAuthority("next", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	node, err := tlsutil.IdentityOf(g.TLS.Current().Certificate.Leaf)
	if err != nil {
		t.Fatal(err)
	}
	write := func(path string, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	certPEM, keyPEM, err := next.Issue(node, []string{"localhost", "127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	write(files.CA, append(former.CertPEM(), next.CertPEM()...))
	write(files.Key, keyPEM)
	write(files.Cert, certPEM)
	g.TLS.Check()
	for _, zone := range []string{"north", "south"} {
		_, err := g.Node.Store().ApplyZone(context.Background(), operator, federation.Zone{Name: zone, Enabled: true, Auth: federation.AuthCertificate})
		if err != nil {
			t.Fatal(err)
		}
	}

	// By the field of Endpoints: what uses the port with a certificate, and reports whether
	// its connection is open.
	users := map[string]func(ca *tlsutil.Authority) func() bool{
		"APITLS": func(ca *tlsutil.Authority) func() bool {
			return holdsAPI(t, g.Node.Endpoints().APITLS, next.Pool(), certificate(t, ca, tlsutil.Identity{Cluster: node.Cluster, Role: tlsutil.RoleUser, Name: "ann"}))
		},
		"KDS": func(ca *tlsutil.Authority) func() bool {
			zone := "north"
			if ca == next {
				zone = "south"
			}
			return holdsKDS(t, g.KDS(), next.Pool(), zone, certificate(t, ca, tlsutil.Identity{Cluster: node.Cluster, Role: tlsutil.RoleZone, Name: zone}))
		},
		// Without the seal key nobody holds a connection there: see
		// internal/global/peer.TestReviewEndsConnections for those who have it.
		"Peer": func(*tlsutil.Authority) func() bool { return nil },
	}
	thieves, others := map[string]func() bool{}, map[string]func() bool{}
	for program, e := range map[string]endpoints.Endpoints{"global": g.Node.Endpoints(), "zone": west.Node.Endpoints()} {
		for field, address := range reflect.ValueOf(e).Fields() {
			host, _, err := net.SplitHostPort(address.String())
			if err != nil || strings.Contains(host, "/") || !asksForCertificate(t, address.String()) {
				continue
			}
			use := users[field.Name]
			if program != "global" || use == nil {
				t.Fatalf("the port %s of a %s asks for a certificate: this test must hold a connection to it", field.Name, program)
			}
			if open := use(former); open != nil {
				thieves[field.Name], others[field.Name] = open, use(next)
			}
		}
	}
	if len(thieves) != 2 {
		t.Fatalf("connections to %d ports are held, want 2", len(thieves))
	}
	for field := range thieves {
		if !thieves[field]() || !others[field]() {
			t.Fatalf("%s: a connection is not open while its CA is trusted", field)
		}
	}
	write(files.CA, next.CertPEM())
	g.TLS.Check()
	for field := range thieves {
		Eventually(t, field+": the connection of the dropped CA to end", func() bool { return !thieves[field]() })
		if !others[field]() {
			t.Errorf("%s: a connection of the CA that stays was ended", field)
		}
	}
}

// holdsAPI keeps an HTTP/1.1 connection and asks over it who it is.
func holdsAPI(t *testing.T, address string, roots *x509.CertPool, own tls.Certificate) func() bool {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots, ServerName: "localhost", Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	r := bufio.NewReader(conn)
	var mu sync.Mutex
	ended := false
	asks := func() bool {
		mu.Lock()
		defer mu.Unlock()
		ended = ended || !answersOn(conn, r)
		return !ended
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // who is silent for ten seconds and has proved nothing is cut, whatever their CA
		defer close(stopped)
		for asks() {
			select {
			case <-stop:
				return
			case <-time.After(time.Second):
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-stopped
	})
	return asks
}

// answersOn reports whether a request over a connection is answered.
func answersOn(conn net.Conn, r *bufio.Reader) bool {
	if conn.SetDeadline(time.Now().Add(Patience)) != nil {
		return false
	}
	if _, err := conn.Write([]byte("GET /who-am-i HTTP/1.1\r\nHost: localhost\r\n\r\n")); err != nil {
		return false
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return err == nil
}

// holdsKDS keeps one connection as a zone, and makes a call over it.
func holdsKDS(t *testing.T, address string, roots *x509.CertPool, zone string, own tls.Certificate) func() bool {
	t.Helper()
	dialled := false
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		RootCAs: roots, ServerName: "localhost", Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS12,
	})), grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
		if dialled {
			return nil, net.ErrClosed // the first connection is the one in question
		}
		dialled = true
		return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return func() bool {
		ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(context.Background(), metadata.Pairs("client-id", zone)), Patience)
		defer cancel()
		err := conn.Invoke(ctx, "/kuma.mesh.v1alpha1.GlobalKDSService/HealthCheck", &kdspb.ZoneHealthCheckRequest{}, &kdspb.ZoneHealthCheckResponse{})
		if err != nil && grpcstatus.Code(err) != codes.Unavailable {
			t.Errorf("zone %s: %v", zone, err)
		}
		return err == nil
	}
}
