package proxyport

import (
	"cmp"
	"log/slog"
	"net/http"
	"strings"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apierr"
	"github.com/meridiankds/meridian/internal/net/preauth"
	"github.com/meridiankds/meridian/internal/zone/proxyauth"
)

// authorizePath is where proxies ask about the requests that they get.
const authorizePath = "/v1/authorize"

// belowAuthorize reports whether a path is one that a proxy made by appending the path of
// its own client, as Envoy's http_service does.
func belowAuthorize(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, authorizePath+"/") }

// authorize answers a proxy that asks about a request that it got: 200 with the identity
// headers, or the status and reason of the refusal. The token is in Authorization.
//
// What the operator states about the caller stands where the proxy's configuration alone
// can write: in the query on the exact path, because proxies copy headers of their clients
// to it; in a header below that path, because there the path and the query are the
// client's own. What stands in the other place is ignored. Every method asks the same
// question, and nothing of a body, a condition or a range has a say in the answer.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 && r.ProtoMajor == 1 {
		// A proxy may have passed on the length of a body that it keeps: the answer waits
		// for none, and nothing that follows is taken for one.
		w.Header().Set("Connection", "close")
	}
	headers, err := s.authorized(r)
	if err != nil {
		method, route := askedAbout(r)
		s.refused(r, "refused a request that a proxy asked about", err, slog.String("method", clip(method)), slog.String("route", clip(route)),
			slog.String("hint", federation.AsError(err).Hint))
		if reason := federation.AsError(err).Reason; reason != "" {
			w.Header().Set(proxyauth.HeaderReason, reason)
		}
		apierr.WriteError(w, err)
		return
	}
	for _, name := range proxyauth.IdentityHeaders {
		// Also those that do not apply: a proxy that copies them to its request replaces
		// what its client made up, and some leave alone what is not there.
		w.Header().Set(name, headers[name])
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
}

// authorized returns the headers of who is allowed.
func (s *Server) authorized(r *http.Request) (map[string]string, error) {
	token, err := proxyauth.FromHeader(r.Header.Values("Authorization"))
	if s.unread(err) != nil {
		return nil, err
	}
	stated := []string{r.URL.RawQuery}
	if belowAuthorize(r) {
		stated = r.Header.Values(proxyauth.HeaderRequire)
	}
	_, route := askedAbout(r)
	admission, err := s.cfg.Auth.ProveQuery(r.Context(), stated, route, token)
	if err == nil {
		err = preauth.Proved(r.Context(), admission.Identity())
	}
	if err != nil {
		return nil, err
	}
	headers, err := admission.Headers()
	if err != nil { // of a token that was accepted
		s.cfg.Auth.Count(admission.Kind(), err)
	}
	return headers, err
}

// askedAbout is the request that a proxy got, for the operator to find it by: its method,
// and its host and path without the query, which may hold secrets. On the exact path both
// come in headers that a client may have made up: nothing is decided by them.
func askedAbout(r *http.Request) (method, route string) {
	first := func(names ...string) (value string) {
		for _, name := range names {
			value = cmp.Or(value, r.Header.Get(name))
		}
		return value
	}
	if below, ok := strings.CutPrefix(r.URL.Path, authorizePath+"/"); ok {
		return r.Method, r.Host + "/" + strings.TrimPrefix(below, "/")
	}
	path, _, _ := strings.Cut(first("X-Forwarded-Uri", "X-Original-Uri"), "?")
	return cmp.Or(first("X-Forwarded-Method", "X-Original-Method"), r.Method), cmp.Or(first("X-Forwarded-Host"), r.Host) + path
}
