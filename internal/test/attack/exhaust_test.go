package attack

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
)

// stillServes fails the test where a port no longer lets in who has a good token.
func (f *federation) stillServes(after string) {
	f.t.Helper()
	for _, p := range f.ports() {
		if got := p.show(p.token); !got.ok {
			f.t.Errorf("after %s, %s: %s", after, p.name, got.text)
		}
	}
}

// TestAMillionNames subscribes to a million names in one request of a zone that is
// authenticated, plain and compressed to some kilobytes. It is refused by its size,
// and everybody else is served.
func TestAMillionNames(t *testing.T) {
	exhausts(t)
	f := start(t)
	names := make([]string, 1_000_000)
	for i := range names {
		names[i] = "n"
	}
	for name, options := range map[string][]grpc.CallOption{
		"plain":      {grpc.MaxCallSendMsgSize(64 << 20)},
		"compressed": {grpc.MaxCallSendMsgSize(64 << 20), grpc.UseCompressor(gzip.Name)},
	} {
		config := &tls.Config{RootCAs: f.roots, MinVersion: tls.VersionTLS12}
		conn, err := grpc.NewClient(f.global.KDS(), grpc.WithTransportCredentials(credentials.NewTLS(config)))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		ctx = metadata.NewOutgoingContext(ctx, metadata.Pairs("client-id", "west", "authorization", "Bearer "+f.west.Token))
		stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
			"/kuma.mesh.v1alpha1.KDSSyncService/GlobalToZoneSync", options...)
		if err != nil {
			t.Fatal(err)
		}
		// The refusal may come while the request is still being sent.
		_ = stream.SendMsg(&discovery.DeltaDiscoveryRequest{Node: &core.Node{Id: "west"}, TypeUrl: "Mesh", ResourceNamesSubscribe: names})
		if err := stream.RecvMsg(&discovery.DeltaDiscoveryResponse{}); err == nil || ctx.Err() != nil {
			t.Errorf("%s: a million names were taken: %v", name, err)
		}
	}
	f.stillServes("a million names")
}

// TestAMegabyteOfHeaders sends a megabyte of headers to every HTTP port and to KDS.
func TestAMegabyteOfHeaders(t *testing.T) {
	exhausts(t)
	f := start(t)
	g, z := f.global.Node.Endpoints(), f.west.Node.Endpoints()
	one := "X-A: " + strings.Repeat("h", 1<<20) + "\r\n"
	many := strings.Repeat("X-A: "+strings.Repeat("h", 1000)+"\r\n", 1000)
	for _, address := range []string{g.API, g.Diagnostics, z.API, z.Diagnostics} {
		for name, headers := range map[string]string{"one": one, "many": many} {
			got := answers(t, f.raw(address, false, "GET / HTTP/1.1\r\nHost: localhost\r\n"+headers+"\r\n"))
			if len(got) > 1 || len(got) == 1 && got[0] != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("%s header at %s: answered %v", name, address, got)
			}
		}
	}
	if got := f.kds("west", strings.Repeat("t", 1<<20), nil); got.ok {
		t.Error("a megabyte of metadata was taken")
	}
	f.stillServes("a megabyte of headers")
}

// TestSilentConnectionsHinderNobody opens connections to every port that never speak,
// that stop within the handshake, and that send half of a request.
func TestSilentConnectionsHinderNobody(t *testing.T) {
	exhausts(t)
	f := start(t)
	g, z := f.global.Node.Endpoints(), f.west.Node.Endpoints()
	halves := []string{"", "\x16\x03\x01", "GET / HT", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"}
	for _, address := range []string{g.API, g.APITLS, g.KDS, g.Peer, g.Diagnostics, z.DP, z.API, z.Diagnostics} {
		for i := range 50 {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatalf("connection %d to %s: %v", i, address, err)
			}
			defer conn.Close()
			_, _ = conn.Write([]byte(halves[i%len(halves)]))
		}
	}
	f.stillServes("four hundred silent connections")
}
