package proxyauth

import (
	"slices"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/zone/statement"
)

// provedBy returns what an account's entry proves to those who ask without a proxy,
// nil if it has none.
func provedBy(s *keyring.AccountSettings, a *Account) *statement.Entry {
	e := s.Entry(a.Namespace, a.Name)
	if e == nil {
		return nil
	}
	return &statement.Entry{Types: e.Types(), Mesh: e.Mesh, Services: e.Services}
}

// checkAccount refuses a proxy that its service account may not be. What the resource says
// of itself only narrows it: nothing in it proves anything.
func checkAccount(s *keyring.AccountSettings, a *Account, p Proxy) error {
	given := s.Entry(a.Namespace, a.Name)
	e := keyring.AccountEntry{Account: a.Namespace + "/" + a.Name}
	if given != nil {
		e = *given
	}
	for _, proxyType := range p.types() {
		if !slices.Contains(e.Types(), proxyType) {
			return missing(given, e, cptoken.WrongType, p, "the service account %.120q may not be a proxy of the type %s", e.Account, proxyType)
		}
	}
	if p.Type != cptoken.TypeDataplane {
		return nil
	}
	if e.Mesh != "" && e.Mesh != p.Mesh {
		return missing(given, e, cptoken.WrongMesh, p, "the service account %.120q is of the mesh %.80q, the proxy of %.80q", e.Account, e.Mesh, p.Mesh)
	}
	for _, service := range p.Tags[statement.ServiceTag] {
		if !e.Allows(service) {
			return missing(given, e, cptoken.TagMismatch, p, "the service account %.120q may not be the service %.80q", e.Account, service)
		}
	}
	return nil
}

// missing is the refusal of a proxy that an account may not be. It prints the entry
// that would let it.
func missing(given *keyring.AccountEntry, e keyring.AccountEntry, reason cptoken.Reason, p Proxy, format string, args ...any) error {
	verb := "add to "
	if given != nil {
		verb = "change its entry in "
	}
	types := slices.Clone(e.Types())
	if given == nil && p.Type != cptoken.TypeDataplane {
		types = nil
	}
	for _, proxyType := range p.types() {
		if !slices.Contains(types, proxyType) {
			types = append(types, proxyType)
			e.ProxyTypes = types
		}
	}
	if p.Type == cptoken.TypeDataplane {
		services, wanted := slices.Clone(e.Services), p.Tags[statement.ServiceTag]
		if slices.ContainsFunc(wanted, func(service string) bool { return !e.Allows(service) }) {
			for _, service := range wanted[:min(len(wanted), maxShownServices)] {
				if !slices.Contains(services, service) {
					services = append(services, service)
				}
			}
		}
		e.Mesh, e.Services = p.Mesh, services
	}
	return cptoken.Refuse(reason, format, args...).
		WithHint("if it should, %s%s at the zone: %s", verb, keyring.AccountsField, e.Line())
}

// maxShownServices bounds the services that a refusal repeats.
const maxShownServices = 16
