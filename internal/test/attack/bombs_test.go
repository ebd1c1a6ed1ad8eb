package attack

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	grpcgzip "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/internal/test/cluster"
)

// bombSize is what a compression bomb comes to.
const bombSize = 16 << 20

// dial is a gRPC connection to KDS, or to the zone's port for proxies.
func (f *federation) dial(address string) *grpc.ClientConn {
	f.t.Helper()
	config := &tls.Config{RootCAs: f.roots, MinVersion: tls.VersionTLS12}
	if z := f.west.Node.Endpoints(); address == z.DP {
		pool, err := tlsutil.LoadPool(z.CAFile)
		if err != nil {
			f.t.Fatal(err)
		}
		config.RootCAs = pool
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { conn.Close() })
	return conn
}

// TestCompressionBombs sends some kilobytes that come to 16 MiB to everything that reads a
// body. Whoever takes no compression must not begin to, whoever does must stop early.
func TestCompressionBombs(t *testing.T) {
	exhausts(t)
	f := start(t)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := io.CopyN(w, zeros{}, bombSize); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	g, z := f.global.Node.Endpoints(), f.west.Node.Endpoints()
	admin := f.ports()[0].token
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, url := range []string{
		"http://" + g.API + "/v1/revocations", "https://" + g.APITLS + "/v1/revocations", "http://" + g.API + "/tokens/zone",
		"http://" + g.API + "/v1/snapshot/restore", "http://" + z.API + "/tokens/dataplane",
		"https://" + z.DP + "/v1/authenticate", "https://" + z.DP + "/bootstrap",
	} {
		got := f.http("POST", url, admin, packed.String(), "Content-Encoding", "gzip")
		if got.ok || !strings.HasPrefix(got.text, "4") {
			t.Errorf("a bomb at %s: %.200s", url, got.text)
		}
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > bombSize/2 {
		t.Errorf("seven bombs had %d MiB allocated: somebody unpacked them", grown>>20)
	}

	bomb := strings.Repeat("\x00", bombSize)
	options := []grpc.CallOption{grpc.UseCompressor(grpcgzip.Name), grpc.MaxCallSendMsgSize(2 * bombSize)}
	node := &core.Node{Id: bomb}
	for method, m := range map[string]struct {
		address string
		message any
	}{
		"/kuma.mesh.v1alpha1.KDSSyncService/GlobalToZoneSync":                              {f.global.KDS(), &discovery.DeltaDiscoveryRequest{Node: node}},
		"/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources": {z.DP, &discovery.DiscoveryRequest{Node: node}},
		"/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources":  {z.DP, &discovery.DeltaDiscoveryRequest{Node: node}},
		"/envoy.service.auth.v3.Authorization/Check": {z.DP, &auth.CheckRequest{Attributes: &auth.AttributeContext{
			ContextExtensions: map[string]string{"x": bomb},
		}}},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		ctx = metadata.NewOutgoingContext(ctx, metadata.Pairs("client-id", "west", "authorization", "Bearer "+f.west.Token))
		stream, err := f.dial(m.address).NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method, options...)
		if err != nil {
			t.Fatal(err)
		}
		// The refusal may come while the bomb is still being sent.
		_ = stream.SendMsg(m.message)
		err = stream.RecvMsg(&discovery.DiscoveryResponse{})
		if code := status.Code(err); err == nil || code == codes.DeadlineExceeded || code == codes.Internal {
			t.Errorf("a bomb for %s: %v", method, err)
		}
	}
	f.stillServes("compression bombs")
}

// zeros is a reader of as many as one likes.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestSlowReadersHinderNobody asks every HTTP port for more and more, and a zone for
// configuration over and over, and reads no answer. The servers stop reading such a
// connection once its answers fill what lies between, and serve everybody else.
func TestSlowReadersHinderNobody(t *testing.T) {
	exhausts(t)
	f := start(t)
	g, z := f.global.Node.Endpoints(), f.west.Node.Endpoints()
	admin := f.ports()[0].token
	ask := "GET %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + admin + "\r\n\r\n"
	for address, path := range map[string]string{g.API: "/v1/audit", g.Diagnostics: "/metrics", z.API: "/v1/status", z.Diagnostics: "/metrics"} {
		one := fmt.Sprintf(ask, path)
		for range 20 {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
				t.Fatal(err)
			}
			// Half a megabyte of questions at most; a server that is stuck takes less.
			if err := conn.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(conn, strings.Repeat(one, (512<<10)/len(one)))
		}
	}
	token := f.global.ZoneToken("west", cptoken.ScopeEgress)
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(context.Background(), metadata.Pairs("authorization", "Bearer "+token)))
	defer cancel()
	for range 10 {
		stream, err := discovery.NewAggregatedDiscoveryServiceClient(f.dial(z.DP)).StreamAggregatedResources(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 500 {
			request := &discovery.DiscoveryRequest{Node: &core.Node{Id: "default.egress"}, TypeUrl: "type.googleapis.com/envoy.config.cluster.v3.Cluster", ResourceNames: []string{fmt.Sprint(i)}}
			if err := stream.Send(request); err != nil {
				break // refused or ended: the port may do that
			}
		}
	}
	f.stillServes("readers that do not read")
	// What was asked before the answers filled the way may keep it busy for a moment.
	cluster.Eventually(t, "the metrics to be served", func() bool {
		return f.http(http.MethodGet, "http://"+g.Diagnostics+"/metrics", "", "").ok
	})
}
