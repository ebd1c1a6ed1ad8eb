package kds_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meridiankds/meridian/internal/test/kdstest"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/client"
	"github.com/meridiankds/meridian/kds/kdspb"
	"github.com/meridiankds/meridian/kds/kuma"
	"github.com/meridiankds/meridian/keysync"
)

// stockGlobal stands in for a global of Kuma's: it sends no header before it has
// something to say, knows its own types alone, and takes what a zone answers.
type stockGlobal struct {
	t    *testing.T
	addr string

	mu       sync.Mutex
	state    map[string][]*discovery.Resource // by type
	order    []string                         // in which it answers, once all of these are asked for
	streams  map[*stockStream]bool
	seen     []*discovery.DeltaDiscoveryRequest
	upward   []*discovery.DeltaDiscoveryResponse // what zones sent on ZoneToGlobalSync
	answered []string                            // of StreamStats
	joined   int

	receiving sync.WaitGroup
}

type stockStream struct {
	ss    grpc.ServerStream
	mu    sync.Mutex
	nonce int
	end   context.CancelCauseFunc
}

// startStock runs a global of Kuma's until the test ends.
func startStock(t *testing.T) *stockGlobal {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &stockGlobal{t: t, addr: l.Addr().String(), state: map[string][]*discovery.Resource{}, streams: map[*stockStream]bool{}}
	s.set(kuma.TypeConfig, stockResource(t, kuma.NameClusterID, "", nil, &kdspb.Config{Config: kdstest.Cluster}))
	s.set(kuma.TypeMesh, stockResource(t, "default", "", nil, &kdspb.Mesh{}))
	g := grpc.NewServer(grpc.UnknownServiceHandler(s.serve))
	var done sync.WaitGroup
	done.Go(func() { g.Serve(l) }) //nolint:errcheck // ends with Stop
	t.Cleanup(func() { g.Stop(); done.Wait(); s.receiving.Wait() })
	return s
}

// stockResource is a resource as Kuma's global sends it.
func stockResource(t *testing.T, name, mesh string, labels map[string]string, spec proto.Message) *discovery.Resource {
	t.Helper()
	inner, err := anypb.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{kuma.LabelOrigin: "global"}
	for k, v := range labels {
		all[k] = v
	}
	outer, err := anypb.New(&kdspb.KumaResource{Meta: &kdspb.KumaResource_Meta{Name: name, Mesh: mesh, Labels: all}, Spec: inner})
	if err != nil {
		t.Fatal(err)
	}
	return &discovery.Resource{Version: "v-" + name, Resource: outer}
}

func stockSecret(t *testing.T, name, mesh, data string) *discovery.Resource {
	return stockResource(t, name, mesh, nil, kuma.SecretSpec([]byte(data)))
}

func (s *stockGlobal) set(typ string, list ...*discovery.Resource) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state[typ] = list
}

// push sends a change to every zone.
func (s *stockGlobal) push(typ string, removed []string, list ...*discovery.Resource) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for stream := range s.streams {
		if err := stream.send(typ, removed, list); err != nil {
			s.t.Errorf("sending: %v", err)
		}
	}
}

// drop ends every stream of every zone.
func (s *stockGlobal) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for stream := range s.streams {
		stream.end(status.Error(codes.Unavailable, "dropped"))
	}
}

// answersTo returns how a type's answers were answered.
func (s *stockGlobal) answersTo(typ string) (acks int, nacks []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.seen {
		switch {
		case r.GetTypeUrl() != typ || r.GetResponseNonce() == "":
		case r.GetErrorDetail() != nil:
			nacks = append(nacks, r.GetErrorDetail().GetMessage())
		default:
			acks++
		}
	}
	return acks, nacks
}

func (st *stockStream) send(typ string, removed []string, list []*discovery.Resource) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.nonce++
	return st.ss.SendMsg(&discovery.DeltaDiscoveryResponse{
		TypeUrl: typ, Nonce: string(rune('a' + st.nonce%26)), Resources: list, RemovedResources: removed,
		ControlPlane: &core.ControlPlane{Identifier: "global"},
	})
}

func (s *stockGlobal) serve(_ any, ss grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(ss)
	switch method {
	case kds.RPCGlobalToZone:
		return s.down(ss)
	case kds.RPCHealthCheck:
		if err := ss.RecvMsg(&kdspb.ZoneHealthCheckRequest{}); err != nil {
			return err
		}
		return ss.SendMsg(&kdspb.ZoneHealthCheckResponse{})
	case kds.RPCZoneToGlobal:
		return s.up(ss)
	case kds.KumaAdminRPCs[1]:
		if err := ss.SendMsg(&kdspb.StatsRequest{RequestId: "1", ResourceName: "dp-1", ResourceMesh: "default"}); err != nil {
			return err
		}
		var r kdspb.StatsResponse
		err := ss.RecvMsg(&r)
		s.mu.Lock()
		s.answered = append(s.answered, r.GetRequestId()+" "+r.GetError())
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
	<-ss.Context().Done()
	return nil
}

// up asks for what Kuma's global asks its zones for.
func (s *stockGlobal) up(ss grpc.ServerStream) error {
	for _, typ := range []string{"Dataplane", "ZoneIngress"} {
		err := ss.SendMsg(&discovery.DeltaDiscoveryRequest{Node: &core.Node{Id: "west"}, TypeUrl: typ, ResourceNamesSubscribe: []string{"*"}})
		if err != nil {
			return err
		}
	}
	for {
		var r discovery.DeltaDiscoveryResponse
		if err := ss.RecvMsg(&r); err != nil {
			return err
		}
		s.mu.Lock()
		s.upward = append(s.upward, &r)
		s.mu.Unlock()
		ack := &discovery.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}
		if err := ss.SendMsg(ack); err != nil {
			return err
		}
	}
}

func (s *stockGlobal) down(ss grpc.ServerStream) error {
	ctx, cancel := context.WithCancelCause(ss.Context())
	defer cancel(nil)
	st := &stockStream{ss: ss, end: cancel}
	asked := map[string]bool{}
	s.receiving.Go(func() { // ends with the handler
		for {
			r := new(discovery.DeltaDiscoveryRequest)
			if err := ss.RecvMsg(r); errors.Is(err, io.EOF) {
				return // Kuma's global never ends a call that its zone has half closed
			} else if err != nil {
				cancel(err)
				return
			}
			s.mu.Lock()
			s.seen = append(s.seen, r)
			if r.GetResponseNonce() == "" {
				s.subscribed(st, r.GetTypeUrl(), asked)
			}
			s.mu.Unlock()
		}
	})
	<-ctx.Done()
	s.mu.Lock()
	delete(s.streams, st)
	s.mu.Unlock()
	if err := context.Cause(ctx); status.Code(err) == codes.Unavailable {
		return err
	}
	return nil
}

// subscribed answers a subscription, or all of them once the last one is there.
func (s *stockGlobal) subscribed(st *stockStream, typ string, asked map[string]bool) {
	asked[typ] = true
	order := s.order
	if order == nil {
		order = []string{typ}
	}
	for _, want := range order {
		if !asked[want] {
			return
		}
	}
	for _, t := range order {
		if err := st.send(t, nil, s.state[t]); err != nil {
			return
		}
	}
	if !s.streams[st] {
		s.streams[st] = true
		s.joined++
	}
}

// kumaMember is a zone of ours with a real copy, under some global.
type kumaMember struct {
	*zone
	store *keysync.Store
	path  string
}

// openZone opens a zone's copy and has it written until the test ends.
func openZone(t *testing.T, path string, log *slog.Logger) *keysync.Store {
	t.Helper()
	store, err := keysync.Open(path, keysync.Options{Zone: "west", Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- store.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return store
}

// joinStock has a zone of ours join, with the copy at path, "" for a new one.
func joinStock(t *testing.T, path string, addresses ...string) *kumaMember {
	t.Helper()
	if path == "" {
		path = filepath.Join(t.TempDir(), "zone.db")
	}
	m := &kumaMember{path: path}
	log := &kdstest.Log{}
	m.store = openZone(t, path, log.Logger())
	m.zone = join(t, "west", func(c *client.Config) {
		c.Sink, c.Logger = m.store, log.Logger()
		c.DetectAfter = 30 * time.Millisecond
	}, addresses...)
	m.log = log
	t.Cleanup(func() { m.leave(t) })
	return m
}

// leave ends the zone and closes its copy.
func (m *kumaMember) leave(t *testing.T) {
	m.stop()
	if err := m.store.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
}

var throwAway = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func privatePEM(key *rsa.PrivateKey) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}

func publicPEM(key *rsa.PrivateKey) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey)}))
}

func emptyMesh() proto.Message { return &kdspb.Mesh{} }

func configOf(cluster string) proto.Message { return &kdspb.Config{Config: cluster} }
