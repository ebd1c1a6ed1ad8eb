package adminapi

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/apierr"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// Relayed is what a zone, which has proven that it is that zone, passes on for one
// of its users.
type Relayed struct {
	Zone      string
	UserToken string // the user's own; a secret
	RequestID string // a UUID; another one is made where it is none
	Request   apitypes.DataplaneTokenRequest
}

// RelayDataplaneToken issues a dataplane token to a zone's user. The zone's record
// must name the mesh, and bounds the validity, which a silent request gets in full.
// What the user may have is decided by the user's role as if they had asked here.
// newer names a key that waits to sign, if there is one.
func (api *API) RelayDataplaneToken(ctx context.Context, r Relayed) (token, newer string, err error) {
	a := &act{requestID: r.RequestID, route: "relayed POST /tokens/dataplane", words: "zone generate dataplane-token", caller: access.Caller{Remote: "zone " + r.Zone}}
	if id, err := uuid.Parse(r.RequestID); err != nil || id.String() != r.RequestID {
		a.requestID = uuid.NewString()
	}
	a.note(slog.String("throughZone", r.Zone))
	token, newer, err = api.relay(ctx, a, r)
	status := http.StatusOK
	if err != nil {
		status = apierr.BodyOf(err).Status
	}
	api.newTrail().end(a, a.route, status, err)
	api.reportRelayed(ctx, a, err)
	return token, newer, err
}

func (api *API) relay(ctx context.Context, a *act, r Relayed) (token, newer string, err error) {
	if err := api.relayCaller(ctx, a, r); err != nil {
		return "", "", err
	}
	claims := cptoken.Claims{
		Kind: cptoken.Dataplane, Name: r.Request.Name, Mesh: r.Request.Mesh, Tags: r.Request.Tags, Type: r.Request.Type,
		Workload: r.Request.Workload,
	}
	longest, err := a.rights.Issue(claims)
	if err != nil {
		return "", "", err
	}
	lifetime, err := api.relayBounds(r, longest)
	if err != nil {
		return "", "", err
	}
	if err := api.meshField(claims.Mesh); err != nil {
		return "", "", err
	}
	if err := api.issuesHere(cptoken.Dataplane); err != nil {
		return "", "", err
	}
	r.Request.ValidFor = lifetime.String() // as the zone's record bounds it, whoever issues it
	return api.sign(ctx, a, claims, r.Request, lifetime, longest)
}

// relayCaller authenticates the user as the API does.
func (api *API) relayCaller(ctx context.Context, a *act, r Relayed) (err error) {
	request := (&http.Request{
		Header:     http.Header{"Authorization": {"Bearer " + r.UserToken}},
		RemoteAddr: a.caller.Remote,
	}).WithContext(ctx)
	caller, err := access.Policy{Verify: api.verifyUser, Zone: r.Zone}.Authenticate(request)
	if err != nil {
		return err
	}
	a.caller, a.rights = caller, api.cfg.Roles().Of(caller)
	return a.rights.Allow(access.Issue)
}

// relayBounds holds a request against the zone's record and returns the lifetime
// that the token gets.
func (api *API) relayBounds(r Relayed, longest time.Duration) (time.Duration, error) {
	zone, known := api.store.Zone(r.Zone)
	if known {
		if err := zone.Admit(); err != nil {
			return 0, err
		}
	}
	if !slices.Contains(zone.Relay.Meshes, r.Request.Mesh) {
		return 0, federation.Errorf(federation.Forbidden, "zone %s may not ask for tokens of mesh %.80q", r.Zone, r.Request.Mesh).
			WithReason("relay_not_allowed").
			WithHint("name the mesh in the zone's record at the global, relay: {meshes: [MESH]}, or ask the global itself")
	}
	lifetime, err := parseValidFor("validFor", r.Request.ValidFor)
	if err != nil {
		return 0, err
	}
	most := zone.Relay.MaxValidity
	if most == 0 {
		most = federation.DefaultRelayValidity
	}
	switch {
	case lifetime > most:
		return 0, federation.Errorf(federation.Forbidden, "zone %s may ask for tokens of %s at most, asked for %s", r.Zone, most, lifetime).
			WithReason("too_long").
			WithHint("ask for less, or for longer ones in the zone's record at the global, relay: {maxValidity: …}")
	case lifetime == 0 && longest > 0:
		return min(most, longest), nil
	case lifetime == 0:
		return most, nil
	}
	return lifetime, nil
}

// reportRelayed writes the line of a relayed request, as the router does of others.
func (api *API) reportRelayed(ctx context.Context, a *act, err error) {
	level, msg := slog.LevelInfo, "api request"
	attrs := append([]slog.Attr{
		slog.String("caller", clip(a.caller.Name)), slog.String("via", a.caller.Via), slog.String("remote", a.caller.Remote),
		slog.String("request", a.route), slog.String("requestId", a.requestID),
	}, a.notes...)
	if err != nil {
		e := federation.AsError(err)
		level, msg = slog.LevelWarn, "api request refused"
		attrs = append(attrs, slog.String("reason", e.Reason), slog.String("detail", e.Error()))
	}
	api.lines.Log(ctx, api.log, level, msg, attrs...)
}
