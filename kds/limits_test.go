package kds_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meridiankds/meridian/internal/net/preauth"
	"github.com/meridiankds/meridian/internal/test/kdstest"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/kdspb"
	"github.com/meridiankds/meridian/kds/server"
	"github.com/meridiankds/meridian/kds/wire"
)

func TestTooManyTypes(t *testing.T) {
	m := start(t, nil)
	r := openRaw(t, dialRaw(t, m.addr), kds.RPCGlobalToZone, as("west")...)
	for i := range kds.DefaultLimits().Types {
		r.send(subscription("west", fmt.Sprint("Type", i), ""))
		r.must()
	}
	r.send(subscription("west", "OneMore", ""))
	if _, err := r.recv(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v, want ResourceExhausted", err)
	}
}

// TestIncompleteMessagesAreBounded: what a zone has sent of messages that are not complete
// counts against it over all of its streams and connections. It and others are served
// once it lets go.
func TestIncompleteMessagesAreBounded(t *testing.T) {
	var log kdstest.Log
	budget := preauth.New(preauth.Config{Logger: log.Logger()})
	m := start(t, func(c *server.Config) { c.Budget = budget })
	served := func(name string) {
		z, rev := join(t, name, nil, m.addr), m.source.Add()
		kdstest.Eventually(t, name+" to be served", func() bool { return z.sink.Holds(rev) })
	}
	ctx, cancel := context.WithCancel(t.Context())
	var calls sync.WaitGroup
	size := kds.DefaultLimits().Message
	for range 2 {
		var protocols http.Protocols
		protocols.SetUnencryptedHTTP2(true)
		transport := &http.Transport{Protocols: &protocols}
		defer transport.CloseIdleConnections()
		for range kds.DefaultLimits().Streams {
			head := binary.BigEndian.AppendUint32([]byte{0}, uint32(size))
			body := io.MultiReader(bytes.NewReader(head), bytes.NewReader(make([]byte, size-1)), untilDone{ctx})
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+m.addr+kds.RPCGlobalToZone, body)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/grpc")
			r.Header.Set("TE", "trailers")
			for md := as("west"); len(md) > 0; md = md[2:] {
				r.Header.Set(md[0], md[1])
			}
			calls.Go(func() {
				if resp, err := transport.RoundTrip(r); err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			})
		}
	}
	kdstest.Eventually(t, "the zone to be over its quota", func() bool { return budget.Totals().OverQuota > 0 })
	kdstest.Eventually(t, "the log to name the zone", func() bool { return strings.Contains(log.String(), "server=kds kind=zone name=west") })
	served("east")
	cancel()
	calls.Wait()
	served("west")
}

// untilDone is a body of which nothing more comes.
type untilDone struct{ ctx context.Context }

func (u untilDone) Read([]byte) (int, error) {
	<-u.ctx.Done()
	return 0, u.ctx.Err()
}

func TestTooManyNames(t *testing.T) {
	names := func(n int) []string {
		out := make([]string, n)
		for i := range out {
			out[i] = fmt.Sprint("name-", i)
		}
		return out
	}
	m := start(t, nil)
	conn := dialRaw(t, m.addr)
	t.Run("at once", func(t *testing.T) {
		r := openRaw(t, conn, kds.RPCGlobalToZone, as("west")...)
		req := subscription("west", "Mesh", "")
		req.ResourceNamesSubscribe = names(1001)
		r.send(req)
		if _, err := r.recv(); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("got %v, want ResourceExhausted", err)
		}
	})
	t.Run("little by little", func(t *testing.T) {
		r := openRaw(t, conn, kds.RPCGlobalToZone, as("west")...)
		for i := range 2 {
			req := subscription("west", fmt.Sprint("Type", i), "")
			req.ResourceNamesSubscribe = names(500)
			r.send(req)
			r.must()
		}
		req := subscription("west", "Type0", "")
		req.ResourceNamesUnsubscribe, req.ResourceNamesSubscribe = names(500), names(500)
		r.send(req)
		r.must()
		r.send(subscription("west", "Type0", ""))
		if _, err := r.recv(); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("got %v, want ResourceExhausted", err)
		}
	})
	t.Run("one that is long", func(t *testing.T) {
		r := openRaw(t, conn, kds.RPCGlobalToZone, as("west")...)
		req := subscription("west", "Mesh", "")
		req.ResourceNamesSubscribe = []string{strings.Repeat("n", 513)}
		r.send(req)
		if _, err := r.recv(); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("got %v, want ResourceExhausted", err)
		}
	})
}

// TestTooManyStreams opens one stream more than a connection may have: it waits
// at the caller until another ends.
func TestTooManyStreams(t *testing.T) {
	m := start(t, func(c *server.Config) { c.Limits.Streams = 3 })
	conn := dialRaw(t, m.addr)
	var first *raw
	for range 3 {
		r := openRaw(t, conn, "/"+kds.GlobalService+"/StreamStats", as("west")...)
		if _, err := r.stream.Header(); err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = r
		}
	}
	ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(context.Background(), metadata.Pairs(as("west")...)), 100*time.Millisecond)
	defer cancel()
	err := conn.Invoke(ctx, kds.RPCHealthCheck, &kdspb.ZoneHealthCheckRequest{}, &kdspb.ZoneHealthCheckResponse{})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Fatalf("a fourth stream: %v, want it to wait", err)
	}
	first.cancel()
	if err := callOnce(t, conn, kds.RPCHealthCheck, as("west")...); err != nil {
		t.Errorf("after a stream ended: %v", err)
	}
}

// TestSilentConnectionsKeepNobodyOut: what callers without a credential hold is bounded,
// and a zone that comes among them is served.
func TestSilentConnectionsKeepNobodyOut(t *testing.T) {
	budget := preauth.New(preauth.Config{Bytes: 1 << 20})
	m := start(t, func(c *server.Config) { c.Budget = budget })
	for range 100 {
		conn, err := net.Dial("tcp", m.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if err := callOnce(t, dialRaw(t, m.addr), kds.RPCHealthCheck, as("west")...); err != nil {
		t.Errorf("a zone among them: %v", err)
	}
	if s := budget.Stats()["kds"]; s.Evicted == 0 || s.Bytes > 1<<20 {
		t.Errorf("stats %+v", s)
	}
}

// TestCallsThatWaitAreCharged: a refusal that keeps its caller waiting keeps the call too.
func TestCallsThatWaitAreCharged(t *testing.T) {
	const calls = 10
	budget := preauth.New(preauth.Config{})
	waiting, release := make(chan struct{}, calls), make(chan struct{})
	m := start(t, func(c *server.Config) {
		c.Budget = budget
		c.Refused = func(context.Context, server.Refusal) error {
			waiting <- struct{}{}
			<-release
			return nil
		}
	})
	conn := dialRaw(t, m.addr)
	ended := make(chan error, calls)
	for range calls {
		go func() {
			ended <- conn.Invoke(context.Background(), kds.RPCHealthCheck, &kdspb.ZoneHealthCheckRequest{}, &kdspb.ZoneHealthCheckResponse{})
		}()
	}
	for range calls {
		<-waiting
	}
	if held := budget.Stats()["kds"].Bytes; held < calls*12<<10 {
		t.Errorf("%d calls are charged %d bytes", calls, held)
	}
	close(release)
	for range calls {
		if err := <-ended; err == nil {
			t.Error("a caller without a token was admitted")
		}
	}
	if held := budget.Stats()["kds"].Bytes; held > calls*12<<10 {
		t.Errorf("calls that are over are charged %d bytes", held)
	}
}

func TestOversizedMessage(t *testing.T) {
	m := start(t, nil)
	conn := dialRaw(t, m.addr, grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(64<<20)))
	big := subscription("west", "Mesh", "")
	big.Node.Metadata = &structpb.Struct{Fields: map[string]*structpb.Value{
		"config": structpb.NewStringValue(strings.Repeat("c", 1<<20)),
	}}
	r := openRaw(t, conn, kds.RPCGlobalToZone, as("west")...)
	r.offer(big)
	if _, err := r.recv(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v, want ResourceExhausted", err)
	}
}

// TestDecompressionIsBounded sends 32 MiB of zeros in some tens of kilobytes.
func TestDecompressionIsBounded(t *testing.T) {
	m := start(t, nil)
	conn := dialRaw(t, m.addr, grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(64<<20), grpc.UseCompressor(gzip.Name)))
	bomb := subscription("west", "Mesh", "")
	bomb.Node.Metadata = &structpb.Struct{Fields: map[string]*structpb.Value{
		"config": structpb.NewStringValue(strings.Repeat("0", 32<<20)),
	}}
	r := openRaw(t, conn, kds.RPCGlobalToZone, as("west")...)
	r.offer(bomb)
	if _, err := r.recv(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v, want ResourceExhausted", err)
	}
	// What fits is welcome compressed.
	r = openRaw(t, conn, kds.RPCGlobalToZone, as("west")...)
	r.send(subscription("west", "Mesh", ""))
	r.must()
}

func TestHeadersAreBounded(t *testing.T) {
	m := start(t, nil)
	md := as("west")
	for i := range 8 {
		md = append(md, fmt.Sprint("x-", i), strings.Repeat("h", 5<<10))
	}
	if err := callOnce(t, dialRaw(t, m.addr), kds.RPCHealthCheck, md...); err == nil {
		t.Error("40 KiB of metadata were taken")
	}
}

func TestFirstRequestDeadline(t *testing.T) {
	within := func(t *testing.T, d time.Duration) *member {
		return start(t, func(c *server.Config) { c.Limits.FirstRequest = d })
	}
	t.Run("silent stream", func(t *testing.T) {
		hurry(t, func(d time.Duration) bool {
			r, err := tryRaw(t, dialRaw(t, within(t, d).addr), kds.RPCGlobalToZone, as("west")...)
			if err == nil {
				_, err = r.recv()
			}
			if status.Code(err) != codes.Unavailable {
				t.Errorf("got %v", err)
			}
			return strings.Contains(err.Error(), "no request within") // not: the connection was nobody's yet
		})
	})
	t.Run("silent connection", func(t *testing.T) {
		conn, err := net.Dial("tcp", within(t, 50*time.Millisecond).addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		// A preface and empty settings, and then nothing.
		if _, err := conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
			t.Fatal(err)
		}
		if _, err := new(bytes.Buffer).ReadFrom(conn); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("reading to the end: %v", err)
		}
	})
	t.Run("refused caller", func(t *testing.T) {
		hurry(t, func(d time.Duration) bool {
			m := within(t, d)
			if err := callOnce(t, dialRaw(t, m.addr), kds.RPCHealthCheck, kds.MDZone, "west"); status.Code(err) != codes.Unauthenticated {
				return false
			}
			kdstest.Eventually(t, "its connection is closed", func() bool { return m.Stats().Connections == 0 })
			return true
		})
	})
	t.Run("admitted caller stays", func(t *testing.T) {
		hurry(t, func(d time.Duration) bool {
			m := within(t, d)
			r, err := tryRaw(t, dialRaw(t, m.addr), kds.RPCGlobalToZone, as("west")...)
			if err != nil {
				return false
			}
			r.offer(subscription("west", kds.ChangesType, ""))
			first, err := r.recv()
			if err != nil {
				return false
			}
			r.send(ackOf(first))
			other, err := tryRaw(t, dialRaw(t, m.addr), kds.RPCGlobalToZone, as("east")...)
			if err == nil {
				_, err = other.recv()
			}
			if err == nil { // one deadline later
				t.Fatal("east was not cut off")
			}
			m.source.Add("more")
			r.must()
			return true
		})
	})
}

func TestMalformedRequests(t *testing.T) {
	m := start(t, nil)
	conn := dialRaw(t, m.addr, grpc.WithDefaultCallOptions(grpc.ForceCodecV2(wire.Codec{})))
	good := func() []byte { // node.id: west
		return []byte{0x0a, 0x06, 0x0a, 0x04, 'w', 'e', 's', 't'}
	}
	for name, c := range map[string]struct {
		body []byte
		code codes.Code
	}{
		"truncated":           {[]byte{0x0a, 0x20, 0x01}, codes.InvalidArgument},
		"not protobuf":        {[]byte("GET / HTTP/1.1"), codes.InvalidArgument},
		"a group":             {append(good(), 0x0b, 0x0c), codes.InvalidArgument},
		"no type":             {good(), codes.InvalidArgument},
		"type is not UTF-8":   {append(good(), 0x12, 0x02, 0xff, 0xfe), codes.InvalidArgument},
		"type is long":        {append(append(good(), 0x12, 0xac, 0x02), bytes.Repeat([]byte{'t'}, 300)...), codes.ResourceExhausted},
		"resumes at nonsense": {mustEncode(t, subscription("west", kds.ChangesType, "nonsense")), codes.InvalidArgument},
		"resumes at no revision": {
			mustEncode(t, subscription("west", kds.ChangesType, kdstest.Cluster+"/12")), codes.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			r := openRaw(t, conn, kds.RPCGlobalToZone, as("west")...)
			if err := r.stream.SendMsg(wire.Encoded(c.body)); err != nil {
				t.Fatal(err)
			}
			if _, err := r.recv(); status.Code(err) != c.code {
				t.Errorf("got %v, want %v", err, c.code)
			}
		})
	}
	r := openRaw(t, conn, kds.RPCGlobalToZone, as("west")...)
	r.send(subscription("west", "Mesh", ""))
	r.must()
}

func mustEncode(t *testing.T, req *discovery.DeltaDiscoveryRequest) []byte {
	t.Helper()
	b, err := wire.Codec{}.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	return b.Materialize()
}

// TestPingsAreBounded: keepalive at the shortest interval that gRPC has is
// tolerated, a flood of pings costs the connection.
func TestPingsAreBounded(t *testing.T) {
	if l := kds.DefaultLimits(); l.PingMin > 10*time.Second {
		t.Errorf("pings every 10 s are not tolerated: %v", l.PingMin)
	}
	m := start(t, nil)
	conn, err := net.Dial("tcp", m.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	flood := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	for range 10 {
		flood = append(flood, "\x00\x00\x08\x06\x00\x00\x00\x00\x00pingpong"...)
	}
	if _, err := conn.Write(flood); err != nil {
		t.Fatal(err)
	}
	var answer bytes.Buffer
	if _, err := answer.ReadFrom(conn); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Fatal(err)
	}
	if !strings.Contains(answer.String(), "too_many_pings") {
		t.Errorf("the connection ended with %q", answer.String())
	}
}

func TestDefaultLimitsFillIn(t *testing.T) {
	got := kds.Limits{Types: 3}.WithDefaults()
	want := kds.DefaultLimits()
	want.Types = 3
	if got != want {
		t.Errorf("got %+v", got)
	}
}
