package kds_test

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/test/kdstest"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/client"
	"github.com/meridiankds/meridian/kds/server"
)

// counted is what a relay saw of HTTP/2 in one direction.
type counted struct{ data, pings atomic.Int64 }

// follow passes frames on and counts them.
func (c *counted) follow(to io.Writer, from io.Reader, preface int64) {
	if _, err := io.CopyN(to, from, preface); err != nil {
		return
	}
	for head := make([]byte, 9); ; {
		if _, err := io.ReadFull(from, head); err != nil {
			return
		}
		switch head[3] {
		case 0:
			c.data.Add(1)
		case 6:
			if head[4]&1 == 0 { // no answer
				c.pings.Add(1)
			}
		}
		if _, err := to.Write(head); err != nil {
			return
		}
		if _, err := io.CopyN(to, from, int64(binary.BigEndian.Uint32(head)>>8)); err != nil {
			return
		}
	}
}

// watchedRelay relays one address, and counts what zones and the member say.
func watchedRelay(t *testing.T, member string) (address string, zone, global *counted) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	zone, global = &counted{}, &counted{}
	var relays sync.WaitGroup
	t.Cleanup(func() { l.Close(); relays.Wait() })
	relays.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", member)
			if err != nil {
				near.Close()
				continue
			}
			relays.Go(func() {
				zone.follow(far, near, int64(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")))
				near.Close()
				far.Close()
			})
			relays.Go(func() { global.follow(near, far, 0); near.Close(); far.Close() })
		}
	})
	return l.Addr().String(), zone, global
}

// TestStreamsSaySomething: in both directions, where the zone or the member is told to, and
// nothing where neither is.
func TestStreamsSaySomething(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ zone, member kds.Keepalive }{
		"the zone is told":   {kds.Keepalive{Stream: 20 * time.Millisecond}, kds.Keepalive{}},
		"the member is told": {kds.Keepalive{}, kds.Keepalive{Stream: kds.MinSaid}},
		"both are":           {kds.Keepalive{Stream: 20 * time.Millisecond}, kds.Keepalive{Stream: time.Hour}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := start(t, func(c *server.Config) { c.Keepalive = tc.member })
			told, zone, global := watchedRelay(t, m.addr)
			join(t, "west", func(c *client.Config) { c.Keepalive = tc.zone }, told)
			silent, other, _ := watchedRelay(t, start(t, nil).addr)
			join(t, "west", nil, silent)
			// The request, its acknowledgement, a health call and what a busy machine adds.
			const own = 5
			kdstest.Eventually(t, "both to say something", func() bool { return zone.data.Load() > own && global.data.Load() > own })
			if said := other.data.Load(); said > own {
				t.Errorf("a zone that is not told to sent %d messages", said)
			}
		})
	}
}

// TestConnectionsArePinged, as often as the zone is told to.
func TestConnectionsArePinged(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped with -short: waits for a ping, which gRPC sends after ten seconds at the earliest")
	}
	t.Parallel()
	m := start(t, func(c *server.Config) { c.Limits.PingEvery = time.Hour })
	often, pinged, _ := watchedRelay(t, m.addr)
	seldom, other, _ := watchedRelay(t, m.addr)
	join(t, "west", func(c *client.Config) { c.Keepalive.Ping = kds.MinPing }, often)
	join(t, "east", func(c *client.Config) { c.Keepalive.Ping = time.Hour }, seldom)
	kdstest.Eventually(t, "a ping", func() bool { return pinged.pings.Load() > 0 })
	if other.pings.Load() > 0 {
		t.Error("a zone that is to ping each hour did already")
	}
}

// TestKeepaliveOptions are judged before anything starts.
func TestKeepaliveOptions(t *testing.T) {
	for k, ok := range map[kds.Keepalive]bool{
		{}: true, {Ping: 10 * time.Second}: true, {Ping: time.Hour}: true, {Stream: time.Second}: true, {Ping: 9 * time.Second}: false, {Ping: -1}: false,
		{Ping: time.Hour + 1}: false, {Stream: time.Millisecond}: false, {Stream: -time.Second}: false, {Stream: 2 * time.Hour}: false,
	} {
		if err := k.Validate(); (err == nil) != ok {
			t.Errorf("%+v: %v", k, err)
		}
	}
	if ping := (kds.Keepalive{}).Pings(); ping != 20*time.Second || kds.DefaultLimits().PingEvery <= ping || kds.DefaultLimits().PingEvery > 30*time.Second {
		t.Errorf("zones ping each %v, members after %v", ping, kds.DefaultLimits().PingEvery)
	}
	for _, tc := range [][3]time.Duration{{0, 0, 0}, {1, 0, 1}, {0, 1, 1}, {1, 2, 1}, {2, 1, 1}} {
		if got := kds.Shorter(tc[0], tc[1]); got != tc[2] {
			t.Errorf("of %v and %v: %v", tc[0], tc[1], got)
		}
	}
}

// TestBalancersAskForHealth without a credential, and learn nothing else.
func TestBalancersAskForHealth(t *testing.T) {
	m := start(t, nil)
	conn := dialRaw(t, m.addr)
	client := healthpb.NewHealthClient(conn)
	for service, want := range map[string]codes.Code{"": codes.OK, kds.SyncService: codes.OK, kds.GlobalService: codes.OK, "another": codes.NotFound} {
		got, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
		if status.Code(err) != want || err == nil && got.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("%q: %v %v", service, got, err)
		}
	}
	if stream, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{}); err == nil {
		if _, err = stream.Recv(); status.Code(err) != codes.Unimplemented {
			t.Errorf("a stream for who proved nothing: %v", err)
		}
	}
	if err := conn.Invoke(t.Context(), kds.RPCHealthCheck, &healthpb.HealthCheckRequest{}, &healthpb.HealthCheckResponse{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("what zones call is answered: %v", err)
	}
	if refused := m.Stats().Refused; len(refused) != 1 {
		t.Errorf("health checks are counted as refusals: %v", refused)
	}
	empty := start(t, func(c *server.Config) { c.Source = stateless{kdstest.NewSource()} })
	got, err := healthpb.NewHealthClient(dialRaw(t, empty.addr)).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil || got.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("a member without state: %v %v", got, err)
	}
}

// TestHealthChecksKeepTheirConnection: who asks this again and again is not late.
func TestHealthChecksKeepTheirConnection(t *testing.T) {
	hurry(t, func(d time.Duration) bool {
		m := start(t, func(c *server.Config) { c.Limits.FirstRequest = 2 * d })
		defer m.stop()
		conn := dialRaw(t, m.addr)
		defer conn.Close()
		var first string
		for range 5 {
			var p peer.Peer
			if err := conn.Invoke(t.Context(), kds.RPCHealth, &healthpb.HealthCheckRequest{}, &healthpb.HealthCheckResponse{}, grpc.Peer(&p)); err != nil {
				return false
			}
			if first == "" {
				first = p.LocalAddr.String()
			}
			if p.LocalAddr.String() != first {
				return false
			}
			<-time.After(d) // five of these are longer than a connection has without an answer
		}
		return true
	})
}

// stateless is a member that has joined nobody yet.
type stateless struct{ *kdstest.Source }

func (stateless) Head() (string, federation.Revision) { return "", federation.Revision{} }
