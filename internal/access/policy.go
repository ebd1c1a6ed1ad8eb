package access

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/net/preauth"
)

// Policy is how the callers of one listener are told apart. The zero Policy
// refuses everybody.
type Policy struct {
	// Verify checks a user token and returns its claims, or an error whose
	// federation code is Unauthenticated or Forbidden. nil: no token is accepted.
	Verify func(ctx context.Context, token string) (*cptoken.Claims, error)
	// Zone is the zone whose API it is, which takes only user tokens that were issued for it.
	// Empty: the global, which takes only those that were issued for no zone.
	Zone string
	// Certificate returns the name of the user whom a client certificate that was
	// shown proves now, or an error whose federation code is Unauthenticated or
	// Forbidden. nil: no certificate is asked for.
	Certificate func(state *tls.ConnectionState) (user string, err error)
	// LocalhostIsAdmin makes an admin of who comes from a loopback address
	// without a token. Requests that a browser was tricked into (DNS rebinding,
	// another site's page) and requests that a proxy passed on are refused.
	LocalhostIsAdmin bool
	// Granted is told of each request that LocalhostIsAdmin made an admin's and that
	// our own command line did not send: behind a forwarder on this machine that knows
	// no HTTP, everybody comes from loopback. nil disables it.
	Granted func(r *http.Request)
	// Socket says that the listener is the admin socket, which only the node's
	// own user can open: who comes without a token is an admin.
	Socket bool
	// Forwarded says that only members of the cluster reach the listener: each
	// request is that of the caller whom such a member authenticated, see
	// [Caller.SetHeader].
	Forwarded bool
}

// Authenticate returns who sent r, or an Unauthenticated or Forbidden error that
// says what to do. A token that is presented decides alone: a bad one is refused
// also where the same caller would have been let in without. A certificate that
// is of no user is refused with and without a token: each port takes one role.
func (p Policy) Authenticate(r *http.Request) (Caller, error) {
	if p.Forwarded {
		return forwardedCaller(r.Header)
	}
	certified, err := p.certified(r)
	if err != nil {
		return Caller{}, err
	}
	token, presented, err := bearer(r.Header)
	switch {
	case err != nil:
		return Caller{}, err
	case presented:
		return p.user(r, token)
	case certified != "":
		return Caller{Name: certified, Via: ViaCert, Remote: r.RemoteAddr}, nil
	case p.Socket:
		return Caller{Name: "admin socket", Groups: []string{AdminGroup}, Via: ViaSocket, Remote: "admin socket"}, nil
	case p.LocalhostIsAdmin && fromLoopback(r):
		if err := checkLocal(r); err != nil {
			return Caller{}, err
		}
		if p.Granted != nil && !isOurs(r.UserAgent()) {
			p.Granted(r)
		}
		return Caller{Name: "localhost", Groups: []string{AdminGroup}, Via: ViaLoopback, Remote: r.RemoteAddr}, nil
	}
	return Caller{}, federation.Errorf(federation.Unauthenticated, "the request carries no user token").
		WithReason("missing_token").
		WithHint("%s", p.howToShow(r))
}

// howToShow says how a caller shows a token: the flags of our commands help nobody who uses
// something else.
func (p Policy) howToShow(r *http.Request) string {
	if isOurs(r.UserAgent()) {
		return "send a user token as \"Authorization: Bearer …\" (--token-file, or GLOBAL_TOKEN and ZONE_TOKEN in the environment)"
	}
	const header = "send a user token in the header \"Authorization: Bearer TOKEN\"; "
	if p.Zone != "" {
		return header + "`global generate user-token --name NAME --for-zone ZONE` makes one, where ZONE is " + p.Zone
	}
	return header + "`global admin-token --data-dir FOLDER`, on a global's own machine, prints one"
}

// certified returns whom the client certificate names, "" where none was shown.
func (p Policy) certified(r *http.Request) (string, error) {
	if p.Certificate == nil || r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return "", nil
	}
	return p.Certificate(r.TLS)
}

// user holds a presented token against Verify.
func (p Policy) user(r *http.Request, token string) (Caller, error) {
	if p.Verify == nil {
		return Caller{}, federation.Errorf(federation.Unauthenticated, "user tokens are not accepted here").WithReason("not_allowed")
	}
	claims, err := p.Verify(r.Context(), token)
	if err != nil {
		return Caller{}, err
	}
	if claims == nil || claims.Kind != cptoken.User {
		return Caller{}, federation.Errorf(federation.Unauthenticated, "the token is not a user token").
			WithReason("wrong_kind").
			WithHint("make one with: global generate user-token")
	}
	if claims.Name == "" {
		return Caller{}, federation.Errorf(federation.Unauthenticated, "the user token names nobody").
			WithReason("wrong_name").
			WithHint("make one with: global generate user-token --name NAME")
	}
	if err := claims.CheckAudience(p.Zone); err != nil {
		return Caller{}, err
	}
	return Caller{Name: claims.Name, Groups: claims.Groups, Via: ViaToken, Remote: r.RemoteAddr}, nil
}

// bearer reads the Authorization header (RFC 6750, section 2.1).
func bearer(h http.Header) (token string, presented bool, err error) {
	values := h.Values("Authorization")
	if len(values) == 0 {
		return "", false, nil
	}
	bad := federation.Errorf(federation.Unauthenticated, "the Authorization header is not \"Bearer\" and one token").
		WithReason("malformed").
		WithHint("send exactly one header \"Authorization: Bearer …\"")
	if len(values) > 1 {
		return "", true, bad
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	token = strings.TrimSpace(token)
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" || strings.ContainsAny(token, " \t,") {
		return "", true, bad
	}
	if len(token) > cptoken.MaxTokenBytes {
		return "", true, federation.Errorf(federation.Unauthenticated, "the token has more than %d bytes", cptoken.MaxTokenBytes).
			WithReason("too_large").
			WithHint("no token of ours is that large: check what the token file holds")
	}
	return token, true, nil
}

// fromLoopback reports whether the connection comes from this machine.
func fromLoopback(r *http.Request) bool {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && addr.Addr().Unmap().IsLoopback()
}

// isForwarded reports whether a header is one that proxies add. Behind a proxy on
// this machine everybody comes from loopback.
func isForwarded(header string) bool {
	header = http.CanonicalHeaderKey(strings.ReplaceAll(header, "_", "-"))
	switch header {
	case "Forwarded", "Via", "X-Forwarded", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "Client-Ip", "True-Client-Ip",
		"Cf-Connecting-Ip", "Fastly-Client-Ip", "Cdn-Loop", "Proxy-Connection", "X-Scheme":
		return true
	}
	for _, prefix := range []string{"X-Forwarded-", "X-Envoy-", "X-Original-", "X-Amzn-", "X-Proxy"} {
		if strings.HasPrefix(header, prefix) {
			return true
		}
	}
	return false
}

// isOurs reports whether a user agent is that of our command line. It is not
// believed, but for what to warn about.
func isOurs(agent string) bool {
	return strings.HasPrefix(agent, "global/") || strings.HasPrefix(agent, "zone/")
}

// WarnOnce returns a Policy.Granted that logs the first such request.
func WarnOnce(log *slog.Logger) func(*http.Request) {
	var once sync.Once
	return func(r *http.Request) {
		once.Do(func() {
			log.Warn("a program on this machine was taken as an administrator without a token: behind a forwarder that is everybody who reaches it",
				"userAgent", r.UserAgent()[:min(maxAgent, len(r.UserAgent()))], "remote", r.RemoteAddr,
				"hint", "run without --localhost-is-admin (a global dev has it) where anything forwards connections to this port")
		})
	}
}

// maxAgent bounds what a caller writes into the log.
const maxAgent = 80

// checkLocal refuses what comes from loopback but is not a local program's own
// wish: a page of another site whose name was rebound to 127.0.0.1 (its Host is
// that site's), a form or script of another site (its Origin is), a proxy's
// client.
func checkLocal(r *http.Request) error {
	if !isLocalHost(r.Host) {
		return federation.Errorf(federation.Forbidden, "a request from loopback for the host %.100q is not taken as an admin's", r.Host).
			WithReason("foreign_host").
			WithHint("use localhost, 127.0.0.1 or [::1] in the address, or send a user token")
	}
	for _, origin := range r.Header.Values("Origin") {
		if !sameOrigin(origin, r) {
			return federation.Errorf(federation.Forbidden, "a request from loopback with the origin %.100q is not taken as an admin's", origin).
				WithReason("foreign_origin").
				WithHint("send a user token")
		}
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
		return federation.Errorf(federation.Forbidden, "a browser sent this request for another site's page").
			WithReason("foreign_origin").
			WithHint("send a user token")
	}
	// A client of a balancer's own machine is at the balancer's loopback, not at ours.
	if preauth.Balanced(r.Context()) {
		return passedOn("it has a header of PROXY protocol")
	}
	for name := range r.Header { // also an empty one: the proxy was there
		if isForwarded(name) {
			return passedOn(fmt.Sprintf("%.40s is set", name))
		}
	}
	return nil
}

func passedOn(sign string) error {
	return federation.Errorf(federation.Forbidden, "a request that a proxy passed on (%s) is not taken as an admin's", sign).
		WithReason("forwarded").
		WithHint("send a user token")
}

// isLocalHost reports whether a Host header names this machine by one of the
// three names that no DNS answer can redirect.
func isLocalHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	} else if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		name = host[1 : len(host)-1]
	}
	return strings.EqualFold(name, "localhost") || name == "127.0.0.1" || name == "::1"
}

// sameOrigin reports whether an Origin header (RFC 6454, section 7) names the
// very address that the request was sent to.
func sameOrigin(origin string, r *http.Request) bool {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	u, err := url.Parse(origin)
	return err == nil && u.Scheme == scheme && u.User == nil && u.Path == "" && strings.EqualFold(u.Host, r.Host)
}
