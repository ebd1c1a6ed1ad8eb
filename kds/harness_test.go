package kds

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// member is a running server with its fakes.
type member struct {
	*Server
	source *fakeSource
	auth   *fakeAuth
	log    *logBuffer
	addr   string
	stop   func()
}

// start runs a server on a port of its own until the test ends.
func start(t testing.TB, change func(*ServerConfig)) *member {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startOn(t, l, change)
}

func startOn(t testing.TB, l net.Listener, change func(*ServerConfig)) *member {
	t.Helper()
	m := &member{source: newSource(), auth: &fakeAuth{}, log: &logBuffer{}, addr: l.Addr().String()}
	cfg := ServerConfig{Source: m.source, Authenticator: m.auth, Logger: m.log.logger(), Member: "member-1"}
	// Bounds that no test waits for unless it sets them itself.
	cfg.Limits.FirstRequest, cfg.Limits.Authenticate, cfg.Limits.Relay = patience, patience, patience
	cfg.Limits.Linger, cfg.Limits.Stop = patience, patience
	if change != nil {
		change(&cfg)
	}
	if s, ok := cfg.Source.(*fakeSource); ok {
		m.source = s
	}
	m.Server = NewServer(cfg)
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
	*Client
	sink *fakeSink
	log  *logBuffer
	stop func()
}

func join(t testing.TB, name string, change func(*ClientConfig), addresses ...string) *zone {
	t.Helper()
	z := &zone{sink: newSink(), log: &logBuffer{}}
	cfg := ClientConfig{
		Zone: name, Instance: name + "-0", Version: "1.2.3", Addresses: addresses,
		Token:      func() (string, error) { return name + "\n", nil },
		Sink:       z.sink,
		Logger:     z.log.logger(),
		BackoffMin: 5 * time.Millisecond, BackoffMax: 20 * time.Millisecond,
		AnswerTimeout: patience,
	}
	if change != nil {
		change(&cfg)
	}
	if s, ok := cfg.Sink.(*fakeSink); ok {
		z.sink = s
	}
	z.Client = NewClient(cfg)
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
	for d := 50 * time.Millisecond; d < patience; d *= 4 {
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
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	ctx = metadata.NewOutgoingContext(ctx, metadata.Pairs(md...))
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	return &raw{t: t, conn: conn, stream: s, cancel: cancel}, err
}

// as returns the metadata of a zone that shows its token.
func as(zone string) []string {
	return []string{mdZone, zone, mdAuthorization, "Bearer " + zone}
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

// subscription is a first request of a type.
func subscription(zone, typeURL, resume string) *discovery.DeltaDiscoveryRequest {
	req := &discovery.DeltaDiscoveryRequest{
		Node: &core.Node{Id: zone}, TypeUrl: typeURL, ResourceNamesSubscribe: []string{"*"},
	}
	if resume != "" {
		req.InitialResourceVersions = map[string]string{resourceName: resume}
	}
	return req
}

func ackOf(resp *discovery.DeltaDiscoveryResponse) *discovery.DeltaDiscoveryRequest {
	return &discovery.DeltaDiscoveryRequest{TypeUrl: resp.GetTypeUrl(), ResponseNonce: resp.GetNonce()}
}

// session returns the only session of a zone.
func (m *member) session(t testing.TB, zone string) Session {
	t.Helper()
	var found []Session
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
