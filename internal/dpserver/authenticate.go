package dpserver

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/httperr"
)

// maxAuthenticate bounds the body of a request to authenticate: a token of the
// largest size and the tags of a proxy.
const maxAuthenticate = 16 << 10

// Values of AuthenticateRequest.ProxyType.
const (
	ProxyIngress   = "ingress"
	ProxyEgress    = "egress"
	ProxyDataplane = "dataplane"
)

// AuthenticateRequest is the body of POST /v1/authenticate: a token, and which
// proxy its holder says it is.
type AuthenticateRequest struct {
	Token string `json:"token"`
	// ProxyType is ingress or egress for zone proxies, which show a zone token, or
	// dataplane for data plane proxies, which show a dataplane token.
	ProxyType string `json:"proxyType"`
	// Mesh, Name and Tags are the proxy's own; a dataplane token is held against
	// them. Mesh is required for data plane proxies.
	Mesh string              `json:"mesh,omitempty"`
	Name string              `json:"name,omitempty"`
	Tags map[string][]string `json:"tags,omitempty"`
}

// Identity is the answer to an accepted token: what it proves.
type Identity struct {
	Kind string `json:"kind"` // cptoken.Kind
	Zone string `json:"zone"` // the zone that answers, which a zone token also names
	// Scope is of zone tokens, the others of dataplane tokens.
	Scope []cptoken.Scope     `json:"scope,omitempty"`
	Mesh  string              `json:"mesh,omitempty"`
	Name  string              `json:"name,omitempty"`
	Tags  map[string][]string `json:"tags,omitempty"`

	ID      string     `json:"jti,omitempty"`
	Expires *time.Time `json:"expires,omitempty"` // absent: never
	// Revision is what the zone knew when it decided.
	Revision string `json:"revision"`
}

func (s *Server) authenticate(w http.ResponseWriter, r *http.Request) {
	var req AuthenticateRequest
	err := httperr.ReadJSON(w, r, maxAuthenticate, &req)
	var id *Identity
	if err == nil {
		id, err = s.identify(req)
	}
	if err != nil {
		e := federation.AsError(err)
		s.lines.Log(r.Context(), s.cfg.Logger, slog.LevelInfo, "refused a proxy",
			slog.String("remote", r.RemoteAddr), slog.String("proxyType", clip(req.ProxyType)), slog.String("mesh", clip(req.Mesh)),
			slog.String("name", clip(req.Name)), slog.String("reason", e.Reason), slog.String("detail", e.Error()))
		httperr.WriteError(w, err)
		return
	}
	s.cfg.Logger.Debug("accepted a proxy", "remote", r.RemoteAddr, "proxyType", req.ProxyType,
		"mesh", id.Mesh, "name", clip(req.Name), "jti", id.ID)
	httperr.WriteJSON(w, http.StatusOK, id)
}

// identify decides over a request, against one view from beginning to end.
func (s *Server) identify(req AuthenticateRequest) (*Identity, error) {
	if err := req.validate(); err != nil {
		return nil, err
	}
	if err := s.stale(); err != nil {
		return nil, err
	}
	view := s.cfg.Store.View()
	kind := cptoken.Zone
	if req.ProxyType == ProxyDataplane {
		kind = cptoken.Dataplane
	}
	claims, err := s.cfg.Verifier.Verify(view, kind, req.Token)
	defer func() { s.cfg.Verified(string(kind), result(err)) }()
	if err != nil {
		return nil, err
	}
	switch req.ProxyType {
	case ProxyIngress:
		err = claims.CheckZoneProxy(s.cfg.Zone, cptoken.ScopeIngress)
	case ProxyEgress:
		err = claims.CheckZoneProxy(s.cfg.Zone, cptoken.ScopeEgress)
	default:
		err = claims.CheckDataplane(cptoken.Proxy{Mesh: req.Mesh, Name: req.Name, Type: ProxyDataplane, Tags: req.Tags})
	}
	if err != nil {
		return nil, err
	}
	id := &Identity{
		Kind: string(claims.Kind), Zone: s.cfg.Zone, Scope: claims.Scope,
		Mesh: claims.Mesh, Name: claims.Name, Tags: claims.Tags,
		ID: claims.ID, Revision: view.Revision().String(),
	}
	if !claims.ExpiresAt.IsZero() {
		expires := claims.ExpiresAt.UTC()
		id.Expires = &expires
	}
	return id, nil
}

// result is the word under which a verification is counted.
func result(err error) string {
	if err == nil {
		return "accepted"
	}
	return string(cptoken.ReasonOf(err))
}

func (req *AuthenticateRequest) validate() error {
	if req.Token == "" {
		return federation.InvalidField("token", "must not be empty")
	}
	switch req.ProxyType {
	case ProxyIngress, ProxyEgress:
		return nil // a zone token binds neither mesh nor name nor tags
	case ProxyDataplane:
		return federation.ValidateName("mesh", req.Mesh)
	case "":
		return federation.InvalidField("proxyType", "must not be empty: use ingress, egress or dataplane")
	}
	return federation.InvalidField("proxyType", "%.40q is not a type of proxy: use ingress, egress or dataplane", req.ProxyType)
}

// clip bounds what a stranger can write into a log line.
func clip(s string) string {
	if len(s) > federation.MaxNameLen {
		return s[:federation.MaxNameLen]
	}
	return s
}
