package cluster

import (
	"context"
	"crypto/tls"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/kds/kdspb"
)

// The calls that a zone of Kuma's makes, all at once.
const (
	kumaDown   = "/kuma.mesh.v1alpha1.KDSSyncService/GlobalToZoneSync"
	kumaUp     = "/kuma.mesh.v1alpha1.KDSSyncService/ZoneToGlobalSync"
	kumaHealth = "/kuma.mesh.v1alpha1.GlobalKDSService/HealthCheck"
)

var kumaSilent = []string{kumaUp, "/kuma.mesh.v1alpha1.GlobalKDSService/StreamXDSConfigs",
	"/kuma.mesh.v1alpha1.GlobalKDSService/StreamStats", "/kuma.mesh.v1alpha1.GlobalKDSService/StreamClusters"}

// kumaZone stands in for a zone control plane of Kuma's: it makes the calls that
// one makes, keeps what it is sent and acknowledges it.
type kumaZone struct {
	t      testing.TB
	name   string
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu     sync.Mutex
	has    map[string]string // "<type>/<name>.<mesh>": data
	types  map[string]bool   // answered
	refuse map[string]string // types whose answers it refuses, and why
	mute   map[string]bool   // types whose answers it does not acknowledge
	ended  map[string]error  // calls that are over
	bytes  []byte            // everything that it was sent
}

// kumaOption changes how a zone of Kuma's joins.
type kumaOption struct {
	token       string // authorization, empty: none
	certificate *tls.Certificate
	instance    string
	version     string // of Kuma, empty: 2.8.8
}

// joinKuma has a zone of Kuma's join. It does not wait.
func (g *Global) joinKuma(name string, o kumaOption) *kumaZone {
	g.t.Helper()
	z := &kumaZone{t: g.t, name: name, has: map[string]string{}, types: map[string]bool{},
		refuse: map[string]string{}, mute: map[string]bool{}, ended: map[string]error{}}
	ca := filepath.Join(g.Dir, "tls", tlsutil.CAFile)
	if g.cluster != nil {
		ca = g.cluster.ca
	}
	pool, err := tlsutil.LoadPool(ca)
	if err != nil {
		g.t.Fatal(err)
	}
	cfg := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	if o.certificate != nil {
		cfg.Certificates = []tls.Certificate{*o.certificate}
	}
	conn, err := grpc.NewClient("passthrough:///"+g.KDS(), grpc.WithTransportCredentials(credentials.NewTLS(cfg)),
		grpc.WithDefaultCallOptions(grpc.UseCompressor(gzip.Name), grpc.MaxCallRecvMsgSize(10<<20)))
	if err != nil {
		g.t.Fatal(err)
	}
	md := metadata.Pairs("client-id", name, "kds-version", "v3", "version", "unknown", "features", "zone-ping-health", "features", "hash-suffix")
	if o.token != "" {
		md.Set("authorization", "Bearer "+o.token)
	}
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(context.Background(), md))
	z.cancel = cancel
	if o.instance == "" {
		o.instance = name + "-729d"
	}
	if o.version == "" {
		o.version = "2.8.8"
	}
	z.done.Go(func() { z.call(kumaDown, func() error { return z.down(ctx, conn, o) }) })
	for _, method := range kumaSilent {
		z.done.Go(func() { z.call(method, func() error { return z.silent(ctx, conn, method) }) })
	}
	z.done.Go(func() {
		z.call(kumaHealth, func() error {
			return conn.Invoke(ctx, kumaHealth, &kdspb.ZoneHealthCheckRequest{}, &kdspb.ZoneHealthCheckResponse{})
		})
	})
	g.t.Cleanup(func() {
		z.leave()
		conn.Close()
	})
	return z
}

// leave ends all calls.
func (z *kumaZone) leave() {
	z.cancel()
	z.done.Wait()
}

func (z *kumaZone) call(method string, f func() error) {
	err := f()
	z.mu.Lock()
	defer z.mu.Unlock()
	z.ended[method] = err
}

var bidi = &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}

func (z *kumaZone) silent(ctx context.Context, conn *grpc.ClientConn, method string) error {
	s, err := conn.NewStream(ctx, bidi, method)
	if err != nil {
		return err
	}
	return s.RecvMsg(&discovery.DeltaDiscoveryRequest{})
}

func (z *kumaZone) down(ctx context.Context, conn *grpc.ClientConn, o kumaOption) error {
	s, err := conn.NewStream(ctx, bidi, kumaDown)
	if err != nil {
		return err
	}
	node, err := structpb.NewStruct(map[string]any{
		"config": `{"mode":"zone","store":{"type":"memory"}}`, "control-plane-id": o.instance, "features": []any{"zone-token", "hash-suffix"},
		"version": map[string]any{"kumaCp": map[string]any{"version": o.version}},
	})
	if err != nil {
		return err
	}
	for _, typ := range []string{"HealthCheck", "GlobalSecret", "Config", "Secret", "TrafficRoute", "Mesh"} {
		err := s.SendMsg(&discovery.DeltaDiscoveryRequest{
			Node: &core.Node{Id: z.name, Metadata: node}, TypeUrl: typ, ResourceNamesSubscribe: []string{"*"},
		})
		if err != nil {
			return s.RecvMsg(&discovery.DeltaDiscoveryResponse{})
		}
	}
	for {
		resp := &discovery.DeltaDiscoveryResponse{}
		if err := s.RecvMsg(resp); err != nil {
			return err
		}
		if ack := z.take(resp); ack != nil {
			if err := s.SendMsg(ack); err != nil {
				return err
			}
		}
	}
}

// take keeps what an answer brings and returns what to say to it.
func (z *kumaZone) take(resp *discovery.DeltaDiscoveryResponse) *discovery.DeltaDiscoveryRequest {
	z.mu.Lock()
	defer z.mu.Unlock()
	typ := resp.GetTypeUrl()
	ack := &discovery.DeltaDiscoveryRequest{Node: &core.Node{Id: z.name}, TypeUrl: typ, ResponseNonce: resp.GetNonce()}
	if why := z.refuse[typ]; why != "" {
		ack.ErrorDetail = &rpcstatus.Status{Message: why}
		return ack
	}
	if !z.types[typ] { // the first answer is all there is
		z.types[typ] = true
		maps.DeleteFunc(z.has, func(key, _ string) bool { return filepath.Dir(key) == typ })
	}
	for _, r := range resp.GetResources() {
		z.bytes = append(z.bytes, r.GetResource().GetValue()...)
		var k kdspb.KumaResource
		if err := r.GetResource().UnmarshalTo(&k); err != nil {
			z.t.Errorf("%s: %v", typ, err)
			continue
		}
		z.has[typ+"/"+k.GetMeta().GetName()+"."+k.GetMeta().GetMesh()] = z.dataOf(&k)
	}
	for _, key := range resp.GetRemovedResources() {
		delete(z.has, typ+"/"+key)
	}
	if z.mute[typ] {
		return nil
	}
	return ack
}

func (z *kumaZone) dataOf(k *kdspb.KumaResource) string {
	spec, err := k.GetSpec().UnmarshalNew()
	if err != nil {
		z.t.Errorf("%s: %v", k.GetMeta().GetName(), err)
	}
	switch s := spec.(type) {
	case *kdspb.Secret:
		return string(s.GetData().GetValue())
	case *kdspb.Config:
		return s.GetConfig()
	}
	return ""
}

// get returns a resource, and whether it is there.
func (z *kumaZone) get(key string) (string, bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	data, ok := z.has[key]
	return data, ok
}

// keys are the names of all resources that the zone has.
func (z *kumaZone) keys() []string {
	z.mu.Lock()
	defer z.mu.Unlock()
	return slices.Sorted(maps.Keys(z.has))
}

// with changes how the zone behaves.
func (z *kumaZone) with(f func(z *kumaZone)) {
	z.mu.Lock()
	defer z.mu.Unlock()
	f(z)
}

// over returns how a call ended, and whether it did.
func (z *kumaZone) over(method string) (error, bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	err, ok := z.ended[method]
	return err, ok
}
