package proxyauth

import (
	"context"
	"log/slog"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// Config is what [New] needs. Zone, Keyring and Verifier are required.
type Config struct {
	Zone string
	// Settings are completed.
	Settings Settings
	Keyring  *Keyring
	Verifier *cptoken.Verifier
	// Reviewer judges service account tokens; required where a method is
	// ServiceAccountToken.
	Reviewer Reviewer
	// MaxStale refuses every proxy once the global was not heard for so long; 0:
	// never. Contact returns when it was heard last, the zero time where it never
	// was.
	MaxStale time.Duration
	Contact  func() time.Time
	// Verified is told of every decision: the kind of what was presented (a
	// cptoken.Kind, "service-account" or "none") and "accepted" or the reason of the
	// refusal. nil: nobody is.
	Verified func(labels ...string)
	Logger   *slog.Logger     // nil: no log
	Now      func() time.Time // nil: time.Now
}

// Reviewer judges the token of a Kubernetes service account: that it is good, is
// meant for this control plane, and is of this proxy's own namespace, service
// account and pod. A refusal is a cptoken.Refusal or a federation.Error with a
// reason; Unavailable where nobody could be asked.
type Reviewer interface {
	Review(ctx context.Context, token string, p Proxy) (Account, error)
}

// Account is the service account that a Reviewer believes.
type Account struct {
	Namespace, Name string
	Pod             string // "" where the token is bound to none
	ID              string // names the token without being it; "" where nothing does
	// Expires is when the decision must be made anew; zero: never.
	Expires time.Time
}

// Proxy is who wants to be believed: what it says of itself, in its resource.
type Proxy struct {
	// Type is TypeDataplane, TypeIngress or TypeEgress.
	Type string
	// Mesh is required of data plane proxies. Tags are those of all inbounds and the
	// gateway: each with the set of its values.
	Mesh, Name string
	Tags       map[string][]string
	// Labels are those of the resource; service account tokens are held against them.
	Labels map[string]string
}

// Admission is what an accepted proxy proved.
type Admission struct {
	// Method is how; where it is None nothing was proven.
	Method Method
	// Zone is this zone, Proxy who was believed.
	Zone  string
	Proxy Proxy
	// Claims are those of a token of ours, else nil; Account is set where the method
	// is ServiceAccountToken. Neither may be changed.
	Claims  *cptoken.Claims
	Account *Account
	// TokenID is under which the token is revoked, or what Kubernetes calls it; ""
	// where there was none.
	TokenID string
	// Expires is when the proxy must prove itself anew; zero: never.
	Expires time.Time
	// Grant is what a session is opened with.
	Grant cptoken.Grant
	// Revision is up to which change of the global's the decision knew everything.
	Revision federation.Revision
}

// Subject names the proxy for people: "egress west", "dataplane default/backend-1".
func (a *Admission) Subject() string {
	if a.Proxy.Type != TypeDataplane {
		if a.Proxy.Name != "" {
			return a.Proxy.Type + " " + a.Zone + "/" + a.Proxy.Name
		}
		return a.Proxy.Type + " " + a.Zone
	}
	return a.Proxy.Type + " " + a.Proxy.Mesh + "/" + a.Proxy.Name
}

// Authenticator decides over proxies. It is safe for concurrent use.
type Authenticator struct{ cfg Config }

// New returns the authenticator of a zone. It starts nothing.
func New(cfg Config) (*Authenticator, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Verified == nil {
		cfg.Verified = func(...string) {}
	}
	if cfg.Contact == nil {
		cfg.Contact = func() time.Time { return time.Time{} }
	}
	for _, m := range []struct {
		field  string
		method Method
	}{{fileNames.zoneProxy, cfg.Settings.Authn.ZoneProxy.Type}, {fileNames.dpProxy, cfg.Settings.Authn.DPProxy.Type}} {
		if m.method == ServiceAccountToken && cfg.Reviewer == nil {
			return nil, federation.InvalidField(m.field, "is serviceAccountToken, and no Kubernetes API is named that could vouch for one").
				WithHint("use zoneToken or dpToken outside of Kubernetes")
		}
	}
	return &Authenticator{cfg}, nil
}

// Authenticate decides whether p is who it says, from what it presents: the token
// alone, without a scheme; a newline at its end is passed over, as files have one.
// The error is a cptoken.Refusal or a federation.Error, for the proxy to read: an
// Invalid one is about p, every other has a reason. Nothing is changed by it.
func (a *Authenticator) Authenticate(ctx context.Context, p Proxy, credential string) (*Admission, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	method := a.cfg.Settings.Method(p.Type)
	admission, kind, err := a.decide(ctx, method, p, credential)
	result := "accepted"
	if err != nil {
		result = string(cptoken.ReasonOf(err))
	}
	a.cfg.Verified(kind, result)
	if err != nil {
		return nil, err
	}
	admission.Method, admission.Zone, admission.Proxy = method, a.cfg.Zone, p
	return admission, nil
}

// Words for what is presented where it is no token of ours.
const (
	kindServiceAccount = "service-account"
	kindNone           = "none"
)

// decide returns too the kind of what was to be presented.
func (a *Authenticator) decide(ctx context.Context, method Method, p Proxy, credential string) (*Admission, string, error) {
	kind := map[Method]string{
		ZoneToken: string(cptoken.Zone), DataplaneToken: string(cptoken.Dataplane), ServiceAccountToken: kindServiceAccount, None: kindNone,
	}[method]
	if err := a.Stale(); err != nil {
		return nil, kind, err
	}
	view := a.cfg.Keyring.View()
	if method == None {
		return &Admission{Revision: revisionOf(view), Grant: cptoken.ForeignGrant("", time.Time{}, time.Time{})}, kind, nil
	}
	token, err := oneToken(credential, method)
	if err != nil {
		return nil, kind, err
	}
	var admission *Admission
	if method == ServiceAccountToken {
		admission, err = a.byAccount(ctx, p, token)
	} else {
		admission, err = a.byToken(view, method, p, token)
	}
	if err != nil {
		return nil, kind, err
	}
	admission.Revision = revisionOf(view)
	return admission, kind, nil
}

// byToken holds a zone or dataplane token against one view from beginning to end.
func (a *Authenticator) byToken(view cptoken.View, method Method, p Proxy, token string) (*Admission, error) {
	kind := cptoken.Dataplane
	if method == ZoneToken {
		kind = cptoken.Zone
	}
	claims, err := a.cfg.Verifier.Verify(view, kind, token)
	if err != nil {
		return nil, err
	}
	if method == ZoneToken {
		err = claims.CheckZoneProxy(a.cfg.Zone, cptoken.Scope(p.Type))
	} else {
		err = claims.CheckDataplane(cptoken.Proxy{Mesh: p.Mesh, Name: p.Name, Type: p.Type, Tags: p.Tags})
	}
	if err != nil {
		return nil, err
	}
	parsed, err := cptoken.Parse(token)
	if err != nil {
		return nil, err
	}
	grant := cptoken.GrantOf(view, parsed)
	return &Admission{Claims: claims, TokenID: grant.ID, Expires: claims.ExpiresAt, Grant: grant}, nil
}

func (a *Authenticator) byAccount(ctx context.Context, p Proxy, token string) (*Admission, error) {
	account, err := a.cfg.Reviewer.Review(ctx, token, p)
	if err != nil {
		return nil, err
	}
	grant := cptoken.ForeignGrant(account.Namespace+"/"+account.Name, a.cfg.Now(), account.Expires)
	return &Admission{Account: &account, TokenID: account.ID, Expires: account.Expires, Grant: grant}, nil
}

// Validate checks what a proxy says of itself. The error names the field as the
// JSON check spells it.
func (p *Proxy) Validate() error {
	switch p.Type {
	case TypeIngress, TypeEgress:
		return nil // a zone proxy belongs to no mesh
	case TypeDataplane:
		return federation.ValidateName("mesh", p.Mesh)
	case "":
		return federation.InvalidField("proxyType", "must not be empty: use ingress, egress or dataplane")
	}
	return federation.InvalidField("proxyType", "%.40q is not a type of proxy: use ingress, egress or dataplane", p.Type)
}
