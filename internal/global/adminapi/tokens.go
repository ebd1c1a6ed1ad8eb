package adminapi

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/secretname"
)

func (api *API) postControlPlaneToken(a *act, w http.ResponseWriter, r *http.Request) error {
	var body apitypes.ControlPlaneTokenRequest
	if err := readBody(w, r, &body); err != nil {
		return err
	}
	claims := cptoken.Claims{Kind: cptoken.ControlPlane, Zone: body.Zone}
	longest, err := a.rights.Issue(claims)
	if err != nil {
		return err
	}
	if err := api.zoneMayJoin(body.Zone); err != nil {
		return err
	}
	return api.issue(r.Context(), a, w, claims, body.ValidFor, body, longest)
}

func (api *API) postZoneToken(a *act, w http.ResponseWriter, r *http.Request) error {
	var body apitypes.ZoneTokenRequest
	if err := readBody(w, r, &body); err != nil {
		return err
	}
	if err := api.issuesHere(cptoken.Zone); err != nil {
		return err
	}
	claims := cptoken.Claims{Kind: cptoken.Zone, Zone: body.Zone}
	for _, s := range body.Scope {
		claims.Scope = append(claims.Scope, cptoken.Scope(s))
	}
	longest, err := a.rights.Issue(claims)
	if err != nil {
		return err
	}
	if slices.Contains(claims.Scope, cptoken.ScopeCP) {
		// With this scope the token is one for a zone control plane.
		if err := api.zoneMayJoin(body.Zone); err != nil {
			return err
		}
	}
	return api.issue(r.Context(), a, w, claims, body.ValidFor, body, longest)
}

func (api *API) postDataplaneToken(a *act, w http.ResponseWriter, r *http.Request) error {
	var body apitypes.DataplaneTokenRequest
	if err := readBody(w, r, &body); err != nil {
		return err
	}
	claims := cptoken.Claims{Kind: cptoken.Dataplane, Name: body.Name, Mesh: body.Mesh, Tags: body.Tags, Type: body.Type, Workload: body.Workload}
	longest, err := a.rights.Issue(claims)
	if err != nil {
		return err
	}
	if err := api.meshField(body.Mesh); err != nil {
		return err
	}
	if err := api.issuesHere(cptoken.Dataplane); err != nil {
		return err
	}
	if _, err := api.store.Signer(cptoken.Dataplane, body.Mesh); err != nil {
		if done, err := api.askLeader(a, w, r, body); done {
			return err
		}
		// A new mesh whose key had to wait for a zone.
		if err := api.startFirstKey(r.Context(), a, body.Mesh, 0); err != nil {
			return err
		}
	}
	return api.issue(r.Context(), a, w, claims, body.ValidFor, body, longest)
}

func (api *API) postUserToken(a *act, w http.ResponseWriter, r *http.Request) error {
	var body apitypes.UserTokenRequest
	if err := readBody(w, r, &body); err != nil {
		return err
	}
	claims := cptoken.Claims{Kind: cptoken.User, Name: body.Name, Groups: body.Groups, Audience: cptoken.ZoneAudiences(body.ForZone)}
	longest, err := a.rights.Issue(claims)
	if err != nil {
		return err
	}
	claims.Groups = append(claims.Groups, a.rights.WithoutRoles(claims)...)
	return api.issue(r.Context(), a, w, claims, body.ValidFor, body, longest)
}

// issuesHere refuses kinds of tokens that the settings leave to others.
func (api *API) issuesHere(kind cptoken.Kind) error {
	if !slices.Contains(api.cfg.NotIssued, kind) {
		return nil
	}
	setting := map[cptoken.Kind]string{
		cptoken.Zone:      "dpServer.authn.zoneProxy.zoneToken.enableIssuer",
		cptoken.Dataplane: "dpServer.authn.dpProxy.dpToken.enableIssuer",
	}[kind]
	return federation.Errorf(federation.Conflict, "this global issues no %s: its settings have %s: false", kind.TokenName(), setting).
		WithReason("issuer_disabled").
		WithHint("issue it offline with --kid and --signing-key-path, or set %s: true at every global", setting)
}

// zoneMayJoin refuses a token that no control plane could join with. A zone that
// is not known yet may: its token is made before it first joins.
func (api *API) zoneMayJoin(name string) error {
	if err := federation.ValidateName("zone", name); err != nil {
		return err
	}
	z, known := api.store.Zone(name)
	if !known {
		return nil
	}
	if err := z.Admit(); err != nil {
		refusal := federation.AsError(err)
		return federation.Errorf(federation.Conflict, "%s, a control plane token for it would be refused", refusal.Detail).
			WithReason(refusal.Reason).WithHint("%s", refusal.Hint)
	}
	return nil
}

// issue signs a token and answers with it alone, as text. Nothing is written
// anywhere: the line in the log names the token by its id. longest is what the
// caller's role allows, 0 for no bound; a request that is silent gets that much. request
// is what the caller sent.
func (api *API) issue(ctx context.Context, a *act, w http.ResponseWriter, c cptoken.Claims, validFor string, request any, longest time.Duration) error {
	lifetime, err := parseValidFor("validFor", validFor)
	if err != nil {
		return err
	}
	token, newer, err := api.sign(ctx, a, c, request, lifetime, longest)
	if err != nil {
		return err
	}
	h := w.Header()
	if newer != "" {
		h.Set(apitypes.HeaderKeyWaiting, newer)
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = io.WriteString(w, token) // a caller who went away cannot be told
	return nil
}

// sign issues a token within what the caller's role allows, or has another member do it
// where this one's clock does not allow it: request is what the caller sent. newer names
// a key that waits to sign, if there is one.
func (api *API) sign(ctx context.Context, a *act, c cptoken.Claims, request any, lifetime, longest time.Duration) (token, newer string, err error) {
	switch {
	case longest == 0:
	case lifetime > longest:
		return "", "", federation.Errorf(federation.Forbidden, "user %.80q may issue this %s for %s at most, asked for %s", a.caller.Name, c.Kind.TokenName(), longest, lifetime).
			WithReason("too_long").WithHint("ask for less: --valid-for %s", longest)
	case lifetime == 0:
		lifetime = min(longest, cptoken.DefaultValidity)
	}
	if err := api.mayIssue(lifetime); err != nil {
		return "", "", err
	}
	key, err := api.store.Signer(c.Kind, c.Mesh)
	if err != nil {
		return "", "", err
	}
	kid := cptoken.SerialKID(key.Ref().Serial)
	now, err := api.IssuingTime(ctx, c.Kind, c.Mesh, kid)
	if err != nil {
		if token, newer, done, err := api.elsewhereBy(ctx, a, c, kid, request, err); done {
			return token, newer, err
		}
		return "", "", err
	}
	draft, err := key.Draft(c, lifetime, now)
	if err != nil {
		return "", "", err
	}
	issued := &draft.Claims
	a.note(slog.String("kind", string(c.Kind)), slog.String("jti", issued.ID), slog.Uint64("serial", key.Ref().Serial),
		slog.String("expires", issued.ExpiresAt.UTC().Format(time.RFC3339)))
	for _, about := range []struct{ name, value string }{{"zone", c.Zone}, {"mesh", c.Mesh}, {"name", c.Name}} {
		if about.value != "" {
			a.note(slog.String(about.name, about.value))
		}
	}
	if len(c.Groups) > 0 {
		a.note(slog.Any("groups", c.Groups))
	}
	if len(c.Audience) > 0 {
		a.note(slog.Any("audience", c.Audience))
	}
	if len(issued.Scope) > 0 {
		a.note(slog.Any("scope", issued.Scope))
	}
	if token, err = api.signed(a, draft); err != nil {
		return "", "", err
	}
	api.cfg.Issued(string(c.Kind))
	return token, api.keyWaiting(c.Kind, c.Mesh, key.Ref().Serial), nil
}

// keyWaiting names the newest key of a kind and mesh that is prepared while an
// older one signs, or is "".
func (api *API) keyWaiting(kind cptoken.Kind, mesh string, signing uint64) (name string) {
	for _, k := range api.store.Keys() {
		if k.ID.Kind == kind && k.ID.Mesh == mesh && k.State == cptoken.Prepared && k.Serial > signing {
			name = secretname.Ref{Kind: kind, Mesh: mesh, Serial: k.Serial}.Name()
		}
	}
	return name
}
