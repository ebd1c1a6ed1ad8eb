package statement

import (
	"maps"
	"slices"

	"github.com/meridiankds/meridian/cptoken"
)

// CheckToken refuses verified claims that do not prove s for a proxy of a type in a
// zone. proxyType is s.Type where that is stated. The error is a cptoken.Refusal
// that repeats nothing of the statement: its reader is who has to prove it.
func (s *Statement) CheckToken(zone, proxyType string, c *cptoken.Claims) error {
	if c.Kind == cptoken.Zone {
		if err := c.CheckZoneProxy(zone, cptoken.Scope(proxyType)); err != nil {
			return err
		}
	} else if err := checkType(c, proxyType); err != nil {
		return err
	}
	return s.check(c.Kind.TokenName(), c.Mesh, c.Name, c.Tags)
}

// checkType refuses a dataplane token for proxies of another type.
func checkType(c *cptoken.Claims, proxyType string) error {
	is := c.Type
	if is == "" {
		is = cptoken.TypeDataplane
	}
	if c.Kind != cptoken.Dataplane || is != proxyType || c.Mesh == "" {
		return cptoken.Refuse(cptoken.WrongType, "the %s does not prove a proxy of the type asked for here", c.Kind.TokenName())
	}
	return nil
}

// Entry is what a zone's settings say of a service account: all that its token
// proves, besides the account itself.
type Entry struct {
	// Types of proxies that the account may be.
	Types []string
	// Mesh of its data plane proxies.
	Mesh string
	// Services are all that its data plane proxies may be.
	Services []string
}

// CheckAccount refuses a service account whose entry does not prove s. entry is nil
// where the account has none: it proves no more than that it is a data plane proxy's.
// types are those that the proxy may be of: s.Type where that is stated. A name is
// never proved.
func (s *Statement) CheckAccount(types []string, entry *Entry) error {
	const what = "service account"
	if entry == nil {
		entry = &Entry{Types: []string{cptoken.TypeDataplane}}
	}
	if !slices.ContainsFunc(types, func(t string) bool { return slices.Contains(entry.Types, t) }) {
		return cptoken.Refuse(cptoken.WrongType, "the %s does not prove a proxy of the type asked for here", what)
	}
	tags := map[string][]string{}
	if len(entry.Services) > 0 {
		tags[ServiceTag] = entry.Services
	}
	return s.check(what, entry.Mesh, "", tags)
}

// CheckNothing refuses for a zone that lets in who proves nothing, wherever
// something is stated.
func (s *Statement) CheckNothing() error {
	if !s.Stated() {
		return nil
	}
	return cptoken.Refuse(cptoken.NotProved, "the request must come from a certain caller, and this zone has callers prove nothing").
		WithHint("set dpServer.authn of this zone to a method that proves who calls")
}

// check holds what is proved of a data plane proxy against s.
func (s *Statement) check(what, mesh, name string, tags map[string][]string) error {
	if s.Mesh != "" && s.Mesh != mesh {
		return unproved(cptoken.WrongMesh, what, "the mesh")
	}
	if s.Name != "" && s.Name != name || s.BoundName && name == "" {
		return unproved(cptoken.WrongName, what, "the name")
	}
	for _, tag := range slices.Sorted(maps.Keys(s.Tags)) {
		if !within(tags[tag], s.Tags[tag]) {
			return unproved(cptoken.TagMismatch, what, "the tags")
		}
	}
	if values := tags[ServiceTag]; s.BoundService && (len(values) == 0 || slices.Contains(values, "")) {
		return unproved(cptoken.TagMismatch, what, "a service")
	}
	return nil
}

// within reports whether there is a value and all are among the allowed ones.
func within(values, allowed []string) bool {
	return len(values) > 0 && !slices.ContainsFunc(values, func(v string) bool { return !slices.Contains(allowed, v) })
}

func unproved(reason cptoken.Reason, what, part string) error {
	return cptoken.Refuse(reason, "the %s does not prove %s asked for here", what, part).
		WithHint("use a token that was issued with it: global generate dataplane-token --mesh MESH --name NAME --tag TAG=VALUE")
}
