package kds_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/meridiankds/meridian/internal/test/kdstest"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/client"
	"github.com/meridiankds/meridian/kds/server"
)

// TestFailover: a member that stops says so, and its zones go to another one and
// lose nothing.
func TestFailover(t *testing.T) {
	source := kdstest.NewSource()
	with := func(name string) func(*server.Config) {
		return func(c *server.Config) { c.Source = source; c.Member = name }
	}
	a, b := start(t, with("a")), start(t, with("b"))
	z := join(t, "west", nil, a.addr, b.addr)
	kdstest.Eventually(t, "full state", func() bool { return z.sink.Holds(kdstest.Revision(1, 1)) })
	members := map[string]*member{"a": a, "b": b}
	first := z.Status().Member
	other := map[string]string{"a": "b", "b": "a"}[first]
	members[first].stop()
	kdstest.Eventually(t, "the zone is with the other member", func() bool { return z.Status().Member == other && z.Status().Connected })
	head := source.Add("later")
	kdstest.Eventually(t, "the delta", func() bool { return z.sink.Holds(head) })
	for _, p := range z.sink.Applied()[1:] {
		if p.Full {
			t.Errorf("changing members cost a full state")
		}
	}
	if !strings.Contains(z.log.String(), "this member is stopping") {
		t.Errorf("the zone was not told why:\n%s", z.log)
	}
}

// TestLossDeletesNothing: without any member the zone keeps what it has and keeps
// trying; when one is back it resumes.
func TestLossDeletesNothing(t *testing.T) {
	m := start(t, nil)
	z := join(t, "west", nil, m.addr)
	kdstest.Eventually(t, "full state", func() bool { return z.sink.Holds(kdstest.Revision(1, 1)) })
	m.stop()
	kdstest.Eventually(t, "the zone knows", func() bool { s := z.Status(); return !s.Connected && strings.Contains(s.LastError, "refused") })
	if !z.sink.Has("first") || len(z.sink.Applied()) != 1 {
		t.Fatal("the loss changed the copy")
	}
	l, err := net.Listen("tcp", m.addr)
	if err != nil {
		t.Skipf("the port was taken meanwhile: %v", err)
	}
	again := startOn(t, l, func(c *server.Config) { c.Source = m.source })
	head := again.source.Add("later")
	kdstest.Eventually(t, "the zone resumes", func() bool { return z.sink.Holds(head) })
	if sets := z.sink.Applied(); sets[len(sets)-1].Full {
		t.Error("resuming cost a full state")
	}
}

// TestTokenIsReadAtEachConnect: a zone whose token is refused goes on trying, and
// comes in once the file holds a good one.
func TestTokenIsReadAtEachConnect(t *testing.T) {
	m := start(t, nil)
	m.auth.Refuse("stale", "expired")
	var token atomic.Value
	token.Store("stale")
	z := join(t, "west", func(c *client.Config) {
		c.Token = func() (string, error) {
			if token.Load() == "" {
				return "", kdstest.ErrTest
			}
			return token.Load().(string), nil
		}
	}, m.addr)
	kdstest.Eventually(t, "refused", func() bool { return z.Status().LastReason == "expired" })
	token.Store("")
	kdstest.Eventually(t, "an unreadable file", func() bool { return strings.Contains(z.Status().LastError, "reading the control plane token") })
	token.Store("west")
	kdstest.Eventually(t, "full state", func() bool { return z.sink.Holds(kdstest.Revision(1, 1)) })
	log := z.log.String()
	if !strings.Contains(log, "authentication failed: expired") || !strings.Contains(log, "global generate control-plane-token") {
		t.Errorf("the zone's log does not help:\n%s", log)
	}
	if strings.Contains(log, "Bearer") {
		t.Error("the token stands in the log")
	}
}

// TestAMissingTokenIsNamed: a zone that has no control plane token says so, and which flag and
// command make good for it, as far as its own log and status.
func TestAMissingTokenIsNamed(t *testing.T) {
	m := start(t, nil)
	m.auth.Refuse("", kds.ReasonMissingToken)
	z := join(t, "west", func(c *client.Config) { c.Token = func() (string, error) { return "", nil } }, m.addr)
	kdstest.Eventually(t, "refused", func() bool { return z.Status().LastReason == kds.ReasonMissingToken })
	kdstest.Eventually(t, "the log to say what to do", func() bool {
		return strings.Contains(z.log.String(), "no control plane token was given: name its file with --cp-token-file; global generate control-plane-token --zone NAME makes one")
	})
}

func TestHealthCheck(t *testing.T) {
	var now atomic.Int64
	now.Store(1_800_000_000)
	m := start(t, func(c *server.Config) {
		c.Now = func() time.Time { return time.Unix(now.Load(), 0) }
		c.HealthInterval = time.Second
	})
	z := join(t, "west", nil, m.addr)
	kdstest.Eventually(t, "full state acknowledged", func() bool { return len(m.Sessions()) == 1 && m.session(t, "west").Full })
	now.Add(5)
	kdstest.Eventually(t, "a sign of life", func() bool { return m.session(t, "west").LastHeard.Unix() == 1_800_000_005 })
	kdstest.Eventually(t, "the zone to hear of it", func() bool {
		z.sink.Mu.Lock()
		defer z.sink.Mu.Unlock()
		return z.sink.HeardCount >= 3 && z.sink.HeardFrom == "member-1"
	})
}

// TestMaxSilence: a zone that must hear of the global often asks more often than the
// member says.
func TestMaxSilence(t *testing.T) {
	m := start(t, nil)
	z := join(t, "west", func(c *client.Config) { c.MaxSilence = 3 * time.Second }, m.addr)
	kdstest.Eventually(t, "the zone to ask again and again", func() bool {
		z.sink.Mu.Lock()
		defer z.sink.Mu.Unlock()
		return z.sink.HeardCount >= 5
	})
}

// testCA makes a certificate for 127.0.0.1 and one for a client, and a pool that
// trusts them.
func testCA(t *testing.T) (server, client tls.Certificate, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(leaf)
	pair := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	return pair, pair, pool
}

// fixed is how a zone speaks TLS that follows no files.
func fixed(config *tls.Config) func(func(error)) (*tls.Config, func()) {
	return func(func(error)) (*tls.Config, func()) { return config, func() {} }
}

func TestTLS(t *testing.T) {
	pair, clientPair, pool := testCA(t)
	m := start(t, func(c *server.Config) {
		c.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool, NextProtos: []string{"h2"}}
	})
	z := join(t, "west", func(c *client.Config) { c.TLS = fixed(&tls.Config{RootCAs: pool}) }, m.addr)
	kdstest.Eventually(t, "full state", func() bool { return z.sink.Holds(kdstest.Revision(1, 1)) })
	with := join(t, "east", func(c *client.Config) {
		c.TLS = fixed(&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{clientPair}})
	}, m.addr)
	kdstest.Eventually(t, "full state", func() bool { return with.sink.Holds(kdstest.Revision(1, 1)) })
	m.auth.Mu.Lock()
	for _, c := range m.auth.Seen {
		if got := c.Certificate != nil; got != (c.Zone == "east") {
			t.Errorf("zone %s: a verified certificate: %v", c.Zone, got)
		}
	}
	m.auth.Mu.Unlock()

	stranger := join(t, "north", func(c *client.Config) { c.TLS = fixed(&tls.Config{RootCAs: x509.NewCertPool()}) }, m.addr)
	kdstest.Eventually(t, "a global that the zone does not trust", func() bool { return strings.Contains(stranger.Status().LastError, "x509") })
	kdstest.Eventually(t, "a hint about the CA", func() bool { return strings.Contains(stranger.log.String(), "--ca-file") })
	plain := join(t, "south", nil, m.addr)
	kdstest.Eventually(t, "no TLS, no service", func() bool { return plain.Status().LastError != "" })
	if plain.Status().Connected {
		t.Error("connected in the clear")
	}
}

// TestNotAGlobal: what answers at the address may be anything.
func TestNotAGlobal(t *testing.T) {
	serve := func(t *testing.T, h grpc.StreamHandler) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		g := grpc.NewServer(grpc.UnknownServiceHandler(h))
		var done sync.WaitGroup
		done.Go(func() { g.Serve(l) }) //nolint:errcheck // ends with Stop
		t.Cleanup(func() { g.Stop(); done.Wait() })
		return l.Addr().String()
	}
	t.Run("nothing", func(t *testing.T) {
		z := join(t, "west", nil, "127.0.0.1:1")
		kdstest.Eventually(t, "an error", func() bool { return strings.Contains(z.Status().LastError, "127.0.0.1:1") })
	})
	t.Run("another service", func(t *testing.T) {
		addr := serve(t, func(any, grpc.ServerStream) error { return status.Error(codes.Unimplemented, "unknown service") })
		z := join(t, "west", nil, addr)
		kdstest.Eventually(t, "an error", func() bool { return strings.Contains(z.Status().LastError, "unknown service") })
	})
	t.Run("a global that is not ours", func(t *testing.T) {
		addr := serve(t, func(_ any, ss grpc.ServerStream) error {
			err := ss.SendMsg(&discovery.DeltaDiscoveryResponse{TypeUrl: kds.ChangesType, Nonce: "1"})
			<-ss.Context().Done()
			return err
		})
		z := join(t, "west", func(c *client.Config) { c.AnswerTimeout = 500 * time.Millisecond }, addr)
		kdstest.Eventually(t, "an error", func() bool { return strings.Contains(z.Status().LastError, "not a Meridian global") })
		kdstest.Eventually(t, "a hint", func() bool { return strings.Contains(z.log.String(), "hint=") })
	})
	t.Run("one that says nothing", func(t *testing.T) {
		addr := serve(t, func(_ any, ss grpc.ServerStream) error { <-ss.Context().Done(); return nil })
		z := join(t, "west", func(c *client.Config) { c.AnswerTimeout = 50 * time.Millisecond }, addr)
		kdstest.Eventually(t, "an error", func() bool { return strings.Contains(z.Status().LastError, "no answer within") })
	})
	t.Run("a message beyond the bound", func(t *testing.T) {
		addr := serve(t, func(_ any, ss grpc.ServerStream) error {
			if err := ss.SendHeader(metadata.Pairs(kds.MDMember, "m", kds.MDCluster, kdstest.Cluster)); err != nil {
				return err
			}
			return ss.SendMsg(&discovery.DeltaDiscoveryResponse{TypeUrl: strings.Repeat("t", kds.MaxAnswer)})
		})
		z := join(t, "west", nil, addr)
		kdstest.Eventually(t, "an error", func() bool { return strings.Contains(z.Status().LastError, "larger than max") })
	})
	t.Run("no address at all", func(t *testing.T) {
		if err := client.New(client.Config{}).Run(context.Background()); err == nil {
			t.Error("a client without addresses runs")
		}
	})
}
