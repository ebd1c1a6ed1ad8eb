package proxyport

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apierr"
	"github.com/meridiankds/meridian/internal/zone/proxyauth"
)

// maxAuthenticate bounds the body of a request to authenticate: a token of the
// largest size and the tags of a proxy.
const maxAuthenticate = 16 << 10

// AuthenticateRequest is the body of POST /v1/authenticate: a token, and which
// proxy its holder says it is.
type AuthenticateRequest struct {
	Token string `json:"token"`
	// ProxyType is ingress or egress for zone proxies, which usually show a zone
	// token, or dataplane for data plane proxies, which usually show a dataplane
	// token: the zone's settings say what (dpServer.authn).
	ProxyType string `json:"proxyType"`
	// Mesh, Name and Tags are the proxy's own; a dataplane token is held against
	// them. Mesh is required for data plane proxies. Labels are those of its
	// resource, which service account tokens are held against.
	Mesh   string              `json:"mesh,omitempty"`
	Name   string              `json:"name,omitempty"`
	Tags   map[string][]string `json:"tags,omitempty"`
	Labels map[string]string   `json:"labels,omitempty"`
}

// Identity is the answer to an accepted token: what it proves.
type Identity struct {
	// Method is how the proxy proved itself: zoneToken, dpToken, serviceAccountToken,
	// or none, where it proved nothing.
	Method string `json:"method"`
	Kind   string `json:"kind,omitempty"` // cptoken.Kind of the token
	Zone   string `json:"zone"`           // the zone that answers, which a zone token also names
	// Scope is of zone tokens, the others of dataplane tokens.
	Scope []cptoken.Scope     `json:"scope,omitempty"`
	Mesh  string              `json:"mesh,omitempty"`
	Name  string              `json:"name,omitempty"`
	Tags  map[string][]string `json:"tags,omitempty"`

	ServiceAccount string `json:"serviceAccount,omitempty"` // namespace/name
	// ID is under which the token is revoked: its jti, or a hash where it has none.
	ID      string     `json:"jti,omitempty"`
	Expires *time.Time `json:"expires,omitempty"` // absent: never
	// Revision is what the zone knew when it decided.
	Revision string `json:"revision"`
}

func (s *Server) authenticate(w http.ResponseWriter, r *http.Request) {
	var req AuthenticateRequest
	err := apierr.ReadJSON(w, r, maxAuthenticate, &req)
	var id *Identity
	if err == nil {
		id, err = s.identify(r.Context(), req)
	}
	if err != nil {
		e := federation.AsError(err)
		s.lines.Log(r.Context(), s.cfg.Logger, slog.LevelInfo, "refused a proxy",
			slog.String("remote", r.RemoteAddr), slog.String("proxyType", clip(req.ProxyType)), slog.String("mesh", clip(req.Mesh)),
			slog.String("name", clip(req.Name)), slog.String("reason", e.Reason), slog.String("detail", e.Error()))
		apierr.WriteError(w, err)
		return
	}
	s.cfg.Trust(r.Context())
	s.cfg.Logger.Debug("accepted a proxy", "remote", r.RemoteAddr, "proxyType", req.ProxyType,
		"mesh", id.Mesh, "name", clip(req.Name), "jti", id.ID)
	apierr.WriteJSON(w, http.StatusOK, id)
}

// The bounds of a batch.
const (
	MaxBatch      = 256
	maxBatchBytes = 1 << 20
)

// BatchRequest is the body of POST /v1/authenticate/batch.
type BatchRequest struct {
	Requests []AuthenticateRequest `json:"requests"` // at most MaxBatch
}

// BatchAnswer is the answer: one result for each request, in their order.
type BatchAnswer struct {
	Results []BatchResult `json:"results"`
}

// BatchResult is the answer to one request of a batch: what POST /v1/authenticate
// would have answered to it alone.
type BatchResult struct {
	Status   int          `json:"status"` // 200, or that of Error
	Identity *Identity    `json:"identity,omitempty"`
	Error    *apierr.Body `json:"error,omitempty"`
}

func (s *Server) authenticateBatch(w http.ResponseWriter, r *http.Request) {
	var req BatchRequest
	err := apierr.ReadJSON(w, r, maxBatchBytes, &req)
	if n := len(req.Requests); err == nil && (n == 0 || n > MaxBatch) {
		err = federation.InvalidField("requests", "must hold 1 to %d requests, has %d", MaxBatch, n)
	}
	if err != nil {
		apierr.WriteError(w, err)
		return
	}
	out := BatchAnswer{Results: make([]BatchResult, len(req.Requests))}
	refused := 0
	for i, one := range req.Requests {
		id, err := s.identify(r.Context(), one)
		if err == nil {
			out.Results[i] = BatchResult{Status: http.StatusOK, Identity: id}
			continue
		}
		refused++
		body := apierr.BodyOf(err)
		out.Results[i] = BatchResult{Status: body.Status, Error: &body}
	}
	if refused < len(req.Requests) {
		s.cfg.Trust(r.Context())
	}
	if refused > 0 {
		s.lines.Log(r.Context(), s.cfg.Logger, slog.LevelInfo, "refused proxies of a batch", slog.String("remote", r.RemoteAddr),
			slog.Int("refused", refused), slog.Int("of", len(req.Requests)))
	}
	apierr.WriteJSON(w, http.StatusOK, out)
}

// identify decides over a request.
func (s *Server) identify(ctx context.Context, req AuthenticateRequest) (*Identity, error) {
	admission, err := s.cfg.Auth.Authenticate(ctx, proxyauth.Proxy{
		Type: req.ProxyType, Mesh: req.Mesh, Name: req.Name, Tags: req.Tags, Labels: req.Labels,
	}, req.Token)
	if err != nil {
		return nil, err
	}
	return identityOf(admission), nil
}

// identityOf is what an admission proves, as it is answered.
func identityOf(a *proxyauth.Admission) *Identity {
	id := &Identity{Method: string(a.Method), Zone: a.Zone, ID: a.TokenID, Revision: a.Revision.String()}
	if c := a.Claims; c != nil {
		id.Kind, id.Scope, id.Mesh, id.Name, id.Tags = string(c.Kind), c.Scope, c.Mesh, c.Name, c.Tags
	}
	if a.Account != nil {
		id.ServiceAccount = a.Account.Namespace + "/" + a.Account.Name
	}
	if !a.Expires.IsZero() {
		expires := a.Expires.UTC()
		id.Expires = &expires
	}
	return id
}

// clip bounds what a stranger can write into a log line.
func clip(s string) string {
	if len(s) > federation.MaxNameLen {
		return s[:federation.MaxNameLen]
	}
	return s
}
