// Package admission decides at the global which zone control plane may hold a
// KDS session: it holds the caller's token or certificate against the replicated
// keys and revocations, and the zone's record against what is asked.
package admission

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/net/loglimit"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/kds"
)

// Store is what admission needs of the replicated state. It is implemented on purpose:
// the keys are more than those of the cluster, and a member that does not lead cannot
// record a zone itself.
type Store interface {
	// VerifyingKeys are all keys that zone tokens are verified with.
	VerifyingKeys() cptoken.View
	ControlPlaneKey(serial uint64) (key *issue.SigningKey, imported bool)
	Zone(name string) (federation.Zone, bool)
	Zones() []federation.Zone
	// RecordZone notes, at the leader, that the zone joined.
	RecordZone(ctx context.Context, name string) (federation.Zone, error)
}

// Config is what an Authenticator is made from. All fields but Now are required.
type Config struct {
	Store    Store
	Verifier *cptoken.Verifier
	// Default is how a zone authenticates whose record does not say.
	Default federation.AuthMode
	// Cluster is the cluster's name in certificates.
	Cluster string
	// Refresh has this member catch up with the leader, and reports whether it did:
	// a key that is not known here may be there. nil: there is nobody to ask.
	Refresh func(ctx context.Context) bool
	Logger  *slog.Logger
	Now     func() time.Time // nil: time.Now
}

// Authenticator implements kds.Authenticator.
type Authenticator struct {
	cfg   Config
	lines *loglimit.Limiter
}

// New returns an Authenticator.
func New(cfg Config) *Authenticator {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Authenticator{cfg: cfg, lines: loglimit.New(loglimit.PerSecond, cfg.Now)}
}

// maxUnproven bounds the zone records that callers who prove nothing can bring
// about where the mode is none: each is a write that every member keeps.
const maxUnproven = 10_000

// Authenticate decides over one caller. A refusal is a cptoken.Refusal or a
// federation.Error with a reason; nothing is changed by it.
func (a *Authenticator) Authenticate(ctx context.Context, c kds.Credentials) (kds.Admission, error) {
	zone, known := a.cfg.Store.Zone(c.Zone)
	mode := zone.Auth
	if mode == "" {
		mode = a.cfg.Default
	}
	// Proof comes first: who has none learns nothing of the zone's record.
	admission, err := a.prove(mode, c)
	if cptoken.ReasonOf(err) == cptoken.UnknownKey && a.cfg.Refresh != nil && a.cfg.Refresh(ctx) {
		admission, err = a.prove(mode, c)
	}
	if err != nil {
		return kds.Admission{}, err
	}
	if known {
		if err := zone.Admit(); err != nil {
			return kds.Admission{}, err
		}
	}
	if zone.FirstSeen.IsZero() {
		if !admission.Authenticated && !known && len(a.cfg.Store.Zones()) >= maxUnproven {
			return kds.Admission{}, federation.Errorf(federation.Forbidden,
				"%d zones are recorded already, and zone %s proved nothing", maxUnproven, c.Zone).
				WithReason("too_many_zones").
				WithHint("have zones authenticate, or delete the zones that are not yours")
		}
		seen, err := a.cfg.Store.RecordZone(ctx, c.Zone)
		if err != nil {
			return kds.Admission{}, err
		}
		// The record may have changed since it was read above.
		if err := seen.Admit(); err != nil {
			return kds.Admission{}, err
		}
	}
	return admission, nil
}

// prove checks what the caller presents as its mode demands.
func (a *Authenticator) prove(mode federation.AuthMode, c kds.Credentials) (kds.Admission, error) {
	switch mode {
	case federation.AuthToken:
		return a.byToken(c)
	case federation.AuthCertificate:
		return a.byCertificate(c)
	case federation.AuthNone:
		return a.unproven(c), nil
	}
	return kds.Admission{}, federation.Errorf(federation.Internal, "zone %s: unknown way to authenticate %.40q", c.Zone, mode)
}

// unproven admits anybody, and still tells whose credential would be good.
func (a *Authenticator) unproven(c kds.Credentials) kds.Admission {
	if c.Authorization != "" {
		admission, err := a.byToken(c)
		if err == nil {
			return admission
		}
		verdict := federation.AsError(err).Reason
		a.lines.Log(context.Background(), a.cfg.Logger, slog.LevelWarn, "zone presents a token that would be refused if tokens were demanded",
			slog.String("zone", c.Zone), slog.String("reason", verdict), slog.String("detail", err.Error()))
		return kds.Admission{Zone: c.Zone, Method: kds.MethodNone, Verdict: verdict}
	}
	return kds.Admission{Zone: c.Zone, Method: kds.MethodNone}
}

func (a *Authenticator) byCertificate(c kds.Credentials) (kds.Admission, error) {
	if c.Certificate == nil {
		return kds.Admission{}, federation.Errorf(federation.Unauthenticated, "zone %s presented no client certificate", c.Zone).
			WithReason("missing_certificate").
			WithHint("give the zone a certificate with the URI SAN meridian://<cluster>/zone/%s", c.Zone)
	}
	id, err := tlsutil.IdentityOf(c.Certificate)
	if err != nil {
		return kds.Admission{}, err
	}
	if want := (tlsutil.Identity{Cluster: a.cfg.Cluster, Role: tlsutil.RoleZone, Name: c.Zone}); id != want {
		return kds.Admission{}, federation.Errorf(federation.Forbidden, "the certificate is %.200s's, the caller says it is zone %s", id.URI(), c.Zone).
			WithReason(string(cptoken.WrongZone)).
			WithHint("the certificate's URI SAN must be %s", want.URI())
	}
	return kds.Admission{
		Zone: c.Zone, Method: kds.MethodCertificate, Authenticated: true, Expires: c.Certificate.NotAfter,
	}, nil
}

// byToken takes a control plane token, or a zone token whose only scope is cp.
func (a *Authenticator) byToken(c kds.Credentials) (kds.Admission, error) {
	raw, err := bearer(c)
	if err != nil {
		return kds.Admission{}, err
	}
	// What the token says of itself, unproven yet, picks who is to verify it.
	token, err := cptoken.Parse(raw)
	if err != nil {
		return kds.Admission{}, err
	}
	view := a.cfg.Store.VerifyingKeys()
	admission := kds.Admission{Zone: c.Zone, Authenticated: true}
	var claims *cptoken.Claims
	if token.Claims.Kind == cptoken.Zone {
		admission.Method = kds.MethodZoneToken
		claims, admission.Grant, err = a.cfg.Verifier.AdmitParsed(view, cptoken.Zone, token)
	} else {
		admission.Method = kds.MethodControlPlaneToken
		claims, admission.Grant, err = issue.AdmitControlPlane(token, a.cfg.Store, view, a.cfg.Now())
	}
	if err != nil {
		return kds.Admission{}, err
	}
	if err := claims.CheckControlPlane(c.Zone); err != nil {
		return kds.Admission{}, err
	}
	admission.TokenSerial = claims.TokenSerialNumber
	admission.TokenID = admission.Grant.ID
	admission.Expires = claims.ExpiresAt
	return admission, nil
}

// Judge implements kds.Judge: an admission holds as long as the zone is admitted,
// the way in which it proved itself is the one that is asked of it, and nothing
// took the token back.
func (a *Authenticator) Judge(ad kds.Admission) error {
	zone, known := a.cfg.Store.Zone(ad.Zone)
	if known {
		if err := zone.Admit(); err != nil {
			return err
		}
	}
	mode := zone.Auth
	if mode == "" {
		mode = a.cfg.Default
	}
	byToken := ad.Method == kds.MethodControlPlaneToken || ad.Method == kds.MethodZoneToken
	switch {
	case mode == federation.AuthToken && !byToken,
		mode == federation.AuthCertificate && ad.Method != kds.MethodCertificate:
		return kds.AuthChanged(ad.Zone)
	case !byToken:
		return nil
	}
	if serial, ok := cptoken.ParseSerialKID(ad.Grant.Key.KID); ok && ad.Grant.Key.Kind == cptoken.ControlPlane {
		if key, _ := a.cfg.Store.ControlPlaneKey(serial); key == nil {
			return ad.Grant.RemovedKey()
		}
	}
	return ad.Grant.Check(a.cfg.Store.VerifyingKeys(), a.cfg.Now())
}

func bearer(c kds.Credentials) (string, error) {
	if c.Authorization == "" {
		missing := federation.Errorf(federation.Unauthenticated, "zone %s presented no token", c.Zone).WithReason(kds.ReasonMissingToken)
		if !c.Meridian {
			return "", missing.WithHint("a release of Kuma that sends no token is let in by its record: apply the one of %s with auth: certificate, for a relay beside it, or with auth: none", c.Zone)
		}
		return "", missing.
			WithHint("make one with `global generate control-plane-token --zone %s` and start the zone with --cp-token-file", c.Zone)
	}
	scheme, token, ok := strings.Cut(c.Authorization, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", federation.Errorf(federation.Unauthenticated, "the authorization header of zone %s is not \"Bearer <token>\"", c.Zone).
			WithReason(string(cptoken.Malformed))
	}
	return token, nil
}
