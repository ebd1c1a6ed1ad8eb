package resource

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/yamldoc"
)

// The bounds of what a resource names.
const (
	// MaxNameLen bounds the name of a proxy: that of a DNS name, as Kuma has it.
	MaxNameLen = 253
	maxTagLen  = 255 // of a tag's name and of its value
	maxHostLen = 253
	maxPort    = 65535
)

// ValidateName checks the name of a proxy: 1 to 253 of a-z, A-Z, 0-9, '-', '_'
// and '.'. field is how the caller spelled the input.
func ValidateName(field, name string) error {
	if name == "" {
		return federation.InvalidField(field, "must not be empty")
	}
	if len(name) > MaxNameLen {
		return federation.InvalidField(field, "must have at most %d characters, has %d", MaxNameLen, len(name))
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; !alphanumeric(c) && c != '-' && c != '_' && c != '.' {
			return federation.InvalidField(field, "%.80q is not the name of a proxy: use letters, digits, '-', '_' and '.'", name)
		}
	}
	if strings.Trim(name, ".") == "" { // "." and ".." would be folders
		return federation.InvalidField(field, "%.80q is not the name of a proxy: it has no letter and no digit", name)
	}
	return nil
}

func alphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// check holds a resource against what its kind must be. The document tells the
// lines.
type check struct {
	r    *Resource
	root *yamldoc.Node
}

// fail is an error about a field, with the line of what there is of its path.
func (c check) fail(field, format string, args ...any) error {
	at := c.root
	for _, step := range strings.FieldsFunc(field, func(c rune) bool { return c == '.' || c == '[' || c == ']' }) {
		var index int
		next := at.Get(step)
		if _, err := fmt.Sscanf(step, "%d", &index); err == nil && at.Kind == yamldoc.List && index < len(at.Items) {
			next = at.Items[index]
		}
		if next == nil {
			break
		}
		at = next
	}
	return yamldoc.At(at.Line, field, format, args...)
}

// named repeats an error of a name as one of this document.
func (c check) named(err error) error {
	if err == nil {
		return nil
	}
	f := federation.AsError(err).Fields[0]
	return c.fail(f.Field, "%s", f.Reason)
}

func (c check) all() error {
	r := c.r
	if err := c.named(ValidateName("name", r.Name)); err != nil {
		return err
	}
	if r.Kind == Dataplane {
		if err := c.named(federation.ValidateName("mesh", r.Mesh)); err != nil {
			return err
		}
	} else if r.Zone != "" {
		if err := c.named(federation.ValidateName("zone", r.Zone)); err != nil {
			return err
		}
	}
	if r.Address == "" {
		return c.fail("networking.address", "must not be empty: name the address at which the proxy is reached")
	}
	if err := c.host("networking.address", r.Address); err != nil {
		return err
	}
	if err := c.host("networking.advertisedAddress", r.AdvertisedAddress); err != nil {
		return err
	}
	for _, p := range [...]struct {
		field string
		port  uint32
	}{{"port", r.Port}, {"advertisedPort", r.AdvertisedPort}, {"admin.port", r.AdminPort}} {
		if p.port > maxPort {
			return c.fail("networking."+p.field, "%d is not a port: use 1 to %d", p.port, maxPort)
		}
	}
	switch {
	case r.Kind == Dataplane:
		return c.dataplane()
	case r.Port == 0:
		return c.fail("networking.port", "must not be empty: use 1 to %d", maxPort)
	}
	return nil
}

func (c check) dataplane() error {
	taken := map[string]string{}
	for i, in := range c.r.Inbounds {
		field := fmt.Sprintf("networking.inbound[%d]", i)
		if in.Port == 0 || in.Port > maxPort {
			return c.fail(field+".port", "%d is not a port: use 1 to %d", in.Port, maxPort)
		}
		if in.ServicePort > maxPort {
			return c.fail(field+".servicePort", "%d is not a port: use 1 to %d", in.ServicePort, maxPort)
		}
		if err := c.host(field+".address", in.Address); err != nil {
			return err
		}
		if err := c.host(field+".serviceAddress", in.ServiceAddress); err != nil {
			return err
		}
		if err := c.place(taken, field, in.Address, in.Port); err != nil {
			return err
		}
		if err := c.tags(field+".tags", in.Tags); err != nil {
			return err
		}
	}
	if err := c.listeners(taken); err != nil {
		return err
	}
	g := c.r.Gateway
	if g == nil {
		return nil
	}
	if len(c.r.Inbounds) > 0 {
		return c.fail("networking", "has inbounds and a gateway: a proxy is one or the other")
	}
	if g.Type != "DELEGATED" && g.Type != "BUILTIN" {
		return c.fail("networking.gateway.type", "%.40q is not a type of gateway: use DELEGATED or BUILTIN", g.Type)
	}
	return c.tags("networking.gateway.tags", g.Tags)
}

// place refuses what listens where another inbound or listener does.
func (c check) place(taken map[string]string, field, address string, port uint32) error {
	where := fmt.Sprintf("%s:%d", address, port)
	if first, ok := taken[where]; ok {
		return c.fail(field, "has the address and port of %s", first)
	}
	taken[where] = strings.TrimPrefix(field, "networking.")
	return nil
}

// listeners checks those of a zone proxy. They may stand beside inbounds or a gateway.
func (c check) listeners(taken map[string]string) error {
	names := map[string]int{}
	for i, l := range c.r.Listeners {
		field := fmt.Sprintf("networking.listeners[%d]", i)
		if l.Kind != ZoneIngress && l.Kind != ZoneEgress {
			return c.fail(field+".type", "%.40q is not a type of listener: use ZoneIngress or ZoneEgress", l.Kind)
		}
		if l.Port == 0 || l.Port > maxPort {
			return c.fail(field+".port", "%d is not a port: use 1 to %d", l.Port, maxPort)
		}
		if err := c.host(field+".address", l.Address); err != nil {
			return err
		}
		if l.State != "" && l.State != "Ready" && l.State != "NotReady" {
			return c.fail(field+".state", "%.40q is not a state of a listener: use Ready or NotReady", l.State)
		}
		if !word(l.Name) {
			return c.fail(field+".name", "%.80q is not the name of a listener: use up to %d printable characters without blanks", l.Name, maxTagLen)
		}
		if first, ok := names[l.Name]; ok {
			return c.fail(field, "has the name of listeners[%d]", first)
		}
		names[l.Name] = i
		if err := c.place(taken, field, l.Address, l.Port); err != nil {
			return err
		}
	}
	return nil
}

// host checks an IP address or host name; empty is for the caller to judge. An
// address of a proxy names one machine: that of none or all is refused.
func (c check) host(field, host string) error {
	if host == "" {
		return nil
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" || ip.IsMulticast() || ip.IsUnspecified() {
			return c.fail(field, "%.80q is not the address of a machine", host)
		}
		return nil
	}
	if len(host) > maxHostLen {
		return c.fail(field, "must have at most %d characters, has %d", maxHostLen, len(host))
	}
	if !IsHost(host) {
		return c.fail(field, "%.80q is neither an IP address nor a host name", host)
	}
	return nil
}

// IsHost reports whether a text is an IP address or a host name, for a program to
// dial.
func IsHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	if host == "" || len(host) > maxHostLen {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(host, "."), ".") {
		if label == "" || len(label) > 63 || !alphanumeric(label[0]) || !alphanumeric(label[len(label)-1]) {
			return false
		}
		for i := 0; i < len(label); i++ {
			if !alphanumeric(label[i]) && label[i] != '-' && label[i] != '_' {
				return false
			}
		}
	}
	return true
}

// tags checks names and values: printable, without blanks, neither empty.
func (c check) tags(field string, tags map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		if !word(name) {
			return c.fail(field, "%.80q is not the name of a tag: use up to %d printable characters without blanks", name, maxTagLen)
		}
		if !word(tags[name]) {
			return c.fail(field, "the tag %s has the value %.80q: use 1 to %d printable characters without blanks", name, tags[name], maxTagLen)
		}
	}
	return nil
}

func word(s string) bool {
	if s == "" || len(s) > maxTagLen {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
