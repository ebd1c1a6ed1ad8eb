package statement

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// The keys of a statement.
const (
	KeyType   = "proxyType"
	KeyMesh   = "mesh"
	KeyName   = "name"
	KeyBound  = "bound"
	TagPrefix = "tag/" // with the name of a tag behind it
)

// The words of [KeyBound].
const (
	BoundName    = "name"
	BoundService = "service"
)

// ServiceTag is the tag that names the services of a proxy.
const ServiceTag = "kuma.io/service"

// Statement is what an operator says of a caller. The zero value says nothing: the
// caller's token then only has to be good.
type Statement struct {
	// Type is cptoken.TypeDataplane, TypeIngress or TypeEgress; "" is unstated.
	Type string
	// Mesh and Name are unstated where they are "".
	Mesh, Name string
	// Tags has the values that a caller may have, for each stated tag.
	Tags map[string][]string
	// BoundName and BoundService demand a token that names a proxy, or a service,
	// whatever its value.
	BoundName, BoundService bool
}

// Stated reports whether anything is stated.
func (s *Statement) Stated() bool { return s.Type != "" }

// Misconfigured is the error of a statement that no caller can meet. Key, Value and
// Why are for the operator; what the caller reads (Unwrap) repeats nothing of them.
type Misconfigured struct {
	Key, Value string
	Why        string
}

// Error says what is wrong with the statement.
func (m *Misconfigured) Error() string {
	return "the statement " + m.Key + " is a mistake: " + m.Why
}

// Unwrap returns what the caller is told: Forbidden, with the reason
// cptoken.Misconfigured and no detail.
func (m *Misconfigured) Unwrap() error {
	return cptoken.Refuse(cptoken.Misconfigured, "the request is not allowed")
}

// Parse reads a statement. The error is a Misconfigured for the first mistake, in
// the order of the keys.
func Parse(stated map[string]string) (Statement, error) {
	s := Statement{}
	for _, key := range slices.Sorted(maps.Keys(stated)) {
		value := stated[key]
		if why := s.set(key, value); why != "" {
			return Statement{}, &Misconfigured{Key: key, Value: value, Why: why}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(stated)) {
		if key == KeyType {
			continue
		}
		if s.Type != "" && s.Type != cptoken.TypeDataplane {
			return Statement{}, &Misconfigured{Key: key, Value: stated[key], Why: "an " + s.Type + " has none, only a data plane proxy does"}
		}
	}
	if len(stated) > 0 && s.Type == "" {
		s.Type = cptoken.TypeDataplane
	}
	return s, nil
}

// FromQuery reads a statement in the form of a query, key=value&key=value, into the form
// that [Parse] takes; "" states nothing. A key that is given twice is a mistake: which of
// the values counts would be a guess.
func FromQuery(query string) (map[string]string, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, &Misconfigured{Value: query, Why: "it is not written as key=value&key=value with the escapes of a URL"}
	}
	stated := make(map[string]string, len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if len(values[key]) > 1 {
			return nil, &Misconfigured{Key: key, Value: strings.Join(values[key], "&"), Why: "it is given more than once"}
		}
		stated[key] = values[key][0]
	}
	return stated, nil
}

// set takes one key over and returns what is wrong with it, "" for nothing.
func (s *Statement) set(key, value string) string {
	if value == "" {
		return "the value is empty"
	}
	if strings.TrimSpace(value) != value {
		return "the value begins or ends with a blank"
	}
	tag, isTag := strings.CutPrefix(key, TagPrefix)
	switch {
	case key == KeyType:
		s.Type = value
		if value != cptoken.TypeDataplane && value != cptoken.TypeIngress && value != cptoken.TypeEgress {
			return "it must be dataplane, ingress or egress"
		}
	case key == KeyMesh:
		s.Mesh = value
		if federation.ValidateName(KeyMesh, value) != nil {
			return "no mesh can have this name"
		}
	case key == KeyName:
		s.Name = value
	case key == KeyBound:
		return s.setBound(value)
	case isTag && tag != "" && strings.TrimSpace(tag) == tag:
		return s.setTag(tag, value)
	default:
		return "the key is unknown: use proxyType, mesh, name, bound or tag/NAME"
	}
	return ""
}

func (s *Statement) setBound(value string) string {
	for _, word := range strings.Split(value, ",") {
		switch word {
		case BoundName:
			s.BoundName = true
		case BoundService:
			s.BoundService = true
		default:
			return "it must be name, service, or name,service"
		}
	}
	return ""
}

func (s *Statement) setTag(tag, value string) string {
	values := strings.Split(value, ",")
	for _, v := range values {
		if v == "" || strings.TrimSpace(v) != v {
			return "one of its values is empty, or begins or ends with a blank"
		}
	}
	if s.Tags == nil {
		s.Tags = map[string][]string{}
	}
	s.Tags[tag] = values
	return ""
}
