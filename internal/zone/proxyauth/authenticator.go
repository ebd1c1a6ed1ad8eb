package proxyauth

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/net/loglimit"
	"github.com/meridiankds/meridian/internal/zone/resource"
	"github.com/meridiankds/meridian/internal/zone/statement"
)

// Config is what [New] needs. Zone, Keyring and Verifier are required.
type Config struct {
	Zone string
	// Settings are completed.
	Settings keyring.Settings
	Keyring  *keyring.Keyring
	Verifier *cptoken.Verifier
	// Reviewer judges service account tokens; required where a method is
	// ServiceAccountToken.
	Reviewer Reviewer
	// MaxStale refuses every proxy once the zone has not been current for so long; 0:
	// never. Contact returns when it last had everything that the global had, the
	// zero time if it never did.
	MaxStale time.Duration
	Contact  func() time.Time
	// Verified is told of every decision: the kind of what was presented (a
	// cptoken.Kind, "service-account" or "none") and "accepted" or the reason of the
	// refusal. nil: nobody is.
	Verified func(labels ...string)
	// Misstated is told of each request that a mistaken statement refused: the key,
	// the value and the route; "other" for those beyond the first distinct ones. nil
	// disables it.
	Misstated func(labels ...string)
	Logger    *slog.Logger     // nil: no log
	Now       func() time.Time // nil: time.Now
}

// Reviewer judges the token of a Kubernetes service account: that it is good, is
// meant for this control plane, and is of this proxy's own namespace, service
// account and pod. A refusal is a cptoken.Refusal or a federation.Error with a
// reason; Unavailable where nobody could be asked.
type Reviewer interface {
	Review(ctx context.Context, token string, p Proxy) (Account, error)
	// Identify is Review without a proxy: whose token it is.
	Identify(ctx context.Context, token string) (Account, error)
}

// Account is the service account that a Reviewer believes.
type Account struct {
	Namespace, Name string
	Pod             string // "" where the token is bound to none
	// Entry is what the zone's settings say that the account may be; nil: nothing.
	Entry *statement.Entry
	ID    string // names the token without being it; "" where nothing does
	// Expires is when the decision must be made anew; zero: never.
	Expires time.Time
}

// Proxy is who wants to be believed: what it says of itself, in its resource.
type Proxy struct {
	// Type is cptoken.TypeDataplane, cptoken.TypeIngress or cptoken.TypeEgress.
	Type string
	// Mesh is required of data plane proxies. Tags are those of all inbounds and the
	// gateway: each with the set of its values.
	Mesh, Name string
	Tags       map[string][]string
	// Labels are those of the resource; a dataplane token that names a workload is
	// held against them.
	Labels map[string]string
	// Listening is as which types of zone proxies a data plane proxy listens: it must
	// prove those too.
	Listening []string
}

// ProxyOf is what a proxy says of itself in its resource.
func ProxyOf(r *resource.Resource) Proxy {
	return Proxy{Type: r.Kind.ProxyType(), Mesh: r.Mesh, Name: r.Name, Tags: r.Tags(), Labels: r.Labels, Listening: r.Listening()}
}

// Admission is what an accepted proxy proved.
type Admission struct {
	// Method is how; where it is None nothing was proven.
	Method keyring.Method
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
	// Review asks again who vouched for the proxy; nil where nobody else did. An error
	// of the code Unavailable says nothing of the proxy.
	Review func(context.Context) error
	// Revision is up to which change of the global's the decision knew everything.
	Revision federation.Revision
}

// Subject names the proxy for people: "egress west", "dataplane default/backend-1".
func (a *Admission) Subject() string {
	if a.Proxy.Type != cptoken.TypeDataplane {
		if a.Proxy.Name != "" {
			return a.Proxy.Type + " " + a.Zone + "/" + a.Proxy.Name
		}
		return a.Proxy.Type + " " + a.Zone
	}
	return a.Proxy.Type + " " + a.Proxy.Mesh + "/" + a.Proxy.Name
}

// Authenticator decides over proxies. It is safe for concurrent use.
type Authenticator struct {
	cfg   Config
	lines *loglimit.Limiter

	mistakes sync.Mutex
	seen     map[[3]string]bool // mistaken statements that have labels of their own
}

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
	if cfg.Misstated == nil {
		cfg.Misstated = func(...string) {}
	}
	if cfg.Contact == nil {
		cfg.Contact = func() time.Time { return time.Time{} }
	}
	for _, m := range []struct {
		field  string
		method keyring.Method
	}{{keyring.ZoneProxyType, cfg.Settings.Authn.ZoneProxy.Type}, {keyring.DPProxyType, cfg.Settings.Authn.DPProxy.Type}} {
		if m.method == keyring.ServiceAccountToken && cfg.Reviewer == nil {
			return nil, federation.InvalidField(m.field, "is serviceAccountToken, and no Kubernetes API is named that could vouch for one").
				WithHint("use zoneToken or dpToken outside of Kubernetes")
		}
	}
	return &Authenticator{cfg: cfg, lines: loglimit.New(loglimit.PerSecond, cfg.Now)}, nil
}

// Authenticate decides whether p is who it says, from what it presents: the token
// alone, without a scheme; a newline at its end is passed over, as files have one.
// The error is a cptoken.Refusal or a federation.Error, for the proxy to read: an
// Invalid one is about p, every other has a reason. Nothing is changed by it.
func (a *Authenticator) Authenticate(ctx context.Context, p Proxy, credential string) (*Admission, error) {
	if err := p.Validate(); err != nil {
		a.Count(KindUnknown, err)
		return nil, err
	}
	method := a.cfg.Settings.Method(p.Type)
	admission, err := a.decide(ctx, method, p.Type, credential, describes{p, &a.cfg.Settings.Authn.ServiceAccountToken})
	if err != nil {
		return nil, err
	}
	admission.Proxy = p
	return admission, nil
}

// Words for what is presented where it is no token of ours.
const (
	kindServiceAccount = "service-account"
	kindNone           = "none"
	// KindUnknown is counted where a caller was refused before it was known what it
	// had to present.
	KindUnknown = "unknown"
)

// kindOf returns the kind of what is to be presented, as it is counted.
func kindOf(method keyring.Method) string {
	return map[keyring.Method]string{
		keyring.ZoneToken: string(cptoken.Zone), keyring.DataplaneToken: string(cptoken.Dataplane), keyring.ServiceAccountToken: kindServiceAccount, keyring.None: kindNone,
	}[method]
}

// asked is what a credential is held against: a proxy that describes itself, or an
// operator's statement.
type asked interface {
	// token holds verified claims of a token of ours against it.
	token(zone, proxyType string, method keyring.Method, c *cptoken.Claims) error
	// account asks the reviewer.
	account(ctx context.Context, r Reviewer, proxyType, token string) (Account, error)
	// nothing decides where callers prove nothing.
	nothing() error
}

// decide holds a credential against what is asked, and counts the outcome.
func (a *Authenticator) decide(ctx context.Context, method keyring.Method, proxyType, credential string, q asked) (*Admission, error) {
	admission, err := a.judge(ctx, method, proxyType, credential, q)
	err = orGone(ctx, err)
	a.Count(kindOf(method), err)
	if err != nil {
		return nil, err
	}
	admission.Method, admission.Zone = method, a.cfg.Zone
	return admission, nil
}

// orGone is err, unless it only says that nothing could be asked for a caller who has gone
// meanwhile: no fault of this zone or of whom it asks.
func orGone(ctx context.Context, err error) error {
	if code := federation.CodeOf(err); code != federation.Unavailable && code != federation.Internal || !errors.Is(ctx.Err(), context.Canceled) {
		return err
	}
	if e := (*federation.Error)(nil); errors.As(context.Cause(ctx), &e) {
		return e // why the call was ended from here
	}
	return federation.Errorf(federation.Unavailable, "who asked has gone before the answer was there").WithReason("canceled")
}

// Count tells how a decision over what was presented came out. Who refuses a caller
// before the Authenticator is asked calls it.
func (a *Authenticator) Count(kind string, err error) {
	result := "accepted"
	if err != nil {
		e := federation.AsError(err)
		result = cmp.Or(e.Reason, string(e.Code))
	}
	a.cfg.Verified(kind, result)
}

func (a *Authenticator) judge(ctx context.Context, method keyring.Method, proxyType, credential string, q asked) (*Admission, error) {
	if err := a.Stale(); err != nil {
		return nil, err
	}
	view := a.cfg.Keyring.View()
	if method == keyring.None {
		if err := q.nothing(); err != nil {
			return nil, err
		}
		return &Admission{Revision: keyring.RevisionOf(view), Grant: cptoken.ForeignGrant("", time.Time{}, time.Time{})}, nil
	}
	token, err := oneToken(credential, method)
	if err != nil {
		return nil, err
	}
	var admission *Admission
	if method == keyring.ServiceAccountToken {
		admission, err = a.byAccount(ctx, proxyType, token, q)
	} else {
		admission, err = a.byToken(view, method, proxyType, token, q)
	}
	if err != nil {
		return nil, err
	}
	admission.Revision = keyring.RevisionOf(view)
	return admission, nil
}

// byToken holds a zone or dataplane token against one view from beginning to end.
func (a *Authenticator) byToken(view cptoken.View, method keyring.Method, proxyType, token string, q asked) (*Admission, error) {
	claims, grant, err := a.cfg.Verifier.Admit(view, cptoken.Kind(kindOf(method)), token)
	if err != nil {
		return nil, err
	}
	if err := q.token(a.cfg.Zone, proxyType, method, claims); err != nil {
		return nil, err
	}
	return &Admission{Claims: claims, TokenID: grant.ID, Expires: claims.ExpiresAt, Grant: grant}, nil
}

func (a *Authenticator) byAccount(ctx context.Context, proxyType, token string, q asked) (*Admission, error) {
	account, err := q.account(ctx, a.cfg.Reviewer, proxyType, token)
	if err != nil {
		return nil, err
	}
	grant := cptoken.ForeignGrant(account.Namespace+"/"+account.Name, a.cfg.Now(), account.Expires)
	again := func(ctx context.Context) error {
		_, err := q.account(ctx, a.cfg.Reviewer, proxyType, token)
		return err
	}
	return &Admission{Account: &account, TokenID: account.ID, Expires: account.Expires, Grant: grant, Review: again}, nil
}

// describes is a proxy that says who it is.
type describes struct {
	p        Proxy
	accounts *keyring.AccountSettings
}

func (d describes) token(zone, _ string, method keyring.Method, c *cptoken.Claims) error {
	if method == keyring.ZoneToken {
		for _, proxyType := range d.p.types() {
			if err := c.CheckZoneProxy(zone, cptoken.Scope(proxyType)); err != nil {
				return err
			}
		}
		return nil
	}
	return c.CheckDataplane(cptoken.Proxy{Mesh: d.p.Mesh, Name: d.p.Name, Type: d.p.Type, Tags: d.p.Tags,
		Workload: d.p.Labels[cptoken.WorkloadLabel], Listening: d.p.Listening})
}

func (d describes) account(ctx context.Context, r Reviewer, _, token string) (Account, error) {
	account, err := r.Review(ctx, token, d.p)
	if err == nil {
		err = checkAccount(d.accounts, &account, d.p)
	}
	return account, err
}

func (describes) nothing() error { return nil }

// types are those that the proxy must prove to be.
func (p *Proxy) types() []string { return append([]string{p.Type}, p.Listening...) }

// Validate checks what a proxy says of itself. The error names the field as the
// JSON check spells it.
func (p *Proxy) Validate() error {
	switch p.Type {
	case cptoken.TypeIngress, cptoken.TypeEgress:
		return nil // a zone proxy belongs to no mesh
	case cptoken.TypeDataplane:
		return federation.ValidateName("mesh", p.Mesh)
	case "":
		return federation.InvalidField("proxyType", "must not be empty: use ingress, egress or dataplane")
	}
	return federation.InvalidField("proxyType", "%.40q is not a type of proxy: use ingress, egress or dataplane", p.Type)
}
