package yamldoc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// parseYAML reads data as YAML 1.2, with the resolution of plain scalars that
// yaml.v3 has: "yes" and "on" are text.
func parseYAML(data []byte, most int) (*Node, error) {
	if i := badUTF8(data); i >= 0 {
		return nil, At(1+bytes.Count(data[:i], []byte{'\n'}), "", "is not UTF-8 text")
	}
	if line, crowded := crowded(data, most); crowded {
		return nil, tooMany(line, most)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var first *yaml.Node
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, complaint(data, err)
		}
		if empty(&doc) {
			continue
		}
		if first != nil {
			return nil, At(doc.Line, "", "a second document begins, want one")
		}
		first = &doc
	}
	if first == nil {
		return nil, At(1, "", "the document is empty")
	}
	r := yamlReader{left: most, most: most}
	return r.value(first.Content[0], "", 0)
}

// crowded reports, with the line where it is so, whether so much of a document is
// punctuation that it may have more than most values, with two marks for each. The
// library would read all of them into memory before any can be counted.
func crowded(data []byte, most int) (line int, yes bool) {
	line, left := 1, 2*most
	for i, c := range data {
		switch c {
		case '-', '?', ':':
			if i+1 < len(data) && data[i+1] > ' ' {
				continue // inside of a word
			}
		case '\n':
			line++
		case ',', '[', '{', '\r':
		default:
			continue
		}
		if left--; left < 0 {
			return line, true
		}
	}
	return 0, false
}

func badUTF8(data []byte) int {
	for i := 0; i < len(data); {
		c, size := utf8.DecodeRune(data[i:])
		if c == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

// empty reports whether nothing stands in a document, as behind a last "---".
func empty(doc *yaml.Node) bool {
	return len(doc.Content) == 0 || doc.Content[0].Kind == yaml.ScalarNode && doc.Content[0].ShortTag() == "!!null"
}

// complaint is the library's error as ours, with its line. A tab has its own: the library
// names it, and the line, by what it took it for.
func complaint(data []byte, err error) error {
	said := err.Error()
	if line := tabbed(data); line > 0 && (strings.Contains(said, "cannot start any token") || strings.Contains(said, "tab character")) {
		return At(line, "", "not YAML: a tab indents it").WithHint("indent with blanks")
	}
	text := strings.TrimPrefix(said, "yaml: ")
	line := 1
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		number, said, _ := strings.Cut(rest, ": ")
		if n, err := strconv.Atoi(number); err == nil && n > 0 {
			line, text = n, said
		}
	}
	if len(text) > maxComplaint {
		text = strings.ToValidUTF8(text[:maxComplaint], "") + "…"
	}
	return At(line, "", "not YAML: %s", text)
}

const maxComplaint = 200

// tabbed returns the first line that a tab indents, 0 where none is.
func tabbed(data []byte) int {
	line := 0
	for text := range bytes.Lines(data) {
		line++
		if indent := text[:len(text)-len(bytes.TrimLeft(text, " \t"))]; bytes.ContainsRune(indent, '\t') && len(bytes.TrimSpace(text)) > 0 {
			return line
		}
	}
	return 0
}

// yamlReader turns the library's nodes into ours.
type yamlReader struct{ left, most int } // values that may come, of how many

func (r *yamlReader) value(y *yaml.Node, path string, depth int) (*Node, error) {
	if r.left--; r.left < 0 {
		return nil, tooMany(y.Line, r.most)
	}
	if depth > MaxDepth {
		return nil, At(y.Line, path, "nests more than %d levels deep", MaxDepth)
	}
	n := &Node{Line: y.Line}
	switch y.Kind {
	case yaml.AliasNode:
		return r.value(y.Alias, path, depth+1)
	case yaml.SequenceNode:
		n.Kind = List
		for i, item := range y.Content {
			v, err := r.value(item, fmt.Sprintf("%s[%d]", path, i), depth+1)
			if err != nil {
				return nil, err
			}
			n.Items = append(n.Items, v)
		}
		return n, nil
	case yaml.MappingNode:
		n.Kind = Map
		return n, r.members(n, y, path, depth)
	case yaml.ScalarNode:
		return n, n.scalar(y, path)
	}
	return nil, At(y.Line, path, "is nothing that can be read")
}

func (r *yamlReader) members(n *Node, y *yaml.Node, path string, depth int) error {
	seen := map[string]bool{}
	for i := 0; i+1 < len(y.Content); i += 2 {
		key := y.Content[i]
		if key.Kind != yaml.ScalarNode {
			return At(key.Line, path, "a name must be text")
		}
		field := join(path, key.Value)
		if key.ShortTag() == "!!merge" {
			return At(key.Line, field, "merging maps with << is not supported")
		}
		if seen[key.Value] {
			return At(key.Line, field, "is given twice")
		}
		seen[key.Value] = true
		v, err := r.value(y.Content[i+1], field, depth+1)
		if err != nil {
			return err
		}
		n.Members = append(n.Members, Member{Name: key.Value, Line: key.Line, Value: v})
	}
	return nil
}

func (n *Node) scalar(y *yaml.Node, path string) error {
	n.Text = y.Value
	switch tag := y.ShortTag(); tag {
	case "!!null":
		n.Kind, n.Text = Null, ""
	case "!!bool":
		n.Kind, n.Text = Bool, strings.ToLower(y.Value)
		if n.Text != "true" && n.Text != "false" { // only by an explicit tag
			return At(y.Line, path, "is neither true nor false")
		}
	case "!!int", "!!float":
		text, ok := number(y.Value)
		if !ok {
			return At(y.Line, path, "is not a number")
		}
		n.Kind, n.Text = Number, text
	case "!!str", "!!timestamp":
		n.Kind = Text
	default:
		return At(y.Line, path, "a value with the tag %.40s is not supported", tag)
	}
	return nil
}

// number turns a number of YAML into one of JSON, and leaves alone what is one.
func number(text string) (string, bool) {
	plain := strings.ReplaceAll(text, "_", "")
	if len(plain) > maxDigits {
		return "", false
	}
	if jsonNumber(plain) {
		return plain, true
	}
	if i, ok := new(big.Int).SetString(strings.TrimPrefix(plain, "+"), 0); ok {
		return i.String(), true
	}
	if f, err := strconv.ParseFloat(plain, 64); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
		return strconv.FormatFloat(f, 'g', -1, 64), true
	}
	return "", false
}

// maxDigits bounds a number: reading very long ones takes time.
const maxDigits = 100
