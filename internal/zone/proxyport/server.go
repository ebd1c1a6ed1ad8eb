package proxyport

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/apierr"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/net/loglimit"
	"github.com/meridiankds/meridian/internal/net/preauth"
	"github.com/meridiankds/meridian/internal/runlog"
	"github.com/meridiankds/meridian/internal/support"
	"github.com/meridiankds/meridian/internal/zone/proxies"
	"github.com/meridiankds/meridian/internal/zone/proxyauth"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/keysync"
)

// Store is the zone's copy of keys and revocations. *keysync.Store is one.
type Store interface {
	View() *keysync.View
	// Contact returns who of the global was heard last, and when.
	Contact() (member string, at time.Time)
	// Unwritten returns why the zone cannot make durable what it is sent, or nil.
	Unwritten() error
}

// Verifier holds tokens against a view. *cptoken.Verifier is one.
type Verifier interface {
	Verify(view cptoken.View, kind cptoken.Kind, raw string) (*cptoken.Claims, error)
}

// KeySets counts who fetches key sets. *keysets.Log is one.
type KeySets interface {
	Fetched(set string)
	Uses() []kds.KeySetUse
}

// Link is how the stream to the global is.
type Link struct {
	Connected bool
	// Address is where the zone dials, Member the node that answers there.
	Address, Member string
	// Kind is "meridian" or "kuma", the kind of global that it is; "" where that is not
	// known yet.
	Kind string
	// Since is when the stream was connected, or lost.
	Since time.Time
	// LastError is why the last attempt failed; empty while connected.
	LastError string
}

// Config is what [New] needs.
type Config struct {
	Zone, Instance, Version string

	Store    Store
	Verifier Verifier // of user tokens
	// Auth decides over proxies.
	Auth *proxyauth.Authenticator
	// Proxies knows who registered and who is connected.
	Proxies *proxies.Registry
	// Bootstrap says what proxies are told in their bootstrap.
	Bootstrap Bootstrap
	// Link tells of the stream to the global; nil: there is none.
	Link func() Link
	// Certificates tells when the certificates in use end; nil: there are none.
	Certificates func() []apitypes.Certificate
	// LocalhostIsAdmin lets who comes from loopback use the API without a token.
	LocalhostIsAdmin bool
	// Roles tells what users of the API may do; nil: the group "admin" everything,
	// others nothing.
	Roles func() *access.Roles
	// XDSProblems returns what is wrong in the folder of resources; nil where there is none.
	XDSProblems func() []error
	// AcceptXDS lets go what a part of that folder held whose files are gone, by the digest in
	// its problem, and returns which part that is; nil where there is no folder.
	AcceptXDS func(digest string) (place string, err error)
	// KeySets counts fetches of key sets.
	KeySets KeySets
	// Relay passes requests for tokens on to the global; nil: nobody does.
	Relay Relay
	// Relayed is told what became of each: "issued", or why not. nil: nobody is.
	Relayed func(result ...string)
	// Support makes archives for maintainers; nil: nobody does.
	Support *support.Source
	// RunLog is the log of this process, whose level may be set; nil: it may not.
	RunLog *runlog.Log
	// Slow waits before a failure at the API is answered, and returns what to answer;
	// nil: nothing is slowed. See throttle.Limiter.Answer.
	Slow   func(ctx context.Context, remote string, err error) error
	Logger *slog.Logger     // nil: no log
	Now    func() time.Time // nil: time.Now
	// Unready returns why the ports cannot be used, whatever the zone knows; nil: nobody
	// asks.
	Unready func() error
}

// Server makes the handlers of a zone. Its methods are safe for concurrent use.
type Server struct {
	cfg     Config
	lines   *loglimit.Limiter // of who was refused
	batches *preauth.Queue
}

// New returns the server of a zone. It starts nothing.
func New(cfg Config) *Server {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Roles == nil {
		roles := access.DefaultRoles()
		cfg.Roles = func() *access.Roles { return roles }
	}
	if cfg.Relayed == nil {
		cfg.Relayed = func(...string) {}
	}
	if cfg.Proxies == nil {
		cfg.Proxies = proxies.New(proxies.Config{Now: cfg.Now})
	}
	if cfg.Bootstrap.CA == nil {
		cfg.Bootstrap.CA = func() string { return "" }
	}
	if cfg.Bootstrap.Covers == nil {
		cfg.Bootstrap.Covers = func(string) bool { return false }
	}
	if cfg.Slow == nil {
		cfg.Slow = func(_ context.Context, _ string, err error) error { return err }
	}
	if cfg.Link == nil {
		cfg.Link = func() Link { return Link{} }
	}
	if cfg.Certificates == nil {
		cfg.Certificates = func() []apitypes.Certificate { return []apitypes.Certificate{} }
	}
	return &Server{cfg: cfg, lines: loglimit.New(loglimit.PerSecond, cfg.Now), batches: preauth.NewQueue(batchPlaces, batchesWaiting)}
}

// Proxies returns the handler of the port for proxies. It must be served over TLS
// only: what is sent to it is a secret.
func (s *Server) Proxies() http.Handler {
	fixed := s.proxyRoutes()
	keys := map[string]http.HandlerFunc{http.MethodGet: s.jwks}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, jwksPath) {
			routes{r.URL.Path: keys}.ServeHTTP(w, r)
			return
		}
		if belowAuthorize(r) {
			s.authorize(w, r)
			return
		}
		fixed.ServeHTTP(w, r)
	})
}

// proxyRoutes are those of the port for proxies, but for the key sets of meshes and what
// is below /v1/authorize.
func (s *Server) proxyRoutes() routes {
	return routes{
		"/bootstrap":             {http.MethodPost: s.bootstrap},
		"/v1/authenticate":       {http.MethodPost: s.authenticate},
		"/v1/authenticate/batch": {http.MethodPost: s.authenticateBatch},
		authorizePath:            {anyMethod: s.authorize},
		"/v1/introspect":         {http.MethodPost: s.introspect},
		jwksPath + "zone":        {http.MethodGet: s.jwks},
	}
}

// TestsTokens reports whether a request to the port for proxies asks about a token
// that its caller did not present for itself.
func (s *Server) TestsTokens(r *http.Request) bool {
	switch r.URL.Path {
	case "/v1/authenticate", "/v1/authenticate/batch", "/v1/introspect", authorizePath:
		return true
	}
	return belowAuthorize(r)
}

// refused logs a refusal so that it can be found from the request: with its path, and
// the id that its client gave it.
func (s *Server) refused(r *http.Request, msg string, err error, attrs ...slog.Attr) {
	e := federation.AsError(err)
	s.lines.Log(r.Context(), s.cfg.Logger, slog.LevelInfo, msg, append([]slog.Attr{
		slog.String("remote", r.RemoteAddr), slog.String("path", clip(r.URL.Path)), slog.String("requestId", clip(r.Header.Get("X-Request-Id"))),
		slog.String("reason", e.Reason), slog.String("detail", e.Error()),
	}, attrs...)...)
}

// unread counts an error that came before any token was looked at, and returns it.
func (s *Server) unread(err error) error {
	if err != nil {
		s.cfg.Auth.Count(proxyauth.KindUnknown, err)
	}
	return err
}

// API returns the handler of the zone's HTTP API.
func (s *Server) API() http.Handler {
	return s.api(access.Policy{Verify: s.verifyUser, Zone: s.cfg.Zone, LocalhostIsAdmin: s.cfg.LocalhostIsAdmin, Granted: access.WarnOnce(s.cfg.Logger)})
}

// APISocket returns the handler of the same on the socket in the data folder,
// which only the zone's own user can open: no token is asked for.
func (s *Server) APISocket() http.Handler {
	return s.api(access.Policy{Verify: s.verifyUser, Zone: s.cfg.Zone, Socket: true})
}

func (s *Server) api(policy access.Policy) http.Handler {
	calling := func(need access.Permission, h func(http.ResponseWriter, *http.Request, access.Caller)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			caller, err := policy.Authenticate(r)
			if err == nil {
				err = s.cfg.Roles().Of(caller).Allow(need)
			}
			if err == nil {
				err = preauth.Proved(r.Context(), preauth.Identity{Kind: preauth.User, Name: caller.Name})
			}
			if err != nil {
				s.lines.Log(r.Context(), s.cfg.Logger, slog.LevelInfo, "refused a request to the zone's API",
					slog.String("remote", r.RemoteAddr), slog.String("name", clip(caller.Name)), slog.String("method", clip(r.Method)),
					slog.String("path", r.URL.Path[:min(40, len(r.URL.Path))]), slog.String("reason", federation.AsError(err).Reason))
				apierr.WriteError(w, s.cfg.Slow(r.Context(), r.RemoteAddr, err))
				return
			}
			h(w, r, caller)
		}
	}
	guarded := func(need access.Permission, h http.HandlerFunc) http.HandlerFunc {
		return calling(need, func(w http.ResponseWriter, r *http.Request, _ access.Caller) { h(w, r) })
	}
	return routes{
		// What the caller may have is for the global to say.
		"/tokens/dataplane":  {http.MethodPost: calling(access.Self, s.dataplaneToken)},
		"/":                  {http.MethodGet: guarded(access.AnyRole, s.index)},
		"/v1/status":         {http.MethodGet: guarded(access.Read, s.status)},
		"/v1/proxies":        {http.MethodGet: guarded(access.Read, s.proxies)},
		"/v1/proxies/config": {http.MethodGet: guarded(access.Read, s.proxyConfig)},
		"/v1/xds/accept":     {http.MethodPost: calling(access.Administer, s.acceptXDS)},
		"/v1/log-level":      {http.MethodGet: guarded(access.Read, s.logLevel), http.MethodPost: calling(access.Administer, s.setLogLevel)},
		"/v1/support-dump":   {http.MethodGet: calling(access.Administer, s.supportDump)},
	}
}

// verifyUser checks a user token against what the zone knows now.
func (s *Server) verifyUser(_ context.Context, token string) (*cptoken.Claims, error) {
	return s.cfg.Verifier.Verify(s.cfg.Store.View(), cptoken.User, token)
}

// anyMethod stands for every method that a path has no handler of its own for.
const anyMethod = "*"

// routes is a handler of fixed paths. Everything else is answered in the shape of
// our errors, which http.ServeMux would not do.
type routes map[string]map[string]http.HandlerFunc

func (t routes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	methods, known := t[r.URL.Path]
	if r.URL.Path == "*" { // OPTIONS * asks about the server as a whole
		methods, known = map[string]http.HandlerFunc{http.MethodGet: nil, http.MethodPost: nil}, true
	}
	if !known {
		apierr.WriteError(w, federation.Errorf(federation.NotFound, "there is nothing at %.100q", r.URL.Path).
			WithHint("what is served here: %s", strings.Join(slices.Sorted(maps.Keys(t)), ", ")))
		return
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	h := methods[method]
	if h == nil {
		h = methods[anyMethod]
	}
	if h != nil {
		h(w, r)
		return
	}
	w.Header().Set("Allow", strings.Join(slices.Sorted(maps.Keys(methods)), ", "))
	body := apierr.BodyOf(federation.Errorf(federation.Invalid, "%.20q is not a method of %.100s", r.Method, r.URL.Path))
	body.Status, body.Title = http.StatusMethodNotAllowed, "Method Not Allowed"
	apierr.WriteJSON(w, body.Status, body)
}
