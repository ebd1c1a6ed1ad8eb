package proxyport

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apierr"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/net/preauth"
	"github.com/meridiankds/meridian/internal/zone/proxyauth"
)

// maxAuthenticate bounds the body of a request to authenticate: a token of the
// largest size and the tags of a proxy.
const maxAuthenticate = 16 << 10

// describes reports whether the request says of the holder what it is.
func describes(r *apitypes.AuthenticateRequest) bool {
	return r.ProxyType != "" || r.Mesh != "" || r.Name != "" || len(r.Tags) > 0 || len(r.Labels) > 0
}

func (s *Server) authenticate(w http.ResponseWriter, r *http.Request) {
	var req apitypes.AuthenticateRequest
	err := s.unread(apierr.ReadJSON(w, r, maxAuthenticate, &req))
	var id *apitypes.Identity
	if err == nil {
		id, err = s.identify(r.Context(), r.URL.Path, req)
	}
	if err != nil {
		s.refused(r, "refused a proxy", err, slog.String("proxyType", clip(req.ProxyType)), slog.String("mesh", clip(req.Mesh)),
			slog.String("name", clip(req.Name)))
		apierr.WriteError(w, err)
		return
	}
	s.cfg.Logger.Debug("accepted a proxy", "remote", r.RemoteAddr, "proxyType", req.ProxyType,
		"mesh", id.Mesh, "name", clip(req.Name), "jti", id.ID)
	apierr.WriteJSON(w, http.StatusOK, id)
}

// The bounds of a batch.
const (
	MaxBatch      = 256
	maxBatchBytes = 1 << 20
	// batchPlaces is how many are dealt with at a time, batchesWaiting how many wait.
	batchPlaces, batchesWaiting = 4, 256
)

// BatchRequest is the body of POST /v1/authenticate/batch.
type BatchRequest struct {
	Requests []apitypes.AuthenticateRequest `json:"requests" maxItems:"256"` // MaxBatch
}

// BatchAnswer is the answer: one result for each request, in their order.
type BatchAnswer struct {
	Results []BatchResult `json:"results"`
}

// BatchResult is the answer to one request of a batch: what POST /v1/authenticate
// would have answered to it alone.
type BatchResult struct {
	Status   int                `json:"status"` // 200, or that of Error
	Identity *apitypes.Identity `json:"identity,omitempty"`
	Error    *apitypes.Error    `json:"error,omitempty"`
}

func (s *Server) authenticateBatch(w http.ResponseWriter, r *http.Request) {
	var req BatchRequest
	body, err := apierr.ReadJSONBytes(w, r, maxBatchBytes)
	if err == nil {
		// From here on the batch costs many times its bytes, and takes its turn.
		var leave func()
		if leave, err = s.batches.Enter(r.Context(), preauth.KeyFrom(r.Context())); err == nil {
			defer leave()
			err = apierr.UnmarshalStrict(body, &req)
		}
	}
	err = s.unread(err)
	if n := len(req.Requests); err == nil && (n == 0 || n > MaxBatch) {
		err = s.unread(federation.InvalidField("requests", "must hold 1 to %d requests, has %d", MaxBatch, n))
	}
	if err != nil {
		s.refused(r, "refused a batch", err)
		apierr.WriteError(w, err)
		return
	}
	out := BatchAnswer{Results: make([]BatchResult, len(req.Requests))}
	refused := 0
	var first error
	for i, one := range req.Requests {
		id, err := s.identify(r.Context(), r.URL.Path, one)
		if err == nil {
			out.Results[i] = BatchResult{Status: http.StatusOK, Identity: id}
			continue
		}
		if refused++; first == nil {
			first = err
		}
		body := apierr.BodyOf(err)
		out.Results[i] = BatchResult{Status: body.Status, Error: &body}
	}
	if refused > 0 {
		s.refused(r, "refused proxies of a batch", first, slog.Int("refused", refused), slog.Int("of", len(req.Requests)))
	}
	apierr.WriteJSON(w, http.StatusOK, out)
}

// identify decides over a request to a path.
func (s *Server) identify(ctx context.Context, path string, req apitypes.AuthenticateRequest) (*apitypes.Identity, error) {
	admission, err := s.admit(ctx, path, req)
	if err == nil {
		err = preauth.Proved(ctx, admission.Identity())
	}
	if err != nil {
		return nil, err
	}
	return identityOf(admission), nil
}

func (s *Server) admit(ctx context.Context, path string, req apitypes.AuthenticateRequest) (*proxyauth.Admission, error) {
	switch {
	case req.Require == nil:
		return s.cfg.Auth.Authenticate(ctx, proxyauth.Proxy{
			Type: req.ProxyType, Mesh: req.Mesh, Name: req.Name, Tags: req.Tags, Labels: req.Labels,
		}, req.Token)
	case describes(&req):
		return nil, s.unread(federation.InvalidField("require", "is given beside what the proxy says of itself").
			WithHint("state who the holder must be in require, or leave require out and hold the token against a description"))
	}
	return s.cfg.Auth.Prove(ctx, req.Require, path, req.Token)
}

// identityOf is what an admission proves, as it is answered.
func identityOf(a *proxyauth.Admission) *apitypes.Identity {
	id := &apitypes.Identity{Method: string(a.Method), Zone: a.Zone, ID: a.TokenID, Revision: a.Revision.String(), Proved: a.Proved()}
	if c := a.Claims; c != nil {
		id.Kind, id.Mesh, id.Name, id.Tags = string(c.Kind), c.Mesh, c.Name, c.Tags
		for _, scope := range c.Scope {
			id.Scope = append(id.Scope, string(scope))
		}
		id.Workload = c.Workload
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
