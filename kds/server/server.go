package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/net/loglimit"
	"github.com/meridiankds/meridian/internal/net/preauth"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/kuma"
	"github.com/meridiankds/meridian/kds/wire"
)

// Config is what a [Server] needs. Source, Authenticator, Logger and
// Member are required.
type Config struct {
	Source        kds.Source
	Authenticator kds.Authenticator
	Logger        *slog.Logger
	// Member is this member's node id, which zones are told.
	Member string
	// Relay answers what zones pass on for their users; nil: nothing is relayed.
	Relay kds.Relay
	// TLS of the port; nil serves in the clear, which only --kds-tls=false asks
	// for. A client certificate counts only where this verifies it.
	TLS *tls.Config
	// Budget bounds what callers cost; nil: the port has one of its own.
	Budget *preauth.Budget
	// Refused is told of each call that was not admitted, before it is answered; it may
	// keep the caller waiting, or return an error that is answered in place of the
	// refusal. nil: nobody is told.
	Refused func(ctx context.Context, r Refusal) error
	// Now defaults to time.Now. It stamps sessions and tells when a credential
	// expires; waiting uses the runtime's clock.
	Now func() time.Time
	// LeaderContact is how long ago this member last heard the leader, 0 of the leader
	// itself; nil: always 0.
	LeaderContact func() time.Duration
	// HealthInterval is when zones are told to call HealthCheck again. Default
	// [DefaultHealthInterval]: pings tell both ends sooner that the other is gone.
	HealthInterval time.Duration
	// Keepalive is what the operator asks for; see [kds.Keepalive].
	Keepalive kds.Keepalive
	// Limits; zero fields mean those of [kds.DefaultLimits].
	Limits kds.Limits
	// MaxPart bounds an encoded part; tests make it small. Default [MaxPart].
	MaxPart int
	// Catalog is what zones of Kuma's are shown; nil: they are answered with nothing.
	Catalog kds.Catalog
	// MaxKumaMessage bounds an answer to such a zone; tests make it small. Default:
	// what those zones take, 10 MiB.
	MaxKumaMessage int
}

// Refusal is a call that was not admitted. Zone and Position are what the caller said of itself.
type Refusal struct {
	Zone, Remote, Method string
	Position             []byte
	Err                  error
}

// Server serves KDS to zones. All methods are safe for concurrent use.
type Server struct {
	cfg      Config
	limits   kds.Limits
	stats    counters
	registry *registry
	batches  *batches
	kuma     *kuma.Catalog
	relays   relays
	lines    *loglimit.Limiter
	// epoch counts Disconnect, Recheck and credentials that expired: a call that was
	// being admitted meanwhile is authenticated once more, or it would slip through.
	epoch atomic.Uint64

	receivers sync.WaitGroup // goroutines that outlive their handler by a moment
}

// New returns a server that serves nobody until Run.
func New(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.LeaderContact == nil {
		cfg.LeaderContact = func() time.Duration { return 0 }
	}
	if cfg.HealthInterval <= 0 {
		cfg.HealthInterval = kds.DefaultHealthInterval
	}
	if cfg.MaxPart <= 0 || cfg.MaxPart > kds.MaxPart {
		cfg.MaxPart = kds.MaxPart
	}
	if ping := cfg.Keepalive.Ping; ping > 0 && cfg.Limits.PingEvery == 0 {
		cfg.Limits.PingEvery = ping + ping/8
	}
	s := &Server{cfg: cfg, limits: cfg.Limits.WithDefaults()}
	s.lines = loglimit.New(s.limits.RefusalLines, cfg.Now)
	s.registry = newRegistry(&s.limits)
	s.kuma = kuma.NewCatalog(cfg.Catalog, cfg.Logger, cfg.MaxKumaMessage)
	if s.cfg.Budget == nil {
		s.cfg.Budget = preauth.New(preauth.Config{Deadline: s.limits.FirstRequest, Logger: cfg.Logger})
	}
	s.batches = newBatches(cfg.Source, &s.limits, cfg.MaxPart, &s.stats)
	return s
}

// Run serves the listener, which it closes, until ctx ends; then it tells every
// zone that this member is stopping, so that they turn to another one, and
// returns nil. Any other end is an error. A Server runs once.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	g := grpc.NewServer(s.options()...)
	for _, desc := range services() {
		g.RegisterService(desc, s)
	}
	served := make(chan error, 1)
	go func() {
		served <- g.Serve(&listener{Listener: s.cfg.Budget.Listen(l, "kds", s.cfg.TLS != nil), stats: &s.stats})
	}()

	var err error
	select {
	case <-ctx.Done():
		s.registry.stop(federation.Errorf(federation.Unavailable, "this member is stopping").WithReason(kds.ReasonStopping))
		s.shutDown(g)
		<-served
	case err = <-served:
		g.Stop()
	}
	s.receivers.Wait()
	if err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return federation.Errorf(federation.Internal, "serving KDS on %s: %w", l.Addr(), err)
	}
	return nil
}

// shutDown lets calls end by themselves for as long as the limits say.
func (s *Server) shutDown(g *grpc.Server) {
	timer := time.AfterFunc(s.limits.Stop, g.Stop)
	defer timer.Stop()
	g.GracefulStop()
}

func (s *Server) options() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.Creds(newTransport(s.cfg.Budget.TLS(s.cfg.TLS))),
		grpc.ForceServerCodecV2(wire.Codec{}),
		grpc.StreamInterceptor(s.admitStream),
		grpc.MaxConcurrentStreams(s.limits.Streams),
		grpc.MaxHeaderListSize(s.limits.Headers),
		grpc.MaxRecvMsgSize(s.limits.Message),
		grpc.ConnectionTimeout(s.limits.Handshake), // while the budget's own deadline does not run
		// A zone says little: the smallest windows there are bound what it can
		// make this member buffer, and a small buffer keeps idle connections small.
		grpc.StaticStreamWindowSize(64 << 10),
		grpc.StaticConnWindowSize(256 << 10),
		grpc.ReadBufferSize(4 << 10),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: s.limits.PingMin, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: s.limits.PingEvery, Timeout: s.limits.PingTimeout, MaxConnectionIdle: s.limits.Idle,
		}),
		grpc.WaitForHandlers(true),
	}
}

// Sessions returns the open sessions of this member and the last closed one of
// each instance that has none open, by zone, instance and time.
func (s *Server) Sessions() []Session { return s.registry.sessions() }

// SessionsChanged returns a channel that is closed when next a session begins,
// ends, acknowledges or refuses. Who takes it before calling Sessions misses
// nothing. LastHeard alone changes without notice.
func (s *Server) SessionsChanged() <-chan struct{} { return s.registry.watch() }

// Stats returns what was counted since New.
func (s *Server) Stats() Stats {
	stats := s.stats.snapshot()
	stats.KumaOmitted = s.kuma.Omitted()
	return stats
}

// Disconnect ends every call of a zone; reason is a word such as
// "zone_disabled" that the zone is told. The zone may come back at once and is
// then authenticated anew.
func (s *Server) Disconnect(zone, reason string) {
	s.epoch.Add(1)
	err := federation.Errorf(federation.Unavailable, "the global ended the session: %s", reason).WithReason(kds.ReasonDisconnected)
	if n := s.registry.kick(zone, err, func(*call) bool { return true }); n > 0 {
		s.cfg.Logger.Info("zone disconnected by the global", "zone", zone, "reason", reason, "calls", n)
	}
}

// displace ends the calls of a session that a newer one of its instance replaced.
func (s *Server) displace(old, by *session) {
	s.stats.displaced.Add(1)
	s.cfg.Logger.Info("session displaced by a newer one of its instance", "zone", old.id.zone,
		"instance", old.id.instance, "remote", old.call.remote(), "by", by.call.remote())
	err := federation.Errorf(federation.Conflict, "displaced by a newer connection of this instance").WithReason(kds.ReasonDisplaced)
	same := old.call.conn == by.call.conn
	s.registry.kick(old.id.zone, err, func(c *call) bool {
		return c == old.call || !same && c.conn == old.call.conn
	})
}
