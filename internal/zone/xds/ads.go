package xds

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apierr/grpcerr"
	"github.com/meridiankds/meridian/internal/net/preauth"
	"github.com/meridiankds/meridian/internal/zone/envoyres"
	"github.com/meridiankds/meridian/internal/zone/proxies"
	"github.com/meridiankds/meridian/internal/zone/proxyauth"
)

// message is a request of either form of ADS.
type message interface {
	GetNode() *core.Node
	GetTypeUrl() string
	GetResponseNonce() string
}

// inbox takes the messages of a stream one by one, so that waiting for one can end
// for other reasons than the stream.
type inbox[M message] struct {
	messages chan M
	ended    chan struct{}
	err      error // of the stream; to be read after ended
}

// listen begins to take messages. The goroutine ends soon after the call's handler
// has returned; Run waits for it.
func listen[M message](s *Server, ctx context.Context, receive func() (M, error)) *inbox[M] {
	in := &inbox[M]{messages: make(chan M), ended: make(chan struct{})}
	exchange := exchangeOf(ctx)
	s.calls.Add(1) // within a call that was counted
	go func() {
		defer s.calls.Done()
		defer close(in.ended)
		for {
			m, err := receive()
			if err != nil {
				in.err = err
				return
			}
			select {
			case in.messages <- m:
				exchange.taken()
				preauth.RequestFrom(ctx).Settle() // what was read of it is in m now
			case <-ctx.Done():
				in.err = ctx.Err()
				return
			}
		}
	}()
	return in
}

// next returns the next message. The error is the cause of ctx, or the stream's.
func (in *inbox[M]) next(ctx context.Context) (m M, err error) {
	select {
	case m = <-in.messages:
		return m, nil
	case <-in.ended:
		return m, in.err
	case <-ctx.Done():
		return m, context.Cause(ctx)
	}
}

// open begins a stream: what its headers present is looked at before a message is
// taken, which is large and costly to read.
func open[M message](s *Server, ctx context.Context, receive func() (M, error)) (in *inbox[M], m M, err error) {
	md, _ := metadata.FromIncomingContext(ctx)
	token, err := proxyauth.FromHeader(md.Get("authorization"))
	if err != nil {
		s.cfg.Auth.Count(proxyauth.KindUnknown, err)
		return nil, m, err
	}
	if err := s.cfg.Auth.Plausible(ctx, token); err != nil {
		return nil, m, err
	}
	in = listen(s, ctx, receive)
	m, err = first(s, ctx, in)
	return in, m, err
}

// first waits for the first message of a stream, no longer than the limits allow.
func first[M message](s *Server, ctx context.Context, in *inbox[M]) (M, error) {
	limit := s.cfg.Limits.FirstRequest
	late := federation.Errorf(federation.Unauthenticated, "the stream had no first request within %s", limit).WithReason("no_first_request")
	ctx, cancel := context.WithTimeoutCause(ctx, limit, late)
	defer cancel()
	return in.next(ctx)
}

// stream is an admitted stream of either form.
type stream struct {
	server *Server
	conn   *proxies.Connection
	nodeID string
	ctx    context.Context
}

// admit decides over the first request of a stream. What it returns must be
// closed. The error is a status, and logged.
func (s *Server) admit(ctx context.Context, node *core.Node, protocol string) (*stream, error) {
	remote := remoteOf(ctx)
	conn, err := s.attach(ctx, node, proxies.Caller{Remote: remote, Protocol: protocol, Version: versionOf(node)})
	if err != nil {
		return nil, s.refuse(ctx, "refused a proxy", remote, node.GetId(), err)
	}
	a := conn.Admission
	if err := preauth.Proved(ctx, a.Identity()); err != nil {
		conn.Close()
		return nil, s.refuse(ctx, "refused a proxy", remote, node.GetId(), err)
	}
	s.cfg.Logger.Info("proxy connected", "proxy", a.Subject(), "remote", remote, "protocol", protocol,
		"method", string(a.Method), "tokenId", a.TokenID, "version", conn.Version)
	return &stream{server: s, conn: conn, nodeID: node.GetId(), ctx: conn.Context()}, nil
}

// maxAuthenticate bounds a decision, which may have to ask a cluster's API.
const maxAuthenticate = 15 * time.Second

func (s *Server) attach(ctx context.Context, node *core.Node, from proxies.Caller) (*proxies.Connection, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	token, err := proxyauth.FromHeader(md.Get("authorization"))
	if err != nil { // open has looked at it
		return nil, err
	}
	resource, err := s.resourceOf(node)
	if err != nil {
		s.cfg.Auth.Count(proxyauth.KindUnknown, err)
		return nil, err
	}
	authCtx, cancel := context.WithTimeout(ctx, maxAuthenticate)
	defer cancel()
	admission, err := s.cfg.Auth.Authenticate(authCtx, proxyauth.ProxyOf(resource), token)
	if err != nil {
		return nil, err
	}
	return s.cfg.Proxies.Attach(ctx, resource, admission, from)
}

// close forgets the stream, and tells in the log how it ended.
func (st *stream) close(why error) {
	st.conn.Close()
	st.server.cfg.Logger.Info("proxy disconnected", "proxy", st.conn.Admission.Subject(), "remote", st.conn.Remote,
		"reason", clipTo(federation.AsError(orEnded(why)).Error(), maxDetail))
}

// orEnded is what ended a stream, in our words. What the library says of a proxy that went
// away, in good order or not, is nothing that an operator must look for.
func orEnded(err error) error {
	st, library := status.FromError(err)
	switch {
	case byProxy(err):
		return errLeft
	case library:
		return federation.Errorf(grpcerr.CodeOf(st.Code()), "the stream broke: %s", st.Message())
	}
	return err
}

// watch has the call end soon after its connection must, even where the proxy
// reads nothing. The caller calls the function that is returned before its handler
// returns.
func (st *stream) watch(call context.Context) (done func()) {
	exchange := exchangeOf(call)
	finished := make(chan struct{})
	stop := context.AfterFunc(st.ctx, func() {
		defer close(finished)
		exchange.cutOff(st.server.cfg.Limits.Linger)
	})
	stopStop := context.AfterFunc(st.server.stop, func() { st.conn.End(context.Cause(st.server.stop)) })
	return func() {
		stopStop()
		if !stop() {
			<-finished
		}
	}
}

// over closes a stream that ended for err, and returns what its call ends with.
func (st *stream) over(err error) error {
	switch {
	case st.ctx.Err() != nil:
		err = context.Cause(st.ctx)
	case st.server.stop.Err() != nil:
		err = context.Cause(st.server.stop)
	}
	if byProxy(err) {
		st.close(errLeft)
		return nil
	}
	st.close(err)
	return statusOf(err)
}

var errLeft = federation.Errorf(federation.Unavailable, "the proxy ended the stream")

// byProxy reports whether a stream ended because its proxy ended it, or its connection.
func byProxy(err error) bool {
	return err == nil || errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled ||
		errors.Is(err, io.ErrUnexpectedEOF)
}

// The bounds of a stream's subscriptions.
const (
	maxNames = 10_000
	maxName  = 4 << 10
	// maxAllNames and maxAllBytes bound what is kept of all types, from many requests.
	maxAllNames = 50_000
	maxAllBytes = 8 << 20
	// maxRefusal is what is kept of why a response was refused: it names the resources that
	// are at fault.
	maxRefusal = 64 << 10
)

// accept judges a message after the first. ok is false where it is to be passed
// over: of a type that nobody serves, which is never answered.
func (st *stream) accept(m message, names ...[]string) (ok bool, err error) {
	if id := m.GetNode().GetId(); id != "" && id != st.nodeID {
		return false, federation.Errorf(federation.Invalid, "the node changed from %.80q to %.80q on one stream", st.nodeID, id).
			WithReason("node_changed").WithHint("open a stream for each node")
	}
	for _, list := range names {
		if len(list) > maxNames {
			return false, federation.Errorf(federation.TooLarge, "a request names %d resources, at most %d are taken", len(list), maxNames)
		}
		for _, name := range list {
			if len(name) > maxName {
				return false, federation.Errorf(federation.TooLarge, "a request names a resource with %d bytes, at most %d are taken", len(name), maxName)
			}
		}
	}
	if m.GetTypeUrl() == "" {
		return false, federation.InvalidField("type_url", "must say which type of resources is asked for")
	}
	return envoyres.KindOf(m.GetTypeUrl()) != types.UnknownType, nil
}

// maySend returns why nothing may be sent any more, or nil, and notes what is.
func (st *stream) maySend(typeURL, version, nonce string) error {
	if err := st.conn.Check(); err != nil {
		st.conn.End(err) // found here before the registry of sessions came to it
		return err
	}
	st.conn.Sent(typeURL, version, nonce)
	return nil
}

func remoteOf(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		return p.Addr.String()
	}
	return ""
}
