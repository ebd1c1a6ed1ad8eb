package yamldoc

import (
	"bytes"
	"encoding/json"
	"slices"
)

// JSON returns the node as JSON in which everything stands on the line on which
// it stood in the document, as far as lines only ever grow: what a reader of the
// JSON complains about can then be found in the document by its line.
func (n *Node) JSON() []byte {
	w := writer{line: 1}
	w.value(n)
	return w.out.Bytes()
}

// CompactJSON returns the node as JSON on one line.
func (n *Node) CompactJSON() []byte {
	w := writer{compact: true}
	w.value(n)
	return w.out.Bytes()
}

type writer struct {
	out     bytes.Buffer
	line    int
	compact bool
}

// move goes down to a line of the document.
func (w *writer) move(line int) {
	for ; !w.compact && w.line < line; w.line++ {
		w.out.WriteByte('\n')
	}
}

func (w *writer) text(s string) {
	enc := json.NewEncoder(&w.out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string into a buffer: neither can fail
	w.out.Truncate(w.out.Len() - 1)
}

func (w *writer) value(n *Node) {
	w.move(n.Line)
	switch n.Kind {
	case Null:
		w.out.WriteString("null")
	case Bool, Number:
		w.out.WriteString(n.Text)
	case Text:
		w.text(n.Text)
	case List:
		w.out.WriteByte('[')
		for i, item := range n.Items {
			if i > 0 {
				w.out.WriteByte(',')
			}
			w.value(item)
		}
		w.out.WriteByte(']')
	case Map:
		w.out.WriteByte('{')
		for i, m := range n.Members {
			if i > 0 {
				w.out.WriteByte(',')
			}
			w.move(m.Line)
			w.text(m.Name)
			w.out.WriteByte(':')
			w.value(m.Value)
		}
		w.out.WriteByte('}')
	}
}

// jsonNumber reports whether text is a number of JSON.
func jsonNumber(text string) bool {
	first := text != "" && (text[0] == '-' || text[0] >= '0' && text[0] <= '9')
	return first && !slices.Contains([]byte(text), ' ') && json.Valid([]byte(text))
}
