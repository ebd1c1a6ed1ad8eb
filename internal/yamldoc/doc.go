// Package yamldoc reads one document that a person or a program wrote in YAML or
// JSON, and remembers the line of everything in it, so that what is wrong can be
// pointed at.
//
// It is made for files of operators and for text of strangers: size, depth and
// the number of values, also of those that aliases repeat, are bounded, a name that is given twice is an error,
// and so is a second document. Numbers and texts keep the letters that they were
// written with. JSON is read as JSON (RFC 8259), not as the part of YAML that
// nearly is.
package yamldoc

import (
	"fmt"
	"strings"

	"github.com/meridiankds/meridian/federation"
)

// The bounds of a document besides its size.
const (
	// MaxDepth is how deep lists and maps may nest.
	MaxDepth = 64
	// bytesPerNode is how many bytes of the limit stand for one value, also of one that
	// an alias repeats: what is read into memory is many times as large as its text, and
	// documents that people write have more than this for each value.
	bytesPerNode = 16
	// fewNodes are allowed however small the limit is.
	fewNodes = 1 << 12
)

// maxNodes bounds the values of a document that may have at most limit bytes.
func maxNodes(limit int) int { return max(limit/bytesPerNode, fewNodes) }

// tooMany is the error of a document with more than that.
func tooMany(line, most int) error {
	return At(line, "", "the document has more than %d values", most)
}

// Kind is what a Node is.
type Kind int

// The kinds of nodes.
const (
	Null Kind = iota
	Bool
	Number
	Text
	List
	Map
)

// String returns the kind as messages name it.
func (k Kind) String() string {
	return [...]string{"nothing", "true or false", "a number", "text", "a list", "a map"}[k]
}

// Node is a value of a document.
type Node struct {
	Kind Kind
	Line int // from 1
	// Text is the value as it was written where Kind is Bool ("true" or "false"),
	// Number or Text.
	Text    string
	Items   []*Node  // of a List
	Members []Member // of a Map, in the order of the document, each name once
}

// Member is a named value of a Map.
type Member struct {
	Name  string
	Line  int
	Value *Node
}

// Get returns the member of that name, or nil; also of a nil node or one that is
// no Map.
func (n *Node) Get(name string) *Node {
	if n == nil {
		return nil
	}
	for _, m := range n.Members {
		if m.Name == name {
			return m.Value
		}
	}
	return nil
}

// At returns an Invalid error about what stands in a line. field says where in
// the document, as in "networking.inbound[0].port"; it may be empty.
func At(line int, field, format string, args ...any) *federation.Error {
	said := fmt.Sprintf(format, args...)
	e := federation.Errorf(federation.Invalid, "line %d: %s", line, said)
	if field == "" {
		return e
	}
	e.Detail = fmt.Sprintf("line %d: %s: %s", line, field, said)
	e.Fields = []federation.FieldError{{Field: field, Reason: said}}
	return e
}

// Parse reads the one document in data, which may have at most limit bytes.
// Errors are federation.Errors: TooLarge, or Invalid with the line.
func Parse(data []byte, limit int) (*Node, error) {
	if len(data) > limit {
		return nil, federation.Errorf(federation.TooLarge, "the document has %d bytes, at most %d are read", len(data), limit)
	}
	if n, err := parseJSON(data, maxNodes(limit)); n != nil || err != nil {
		return n, err
	}
	return parseYAML(data, maxNodes(limit))
}

// join is the field of a member of what stands at path.
func join(path, name string) string {
	if len(name) > maxShown {
		name = strings.ToValidUTF8(name[:maxShown], "") + "…"
	}
	if path == "" {
		return name
	}
	if len(path) > maxPath {
		path = strings.ToValidUTF8(path[:maxPath], "") + "…"
	}
	return path + "." + name
}

const (
	// maxShown bounds what a message repeats of a document.
	maxShown = 60
	// maxPath bounds the path of a value, which every value below it repeats.
	maxPath = 400
)
