package cptoken

import (
	"fmt"
	"slices"
	"strings"
)

// CheckZoneProxy refuses a token that does not prove a proxy with this use in
// this zone: ingress or egress for zone proxies, dataplane where data plane
// proxies use zone tokens. An empty Zone is no zone, where Kuma takes it for any.
func (c *Claims) CheckZoneProxy(zone string, scope Scope) error {
	if c.Kind != Zone {
		return wrongKind(Zone, c.Kind)
	}
	if err := c.checkZone(zone); err != nil {
		return err
	}
	if scope == ScopeCP || !scope.Valid() {
		return Refuse(OutOfScope, "%.20q is no use of a proxy that a zone token is good for", scope).
			WithHint("use ingress, egress or dataplane")
	}
	if !slices.Contains(c.Scope, scope) {
		return Refuse(OutOfScope, "the zone token is good for %s, not for %s", scopeList(c.Scope), scope).
			WithHint("issue one with: global generate zone-token --zone %s --scope %s", zone, scope)
	}
	return nil
}

// CheckControlPlane refuses a token that does not prove the control plane of this
// zone: neither a control plane token of it, nor a zone token of it whose only
// scope is cp. The latter must be good for nothing else, so that what a proxy
// holds can never speak for its zone.
func (c *Claims) CheckControlPlane(zone string) error {
	if c.Kind != ControlPlane && c.Kind != Zone {
		return wrongKind(ControlPlane, c.Kind)
	}
	if c.Kind == ControlPlane {
		return c.checkZone(zone)
	}
	if len(c.Scope) == 0 || slices.ContainsFunc(c.Scope, func(s Scope) bool { return s != ScopeCP }) {
		return Refuse(OutOfScope, "the zone token is good for %s, a zone control plane's for cp alone", scopeList(c.Scope)).
			WithHint("issue one with: global generate control-plane-token --zone %s", zone)
	}
	return c.checkZone(zone)
}

// checkZone refuses a token of another zone, or of none.
func (c *Claims) checkZone(zone string) error {
	if c.Zone == "" {
		return emptyZone(c.Kind)
	}
	if c.Zone != zone {
		return Refuse(WrongZone, "the %s is for zone %.80q, this is zone %.80q", c.Kind.TokenName(), c.Zone, zone).
			WithHint("issue one with: global generate %s --zone %s", c.Kind.TokenName(), zone)
	}
	return nil
}

func scopeList(scopes []Scope) string {
	if len(scopes) == 0 {
		return "nothing"
	}
	const shown = 4
	words := make([]string, 0, shown+1)
	for _, s := range scopes {
		if len(words) == shown {
			words = append(words, "…")
			break
		}
		words = append(words, fmt.Sprintf("%.20q", s))
	}
	return strings.Join(words, ", ")
}

// Types of proxies in the Type claim and in Proxy.
const (
	TypeDataplane = "dataplane"
	TypeIngress   = "ingress"
	TypeEgress    = "egress"
)

// Proxy is a data plane proxy that wants to be believed.
type Proxy struct {
	Mesh string
	Name string
	Type string // "" is TypeDataplane
	// Tags are those of all its inbounds and its gateway: each with the set of
	// its values.
	Tags map[string][]string
	// Workload is the value of the label [WorkloadLabel] of its resource, "" for
	// none.
	Workload string
	// Listening is as which types of zone proxies it listens, besides what it is.
	Listening []string
}

// WorkloadLabel is the label of a proxy's resource that the claim Workload binds.
const WorkloadLabel = "kuma.io/workload"

// CheckDataplane refuses a token that does not prove this proxy. The mesh always
// binds. A name and a workload bind where the token has them. Each tag of the token must be on
// the proxy, and the proxy may have no value for it that the token does not name:
// a proxy of two services needs a token for both. A token with tags is for the services
// that they name, and for no listener of a zone proxy, which has none.
func (c *Claims) CheckDataplane(p Proxy) error {
	if c.Kind != Dataplane {
		return wrongKind(Dataplane, c.Kind)
	}
	if c.Mesh == "" || c.Mesh != p.Mesh {
		return Refuse(WrongMesh, "the dataplane token is for mesh %.80q, the proxy is in mesh %.80q", c.Mesh, p.Mesh).
			WithHint("issue one with: global generate dataplane-token --mesh MESH")
	}
	if c.Name != "" && c.Name != p.Name {
		return Refuse(WrongName, "the dataplane token is for proxy %.80q, this is proxy %.80q", c.Name, p.Name).
			WithHint("issue one with: global generate dataplane-token --name NAME")
	}
	if is, want := proxyType(p.Type), proxyType(c.Type); is != want {
		return Refuse(WrongType, "the dataplane token is for proxies of type %.20q, this one is of type %.20q", want, is).
			WithHint("issue one with: global generate dataplane-token --proxy-type TYPE")
	}
	if c.Workload != "" && c.Workload != p.Workload {
		return wrongWorkload(c.Workload, p.Workload)
	}
	if len(c.Tags) > 0 && len(p.Listening) > 0 {
		return Refuse(WrongType, "the dataplane token is for proxies with tags, this one also listens as %.20q", p.Listening[0]).
			WithHint("issue one for it without tags: global generate dataplane-token --name NAME")
	}
	return c.checkTags(p.Tags)
}

func wrongWorkload(want, is string) *Refusal {
	r := Refuse(WrongWorkload, "the dataplane token is for the workload %.80q, the proxy's label %s is %.80q", want, WorkloadLabel, is)
	if is == "" {
		r = Refuse(WrongWorkload, "the dataplane token is for the workload %.80q, the proxy has no label %s", want, WorkloadLabel)
	}
	return r.WithHint("set the label in the proxy's resource, or issue a token with: global generate dataplane-token --workload NAME")
}

func proxyType(s string) string {
	if s == "" {
		return TypeDataplane
	}
	return s
}

// checkTags names the first tag, by name, that does not match, so that the same
// token and proxy always get the same answer.
func (c *Claims) checkTags(tags map[string][]string) error {
	var worst string
	mismatch := false
	for tag, allowed := range c.Tags {
		if !tagAllowed(allowed, tags[tag]) && (!mismatch || tag < worst) {
			worst, mismatch = tag, true
		}
	}
	if !mismatch {
		return nil
	}
	hint := "issue one that names every value the proxy has: global generate dataplane-token --tag TAG=VALUE,VALUE"
	if len(tags[worst]) == 0 {
		return Refuse(TagMismatch, "the dataplane token is for proxies with the tag %.80q, this one has none", worst).WithHint("%s", hint)
	}
	for _, value := range tags[worst] {
		if !slices.Contains(c.Tags[worst], value) {
			return Refuse(TagMismatch, "the dataplane token does not allow the proxy's tag %.80q to be %.80q", worst, value).WithHint("%s", hint)
		}
	}
	return nil
}

func tagAllowed(allowed, values []string) bool {
	if len(values) == 0 {
		return false
	}
	for _, v := range values {
		if !slices.Contains(allowed, v) {
			return false
		}
	}
	return true
}
