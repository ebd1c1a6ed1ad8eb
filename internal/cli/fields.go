package cli

import (
	"bytes"
	"fmt"
	"io"
	"text/tabwriter"
)

// Fields shows one thing: a line for each of its properties, name and value. The
// zero value is ready to use.
type Fields struct{ lines [][2]string }

// Add adds a line, unless the value is empty.
func (f *Fields) Add(name, value string) {
	if value != "" {
		f.lines = append(f.lines, [2]string{Line(name), Line(value)})
	}
}

// WriteTo implements [io.WriterTo].
func (f *Fields) WriteTo(w io.Writer) (int64, error) {
	var buf bytes.Buffer
	tw := tabwriter.NewWriter(&buf, 0, 0, 2, ' ', 0)
	for _, l := range f.lines {
		fmt.Fprintf(tw, "%s:\t%s\n", l[0], l[1])
	}
	tw.Flush() // a bytes.Buffer takes everything
	return buf.WriteTo(w)
}
