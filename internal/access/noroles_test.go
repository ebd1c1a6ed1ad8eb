package access

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
)

// TestIssuersReachNoFurtherThanTheirBindings tries issuers of any kind, zones and names:
// what one may issue stays within one of its bindings, and no token of it ever brings a role by a
// name that its bindings do not write out, whatever is bound later.
func TestIssuersReachNoFurtherThanTheirBindings(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 11))
	names := []string{"ann", "bob", "eve", "admin", "ops", "audit", "*", "", "admin socket", "localhost", "meridian", "no-role:user:bob", "no-role:group:ops"}
	places := []string{"west", "east", "*"}
	some := func(of []string) (list []string) {
		for range random.IntN(3) {
			list = append(list, of[random.IntN(len(of))])
		}
		return list
	}
	binding := func() Binding {
		b := Binding{Role: Issuer, Users: []string{"ivy"}}
		for _, kind := range cptoken.Kinds {
			if random.IntN(2) == 0 {
				b.Kinds = append(b.Kinds, string(kind))
			}
		}
		has := func(k cptoken.Kind) bool { return slices.Contains(b.Kinds, string(k)) }
		if has(cptoken.User) {
			b.TokenUsers, b.TokenGroups = some(names), some(names)
		}
		if has(cptoken.Dataplane) {
			b.Meshes = some(places)
		}
		if has(cptoken.Zone) {
			b.Scopes = some([]string{"ingress", "egress", "dataplane", "cp"})
		}
		if has(cptoken.Zone) || has(cptoken.ControlPlane) {
			b.Zones = some(places)
		}
		return b
	}
	role := func() Binding {
		return Binding{Role: []Role{Admin, Revoker, Auditor}[random.IntN(3)], Users: some(names[:6]), Groups: some(names[:6])}
	}
	tried, ahead := 0, 0
	for range 60_000 {
		issuers := []Binding{binding()}
		if random.IntN(2) == 0 {
			issuers = append(issuers, binding())
		}
		now := issuers
		if random.IntN(2) == 0 {
			now = append(slices.Clone(issuers), role())
		}
		roles, err := NewRoles(now)
		if err != nil {
			continue // nobody is bound by a file that is refused
		}
		c := cptoken.Claims{Kind: cptoken.Kinds[random.IntN(len(cptoken.Kinds))], Name: names[random.IntN(len(names))]}
		switch c.Kind {
		case cptoken.User:
			c.Groups = some(names)
		case cptoken.Dataplane:
			c.Mesh = places[random.IntN(len(places))]
		default:
			c.Zone = places[random.IntN(len(places))]
			for _, s := range some([]string{"ingress", "egress", "dataplane", "cp"}) {
				c.Scope = append(c.Scope, cptoken.Scope(s))
			}
		}
		issuer := roles.Of(Caller{Name: "ivy"})
		if issuer.Admin() {
			continue
		}
		if _, err := issuer.Issue(c); err != nil {
			continue
		}
		tried++
		if !slices.ContainsFunc(issuers, func(b Binding) bool { return within(b, c) }) {
			t.Fatalf("%+v is issued under %+v", c, issuers)
		}
		if c.Kind != cptoken.User {
			continue
		}
		token := Caller{Name: c.Name, Groups: append(slices.Clone(c.Groups), issuer.WithoutRoles(c)...)}
		later, err := NewRoles(append(slices.Clone(now), role(), role()))
		if err != nil {
			continue
		}
		for _, r := range []*Roles{roles, later} {
			for _, b := range r.Of(token).held {
				ahead++
				by := func(names, token []string) bool {
					return slices.ContainsFunc(names, func(n string) bool {
						return slices.Contains(token, n) && slices.ContainsFunc(issuers, func(i Binding) bool {
							return within(i, c) && (slices.Contains(i.TokenUsers, n) || slices.Contains(i.TokenGroups, n))
						})
					})
				}
				if b.Groups == nil && b.Users == nil { // the role admin of the group admin
					b.Groups = []string{AdminGroup}
				}
				if !by(b.Users, []string{c.Name}) && !by(b.Groups, c.Groups) {
					t.Fatalf("%+v, issued under %+v, has %+v", token, issuers, b)
				}
			}
		}
	}
	if tried < 500 || ahead < 20 {
		t.Errorf("%d tokens were issued and %d had a role: the test proves little", tried, ahead)
	}
}

// within says, from the binding alone, whether a token lies within it.
func within(b Binding, c cptoken.Claims) bool {
	in := func(list []string, name string) bool {
		return slices.Contains(list, "*") || name != "*" && slices.Contains(list, name)
	}
	kinds := func(k cptoken.Kind) bool { return slices.Contains(b.Kinds, string(k)) }
	if !kinds(c.Kind) {
		return false
	}
	switch c.Kind {
	case cptoken.User:
		return in(b.TokenUsers, c.Name) && !slices.ContainsFunc(c.Groups, func(g string) bool { return !in(b.TokenGroups, g) })
	case cptoken.Dataplane:
		return in(b.Meshes, c.Mesh)
	}
	scopes := c.Scope
	if c.Kind == cptoken.Zone && len(scopes) == 0 {
		scopes = cptoken.DefaultScopes[:]
	}
	for _, s := range scopes {
		usual := len(b.Scopes) == 0 && (s == cptoken.ScopeIngress || s == cptoken.ScopeEgress)
		if c.Kind == cptoken.Zone && !usual && !slices.Contains(b.Scopes, string(s)) || s == cptoken.ScopeCP && c.Kind == cptoken.Zone && !kinds(cptoken.ControlPlane) {
			return false
		}
	}
	return in(b.Zones, c.Zone)
}

// TestATokenUnderStarNeverBringsARole: what was issued for a name that had no role brings
// none when the name gets one; a token of an administrator's, or of an issuer whose binding writes
// the name out, does.
func TestATokenUnderStarNeverBringsARole(t *testing.T) {
	now := []Binding{
		{Role: Issuer, Users: []string{"desk"}, Kinds: []string{"user-token"}, TokenUsers: []string{"*"}, TokenGroups: []string{"*", "staff"}},
		{Role: Issuer, Users: []string{"lead"}, Kinds: []string{"user-token"}, TokenUsers: []string{"jane"}, TokenGroups: []string{"ops"}},
	}
	later := rolesOf(t, append(slices.Clone(now),
		Binding{Role: Admin, Users: []string{"jane"}, Groups: []string{"ops"}}, Binding{Role: Auditor, Groups: []string{"staff"}})...)
	for by, want := range map[string]string{"desk": "[auditor]", "lead": "[admin]", "root": "[admin auditor]"} {
		caller := Caller{Name: by}
		groups := []string{"staff", "ops"}
		if by == "lead" {
			groups = []string{"ops"}
		}
		if by == "root" {
			caller.Groups = []string{AdminGroup}
		}
		issuer, claims := rolesOf(t, now...).Of(caller), cptoken.Claims{Kind: cptoken.User, Name: "jane", Groups: groups}
		if _, err := issuer.Issue(claims); err != nil {
			t.Fatalf("%s: %v", by, err)
		}
		token := Caller{Name: "jane", Groups: append(groups, issuer.WithoutRoles(claims)...)}
		if got := fmt.Sprint(later.Of(token).Roles()); got != want {
			t.Errorf("%s's token has %s, want %s: %v", by, got, want, token.Groups)
		}
	}
}
