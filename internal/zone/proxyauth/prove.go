package proxyauth

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/zone/statement"
)

// Prove decides whether who presents a credential is whom an operator's statement
// names, in the words of package statement. The error is as that of Authenticate, or
// a statement.Misconfigured, which is logged and counted with the route: what the
// operator knows the place by where the statement was made.
func (a *Authenticator) Prove(ctx context.Context, stated map[string]string, route, credential string) (*Admission, error) {
	s, err := statement.Parse(stated)
	if err != nil {
		a.misstated(ctx, route, err)
		a.Count(KindUnknown, err)
		return nil, err
	}
	proxyType := s.Type
	if proxyType == "" {
		proxyType = a.typeFor(credential)
	}
	admission, err := a.decide(ctx, a.cfg.Settings.Method(proxyType), proxyType, credential, states{s, a.cfg.Settings})
	if err != nil {
		return nil, err
	}
	admission.Proxy = Proxy{Type: proxyType}
	return admission, nil
}

// ProveQuery is Prove for a statement in the form of a query. The operator gives exactly
// one, which may be empty: none or several of them are a mistake, so that a statement that
// got lost on its way lets nobody in.
func (a *Authenticator) ProveQuery(ctx context.Context, queries []string, route, credential string) (*Admission, error) {
	var stated map[string]string
	err := error(&statement.Misconfigured{Key: HeaderRequire, Value: strings.Join(queries, ","), Why: "the header must be there once"})
	if len(queries) == 1 {
		stated, err = statement.FromQuery(queries[0])
	}
	if err != nil {
		a.misstated(ctx, route, err)
		a.Count(KindUnknown, err)
		return nil, err
	}
	return a.Prove(ctx, stated, route, credential)
}

// Bounds of what a mistaken statement can write into the log and the metrics: whoever
// reaches the port can make one.
const (
	maxMistakes = 64
	maxMistake  = 120 // bytes of a key, a value and a route
)

// misstated tells the operator about a statement that nobody can meet.
func (a *Authenticator) misstated(ctx context.Context, route string, err error) {
	var m *statement.Misconfigured
	if !errors.As(err, &m) {
		return
	}
	labels := [3]string{clip(m.Key), clip(m.Value), clip(route)}
	a.lines.Log(ctx, a.cfg.Logger, slog.LevelWarn, "a statement about callers is a mistake: everybody is refused",
		slog.String("key", labels[0]), slog.String("value", labels[1]), slog.String("route", labels[2]), slog.String("detail", m.Why),
		slog.String("hint", "docs/proxies.md has the table of what can be stated"))
	a.mistakes.Lock()
	if a.seen == nil {
		a.seen = map[[3]string]bool{}
	}
	if len(a.seen) < maxMistakes {
		a.seen[labels] = true
	}
	if !a.seen[labels] {
		labels = [3]string{"other", "other", "other"}
	}
	a.mistakes.Unlock()
	a.cfg.Misstated(labels[:]...)
}

func clip(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxMistake)], "?")
}

// typeFor is the type of proxy to take where none is stated: what the token says of
// itself, which only chooses how it is verified. What is sent cannot choose that
// nothing is verified: a type without authentication is taken only where no type has
// any.
func (a *Authenticator) typeFor(credential string) string {
	said := cptoken.Claims{}
	if inspected, err := cptoken.Inspect(strings.TrimSpace(credential)); err == nil {
		said = inspected.Claims
	}
	types := []string{likelyType(said), cptoken.TypeDataplane, cptoken.TypeEgress}
	if said.Kind != cptoken.Zone && said.Kind != cptoken.Dataplane && credential != "" {
		// None of ours: a service account's, if any type of proxy has those.
		for _, t := range types {
			if a.cfg.Settings.Method(t) == keyring.ServiceAccountToken {
				return t
			}
		}
	}
	for _, t := range types {
		if a.cfg.Settings.Method(t) != keyring.None {
			return t
		}
	}
	return types[0]
}

// likelyType is the type of proxy that a token is most likely for.
func likelyType(said cptoken.Claims) string {
	if said.Kind != cptoken.Zone {
		return cptoken.TypeDataplane
	}
	for _, scope := range []cptoken.Scope{cptoken.ScopeEgress, cptoken.ScopeIngress, cptoken.ScopeDataplane} {
		if slices.Contains(said.Scope, scope) {
			return string(scope)
		}
	}
	return cptoken.TypeEgress
}

// states is an operator's statement.
type states struct {
	s        statement.Statement
	settings keyring.Settings
}

func (q states) token(zone, proxyType string, _ keyring.Method, c *cptoken.Claims) error {
	return q.s.CheckToken(zone, proxyType, c)
}

func (q states) account(ctx context.Context, r Reviewer, proxyType, token string) (Account, error) {
	account, err := r.Identify(ctx, token)
	if err != nil {
		return account, err
	}
	account.Entry = provedBy(&q.settings.Authn.ServiceAccountToken, &account)
	types := []string{proxyType}
	if !q.s.Stated() { // then it may be of any type that accounts are asked for
		types = slices.DeleteFunc([]string{cptoken.TypeDataplane, cptoken.TypeIngress, cptoken.TypeEgress}, func(t string) bool { return q.settings.Method(t) != keyring.ServiceAccountToken })
	}
	return account, q.s.CheckAccount(types, account.Entry)
}

func (q states) nothing() error { return q.s.CheckNothing() }

// Kind is what the caller was counted under.
func (a *Admission) Kind() string { return kindOf(a.Method) }

// Proved lists what the token of an accepted proxy proves, in the words of a
// statement: proxyType, mesh, name and tag/NAME; and zone, workload and serviceAccount. It is
// empty, not nil, where nothing was to be proved.
func (a *Admission) Proved() []string {
	proved := []string{}
	if c := a.Claims; c != nil {
		proved = append(proved, statement.KeyType)
		if c.Kind == cptoken.Zone {
			return append(proved, "zone")
		}
		return append(proved, provedOf(c.Mesh, c.Name, c.Workload, c.Tags)...)
	}
	if a.Account == nil {
		return proved
	}
	proved = append(proved, "serviceAccount")
	entry := a.Account.Entry
	if entry == nil {
		return proved
	}
	proved = append(proved, statement.KeyType)
	if len(entry.Services) > 0 {
		return append(proved, provedOf(entry.Mesh, "", "", map[string][]string{statement.ServiceTag: entry.Services})...)
	}
	return append(proved, provedOf(entry.Mesh, "", "", nil)...)
}

func provedOf(mesh, name, workload string, tags map[string][]string) (proved []string) {
	if mesh != "" {
		proved = append(proved, statement.KeyMesh)
	}
	if name != "" {
		proved = append(proved, statement.KeyName)
	}
	if workload != "" {
		proved = append(proved, "workload")
	}
	for _, tag := range slices.Sorted(maps.Keys(tags)) {
		if len(tags[tag]) > 0 {
			proved = append(proved, statement.TagPrefix+tag)
		}
	}
	return proved
}
