package agent

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apierr/grpcerr"
	"github.com/meridiankds/meridian/internal/redact"
)

// The types that are asked for: of the first two everything, of the others what
// those name.
const (
	typePrefix = "type.googleapis.com/envoy."
	clusters   = typePrefix + "config.cluster.v3.Cluster"
	listeners  = typePrefix + "config.listener.v3.Listener"
	endpoints  = typePrefix + "config.endpoint.v3.ClusterLoadAssignment"
	routes     = typePrefix + "config.route.v3.RouteConfiguration"
	secrets    = typePrefix + "extensions.transport_sockets.tls.v3.Secret"
)

const (
	maxResponse = 64 << 20
	pingEvery   = 30 * time.Second
	pingTimeout = 20 * time.Second
)

// stream is one ADS stream and the connection that carries it.
type stream struct {
	agent          *Agent
	address, token string
	cancel         context.CancelCauseFunc
	answered       chan struct{} // closed at the first response
	done           chan struct{} // closed at the end, after err is set
	err            error

	ads    discovery.AggregatedDiscoveryService_StreamAggregatedResourcesClient
	kinds  map[string]*subscription // by type URL
	marked bool
}

// subscription is how far a type has come.
type subscription struct {
	names          []string
	version, nonce string
	wants          map[string][]string // by type URL: what its resources refer to
}

// open starts a stream. It ends with ctx, with close, or by the zone's word.
func (a *Agent) open(ctx context.Context, address, token string, node *core.Node) *stream {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &stream{agent: a, address: address, token: token, cancel: cancel,
		answered: make(chan struct{}), done: make(chan struct{}), kinds: map[string]*subscription{}}
	go func() {
		defer close(s.done)
		defer cancel(nil)
		s.err = s.run(ctx, node)
		if cause := context.Cause(ctx); ctx.Err() != nil && !errors.Is(cause, context.Canceled) {
			s.err = cause // gRPC makes "canceled" of it
		}
	}()
	return s
}

// close ends the stream and waits for that.
func (s *stream) close() {
	s.cancel(nil)
	<-s.done
}

func (s *stream) run(ctx context.Context, node *core.Node) error {
	config, over := s.agent.streamTLS(s.cancel)
	defer over()
	conn, err := grpc.NewClient("passthrough:///"+strings.TrimPrefix(s.address, "https://"),
		grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: s.agent.callTimeout}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingEvery, Timeout: pingTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxResponse)),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), grpc.WithIdleTimeout(0),
	)
	if err != nil {
		return federation.Errorf(federation.Internal, "the address %.100q: %w", s.address, err)
	}
	defer conn.Close()
	if s.token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", s.token)
	}
	s.ads, err = discovery.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx)
	if err != nil {
		return s.errorOf(err)
	}
	for _, kind := range []string{clusters, listeners} {
		s.kinds[kind] = &subscription{}
		if err := s.send(kind, node); err != nil {
			return err
		}
		node = nil // the first request of a stream has it
	}
	for {
		resp, err := s.ads.Recv()
		if err != nil {
			return s.errorOf(err)
		}
		if err := s.take(resp); err != nil {
			return err
		}
	}
}

// send asks for a type, and acknowledges what came of it last.
func (s *stream) send(kind string, node *core.Node) error {
	sub := s.kinds[kind]
	err := s.ads.Send(&discovery.DiscoveryRequest{
		Node: node, TypeUrl: kind, ResourceNames: sub.names, VersionInfo: sub.version, ResponseNonce: sub.nonce,
	})
	if err == nil {
		return nil
	}
	if !errors.Is(err, io.EOF) {
		return s.errorOf(err)
	}
	for { // the reason is what Recv returns, behind what had come before
		if _, err := s.ads.Recv(); err != nil {
			return s.errorOf(err)
		}
	}
}

// take prints a response, acknowledges it and asks for what it refers to.
func (s *stream) take(resp *discovery.DiscoveryResponse) error {
	sub := s.kinds[resp.GetTypeUrl()]
	if sub == nil {
		return nil // not asked for
	}
	sub.version, sub.nonce = resp.GetVersionInfo(), resp.GetNonce()
	documents, err := s.agent.cfg.Output.Response(resp)
	if err != nil {
		return err
	}
	if !s.marked {
		s.marked = true
		close(s.answered)
	}
	if err := s.send(resp.GetTypeUrl(), nil); err != nil {
		return err
	}
	sub.wants = references(documents)
	for _, kind := range []string{endpoints, routes, secrets} {
		if err := s.want(kind); err != nil {
			return err
		}
	}
	s.agent.cfg.Logger.Debug("acknowledged", "type", resp.GetTypeUrl(), "version", sub.version, "resources", len(documents))
	return nil
}

// want asks for the resources of a type that the others refer to, where that has
// changed.
func (s *stream) want(kind string) error {
	set := map[string]bool{}
	for _, sub := range s.kinds {
		for _, name := range sub.wants[kind] {
			set[name] = true
		}
	}
	names := slices.Sorted(maps.Keys(set))
	sub := s.kinds[kind]
	if sub == nil {
		if len(names) == 0 {
			return nil
		}
		sub = &subscription{}
		s.kinds[kind] = sub
	}
	if slices.Equal(sub.names, names) {
		return nil
	}
	sub.names = names
	return s.send(kind, nil)
}

// errorOf turns the end of the stream into an error of ours.
func (s *stream) errorOf(err error) error {
	if errors.Is(err, io.EOF) {
		return federation.Errorf(federation.Unavailable, "the zone at %s ended the stream", s.address)
	}
	st := status.Convert(err)
	e := federation.Errorf(codeOf(st.Code()), "%s", redact.Text(st.Message()))
	if reason, hint := grpcerr.InfoOf(st); reason != "" {
		e = e.WithReason(reason)
		e.Detail = strings.TrimPrefix(e.Detail, e.Reason+": ") // it stands before the text too
		if hint != "" {
			e = e.WithHint("%s", hint)
		}
	}
	if e.Code == federation.Unavailable && e.Reason == "" {
		e = federation.Errorf(federation.Unavailable, "the zone at %s cannot be reached: %s", s.address, e.Detail).
			WithHint("%s", reachHint(err))
	}
	return e
}

// codeOf is the code of a gRPC status. What is not the zone's word on this proxy
// may pass.
func codeOf(code codes.Code) federation.Code {
	switch c := grpcerr.CodeOf(code); c {
	case federation.Internal, federation.TooLarge:
		return federation.Unavailable
	default:
		return c
	}
}

func reasonOf(err error) string {
	if e := federation.AsError(err); e != nil {
		return e.Reason
	}
	return ""
}
