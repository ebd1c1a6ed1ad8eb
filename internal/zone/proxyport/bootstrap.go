package proxyport

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apierr"
	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/net/preauth"
	"github.com/meridiankds/meridian/internal/zone/bootstrap"
	"github.com/meridiankds/meridian/internal/zone/proxyauth"
	proxyres "github.com/meridiankds/meridian/internal/zone/resource"
)

// Bootstrap is what [Config] says about the answers to POST /bootstrap.
type Bootstrap struct {
	// TokenPath names the file of a proxy's token instead of holding the token.
	TokenPath bool
	// CA returns the PEM of the CA of the certificate that this port shows.
	CA func() string
	// Covers reports whether that certificate is good for a host.
	Covers func(host string) bool
}

// bootstrap answers POST /bootstrap, in kuma-dp's words.
func (s *Server) bootstrap(w http.ResponseWriter, r *http.Request) {
	req, resource, err := s.bootstrapRequest(w, r)
	if err == nil {
		err = s.answerBootstrap(w, r, req, resource)
	}
	if err == nil {
		return
	}
	var who bootstrap.Request
	if req != nil {
		who = *req
	}
	s.refused(r, "refused a bootstrap", err, slog.String("proxyType", clip(who.ProxyType)), slog.String("mesh", clip(who.Mesh)),
		slog.String("name", clip(who.Name)))
	writeBootstrapError(w, r, err)
}

// notThere is the reason of an answer that kuma-dp waits after: its Dataplane may
// come yet.
const notThere = "not_registered"

// writeBootstrapError answers as kuma-dp expects it: 404 with nothing for a proxy
// that may come yet, and text to print for everything else. Who asks for
// application/problem+json gets the shape of our other errors.
func writeBootstrapError(w http.ResponseWriter, r *http.Request, err error) {
	e := federation.AsError(err)
	if e.Reason == notThere {
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if strings.Contains(r.Header.Get("Accept"), "application/problem+json") {
		apierr.WriteError(w, err)
		return
	}
	text := e.Error()
	if e.Reason != "" {
		text = e.Reason + ": " + text
	}
	if e.Hint != "" {
		text += "\nhint: " + e.Hint
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	apierr.SetHeaders(h, e)
	w.WriteHeader(apierr.Status(e.Code))
	_, _ = w.Write([]byte(text + "\n")) // the status is out: a caller who went away cannot be told
}

// bootstrapRequest reads the body. Its token is verified before the rest is parsed,
// which is done in turn with others: YAML is costly, and whoever sends it may be nobody.
func (s *Server) bootstrapRequest(w http.ResponseWriter, r *http.Request) (req *bootstrap.Request, resource *proxyres.Resource, err error) {
	body, err := apierr.ReadBytes(w, r, bootstrap.MaxBytes)
	if err != nil {
		return nil, nil, s.unread(err)
	}
	token, err := proxyauth.FromHeader(r.Header.Values("Authorization"))
	if err != nil {
		return nil, nil, s.unread(err)
	}
	if err := s.cfg.Auth.Plausible(r.Context(), cmp.Or(token, bootstrap.TokenOf(body))); err != nil {
		return nil, nil, err
	}
	leave, err := preauth.Parsing(r.Context())
	if err != nil {
		return nil, nil, s.unread(err)
	}
	defer leave()
	if req, err = bootstrap.ParseRequest(body); err != nil {
		return nil, nil, s.unread(err)
	}
	resource, err = req.Resource()
	return req, resource, s.unread(err)
}

// answerBootstrap admits the proxy, keeps its resource for its Envoy, and answers.
func (s *Server) answerBootstrap(w http.ResponseWriter, r *http.Request, req *bootstrap.Request, resource *proxyres.Resource) error {
	token, err := bootstrapToken(r, req)
	if err != nil {
		return s.unread(err)
	}
	in := bootstrap.Input{Request: req, TokenPath: s.cfg.Bootstrap.TokenPath, CA: s.cfg.Bootstrap.CA(), Token: strings.TrimSpace(token)}
	if resource != nil {
		in.JSON = resource.JSON()
	} else if resource, err = s.registered(r.Context(), req, token); err != nil {
		return err
	}
	if resource.Zone != "" && resource.Zone != s.cfg.Zone {
		return s.unread(cptoken.Refuse(cptoken.WrongZone, "the %s says that it is of zone %s, this is zone %s", resource.Kind, resource.Zone, s.cfg.Zone).
			WithHint("connect it to its own zone, or correct its resource"))
	}
	admission, err := s.cfg.Auth.Authenticate(r.Context(), proxyauth.ProxyOf(resource), token)
	if err != nil {
		return err
	}
	if err := preauth.Proved(r.Context(), admission.Identity()); err != nil {
		return err
	}
	if err := s.cfg.Proxies.Register(resource, admission, r.RemoteAddr); err != nil {
		return err
	}
	host, err := s.dialled(r, req)
	if err != nil {
		return err
	}
	in.Resource, in.Address, in.CheckHost = resource, host, s.cfg.Bootstrap.Covers(hostOf(host))
	if admission.Method == keyring.None {
		in.Token, in.TokenPath = "", false // nobody asks for it: it need not travel
	}
	if in.FollowsFile() && strings.TrimSpace(req.DataplaneToken) != req.DataplaneToken {
		s.cfg.Logger.Warn("the file of a proxy's token does not end with the token, and its Envoy sends it as it is: it will not connect",
			"proxy", admission.Subject(), "remote", r.RemoteAddr, "hint", "write the file without a newline, as `global generate … --out FILE` does")
	}
	text, err := bootstrap.Make(in)
	if err != nil {
		return err
	}
	s.cfg.Logger.Info("gave a bootstrap", "proxy", admission.Subject(), "remote", r.RemoteAddr, "method", string(admission.Method), "tokenId", admission.TokenID)
	apierr.WriteJSON(w, http.StatusOK, bootstrap.AnswerOf(text, resource))
	return nil
}

// bootstrapToken is what the proxy presents: in the body, as kuma-dp does, or in
// the header.
func bootstrapToken(r *http.Request, req *bootstrap.Request) (string, error) {
	header, err := proxyauth.FromHeader(r.Header.Values("Authorization"))
	if err != nil {
		return "", err
	}
	body := strings.TrimSpace(req.DataplaneToken)
	if body != "" && header != "" && body != header {
		return "", cptoken.Refuse(cptoken.Malformed, "there is one token in the body and another in the header").WithHint("send the token once")
	}
	return cmp.Or(body, header), nil
}

// registered finds the resource of a proxy that sent none. Where there is none,
// who presents no good token does not learn that.
func (s *Server) registered(ctx context.Context, req *bootstrap.Request, token string) (*proxyres.Resource, error) {
	kind, _ := proxyres.KindOf(req.ProxyType)
	if err := proxyres.ValidateName("name", req.Name); err != nil {
		return nil, err
	}
	if resource := s.cfg.Proxies.Find(kind.ProxyType(), req.NodeID()); resource != nil {
		return resource, nil
	}
	claim := proxyauth.Proxy{Type: kind.ProxyType(), Name: req.Name}
	if kind == proxyres.Dataplane {
		claim.Mesh = cmp.Or(req.Mesh, proxyres.DefaultMesh)
	}
	// The tags and the workload are those of a resource that is not there.
	if _, err := s.cfg.Auth.Authenticate(ctx, claim, token); err != nil {
		if reason := cptoken.ReasonOf(err); reason != cptoken.TagMismatch && reason != cptoken.WrongWorkload {
			return nil, err
		}
	}
	return nil, federation.Errorf(federation.NotFound, "no %s is registered as %.80q", kind, req.NodeID()).WithReason(notThere).
		WithHint("send its resource as dataplaneResource")
}

// dialled is where the proxy reaches this port: what it says, else where it sent
// the request.
func (s *Server) dialled(r *http.Request, req *bootstrap.Request) (string, error) {
	host, port := hostOf(r.Host), "443"
	if _, p, err := net.SplitHostPort(r.Host); err == nil {
		port = p
	}
	if req.Host != "" {
		host = hostOf(req.Host)
	}
	if !proxyres.IsHost(host) {
		return "", federation.InvalidField("host", "%.80q is neither an IP address nor a host name", host)
	}
	return net.JoinHostPort(host, port), nil
}

func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(address, "["), "]")
}
