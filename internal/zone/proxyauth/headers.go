package proxyauth

import (
	"slices"
	"strings"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/zone/statement"
)

// HeaderPrefix begins the names of the headers that tell the service behind a proxy who
// calls.
const HeaderPrefix = "x-meridian-"

// The headers of an answer about a request that a proxy got.
const (
	// HeaderReason has the reason of a refusal.
	HeaderReason = HeaderPrefix + "reason"
	// HeaderRequire states who the caller must be, in the form of a query.
	HeaderRequire = HeaderPrefix + "require"
)

// IdentityHeaders are all that tell who calls, in lower case. An allowed request has the
// ones that apply, and none with the prefix that its caller made up.
var IdentityHeaders = [...]string{"x-meridian-zone", "x-meridian-method", "x-meridian-kind", "x-meridian-mesh", "x-meridian-name",
	"x-meridian-workload", "x-meridian-service", "x-meridian-scope", "x-meridian-token-id", "x-meridian-service-account"}

// Headers returns the values of the identity headers, none for those that do not apply. A
// value that no header can carry whole is an error: a header that is missing would make
// the caller pass for anybody of its mesh.
func (a *Admission) Headers() (map[string]string, error) {
	lists := map[string][]string{}
	single := map[string]string{"x-meridian-zone": a.Zone, "x-meridian-method": string(a.Method), "x-meridian-token-id": a.TokenID}
	if c := a.Claims; c != nil {
		single["x-meridian-kind"], single["x-meridian-mesh"] = string(c.Kind), c.Mesh
		single["x-meridian-name"], single["x-meridian-workload"] = c.Name, c.Workload
		lists["x-meridian-service"], lists["x-meridian-scope"] = c.Tags[statement.ServiceTag], a.Scopes()
	}
	if a.Account != nil {
		single["x-meridian-service-account"] = a.Account.Namespace + "/" + a.Account.Name
	}
	for name, value := range single {
		if !fits(value) {
			return nil, unfit(name)
		}
	}
	for name, values := range lists {
		if slices.ContainsFunc(values, func(v string) bool { return v == "" || !fits(v) }) {
			return nil, unfit(name)
		}
		single[name] = strings.Join(values, ",")
	}
	return single, nil
}

// Scopes are those of the token, nil for one that has none.
func (a *Admission) Scopes() (scopes []string) {
	if a.Claims == nil {
		return nil
	}
	for _, scope := range a.Claims.Scope {
		scopes = append(scopes, string(scope))
	}
	return scopes
}

// fits reports whether a header carries a value whole: printable ASCII without blanks
// around it, and without a comma, which reads as the end of one value of several.
func fits(value string) bool {
	return strings.TrimSpace(value) == value && !strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c > '~' || c == ',' })
}

func unfit(name string) error {
	return cptoken.Refuse(cptoken.UnfitValue, "the token has a value that the header %s cannot carry", name).
		WithHint("issue it with names, workloads and tags of printable ASCII without a comma")
}
