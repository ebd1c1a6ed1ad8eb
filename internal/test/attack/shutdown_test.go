package attack

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/metadata"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/test/selfsigned"
)

// stopWithin is what a program takes at most to stop. One that waits for silent callers
// takes at least twice as long, as gRPC does for a handshake.
const stopWithin = 3 * time.Second

// TestSilentCallersHoldNoShutdownUp: connections on every port of both programs, left at
// each point at which a caller can fall silent.
func TestSilentCallersHoldNoShutdownUp(t *testing.T) {
	exhausts(t)
	f := start(t)
	g, z := f.global.Node.Endpoints(), f.west.Node.Endpoints()
	half := "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx"
	preface := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00" // and empty settings
	for _, address := range []string{g.API, g.APITLS, g.KDS, g.Peer, g.Diagnostics, z.DP, z.API, z.Diagnostics} {
		for _, text := range []string{"", "\x16\x03\x01", "GET / HT", half, preface} {
			conn := silent(t, address)
			_, _ = io.WriteString(conn, text)
		}
	}
	for address, protocol := range map[string]string{g.APITLS: "http/1.1", g.KDS: "h2", z.DP: "http/1.1"} {
		for _, text := range []string{"", "GET / HT", half} {
			if protocol == "h2" && text != "" {
				text = preface
			}
			f.secured(address, protocol, text)
		}
	}
	for _, address := range []string{g.APITLS, g.KDS, z.DP} {
		f.secured(address, "h2", "")
		f.secured(address, "h2", preface)
	}
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(context.Background(), metadata.Pairs("authorization", "Bearer "+f.global.ZoneToken("west", cptoken.ScopeEgress))))
	defer cancel()
	ads, err := discovery.NewAggregatedDiscoveryServiceClient(f.dial(z.DP)).StreamAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := ads.Send(&discovery.DiscoveryRequest{Node: &core.Node{Id: "default.egress"}, TypeUrl: "type.googleapis.com/envoy.config.cluster.v3.Cluster"}); err != nil {
		t.Fatal(err)
	}
	for name, stop := range map[string]func(){"zone": f.west.Stop, "global": f.global.Stop} {
		lost := lostTime()
		begun := time.Now()
		stop()
		took, late := time.Since(begun), lost()
		t.Logf("the %s stopped within %s, in which this machine lost %s", name, took, late)
		if took > 2*stopWithin+late {
			t.Errorf("the %s took %s to stop", name, took)
		}
	}
}

// lostTime measures how late this machine wakes whoever sleeps, until the function that
// it returns is called: by so much anything takes longer that is not ours to hurry.
func lostTime() func() time.Duration {
	const step = 10 * time.Millisecond
	var late time.Duration
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			begun := time.Now()
			select {
			case <-end:
				return
			case <-time.After(step):
				late += time.Since(begun) - step
			}
		}
	}()
	return func() time.Duration {
		close(end)
		<-ended
		return late
	}
}

// silent is a connection that stays open until the test ends.
func silent(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// secured is one over TLS, on which a text was sent.
func (f *federation) secured(address, protocol, text string) {
	f.t.Helper()
	conn := tls.Client(silent(f.t, address), selfsigned.Caller(protocol))
	if err := conn.Handshake(); err != nil {
		f.t.Fatalf("%s: %v", address, err)
	}
	_, _ = io.WriteString(conn, text)
}
