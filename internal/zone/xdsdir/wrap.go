package xdsdir

import (
	_ "embed"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/meridiankds/meridian/internal/spelling"
	"github.com/meridiankds/meridian/internal/yamldoc"
)

// typesText has the names of the messages of Envoy's API that are not linked and that may
// stand in a typed_config, one a line. A test makes it.
//
//go:embed types.txt
var typesText string

var unlinked = sync.OnceValue(func() map[string]bool {
	all := map[string]bool{}
	for name := range strings.Lines(typesText) {
		all[strings.TrimSpace(name)] = true
	}
	return all
})

const typedStruct = "xds.type.v3.TypedStruct"

// neverWrapped are the fields inside of which Envoy (1.40) does not unpack a [typedStruct].
var neverWrapped = map[protoreflect.FullName]bool{
	"envoy.config.cluster.v3.Cluster.cluster_type":                                                           true,
	"envoy.config.cluster.v3.Cluster.typed_dns_resolver_config":                                              true,
	"envoy.config.core.v3.HealthCheck.event_logger":                                                          true,
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.request_id_extension": true,
}

// wrapper puts messages of types that are not linked into an xds.type.v3.TypedStruct, which
// Envoy unpacks. What is in them nobody checks before Envoy does.
type wrapper struct {
	unchecked []unchecked
}

// unchecked is a type that stands in a line.
type unchecked struct {
	name string
	line int
}

// message looks through what is to be a message. barred is the field above it in which
// nothing may be wrapped, "" where there is none.
func (w *wrapper) message(n *yamldoc.Node, d protoreflect.MessageDescriptor, path string, barred protoreflect.FullName) error {
	if n.Kind != yamldoc.Map {
		return nil // what is wrong with it protojson says
	}
	if d.FullName() == "google.protobuf.Any" {
		return w.packed(n, path, barred)
	}
	for _, m := range n.Members {
		f := fieldOf(d, m.Name)
		if f == nil {
			continue
		}
		under := barred
		if neverWrapped[f.FullName()] {
			under = f.FullName()
		}
		if err := w.field(m.Value, f, path+"."+m.Name, under); err != nil {
			return err
		}
	}
	return nil
}

// fieldOf finds a field by either of its names.
func fieldOf(d protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if f := d.Fields().ByJSONName(name); f != nil {
		return f
	}
	return d.Fields().ByTextName(name)
}

func (w *wrapper) field(n *yamldoc.Node, f protoreflect.FieldDescriptor, path string, barred protoreflect.FullName) error {
	d := f.Message()
	switch {
	case f.IsMap():
		if d = f.MapValue().Message(); d == nil {
			return nil
		}
		for _, m := range n.Members {
			if err := w.message(m.Value, d, path+"["+m.Name+"]", barred); err != nil {
				return err
			}
		}
		return nil
	case d == nil || d.FullName() == "google.protobuf.Struct" || d.FullName() == "google.protobuf.Value":
		return nil
	case f.IsList():
		for i, item := range n.Items {
			if err := w.message(item, d, fmt.Sprintf("%s[%d]", path, i), barred); err != nil {
				return err
			}
		}
		return nil
	}
	return w.message(n, d, path, barred)
}

// packed looks at a message of any type.
func (w *wrapper) packed(n *yamldoc.Node, path string, barred protoreflect.FullName) error {
	t := n.Get("@type")
	if t == nil || t.Kind != yamldoc.Text {
		return nil
	}
	d, name, err := typeOf(t, path)
	if err != nil {
		return err
	}
	if d != nil {
		return w.message(n, d, path, barred)
	}
	if barred != "" {
		return yamldoc.At(t.Line, path, "%s is not linked into this program, and Envoy takes nothing else in %s", name, barred.Name()).
			WithHint("docs/proxies.md lists the types that are linked; add its package to internal/zone/xdsdir/linked.go and build")
	}
	w.unchecked = append(w.unchecked, unchecked{name, t.Line})
	value := &yamldoc.Node{Kind: yamldoc.Map, Line: n.Line}
	for _, m := range n.Members {
		if m.Value == t {
			continue
		}
		if err := w.untyped(m.Value, path+"."+m.Name); err != nil {
			return err
		}
		value.Members = append(value.Members, m)
	}
	text := func(s string) *yamldoc.Node { return &yamldoc.Node{Kind: yamldoc.Text, Line: n.Line, Text: s} }
	n.Members = []yamldoc.Member{
		{Name: "@type", Line: n.Line, Value: text(typePrefix + typedStruct)},
		{Name: "type_url", Line: n.Line, Value: text(typePrefix + name)},
		{Name: "value", Line: n.Line, Value: value},
	}
	return nil
}

// typeOf returns the description of the type that is named, nil where it is not linked. The
// error is that of a name that no type has.
func typeOf(t *yamldoc.Node, path string) (d protoreflect.MessageDescriptor, name string, err error) {
	name = t.Text[strings.LastIndexByte(t.Text, '/')+1:]
	if m, err := protoregistry.GlobalTypes.FindMessageByURL(t.Text); err == nil {
		return m.Descriptor(), name, nil
	}
	if unlinked()[name] {
		return nil, name, nil
	}
	e := yamldoc.At(t.Line, path, "%.200q is no type that Envoy %s knows", t.Text, envoyVersion)
	if near := nearestType(name); near != "" {
		return nil, name, e.WithHint("did you mean %s%s?", typePrefix, near)
	}
	return nil, name, e.WithHint("look the type up in Envoy's API; docs/proxies.md says which are checked here")
}

// nearestType returns the type that a typing mistake in the package's name or the message's
// leads away from; "" where there is none.
func nearestType(name string) string {
	parts := func(name string) (pkg, message string) {
		at := strings.LastIndexByte(name, '.')
		return strings.TrimSuffix(name[:max(at, 0)], ".v3"), name[at+1:]
	}
	last := func(pkg string) string { return pkg[strings.LastIndexByte(pkg, '.')+1:] }
	pkg, message := parts(name)
	packages, messages := map[string]string{}, map[string]string{} // full names, by what may be misspelt
	look := func(other string) {
		otherPkg, otherMessage := parts(other)
		if otherMessage == message {
			packages[last(otherPkg)] = other
		}
		if otherPkg == pkg {
			messages[otherMessage] = other
		}
	}
	for other := range unlinked() {
		look(other)
	}
	protoregistry.GlobalTypes.RangeMessages(func(m protoreflect.MessageType) bool {
		look(string(m.Descriptor().FullName()))
		return true
	})
	if near := spelling.Nearest(last(pkg), slices.Sorted(maps.Keys(packages))); near != "" {
		return packages[near]
	}
	return messages[spelling.Nearest(message, slices.Sorted(maps.Keys(messages)))]
}

// envoyVersion is whose API the names are of.
const envoyVersion = "1.40"

// untyped looks through what is in a message of which nothing is known: types that are
// misspelt, and numbers that a Struct, which has only floats, cannot hold. JSON of Protobuf
// has large integers as text anyway.
func (w *wrapper) untyped(n *yamldoc.Node, path string) error {
	switch n.Kind {
	case yamldoc.List:
		for i, item := range n.Items {
			if err := w.untyped(item, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	case yamldoc.Map:
		if t := n.Get("@type"); t != nil && t.Kind == yamldoc.Text {
			if _, _, err := typeOf(t, path); err != nil {
				return err
			}
		}
		for _, m := range n.Members {
			if err := w.untyped(m.Value, path+"."+m.Name); err != nil {
				return err
			}
		}
	case yamldoc.Number:
		if i, ok := new(big.Int).SetString(n.Text, 10); ok && i.BitLen() > exact {
			n.Kind = yamldoc.Text
		}
	}
	return nil
}

// exact is how many bits of an integer a float holds.
const exact = 53

// tellUnchecked logs once which types in the files of a place are passed on unchecked.
func (d *Dir) tellUnchecked(place string, files []string) {
	names := map[string]bool{}
	for _, at := range files {
		for _, r := range d.files[at].resources {
			for _, u := range r.unchecked {
				names[u.name] = true
			}
		}
	}
	now := slices.Sorted(maps.Keys(names))
	if len(now) > 0 && !slices.Equal(now, d.passed[place]) {
		d.cfg.Logger.Warn("types are passed on that this program cannot check: Envoy may refuse them", "folder", place, "types", told(slices.Clone(now)))
	}
	d.passed[place] = now
}

// Unchecked returns the places in files where a type stands that is passed on without a check.
func (d *Dir) Unchecked() (list []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, at := range slices.Sorted(maps.Keys(d.files)) {
		for _, r := range d.files[at].resources {
			for _, u := range r.unchecked {
				list = append(list, fmt.Sprintf("%s: line %d: %s is passed on unchecked", at, u.line, u.name))
			}
		}
	}
	return list
}
