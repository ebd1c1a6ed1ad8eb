package access

import (
	"slices"
	"strings"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// Rights are what one caller may do. The zero Rights are none.
type Rights struct {
	name  string
	held  []Binding
	roles *Roles
}

// Roles names the roles that the caller has, each once, in the order of their
// bindings.
func (r Rights) Roles() []string {
	names := []string{}
	for _, b := range r.held {
		if !slices.Contains(names, string(b.Role)) {
			names = append(names, string(b.Role))
		}
	}
	return names
}

// Bounds are what the caller's bindings allow that reach only so far: without whom they are
// bound to, and with scopes and the longest life of tokens also where they do not say them.
func (r Rights) Bounds() (bounds []apitypes.Bounds) {
	for _, b := range r.held {
		if b.Role != Issuer && b.Role != Revoker {
			continue
		}
		reach := apitypes.Bounds{
			Role: string(b.Role), Kinds: b.Kinds, Zones: b.Zones, Meshes: b.Meshes, Scopes: b.Scopes, TokenUsers: b.TokenUsers, TokenGroups: b.TokenGroups,
		}
		if b.Role == Issuer {
			reach.MaxValidity = b.longest.String()
			if b.has(cptoken.Zone) && len(b.Scopes) == 0 {
				reach.Scopes = scopeNames(cptoken.DefaultScopes[:])
			}
		}
		bounds = append(bounds, reach)
	}
	return bounds
}

func scopeNames(scopes []cptoken.Scope) (names []string) {
	for _, s := range scopes {
		names = append(names, string(s))
	}
	return names
}

// Admin reports whether the caller may do everything.
func (r Rights) Admin() bool { return r.Allow(Administer) == nil }

// Allow returns nil if the caller has the permission, else a Forbidden error.
func (r Rights) Allow(p Permission) error {
	if p == Self {
		return nil
	}
	if slices.ContainsFunc(r.held, func(b Binding) bool { return b.Role.granted(p) }) {
		return nil
	}
	var having []string
	for _, role := range []Role{Issuer, Revoker, Auditor, Admin} {
		if role.granted(p) {
			having = append(having, string(role))
		}
	}
	if len(having) == 0 { // a route that names no permission, or one that does not exist
		return r.forbidden("nobody may do this")
	}
	if p == AnyRole {
		return r.forbidden("user %.80q has no role here", r.name)
	}
	return r.forbidden("user %.80q may not %s: that needs the role %s", r.name, p, strings.Join(having, " or "))
}

// Issue returns the longest life of a token with the given claims that the caller
// may issue, 0 for no bound, or a Forbidden error. Nobody can hand out by this more
// than a binding says: a zone token for a control plane counts as a control plane
// token too, and "*" stands for no user or group that has a role; nor may it have one
// later, see [Rights.WithoutRoles].
func (r Rights) Issue(c cptoken.Claims) (longest time.Duration, err error) {
	if err := r.Allow(Issue); err != nil {
		return 0, err
	}
	if r.Admin() {
		return 0, nil
	}
	for i := range r.held {
		if b := &r.held[i]; b.Role == Issuer && b.has(c.Kind) && r.covers(b, c) {
			longest = max(longest, b.longest)
		}
	}
	if longest == 0 {
		return 0, r.forbidden("user %.80q may not issue this %s: no binding of the role issuer covers it", r.name, c.Kind.TokenName())
	}
	return longest, nil
}

// covers reports whether an issuer's binding reaches to the token's claims.
func (r Rights) covers(b *Binding, c cptoken.Claims) bool {
	switch c.Kind {
	case cptoken.ControlPlane:
		return lists(b.Zones, c.Zone, nil)
	case cptoken.Zone:
		return lists(b.Zones, c.Zone, nil) && b.coversScopes(c.Scope)
	case cptoken.Dataplane:
		return lists(b.Meshes, c.Mesh, nil)
	case cptoken.User:
		if !lists(b.TokenUsers, c.Name, r.roles.users) {
			return false
		}
		for _, g := range c.Groups {
			if !lists(b.TokenGroups, g, r.roles.groups) {
				return false
			}
		}
		return true
	}
	return false
}

// coversScopes takes a token without scopes for what issuing makes of it.
func (b *Binding) coversScopes(scopes []cptoken.Scope) bool {
	if len(scopes) == 0 {
		scopes = cptoken.DefaultScopes[:]
	}
	for _, s := range scopes {
		if len(b.Scopes) == 0 && slices.Contains(cptoken.DefaultScopes[:], s) {
			continue
		}
		if !slices.Contains(b.Scopes, string(s)) {
			return false
		}
	}
	return true
}

// lists reports whether a list names something. "*" names everything but what has
// to be written out.
func lists(list []string, name string, writtenOut map[string]bool) bool {
	return slices.Contains(list, name) && name != Any || slices.Contains(list, Any) && !writtenOut[name]
}

// Revoke returns nil if the caller may revoke tokens of a kind and mesh.
func (r Rights) Revoke(kind cptoken.Kind, mesh string) error {
	if err := r.Allow(Revoke); err != nil {
		return err
	}
	for i := range r.held {
		b := &r.held[i]
		if b.Role == Admin || b.Role == Revoker && (len(b.kinds) == 0 || b.has(kind)) &&
			(len(b.Meshes) == 0 || !kind.PerMesh() || lists(b.Meshes, mesh, nil)) {
			return nil
		}
	}
	return r.forbidden("user %.80q may not revoke this %s: no binding of the role revoker covers it", r.name, kind.TokenName())
}

func (r Rights) forbidden(format string, args ...any) error {
	return federation.Errorf(federation.Forbidden, format, args...).WithReason("not_allowed").
		WithHint("see what you may do with global who-am-i; an administrator binds roles to users and groups in the file of --roles-file")
}
