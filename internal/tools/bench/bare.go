package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"

	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// The baseline of fan-out: a gRPC server that only keeps streams open and sends the
// same bytes to each, and clients that only receive them. Nothing is acknowledged.

// bareBytes is how many bytes a broadcast has: those of one more revocation.
const bareBytes = 276

// rawCodec sends and receives bytes as they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

const bareMethod = "/bench.Bare/Watch"

// round is one broadcast: what is sent when next is closed.
type round struct {
	next    chan struct{}
	payload []byte // of the broadcast after this round
	after   *round
}

// bareServer broadcasts.
type bareServer struct {
	now  atomic.Pointer[round]
	open atomic.Int64
	grpc *grpc.Server
	wait sync.WaitGroup
}

// bareStart is how it begins. Files is a folder with TLS files; empty: none.
type bareStart struct {
	Files string `json:"files"`
}

func newBareServerRole() (methods, func()) {
	b := &bareServer{}
	b.now.Store(&round{next: make(chan struct{})})
	return methods{
		"start":     method(b.start),
		"broadcast": method(b.broadcast),
		"open":      method(func(context.Context, none) (int64, error) { return b.open.Load(), nil }),
	}, b.stop
}

func (b *bareServer) start(_ context.Context, in bareStart) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	security := insecure.NewCredentials()
	if in.Files != "" {
		config, err := serverTLS(in.Files, tlsutil.ALPNHTTP2)
		if err != nil {
			return "", err
		}
		security = credentials.NewTLS(config)
	}
	b.grpc = grpc.NewServer(grpc.Creds(security), grpc.ForceServerCodecV2(rawCodec{}),
		grpc.ReadBufferSize(4<<10), grpc.StaticStreamWindowSize(64<<10), grpc.StaticConnWindowSize(256<<10))
	b.grpc.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.Bare", HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{StreamName: "Watch", ServerStreams: true, ClientStreams: true, Handler: b.watch}},
	}, b)
	b.wait.Go(func() { _ = b.grpc.Serve(l) })
	return l.Addr().String(), nil
}

// serverTLS is the configuration that a global would have with these files.
func serverTLS(dir string, protocols ...string) (*tls.Config, error) {
	source, err := tlsutil.OpenSource(tlsutil.SelfMadeFiles(dir), tlsutil.Options{})
	if err != nil {
		return nil, err
	}
	return source.ServerOptionalClient(protocols...), nil
}

// watch sends every broadcast to one client, first of all a greeting.
func (b *bareServer) watch(_ any, stream grpc.ServerStream) error {
	b.open.Add(1)
	defer b.open.Add(-1)
	at := b.now.Load()
	payload := make([]byte, bareBytes)
	for {
		if err := stream.SendMsg(&payload); err != nil {
			return err
		}
		select {
		case <-at.next:
			payload, at = at.payload, at.after
		case <-stream.Context().Done():
			return nil
		}
	}
}

// broadcast sends to every client, and returns when it began.
func (b *bareServer) broadcast(context.Context, none) (int64, error) {
	at := b.now.Load()
	at.payload, at.after = make([]byte, bareBytes), &round{next: make(chan struct{})}
	b.now.Store(at.after)
	begun := time.Now().UnixNano()
	close(at.next)
	return begun, nil
}

func (b *bareServer) stop() {
	if b.grpc != nil {
		b.grpc.Stop()
		b.wait.Wait()
	}
}

// bareClients is many of its clients in one child.
type bareClients struct {
	seen    arrivals
	conns   []*grpc.ClientConn
	cancel  context.CancelFunc
	running sync.WaitGroup
	broken  atomic.Int64
}

// bareJoin says how many connect where.
type bareJoin struct {
	Address string `json:"address"`
	CAFile  string `json:"caFile"` // empty: without TLS
	N       int    `json:"n"`
	// Handshake connects with TLS alone, without gRPC.
	Handshake bool `json:"handshake"`
}

func newBareClientsRole() (methods, func()) {
	asMany()
	b := &bareClients{}
	return methods{
		"join": method(b.join),
		"arm": method(func(context.Context, none) (none, error) {
			b.seen.arm(len(b.seen.waiting))
			return none{}, nil
		}),
		"collect": method(func(ctx context.Context, _ none) ([]int64, error) {
			if n := b.broken.Load(); n > 0 {
				return nil, fmt.Errorf("%d messages were not what was sent", n)
			}
			return b.seen.collect(ctx)
		}),
		"leave": method(func(context.Context, none) (none, error) {
			b.leave()
			return none{}, nil
		}),
	}, b.leave
}

// join connects all at once and waits until each has its first message.
func (b *bareClients) join(ctx context.Context, in bareJoin) (joined, error) {
	run, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	security := insecure.NewCredentials()
	var config *tls.Config
	if in.CAFile != "" {
		pool, err := tlsutil.LoadPool(in.CAFile)
		if err != nil {
			return joined{}, err
		}
		config = tlsutil.Client(pool)
		security = credentials.NewTLS(config)
	}
	for range in.N {
		conn, err := dialRaw(in.Address, security)
		if err != nil {
			return joined{}, err
		}
		b.conns = append(b.conns, conn)
	}
	b.seen.arm(in.N)
	begun := time.Now().UnixNano()
	for i, conn := range b.conns {
		if in.Handshake {
			b.running.Go(func() { b.shakeHands(run, i, in.Address, config) })
			continue
		}
		b.running.Go(func() { b.receive(run, i, conn) })
	}
	stamps, err := b.seen.collect(ctx)
	return joined{begun, stamps}, err
}

// dialRaw is a connection that carries bytes as they are.
func dialRaw(address string, security credentials.TransportCredentials) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(security), grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{})), grpc.WithIdleTimeout(0))
}

func (b *bareClients) receive(ctx context.Context, i int, conn *grpc.ClientConn) {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, bareMethod, grpc.WaitForReady(true))
	if err != nil {
		return
	}
	empty := []byte{}
	if stream.SendMsg(&empty) != nil {
		return
	}
	for {
		var m []byte
		if stream.RecvMsg(&m) != nil {
			return
		}
		if len(m) != bareBytes {
			b.broken.Add(1)
		}
		b.seen.saw(i)
	}
}

// shakeHands connects with TLS and says nothing.
func (b *bareClients) shakeHands(ctx context.Context, i int, address string, config *tls.Config) {
	config = config.Clone()
	config.NextProtos = []string{tlsutil.ALPNHTTP2}
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		return
	}
	defer conn.Close()
	b.seen.saw(i)
	<-ctx.Done()
}

func (b *bareClients) leave() {
	if b.cancel == nil {
		return
	}
	b.cancel()
	for _, conn := range b.conns {
		_ = conn.Close()
	}
	b.running.Wait()
	b.conns, b.cancel = nil, nil
}

// bare is both roles, seen from the parent.
type bare struct {
	server, clients *child
	join            bareJoin
}

// startBare starts a server, with the TLS files of a folder or without, and
// prepares n clients.
func (s *scope) startBare(ctx context.Context, name string, n int, files string) (*bare, error) {
	b := &bare{join: bareJoin{N: n}}
	var err error
	if b.server, err = s.role("bareserver", name+"-server"); err != nil {
		return nil, err
	}
	if b.join.Address, err = ask[string](ctx, b.server, "start", bareStart{files}); err != nil {
		return nil, err
	}
	if files != "" {
		b.join.CAFile = filepath.Join(files, tlsutil.CAFile)
	}
	b.clients, err = s.role("bareclients", name+"-clients")
	return b, err
}

func (b *bare) connect(ctx context.Context) ([]time.Duration, error) {
	j, err := ask[joined](ctx, b.clients, "join", b.join)
	if err != nil {
		return nil, err
	}
	return j.took()
}

func (b *bare) leave(ctx context.Context) error {
	if _, err := ask[none](ctx, b.clients, "leave", none{}); err != nil {
		return err
	}
	return until(ctx, "the baseline's streams to end", func() (bool, error) {
		open, err := ask[int64](ctx, b.server, "open", none{})
		return err == nil && open == 0, err
	})
}

// broadcast sends once and returns how long it took to each client.
func (b *bare) broadcast(ctx context.Context) ([]time.Duration, error) {
	if _, err := ask[none](ctx, b.clients, "arm", none{}); err != nil {
		return nil, err
	}
	begun, err := ask[int64](ctx, b.server, "broadcast", none{})
	if err != nil {
		return nil, err
	}
	stamps, err := ask[[]int64](ctx, b.clients, "collect", none{})
	if err != nil {
		return nil, err
	}
	return since(begun, stamps)
}
