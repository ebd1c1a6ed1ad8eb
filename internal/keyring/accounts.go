package keyring

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// Bounds of dpServer.authn.serviceAccountToken.serviceAccounts.
const (
	maxAccounts = 10_000
	maxServices = 256 // of one entry
)

// AccountsField is where the entries stand.
const AccountsField = "dpServer.authn.serviceAccountToken.serviceAccounts"

// AccountEntry says what the proxies of one service account may be. It replaces what
// an account may be that has no entry: data plane proxies of services of its own
// namespace.
type AccountEntry struct {
	// Account is NAMESPACE/NAME.
	Account string `json:"account"`
	// ProxyTypes are dataplane, ingress and egress; absent: dataplane.
	ProxyTypes []string `json:"proxyTypes,omitempty"`
	// Mesh is that of its data plane proxies; absent: any.
	Mesh string `json:"mesh,omitempty"`
	// Services are the values of kuma.io/service that its data plane proxies may
	// have; absent: those of its own namespace.
	Services []string `json:"services,omitempty"`
}

func (e AccountEntry) validate(where string) error {
	namespace, name, ok := strings.Cut(e.Account, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return federation.InvalidField(where+".account", "%.80q is not a service account: write NAMESPACE/NAME", e.Account)
	}
	for i, t := range e.ProxyTypes {
		if t != cptoken.TypeDataplane && t != cptoken.TypeIngress && t != cptoken.TypeEgress {
			return federation.InvalidField(where+".proxyTypes["+strconv.Itoa(i)+"]", "%.40q is not a type of proxy: use dataplane, ingress or egress", t)
		}
	}
	if !slices.Contains(e.Types(), cptoken.TypeDataplane) && (e.Mesh != "" || len(e.Services) > 0) {
		return federation.InvalidField(where, "names a mesh or services, which only proxies of the type dataplane have").
			WithHint("add dataplane to proxyTypes, or leave mesh and services out")
	}
	if e.Mesh != "" {
		if err := federation.ValidateName(where+".mesh", e.Mesh); err != nil {
			return err
		}
	}
	if len(e.Services) > maxServices {
		return federation.InvalidField(where+".services", "has %d services, at most %d are read", len(e.Services), maxServices)
	}
	if i := slices.Index(e.Services, ""); i >= 0 {
		return federation.InvalidField(where+".services["+strconv.Itoa(i)+"]", "must not be empty")
	}
	return nil
}

// Types are the types of proxies that the account may be.
func (e AccountEntry) Types() []string {
	if len(e.ProxyTypes) == 0 {
		return []string{cptoken.TypeDataplane}
	}
	return e.ProxyTypes
}

// validate checks the entries, of which each account has one at most.
func (s *AccountSettings) validate() error {
	if len(s.ServiceAccounts) > maxAccounts {
		return federation.InvalidField(AccountsField, "has %d entries, at most %d are read", len(s.ServiceAccounts), maxAccounts)
	}
	seen := map[string]bool{}
	for i, e := range s.ServiceAccounts {
		where := AccountsField + "[" + strconv.Itoa(i) + "]"
		if err := e.validate(where); err != nil {
			return err
		}
		if seen[e.Account] {
			return federation.InvalidField(where+".account", "%.80q has an entry already", e.Account)
		}
		seen[e.Account] = true
	}
	return nil
}

// Entry returns that of an account, nil if it has none.
func (s *AccountSettings) Entry(namespace, name string) *AccountEntry {
	account := namespace + "/" + name
	for i := range s.ServiceAccounts {
		if s.ServiceAccounts[i].Account == account {
			return &s.ServiceAccounts[i]
		}
	}
	return nil
}

// Allows reports whether the account may be a service.
func (e AccountEntry) Allows(service string) bool {
	if len(e.Services) > 0 {
		return slices.Contains(e.Services, service)
	}
	namespace, _, _ := strings.Cut(e.Account, "/")
	return ofNamespace(service, namespace)
}

// ofNamespace reports whether a service is named as Kuma names those of Kubernetes:
// <Service>_<namespace>_svc_<port>. None of the parts has an underscore.
func ofNamespace(service, namespace string) bool {
	parts := strings.Split(service, "_")
	if len(parts) != 4 || parts[0] == "" || parts[1] != namespace || parts[2] != "svc" {
		return false
	}
	port, err := strconv.ParseUint(parts[3], 10, 16)
	return err == nil && port > 0 && strconv.FormatUint(port, 10) == parts[3]
}

// Line is the entry as one line of YAML.
func (e AccountEntry) Line() string {
	text, err := json.Marshal(e) // JSON is YAML
	if err != nil {
		return e.Account
	}
	return string(text)
}
