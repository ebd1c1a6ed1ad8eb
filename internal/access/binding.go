package access

import (
	"slices"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// check reports what keeps b from being a binding, and fills in what it says of
// kinds and times. A member that means nothing for the role is an error: who wrote
// it believes that something is narrowed down that is not.
func (b *Binding) check() error {
	if err := b.checkWho(); err != nil {
		return err
	}
	for _, name := range b.Kinds {
		kind, err := cptoken.ParseKind("kinds", name)
		if err != nil {
			return err
		}
		b.kinds = append(b.kinds, kind)
	}
	issuer := b.Role == Issuer
	for _, m := range []struct {
		name    string
		given   bool
		allowed bool
	}{
		{"kinds", len(b.Kinds) > 0, issuer || b.Role == Revoker},
		{"meshes", len(b.Meshes) > 0, issuer && b.has(cptoken.Dataplane) || b.Role == Revoker && (len(b.Kinds) == 0 || b.has(cptoken.Dataplane))},
		{"zones", len(b.Zones) > 0, issuer && (b.has(cptoken.Zone) || b.has(cptoken.ControlPlane))},
		{"scopes", len(b.Scopes) > 0, issuer && b.has(cptoken.Zone)},
		{"tokenUsers", len(b.TokenUsers) > 0, issuer && b.has(cptoken.User)},
		{"tokenGroups", len(b.TokenGroups) > 0, issuer && b.has(cptoken.User)},
		{"maxValidity", b.MaxValidity != "", issuer},
	} {
		if m.given && !m.allowed {
			return federation.InvalidField(m.name, "mean nothing for the role %s and these kinds", b.Role).
				WithHint("leave it out, or bind the kinds that it belongs to")
		}
	}
	if err := b.checkLists(); err != nil {
		return err
	}
	if issuer {
		return b.checkIssuer()
	}
	return nil
}

// checkWho checks the role and whom it is bound to.
func (b *Binding) checkWho() error {
	switch b.Role {
	case Admin, Issuer, Revoker, Auditor:
	case "":
		return federation.InvalidField("role", "is missing").WithHint("use admin, issuer, revoker or auditor")
	default:
		return federation.InvalidField("role", "%.40q is not a role", b.Role).WithHint("use admin, issuer, revoker or auditor")
	}
	if len(b.Users)+len(b.Groups) == 0 {
		return federation.InvalidField("users", "and groups are empty: the role is bound to nobody").
			WithHint("name users, or groups of user tokens")
	}
	for field, names := range map[string][]string{"users": b.Users, "groups": b.Groups} {
		for _, name := range names {
			if name == "" || name == Any {
				return federation.InvalidField(field, "%q is no name: a role is bound to users and groups that are named", name).
					WithHint("write the names as user tokens have them: global who-am-i")
			}
		}
	}
	return nil
}

// checkLists checks the names in the other lists.
func (b *Binding) checkLists() error {
	total := 0
	for _, l := range []struct {
		field string
		names []string
		check func(field, name string) error
	}{
		{"users", b.Users, nil}, {"groups", b.Groups, nil}, {"tokenUsers", b.TokenUsers, notEmpty}, {"tokenGroups", b.TokenGroups, notEmpty},
		{"zones", b.Zones, federation.ValidateName}, {"meshes", b.Meshes, federation.ValidateName}, {"scopes", b.Scopes, knownScope},
	} {
		if total += len(l.names); total > maxNames {
			return federation.InvalidField(l.field, "names more than %d", maxNames)
		}
		for _, name := range l.names {
			if l.check == nil || name == Any && l.field != "scopes" {
				continue
			}
			if err := l.check(l.field, name); err != nil {
				return err
			}
		}
	}
	return nil
}

func notEmpty(field, name string) error {
	if name == "" {
		return federation.InvalidField(field, "names nobody")
	}
	return nil
}

func knownScope(field, name string) error {
	if !cptoken.Scope(name).Valid() {
		return federation.InvalidField(field, "%.40q is not a scope", name).WithHint("use ingress, egress, dataplane or cp")
	}
	return nil
}

// checkIssuer wants everything said that an issuer could issue: what is left out
// is nothing, and a binding that allows nothing is a mistake.
func (b *Binding) checkIssuer() error {
	if len(b.kinds) == 0 {
		return federation.InvalidField("kinds", "are missing: an issuer issues what its binding names").
			WithHint("name them, for example kinds: [zone-token]")
	}
	for _, need := range []struct {
		field string
		names []string
		kinds []cptoken.Kind
	}{
		{"zones", b.Zones, []cptoken.Kind{cptoken.ControlPlane, cptoken.Zone}},
		{"meshes", b.Meshes, []cptoken.Kind{cptoken.Dataplane}},
		{"tokenUsers", b.TokenUsers, []cptoken.Kind{cptoken.User}},
	} {
		for _, kind := range need.kinds {
			if b.has(kind) && len(need.names) == 0 {
				return federation.InvalidField(need.field, "are missing: an issuer of %ss issues for those that its binding names", kind.TokenName()).
					WithHint("name them, or write %s: [%q] for all", need.field, Any)
			}
		}
	}
	if slices.Contains(b.Scopes, string(cptoken.ScopeCP)) && !b.has(cptoken.ControlPlane) {
		return federation.InvalidField("scopes", "cp makes a zone token one for a control plane").
			WithHint("add control-plane-token to kinds, or leave cp out")
	}
	b.longest = DefaultLongest
	if b.MaxValidity != "" {
		d, err := time.ParseDuration(b.MaxValidity)
		if err != nil || d < time.Second {
			return federation.InvalidField("maxValidity", "%.40q is not a time of at least a second", b.MaxValidity).
				WithHint("write it like 720h or 30m")
		}
		b.longest = d.Truncate(time.Second)
	}
	return nil
}

func (b *Binding) has(kind cptoken.Kind) bool { return slices.Contains(b.kinds, kind) }
