package xds

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	authz "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/net/loglimit"
	"github.com/meridiankds/meridian/internal/zone/proxies"
	"github.com/meridiankds/meridian/internal/zone/proxyauth"
	"github.com/meridiankds/meridian/internal/zone/rollout"
	"github.com/meridiankds/meridian/internal/zone/xdsdir"
)

// Authenticator decides over proxies. *proxyauth.Authenticator is one.
type Authenticator interface {
	Authenticate(ctx context.Context, p proxyauth.Proxy, credential string) (*proxyauth.Admission, error)
	Prove(ctx context.Context, stated map[string]string, route, credential string) (*proxyauth.Admission, error)
	Count(kind string, err error)
	// Plausible returns why a credential can be nobody's, or nil. It is asked before
	// anything is parsed.
	Plausible(ctx context.Context, credential string) error
}

// Limits bound what is spent on callers. A zero field means the default.
type Limits struct {
	// FirstRequest is how long a stream may take to its first request, and the request
	// of any other call to arrive: 10 s.
	FirstRequest time.Duration
	// Message bounds one message, in bytes after decompression: 2 MiB. The first
	// one of a stream holds the proxy's resource.
	Message int
	// Check bounds a question of ext_authz, which is decoded before its token can be
	// looked at: 512 KiB.
	Check int
	// Linger is how long a stream that must end may take to say so: 2 s.
	Linger time.Duration
	// Settle is how long what nothing refers to any more stays with a proxy, for requests
	// that chose their route before: 2 s.
	Settle time.Duration
	// Drain is how long a proxy may go on with a listener that was replaced: 10 min and a
	// half, a little more than Envoy's default of --drain-time-s.
	Drain time.Duration
}

func (l Limits) withDefaults() Limits {
	if l.FirstRequest <= 0 {
		l.FirstRequest = 10 * time.Second
	}
	if l.Message <= 0 {
		l.Message = 2 << 20
	}
	if l.Check <= 0 {
		l.Check = 512 << 10
	}
	if l.Linger <= 0 {
		l.Linger = 2 * time.Second
	}
	if l.Settle <= 0 {
		l.Settle = 2 * time.Second
	}
	if l.Drain <= 0 {
		l.Drain = 10*time.Minute + 30*time.Second
	}
	return l
}

// Config is what [New] needs. Auth and Proxies are required.
type Config struct {
	Zone    string
	Auth    Authenticator
	Proxies *proxies.Registry
	// Dir is the operator's folder; nil: there is none.
	Dir *xdsdir.Dir
	// Unready returns why this zone can decide over nothing, for health checks; nil: nobody is
	// asked.
	Unready func() error
	// Refused counts a response that a proxy refused, by the short name of its type; nil: it is
	// not counted.
	Refused func(kind string)
	Limits  Limits
	Logger  *slog.Logger     // nil: no log
	Now     func() time.Time // nil: time.Now
}

// Server serves gRPC to proxies. Its methods are safe for concurrent use.
type Server struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	authz.UnimplementedAuthorizationServer

	cfg   Config
	grpc  *grpc.Server
	lines *loglimit.Limiter
	// memory is what proxies held that were connected lately.
	memory *rollout.Memory

	stop    context.Context // over when the server stops
	stopNow context.CancelCauseFunc

	mu      sync.Mutex // calls are begun under it
	calls   sync.WaitGroup
	stopped bool
}

// New returns a server; it is an http.Handler for requests that [Is] holds for.
func New(cfg Config) *Server {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Limits = cfg.Limits.withDefaults()
	s := &Server{cfg: cfg, memory: rollout.NewMemory(), lines: loglimit.New(loglimit.PerSecond, cfg.Now)}
	s.stop, s.stopNow = context.WithCancelCause(context.Background())
	s.grpc = grpc.NewServer(
		grpc.MaxRecvMsgSize(cfg.Limits.Message),
		grpc.UnaryInterceptor(s.guardUnary),
		grpc.StreamInterceptor(s.guardStream),
	)
	discovery.RegisterAggregatedDiscoveryServiceServer(s.grpc, s)
	s.grpc.RegisterService(authorization(), s)
	s.grpc.RegisterService(health(), healthServer{unready: cfg.Unready})
	return s
}

// Run waits until ctx ends, then ends every stream, and returns when all are gone.
// It returns nil.
func (s *Server) Run(ctx context.Context) error {
	<-ctx.Done()
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.stopNow(errStopping)
	s.calls.Wait()
	return nil
}

var errStopping = federation.Errorf(federation.Unavailable, "this zone is stopping").WithReason("stopping")

// begin counts a call, unless the server stops.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.calls.Add(1)
	}
	return !s.stopped
}

// Is reports whether a request is for this server: gRPC over HTTP/2, to a service of this
// package. gRPC answers every call with the status 200 of HTTP, also one of a method that
// nobody knows. A proxy that asks about a request and passes its client's content type on
// would take that for a yes.
func Is(r *http.Request) bool {
	return r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") &&
		slices.ContainsFunc(services[:], func(service string) bool { return strings.HasPrefix(r.URL.Path, service) })
}

// services are what the paths of calls begin with.
var services = [...]string{streamsOf, "/" + authz.Authorization_ServiceDesc.ServiceName + "/", healthOf}

// ServeHTTP implements http.Handler. The deadlines of the port are for requests
// that end; a stream has its own.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	control, most := http.NewResponseController(w), math.MaxInt // gRPC bounds messages itself
	if strings.HasPrefix(r.URL.Path, streamsOf) {
		_ = control.SetReadDeadline(time.Time{})
		_ = control.SetWriteDeadline(time.Time{})
	} else {
		_ = control.SetReadDeadline(time.Now().Add(s.cfg.Limits.FirstRequest))
		most = s.cfg.Limits.Check
	}
	if strings.HasPrefix(r.URL.Path, healthOf) {
		most = maxHealth
	}
	body := newGate(r.Body, most)
	r.Body = body
	e := &exchange{control: control, gate: body}
	defer e.end()
	s.grpc.ServeHTTP(flusher{w, control}, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, e)))
}

// streamsOf is what the paths of streams begin with; every other call is one request
// and one answer.
const streamsOf = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"

// flusher gives gRPC the one interface that it looks for, whatever w is wrapped in.
type flusher struct {
	http.ResponseWriter
	control *http.ResponseController
}

// Flush implements http.Flusher.
func (f flusher) Flush() { _ = f.control.Flush() }

// exchange is the HTTP side of a call. gRPC's handler of the call may go on for a
// moment after it is over.
type exchange struct {
	gate *gate

	mu      sync.Mutex
	control *http.ResponseController // nil: it is over
}

type exchangeKey struct{}

// end tells that nothing may be done to the response any more.
func (e *exchange) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.control = nil
}

// cutOff makes the call end soon even if its caller reads nothing.
func (e *exchange) cutOff(after time.Duration) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.control != nil {
		_ = e.control.SetWriteDeadline(time.Now().Add(after))
	}
}

// taken tells that a message was read.
func (e *exchange) taken() {
	if e != nil {
		e.gate.taken()
	}
}

func exchangeOf(ctx context.Context) *exchange {
	e, _ := ctx.Value(exchangeKey{}).(*exchange)
	return e
}

// guardUnary turns a defect into an error of that call alone.
func (s *Server) guardUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	if !s.begin() {
		return nil, statusOf(errStopping)
	}
	defer s.calls.Done()
	defer s.recover(info.FullMethod, &err)
	return handler(ctx, req)
}

func (s *Server) guardStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	if !s.begin() {
		return statusOf(errStopping)
	}
	defer s.calls.Done()
	defer s.recover(info.FullMethod, &err)
	return handler(srv, stream)
}

var errDefect = errors.New("a defect, see the log")

func (s *Server) recover(method string, err *error) {
	if cause := recover(); cause != nil {
		s.lines.Log(context.Background(), s.cfg.Logger, slog.LevelError, "a call ran into a defect", slog.String("method", method),
			slog.Any("panic", cause), slog.String("stack", string(debug.Stack())))
		*err = statusOf(errDefect)
	}
}
