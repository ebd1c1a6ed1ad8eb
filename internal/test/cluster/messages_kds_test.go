package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"

	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// faultyMethod is the stream whose messages have fates. The others pass as they are.
const faultyMethod = "/kuma.mesh.v1alpha1.KDSSyncService/GlobalToZoneSync"

// aMember is the other end of the messages of a zone.
const aMember = "a member"

// kdsProxy stands between a zone and the KDS port of a member. It speaks the protocol
// of neither: it passes each message on as it is, or has messages decide otherwise.
type kdsProxy struct {
	*messages
	zone   string
	dial   func() (*grpc.ClientConn, error)
	server *grpc.Server
	addr   string
	wait   sync.WaitGroup
}

// KDS starts a proxy in front of a KDS address of the cluster, which ends with the test.
func (m *messages) KDS(t testing.TB, c *Globals, zone, target string) *kdsProxy {
	t.Helper()
	p := &kdsProxy{messages: m, zone: zone}
	toMember := credentials.NewTLS(&tls.Config{RootCAs: c.CA.Pool(), MinVersion: tls.VersionTLS12, ServerName: "127.0.0.1"})
	p.dial = func() (*grpc.ClientConn, error) {
		return grpc.NewClient("passthrough:///"+target, grpc.WithTransportCredentials(toMember), grpc.WithDisableRetry(),
			grpc.WithDefaultCallOptions(grpc.ForceCodecV2(asItIs{}), grpc.MaxCallRecvMsgSize(32<<20)))
	}
	own := c.Certificate(tlsutil.Identity{Cluster: clusterName, Role: tlsutil.RoleNode, Name: "node"})
	p.server = grpc.NewServer(
		grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS12})),
		grpc.ForceServerCodecV2(asItIs{}), grpc.MaxRecvMsgSize(32<<20), grpc.StatsHandler(perConnection{p}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.UnknownServiceHandler(p.pass))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.addr = listener.Addr().String()
	p.wait.Go(func() { _ = p.server.Serve(listener) }) // until it is stopped below
	t.Cleanup(func() {
		p.server.Stop()
		p.wait.Wait()
	})
	return p
}

// Addr is where the zone connects.
func (p *kdsProxy) Addr() string { return p.addr }

// asItIs is the codec of messages that nobody reads.
type asItIs struct{}

type rawMessage struct{ data []byte }

// Marshal implements encoding.CodecV2.
func (asItIs) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.(*rawMessage).data)}, nil
}

// Unmarshal implements encoding.CodecV2.
func (asItIs) Unmarshal(data mem.BufferSlice, v any) error {
	v.(*rawMessage).data = data.Materialize()
	return nil
}

// Name implements encoding.CodecV2: it is part of the content type.
func (asItIs) Name() string { return "proto" }

// perConnection gives each connection of the zone one of its own to the member, since a
// member ends connections as a whole.
type perConnection struct{ *kdsProxy }

type upstreamKey struct{}

// TagConn implements stats.Handler.
func (h perConnection) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	conn, err := h.dial()
	if err != nil {
		return ctx // an address that does not parse; pass says so
	}
	return context.WithValue(ctx, upstreamKey{}, conn)
}

// HandleConn implements stats.Handler.
func (h perConnection) HandleConn(ctx context.Context, s stats.ConnStats) {
	conn, ok := ctx.Value(upstreamKey{}).(*grpc.ClientConn)
	if _, ended := s.(*stats.ConnEnd); ended && ok {
		_ = conn.Close() // its calls have ended
	}
}

// TagRPC implements stats.Handler.
func (perConnection) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler.
func (perConnection) HandleRPC(context.Context, stats.RPCStats) {}

// pass carries one call.
func (p *kdsProxy) pass(_ any, down grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(down)
	conn, ok := down.Context().Value(upstreamKey{}).(*grpc.ClientConn)
	if !ok {
		return errors.New("the proxy has no connection to the member")
	}
	md, _ := metadata.FromIncomingContext(down.Context())
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(down.Context(), md.Copy()))
	defer cancel()
	up, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return err
	}
	from, to := p.zone, ""
	if method == faultyMethod {
		to = aMember
	}
	p.wait.Go(func() {
		if err := p.carry(ctx, from, to, down.RecvMsg, up.SendMsg); errors.Is(err, io.EOF) {
			_ = up.CloseSend() // never fails
		} else {
			cancel()
		}
	})
	if header, err := up.Header(); err == nil {
		if err := down.SendHeader(header); err != nil {
			return err
		}
	}
	err = p.carry(ctx, to, from, up.RecvMsg, down.SendMsg)
	down.SetTrailer(up.Trailer())
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// carry passes the messages of one direction on, until it ends, which the error says.
// An end without a name has no faults.
func (p *kdsProxy) carry(ctx context.Context, from, to string, receive, send func(any) error) error {
	arrived := make(chan *rawMessage)
	ended := make(chan error, 1)
	p.wait.Go(func() {
		for {
			m := &rawMessage{}
			if err := receive(m); err != nil {
				ended <- err
				return
			}
			select {
			case arrived <- m:
			case <-ctx.Done():
				ended <- ctx.Err()
				return
			}
		}
	})
	var behind []*rawMessage // held back, to be sent after the next one or when it is due
	var due <-chan time.Time
	all := func(list ...*rawMessage) error {
		for _, m := range list {
			if err := send(m); err != nil {
				return err
			}
		}
		return nil
	}
	for {
		select {
		case m := <-arrived:
			f, wait := arrives, time.Duration(0)
			if from != "" && to != "" {
				f, wait = p.next("kds", from, to, func(fate) bool { return true })
			}
			now := append([]*rawMessage{m}, behind...)
			switch f {
			case lost, answerLost:
				now = behind
			case twice:
				now = append([]*rawMessage{m}, now...)
			case held:
				behind, due = append(behind, m), time.After(wait)
				continue
			case lateCopy:
				p.late.Done() // behind is not waited for: it ends with the stream
				if err := all(now...); err != nil {
					return err
				}
				behind, due = []*rawMessage{m}, time.After(wait)
				continue
			}
			behind, due = nil, nil
			if err := all(now...); err != nil {
				return err
			}
		case <-due:
			if err := all(behind...); err != nil {
				return err
			}
			behind, due = nil, nil
		case err := <-ended:
			if e := all(behind...); e != nil && errors.Is(err, io.EOF) {
				return e
			}
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
