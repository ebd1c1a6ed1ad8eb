package resource

import (
	"maps"
	"slices"
)

// MaxBytes bounds a resource. A ZoneIngress lists every service of its zone,
// which is what needs the room.
const MaxBytes = 1 << 20

// DefaultMesh is the mesh of a Dataplane that names none.
const DefaultMesh = "default"

// Kind is the type of a resource, as its field "type" has it.
type Kind string

// The kinds.
const (
	Dataplane   Kind = "Dataplane"
	ZoneIngress Kind = "ZoneIngress"
	ZoneEgress  Kind = "ZoneEgress"
)

// ProxyType returns the kind as proxies call themselves: "dataplane", "ingress"
// or "egress".
func (k Kind) ProxyType() string {
	switch k {
	case ZoneIngress:
		return "ingress"
	case ZoneEgress:
		return "egress"
	}
	return "dataplane"
}

// KindOf returns the kind of a proxy that calls itself so; "" is a dataplane.
func KindOf(proxyType string) (k Kind, ok bool) {
	switch proxyType {
	case "dataplane", "":
		return Dataplane, true
	case "ingress":
		return ZoneIngress, true
	case "egress":
		return ZoneEgress, true
	}
	return "", false
}

// ServiceTag is the tag that names the service of an inbound or gateway.
const ServiceTag = "kuma.io/service"

// Resource is a proxy as it describes itself. It is valid where it came from a
// Parse function. Nothing in it was proved.
type Resource struct {
	Kind   Kind
	Mesh   string // of a Dataplane only
	Name   string
	Zone   string // that a zone proxy names; may be empty
	Labels map[string]string

	// Address is where the proxy can be reached, an IP address or host name;
	// AdvertisedAddress how others reach it, empty: the same.
	Address, AdvertisedAddress string
	// Port is of zone proxies, AdvertisedPort of an ingress; 0: the same.
	Port, AdvertisedPort uint32
	// AdminPort is of Envoy's admin interface; 0: none was asked for.
	AdminPort uint32

	Inbounds  []Inbound  // of a Dataplane
	Gateway   *Gateway   // of a Dataplane that is one
	Listeners []Listener // of a Dataplane that is a zone proxy, besides or instead

	// TransparentProxy tells that the proxy's traffic is redirected to it.
	TransparentProxy bool

	json []byte
}

// Inbound is where a Dataplane takes connections for a service.
type Inbound struct {
	Name string
	// Address and Port are listened on; Address is the resource's where the
	// inbound has none.
	Address string
	Port    uint32
	// ServiceAddress and ServicePort are where the service itself listens;
	// 127.0.0.1 and Port where the inbound does not say.
	ServiceAddress string
	ServicePort    uint32
	Tags           map[string]string
}

// Gateway is what a Dataplane has that takes connections from outside the mesh.
type Gateway struct {
	Type string // "DELEGATED" or "BUILTIN"
	Tags map[string]string
}

// Listener is where a Dataplane takes connections between zones, or to services outside
// the mesh: what makes a zone proxy of it.
type Listener struct {
	Name    string // the port where it has none
	Kind    Kind   // ZoneIngress or ZoneEgress
	Address string // the resource's where the listener has none
	Port    uint32
	// State is "Ready" or "NotReady"; empty is "Ready".
	State string
}

// Listening returns as which types of zone proxies a Dataplane listens: "egress" and
// "ingress", sorted, each once.
func (r *Resource) Listening() []string {
	var types []string
	for _, l := range r.Listeners {
		types = append(types, l.Kind.ProxyType())
	}
	slices.Sort(types)
	return slices.Compact(types)
}

// Tags returns the tags of the proxy: those of all its inbounds and its gateway,
// each with the sorted set of its values. Zone proxies have none.
func (r *Resource) Tags() map[string][]string {
	sets := map[string]map[string]bool{}
	add := func(tags map[string]string) {
		for tag, value := range tags {
			if sets[tag] == nil {
				sets[tag] = map[string]bool{}
			}
			sets[tag][value] = true
		}
	}
	for _, in := range r.Inbounds {
		add(in.Tags)
	}
	if r.Gateway != nil {
		add(r.Gateway.Tags)
	}
	tags := make(map[string][]string, len(sets))
	for tag, values := range sets {
		tags[tag] = slices.Sorted(maps.Keys(values))
	}
	return tags
}

// Services returns the values of ServiceTag, sorted.
func (r *Resource) Services() []string { return r.Tags()[ServiceTag] }

// String names the resource for people: "Dataplane default/backend-1".
func (r *Resource) String() string {
	if r.Kind == Dataplane {
		return string(r.Kind) + " " + r.Mesh + "/" + r.Name
	}
	return string(r.Kind) + " " + r.Name
}

// JSON returns the resource as it was read, also with what this package does not
// know, as JSON on one line; nil after WithoutJSON. The caller must not change it.
func (r *Resource) JSON() []byte { return r.json }

// WithoutJSON returns a copy of r that does not keep what it was read from, for
// who holds many of them.
func (r *Resource) WithoutJSON() *Resource {
	c := *r
	c.json = nil
	return &c
}
