package kds_test

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/meridiankds/meridian/internal/test/kdstest"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/client"
	"github.com/meridiankds/meridian/kds/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// member is a running server with its fakes.
type member struct {
	*server.Server
	source *kdstest.Source
	auth   *kdstest.Auth
	log    *kdstest.Log
	addr   string
	stop   func()
}

// start runs a server on a port of its own until the test ends.
func start(t testing.TB, change func(*server.Config)) *member {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startOn(t, l, change)
}

func startOn(t testing.TB, l net.Listener, change func(*server.Config)) *member {
	t.Helper()
	m := &member{source: kdstest.NewSource(), auth: &kdstest.Auth{}, log: &kdstest.Log{}, addr: l.Addr().String()}
	cfg := server.Config{Source: m.source, Authenticator: m.auth, Logger: m.log.Logger(), Member: "member-1"}
	// Bounds that no test waits for unless it sets them itself.
	cfg.Limits.FirstRequest, cfg.Limits.Authenticate, cfg.Limits.Relay = kdstest.Patience, kdstest.Patience, kdstest.Patience
	cfg.Limits.Linger, cfg.Limits.Stop = kdstest.Patience, kdstest.Patience
	if change != nil {
		change(&cfg)
	}
	if s, ok := cfg.Source.(*kdstest.Source); ok {
		m.source = s
	}
	m.Server = server.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx, l) }()
	stopped := false
	m.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(m.stop)
	return m
}

// zone is a running client with its sink.
type zone struct {
	*client.Client
	sink *kdstest.Sink
	log  *kdstest.Log
	stop func()
}

func join(t testing.TB, name string, change func(*client.Config), addresses ...string) *zone {
	t.Helper()
	z := &zone{sink: kdstest.NewSink(), log: &kdstest.Log{}}
	cfg := client.Config{
		Zone: name, Instance: name + "-0", Version: "1.2.3", Addresses: addresses,
		Token:      func() (string, error) { return name + "\n", nil },
		Sink:       z.sink,
		Logger:     z.log.Logger(),
		BackoffMin: 5 * time.Millisecond, BackoffMax: 20 * time.Millisecond,
		AnswerTimeout: kdstest.Patience,
	}
	if change != nil {
		change(&cfg)
	}
	if s, ok := cfg.Sink.(*kdstest.Sink); ok {
		z.sink = s
	}
	z.Client = client.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- z.Run(ctx) }()
	stopped := false
	z.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Client.Run: %v", err)
		}
	}
	t.Cleanup(z.stop)
	return z
}

// hurry runs a test of a deadline with longer and longer ones: f reports whether what
// must happen before the deadline did, which on a busy machine a short one does not
// allow.
func hurry(t *testing.T, f func(d time.Duration) bool) {
	t.Helper()
	for d := 50 * time.Millisecond; d < kdstest.Patience; d *= 4 {
		if f(d) {
			return
		}
	}
	t.Fatal("this machine never met the deadline")
}

// raw is a hand-driven GlobalToZoneSync stream.
type raw struct {
	t      testing.TB
	conn   *grpc.ClientConn
	stream grpc.ClientStream
	cancel context.CancelFunc
}

func dialRaw(t testing.TB, addr string, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	opts = append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, opts...)
	conn, err := grpc.NewClient("passthrough:///"+addr, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func openRaw(t testing.TB, conn *grpc.ClientConn, method string, md ...string) *raw {
	t.Helper()
	r, err := tryRaw(t, conn, method, md...)
	if err != nil {
		t.Fatalf("opening %s: %v", method, err)
	}
	return r
}

func tryRaw(t testing.TB, conn *grpc.ClientConn, method string, md ...string) (*raw, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*kdstest.Patience)
	t.Cleanup(cancel)
	ctx = metadata.NewOutgoingContext(ctx, metadata.Pairs(md...))
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	return &raw{t: t, conn: conn, stream: s, cancel: cancel}, err
}

// as returns the metadata of a zone that shows its token.
func as(zone string) []string {
	return []string{kds.MDZone, zone, kds.MDAuthorization, "Bearer " + zone}
}

// offer sends what the server may refuse before all of it is there: the answer then
// says why.
func (r *raw) offer(req *discovery.DeltaDiscoveryRequest) {
	r.t.Helper()
	if err := r.stream.SendMsg(req); err != nil && !errors.Is(err, io.EOF) {
		r.t.Fatalf("sending: %v", err)
	}
}

func (r *raw) send(req *discovery.DeltaDiscoveryRequest) {
	r.t.Helper()
	if err := r.stream.SendMsg(req); err != nil {
		r.t.Fatalf("sending: %v", err)
	}
}

func (r *raw) recv() (*discovery.DeltaDiscoveryResponse, error) {
	resp := new(discovery.DeltaDiscoveryResponse)
	err := r.stream.RecvMsg(resp)
	return resp, err
}

func (r *raw) must() *discovery.DeltaDiscoveryResponse {
	r.t.Helper()
	resp, err := r.recv()
	if err != nil {
		r.t.Fatalf("receiving: %v", err)
	}
	return resp
}

func ackOf(resp *discovery.DeltaDiscoveryResponse) *discovery.DeltaDiscoveryRequest {
	return &discovery.DeltaDiscoveryRequest{TypeUrl: resp.GetTypeUrl(), ResponseNonce: resp.GetNonce()}
}

// session returns the only session of a zone.
func (m *member) session(t testing.TB, zone string) server.Session {
	t.Helper()
	var found []server.Session
	for _, s := range m.Sessions() {
		if s.Zone == zone {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		t.Fatalf("zone %s has %d sessions, want 1: %+v", zone, len(found), found)
	}
	return found[0]
}

// subscription is a first request of a type.
func subscription(zone, typeURL, resume string) *discovery.DeltaDiscoveryRequest {
	req := &discovery.DeltaDiscoveryRequest{
		Node: &core.Node{Id: zone}, TypeUrl: typeURL, ResourceNamesSubscribe: []string{"*"},
	}
	if resume != "" {
		_, rev, _ := strings.Cut(resume, "/")
		req.InitialResourceVersions = map[string]string{
			kds.ResourceName: resume, kds.VersionPosition: base64.StdEncoding.EncodeToString([]byte(rev)),
		}
	}
	return req
}
