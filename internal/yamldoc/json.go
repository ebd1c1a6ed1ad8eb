package yamldoc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// parseJSON reads data as JSON. It returns nothing at all where data is not JSON
// and may be YAML still.
func parseJSON(data []byte, most int) (*Node, error) {
	trimmed := bytes.TrimLeft(data, " \t\r\n")
	if len(trimmed) == 0 || trimmed[0] != '{' || !utf8.Valid(data) || !json.Valid(data) {
		return nil, nil
	}
	r := jsonReader{data: data, dec: json.NewDecoder(bytes.NewReader(data)), line: 1, left: most, most: most}
	r.dec.UseNumber()
	return r.value("", 0)
}

// jsonReader reads a text that is known to be valid.
type jsonReader struct {
	data []byte
	dec  *json.Decoder
	line int // of the byte at offset counted
	done int
	left int // values that may come, of most
	most int
}

// next returns the next token and the line on which it ends: no token of JSON
// spans lines.
func (r *jsonReader) next() (json.Token, int, error) {
	token, err := r.dec.Token()
	if err != nil {
		return nil, 0, At(r.line, "", "not JSON: %v", err)
	}
	offset := int(r.dec.InputOffset())
	r.line += bytes.Count(r.data[r.done:offset], []byte{'\n'})
	r.done = offset
	return token, r.line, nil
}

func (r *jsonReader) value(path string, depth int) (*Node, error) {
	token, line, err := r.next()
	if err != nil {
		return nil, err
	}
	if r.left--; r.left < 0 {
		return nil, tooMany(line, r.most)
	}
	if depth > MaxDepth {
		return nil, At(line, path, "nests more than %d levels deep", MaxDepth)
	}
	n := &Node{Line: line}
	switch v := token.(type) {
	case nil:
	case bool:
		n.Kind, n.Text = Bool, fmt.Sprint(v)
	case json.Number:
		n.Kind, n.Text = Number, v.String()
	case string:
		n.Kind, n.Text = Text, v
	case json.Delim:
		if v == '{' {
			n.Kind = Map
			return n, r.members(n, path, depth)
		}
		n.Kind = List
		for i := 0; r.dec.More(); i++ {
			item, err := r.value(fmt.Sprintf("%s[%d]", path, i), depth+1)
			if err != nil {
				return nil, err
			}
			n.Items = append(n.Items, item)
		}
		_, _, err := r.next()
		return n, err
	}
	return n, nil
}

func (r *jsonReader) members(n *Node, path string, depth int) error {
	seen := map[string]bool{}
	for r.dec.More() {
		token, line, err := r.next()
		if err != nil {
			return err
		}
		name, _ := token.(string) // the decoder has made sure of it
		field := join(path, name)
		if seen[name] {
			return At(line, field, "is given twice")
		}
		seen[name] = true
		value, err := r.value(field, depth+1)
		if err != nil {
			return err
		}
		n.Members = append(n.Members, Member{Name: name, Line: line, Value: value})
	}
	_, _, err := r.next()
	return err
}
