package proxyport

import (
	"context"
	"io"
	"log/slog"
	"net/http"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/apierr"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/zone/proxyauth"
)

// maxTokenRequest bounds the body of a request for a token.
const maxTokenRequest = 48 << 10

// RelayedRequest is a user's request for a dataplane token, to be passed on to the
// global. UserToken is the user's own, a secret.
type RelayedRequest struct {
	UserToken string
	RequestID string // a UUID, for the logs of both sides
	apitypes.DataplaneTokenRequest
}

// Relay passes a request on to the global and returns the token, and the name of a
// newer key that waits to sign, "" where there is none.
type Relay func(ctx context.Context, r RelayedRequest) (token, keyWaiting string, err error)

// dataplaneToken answers POST /tokens/dataplane. The zone cannot sign: it passes the
// request on with the caller's own token, and decides nothing about the caller but
// that the token is good.
func (s *Server) dataplaneToken(w http.ResponseWriter, r *http.Request, caller access.Caller) {
	request := RelayedRequest{RequestID: uuid.NewString()}
	w.Header().Set("X-Request-Id", request.RequestID)
	token, keyWaiting, err := s.relay(w, r, caller, &request)
	result := "issued"
	attrs := []slog.Attr{
		slog.String("caller", clip(caller.Name)), slog.String("remote", r.RemoteAddr), slog.String("requestId", request.RequestID),
		slog.String("mesh", clip(request.Mesh)), slog.String("name", clip(request.Name)),
	}
	if err != nil {
		e := federation.AsError(err)
		if result = e.Reason; result == "" {
			result = string(e.Code)
		}
		attrs = append(attrs, slog.String("reason", result), slog.String("detail", e.Error()))
	}
	s.cfg.Relayed(result)
	if err != nil {
		s.lines.Log(r.Context(), s.cfg.Logger, slog.LevelWarn, "a dataplane token was asked of the global, and refused", attrs...)
		apierr.WriteError(w, err)
		return
	}
	s.cfg.Logger.LogAttrs(r.Context(), slog.LevelInfo, "a dataplane token was asked of the global, and issued", attrs...)
	h := w.Header()
	if keyWaiting != "" {
		h.Set(apitypes.HeaderKeyWaiting, keyWaiting)
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = io.WriteString(w, token) // a caller who went away cannot be told
}

func (s *Server) relay(w http.ResponseWriter, r *http.Request, caller access.Caller, request *RelayedRequest) (token, keyWaiting string, err error) {
	if s.cfg.Relay == nil {
		return "", "", federation.Errorf(federation.Unavailable, "this zone has no global that could issue a token").WithReason("global_away")
	}
	if caller.Via != access.ViaToken {
		return "", "", federation.Errorf(federation.Unauthenticated, "the global issues tokens to a user, and the request carries no user token").
			WithReason("missing_token").
			WithHint("send your own user token as \"Authorization: Bearer …\" (--token-file, or ZONE_TOKEN in the environment)")
	}
	if !s.cfg.Auth.Settings().Authn.DPProxy.DPToken.Issues() {
		return "", "", federation.Errorf(federation.Conflict, "this zone passes on no requests for dataplane tokens: its settings have %s: false", enableIssuer).
			WithReason("issuer_disabled").
			WithHint("issue it offline with --kid and --signing-key-path, or set %s: true", enableIssuer)
	}
	if err := apierr.ReadJSON(w, r, maxTokenRequest, &request.DataplaneTokenRequest); err != nil {
		return "", "", err
	}
	// The policy that let the caller in has read the same header, and found one token.
	if request.UserToken, err = proxyauth.FromHeader(r.Header.Values("Authorization")); err != nil {
		return "", "", err
	}
	return s.cfg.Relay(r.Context(), *request)
}

const enableIssuer = "dpServer.authn.dpProxy.dpToken.enableIssuer"
