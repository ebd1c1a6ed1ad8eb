package adminapi

import (
	"context"
	"log/slog"
	"net/http"
	"path"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/apierr"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/audit"
	"github.com/meridiankds/meridian/internal/net/loglimit"
	"github.com/meridiankds/meridian/internal/net/preauth"
)

// handler answers one request, or returns an error having written nothing.
type handler func(a *act, w http.ResponseWriter, r *http.Request) error

// route is a handler and what it asks of its caller. Written without the names of
// its fields, it does not compile without the permission; an empty one is nobody's.
type route struct {
	need access.Permission
	// words are those of the command that asks for it: its action in the audit log.
	words string
	handler
}

// act is one request as the log tells it: who does what, with which result.
type act struct {
	caller    access.Caller
	rights    access.Rights
	requestID string
	route     string // the pattern that the request matched
	words     string // the command that the request is, empty where it matched none
	notes     []slog.Attr
	begun     *audit.Act // what was written of it before it was done
	forwarded bool       // another member answers, and writes
	hopped    bool       // another member passed the request on
}

// turn is whom the caller's turns are counted against.
func (a *act) turn() string { return a.caller.Via + " " + a.caller.Name }

// note adds what the request turned out to be about to its line in the log. The
// values must not be secret.
func (a *act) note(attrs ...slog.Attr) { a.notes = append(a.notes, attrs...) }

// router authenticates, dispatches, logs and answers errors.
type router struct {
	log    *slog.Logger
	lines  *loglimit.Limiter // of who is no admin
	policy access.Policy
	roles  func() *access.Roles
	routes map[string]route // by pattern
	mux    *http.ServeMux
	// stranger answers GET / to who shows nothing, or has no role; nil: nobody does.
	stranger handler
	// elsewhere answers what is not for this node to answer; nil: everything is.
	elsewhere func(a *act, w http.ResponseWriter, r *http.Request) (done bool, err error)
	trail     *trail // nil: nothing is written to the audit log
	// members is what operators call each member, which only those learn who have a role.
	members func() map[string]string
	// slowed waits before a failure to prove who one is is answered; nil: it is not.
	slowed func(ctx context.Context, remote string, err error) error
}

func newRouter(log *slog.Logger, lines *loglimit.Limiter, policy access.Policy, roles func() *access.Roles, routes map[string]route) *router {
	rt := &router{log: log, lines: lines, policy: policy, roles: roles, routes: routes, mux: http.NewServeMux()}
	for pattern, to := range routes {
		rt.mux.Handle(pattern, to.handler)
	}
	return rt
}

// actKey finds the act of a request in its context.
type actKey struct{}

// ServeHTTP lets a handler stand in a ServeMux. The router has put its act into
// the context and takes the error from there.
func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	served := r.Context().Value(actKey{}).(*serving)
	served.err = h(served.act, w, r)
}

// serving carries an act to the handler and its error back.
type serving struct {
	act *act
	err error
}

// ServeHTTP implements http.Handler.
func (rt *router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := &act{requestID: requestID(r)}
	w.Header().Set("X-Request-Id", a.requestID)
	w.Header().Set(apitypes.HeaderRequestID, a.requestID)
	out := &recorder{ResponseWriter: w}
	err := rt.serve(out, r, a)
	if err != nil && a.caller.Name == "" && rt.slowed != nil {
		if err = rt.slowed(r.Context(), r.RemoteAddr, err); federation.CodeOf(err) == federation.Unavailable {
			out.Header().Set("Connection", "close") // its place is for somebody else
		}
	}
	if err != nil && out.status == 0 {
		err = askable(err, a.requestID)
		writeError(out, r, err)
	}
	rt.trail.end(a, what(a, r), out.status, err)
	rt.report(a, r, out.status, err)
}

// ownAgents begin the User-Agent of Meridian's own command lines, which show hints.
var ownAgents = [...]string{"global/", "zone/"}

// ownAgent reports whether one of them asks.
func ownAgent(r *http.Request) bool {
	return slices.ContainsFunc(ownAgents[:], func(agent string) bool { return strings.HasPrefix(r.UserAgent(), agent) })
}

// writeError answers with an error. Clients of Kuma's show title and detail and nothing
// else: for all but our own clients the detail has the hint in it too. That something is
// not there keeps the words by which Kuma's clients know it.
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	e := federation.AsError(err)
	if ownAgent(r) || e.Hint == "" || e.Detail == "" && len(e.Fields) == 0 {
		apierr.WriteError(w, err)
		return
	}
	told := *e
	told.Detail = e.Error() + "; " + e.Hint
	apierr.SetHeaders(w.Header(), e)
	body := apierr.BodyOf(&told)
	apierr.WriteJSON(w, body.Status, body)
}

func (rt *router) serve(w *recorder, r *http.Request, a *act) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			rt.lines.Log(r.Context(), rt.log, slog.LevelError, "a request ran into a defect",
				slog.String("requestId", a.requestID), slog.Any("panic", cause), slog.String("stack", string(debug.Stack())))
			err = federation.Errorf(federation.Internal, "internal error, see this node's log for request %s", a.requestID)
		}
	}()
	h, pattern := rt.mux.Handler(r)
	a.words = rt.routes[pattern].words // also of who is refused below: operators read it
	caller, err := rt.policy.Authenticate(r)
	a.caller = caller
	if err != nil {
		a.caller = access.Caller{Remote: r.RemoteAddr}
		if rt.stranger != nil && federation.AsError(err).Reason == "missing_token" && isIndex(r) {
			return rt.stranger(a, w, r)
		}
		return err
	}
	if !rt.policy.Forwarded { // of those the connection is a member's
		if err := preauth.Proved(r.Context(), preauth.Identity{Kind: preauth.User, Name: caller.Name}); err != nil {
			return err
		}
	}
	a.rights = rt.roles().Of(caller)
	need := access.AnyRole // who has none does not learn which paths there are
	if rt.stranger != nil && isIndex(r) && a.rights.Allow(need) != nil {
		return rt.stranger(a, w, r)
	}
	if pattern != "" {
		need, a.route = rt.routes[pattern].need, pattern
	}
	if err := a.rights.Allow(need); err != nil {
		return err
	}
	if rt.members != nil && ownAgent(r) {
		w.Header().Set(apitypes.HeaderMembers, apitypes.FormatMembers(rt.members()))
	}
	if r.URL.Path == "*" { // OPTIONS * asks about the server as a whole
		return notAllowed(w, r, "GET, HEAD, PUT, POST, DELETE")
	}
	if path.Clean(r.URL.Path) != r.URL.Path {
		return noSuchPath(r.URL.Path)
	}
	if pattern == "" {
		return rt.unrouted(w, r, h)
	}
	if rt.elsewhere != nil {
		if done, err := rt.elsewhere(a, w, r); done || err != nil {
			return err
		}
	}
	if err := rt.trail.begin(a, need, r.Method); err != nil {
		return err
	}
	served := &serving{act: a}
	// ServeMux and not h is asked to serve: it fills in the path's values.
	rt.mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), actKey{}, served)))
	return served.err
}

// isIndex reports whether a request asks who answers, which clients of Kuma's do
// before every command.
func isIndex(r *http.Request) bool {
	return r.URL.Path == "/" && (r.Method == http.MethodGet || r.Method == http.MethodHead)
}

// noSuchPath answers what is served nowhere. Clients of Kuma's show the detail and no
// hint, so it names what there is.
func noSuchPath(path string) error {
	what := strings.Split(strings.Trim(path, "/"), "/")
	name := what[0]
	if name == "meshes" && len(what) > 2 {
		name = what[2]
	}
	return federation.Errorf(federation.NotFound,
		"there is no %s here: of Kuma's resources Meridian serves zones, meshes, global-secrets and the secrets of a mesh", quoted(name)).
		WithHint("the paths are /zones, /meshes, /global-secrets, /meshes/MESH/secrets, /tokens/KIND, /v1/zones, /v1/keys, /v1/revocations, /v1/status and /who-am-i")
}

// quoted is a name out of a path for a message, cut and with what could disturb a
// terminal shown as such.
func quoted(name string) string { return strconv.Quote(clip(name)) }

// unrouted answers a path that has no handler for the method: the mux knows
// whether for any.
func (rt *router) unrouted(w *recorder, r *http.Request, h http.Handler) error {
	probe := &recorder{ResponseWriter: discard{header: http.Header{}}}
	h.ServeHTTP(probe, r)
	if probe.status != http.StatusMethodNotAllowed {
		return noSuchPath(r.URL.Path)
	}
	return notAllowed(w, r, probe.Header().Get("Allow"))
}

// notAllowed answers a method that a path does not have.
func notAllowed(w *recorder, r *http.Request, allow string) error {
	w.Header().Set("Allow", allow)
	err := federation.Errorf(federation.Invalid, "%.20s is not possible here, only %s", r.Method, allow)
	body := apierr.BodyOf(err)
	body.Status, body.Title = http.StatusMethodNotAllowed, http.StatusText(http.StatusMethodNotAllowed)
	apierr.WriteJSON(w, body.Status, body)
	return err
}

// report writes the request's line: changes and refusals for the operator, what
// was merely read only where everything is wanted. What an admin did is always
// written; others cannot fill the log.
func (rt *router) report(a *act, r *http.Request, status int, err error) {
	level, msg := slog.LevelInfo, "api request"
	switch read := r.Method == http.MethodGet || r.Method == http.MethodHead; {
	case status >= 500:
		level, msg = slog.LevelError, "api request failed"
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		level, msg = slog.LevelWarn, "api request refused"
	case read:
		level = slog.LevelDebug
	case err != nil:
		msg = "api request rejected"
	}
	ctx := r.Context()
	if !rt.log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("caller", clip(a.caller.Name)), slog.String("via", a.caller.Via), slog.String("remote", a.caller.Remote),
		slog.String("request", what(a, r)), slog.String("requestId", a.requestID), slog.Int("status", status),
	}
	attrs = append(attrs, a.notes...)
	if err != nil {
		e := federation.AsError(err)
		attrs = append(attrs, slog.String("reason", e.Reason), slog.String("detail", e.Error()))
		if status >= 500 {
			// Only here: the cause is for the operator of this node.
			attrs = append(attrs, slog.Any("error", err))
		}
	}
	if a.rights.Admin() {
		rt.log.LogAttrs(ctx, level, msg, attrs...)
		return
	}
	rt.lines.Log(ctx, rt.log, level, msg, attrs...)
}

// what names a request in the log: by its route, because a path may hold anything
// that somebody pasted into it. Handlers note the parts that they have checked.
func what(a *act, r *http.Request) string {
	if a.route != "" {
		return a.route
	}
	return clip(r.Method + " " + r.URL.Path)
}

// clip bounds what a caller can write into the log. Of a token that stands where
// it should not it leaves no more than the header.
func clip(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// requestID takes the caller's id, ours before the one that proxies replace, where it is a UUID in its usual form, and makes
// one otherwise.
func requestID(r *http.Request) string {
	for _, name := range []string{apitypes.HeaderRequestID, "X-Request-Id"} {
		if given := r.Header.Get(name); len(given) == 36 {
			if id, err := uuid.Parse(given); err == nil {
				return id.String()
			}
		}
	}
	return uuid.NewString()
}

// recorder remembers the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController and MaxBytesReader reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// discard is a ResponseWriter of which only the header is of interest.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}
