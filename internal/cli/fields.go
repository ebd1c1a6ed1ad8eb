package cli

import (
	"bytes"
	"fmt"
	"io"
	"text/tabwriter"
)

// Fields shows one thing: a line for each of its properties, name and value. The
// zero value is ready to use.
type Fields struct {
	lines  []field
	format Format
}

type field struct {
	name, value string
	wide        bool // only -o wide shows it
}

// Add adds a line, unless the value is empty.
func (f *Fields) Add(name, value string) { f.add(name, value, false) }

// AddWide adds a line that only -o wide shows, unless the value is empty.
func (f *Fields) AddWide(name, value string) { f.add(name, value, true) }

func (f *Fields) add(name, value string, wide bool) {
	if value != "" {
		f.lines = append(f.lines, field{Line(name), Line(value), wide})
	}
}

func (f *Fields) formatted(format Format) { f.format = format }

// WriteTo implements [io.WriterTo].
func (f *Fields) WriteTo(w io.Writer) (int64, error) {
	var buf bytes.Buffer
	tw := tabwriter.NewWriter(&buf, 0, 0, 2, ' ', 0)
	for _, l := range f.lines {
		if !l.wide || f.format.wide {
			fmt.Fprintf(tw, "%s:\t%s\n", l.name, f.format.named.in(l.value))
		}
	}
	tw.Flush() // a bytes.Buffer takes everything
	return buf.WriteTo(w)
}

// formatted is what a command shows, which may differ by format.
type formatted interface {
	io.WriterTo
	formatted(Format)
}

// stack are shown one below the other, with a blank line between two.
type stack[S formatted] []S

// Tables and Paragraphs are several tables, and the fields of several things, one below the
// other with a blank line between two.
type (
	Tables     = stack[*Table]
	Paragraphs = stack[*Fields]
)

func (l stack[S]) formatted(format Format) {
	for _, one := range l {
		one.formatted(format)
	}
}

// WriteTo implements [io.WriterTo].
func (l stack[S]) WriteTo(w io.Writer) (int64, error) {
	var buf bytes.Buffer
	for i, one := range l {
		if i > 0 {
			buf.WriteByte('\n')
		}
		_, _ = one.WriteTo(&buf) // a bytes.Buffer takes everything
	}
	return buf.WriteTo(w)
}
