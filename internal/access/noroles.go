package access

import (
	"slices"
	"strings"

	"github.com/meridiankds/meridian/cptoken"
)

// A user token that an issuer made under "*" says in its groups for which of its names it
// must never bring a role: "*" leaves out the names that have one, and a name that has none
// today may have one before the token ends. Who was to be able to hand such a name out
// would have it written in their binding.
const (
	noRoleUser  = "no-role:user:"
	noRoleGroup = "no-role:group:"
)

// reserved are names under which this program itself acts, in records and in the audit log.
var reserved = []string{"admin socket", "localhost", "meridian"}

// WithoutRoles returns the groups to add to a user token that the caller issues, one for
// each of its names that no binding of the caller's writes out. The claims are those that
// [Rights.Issue] allowed.
func (r Rights) WithoutRoles(c cptoken.Claims) (groups []string) {
	if r.Admin() {
		return nil
	}
	written := func(of func(b *Binding) []string, name string) bool {
		return slices.ContainsFunc(r.held, func(b Binding) bool {
			return b.Role == Issuer && b.has(c.Kind) && r.covers(&b, c) && slices.Contains(of(&b), name)
		})
	}
	if !written(func(b *Binding) []string { return b.TokenUsers }, c.Name) {
		groups = append(groups, noRoleUser+c.Name)
	}
	for _, g := range c.Groups {
		if !written(func(b *Binding) []string { return b.TokenGroups }, g) && !strings.HasPrefix(g, noRoleGroup) && !strings.HasPrefix(g, noRoleUser) {
			groups = append(groups, noRoleGroup+g)
		}
	}
	return groups
}

// bringing is the caller with only the names that may bring a role.
func (c Caller) bringing() (user string, groups []string) {
	for _, g := range c.Groups {
		if !slices.Contains(c.Groups, noRoleGroup+g) {
			groups = append(groups, g)
		}
	}
	if slices.Contains(c.Groups, noRoleUser+c.Name) {
		return "", groups
	}
	return c.Name, groups
}
