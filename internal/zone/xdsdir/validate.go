package xdsdir

import (
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"

	"github.com/meridiankds/meridian/internal/yamldoc"
)

// violation is an error of the code that is generated from the bounds of Envoy's definitions:
// of a field, in Go's spelling, because of an error further inside.
type violation interface {
	error
	Field() string
	Cause() error
}

// validate holds a message and every message packed inside of it against the bounds that Envoy's
// definitions state, as Envoy itself will. n is what the message was made of, and field its
// place; the error names the line of the field that is at fault.
func validate(message proto.Message, n *yamldoc.Node, field string) error {
	check := func(m proto.Message, at place) error {
		if v, ok := m.(interface{ Validate() error }); ok {
			return at.complain(v.Validate())
		}
		return nil
	}
	root := place{n, n.Line, field}
	if err := check(message, root); err != nil {
		return err
	}
	return protorange.Range(message.ProtoReflect(), func(v protopath.Values) error {
		if last := v.Index(-1); last.Step.Kind() == protopath.AnyExpandStep {
			return check(last.Value.Message().Interface(), root.follow(v.Path))
		}
		return nil
	})
}

// place is where something stands in a document: the value, as far as there is one, and the
// line that is nearest to it.
type place struct {
	node *yamldoc.Node
	line int
	path string
}

// follow goes from a message down to a part of it.
func (p place) follow(path protopath.Path) place {
	for _, step := range path {
		switch step.Kind() {
		case protopath.FieldAccessStep:
			p = p.member(string(step.FieldDescriptor().Name()))
		case protopath.ListIndexStep:
			p = p.item(strconv.Itoa(step.ListIndex()))
		case protopath.MapIndexStep:
			p = p.item(step.MapIndex().String())
		}
	}
	return p
}

// member goes to a field, whose name may be spelt in any of its ways. Of one that is not there
// the line of what it should stand in stays.
func (p place) member(name string) place {
	same := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, "_", "")) }
	if p.node != nil {
		for _, m := range p.node.Members {
			if same(m.Name) == same(name) {
				return place{m.Value, m.Line, p.path + "." + m.Name}
			}
		}
	}
	return place{nil, p.line, p.path}
}

// item goes to an entry of a list or a map.
func (p place) item(key string) place {
	if p.node == nil {
		return p
	}
	if i, err := strconv.Atoi(key); err == nil && p.node.Kind == yamldoc.List && i < len(p.node.Items) {
		return place{p.node.Items[i], p.node.Items[i].Line, p.path + "[" + key + "]"}
	}
	for _, m := range p.node.Members {
		if m.Name == key {
			return place{m.Value, m.Line, p.path + "[" + key + "]"}
		}
	}
	return place{nil, p.line, p.path}
}

// complain makes an error of what is wrong below a place; nil of nil.
func (p place) complain(err error) error {
	if err == nil {
		return nil
	}
	for {
		v, ok := err.(violation)
		if !ok {
			break
		}
		name, key, _ := strings.Cut(strings.TrimSuffix(v.Field(), "]"), "[")
		if p = p.member(name); key != "" {
			p = p.item(key)
		}
		if v.Cause() == nil {
			break
		}
		err = v.Cause()
	}
	return yamldoc.At(p.line, p.path, "%s", withoutValues(err.Error()))
}
