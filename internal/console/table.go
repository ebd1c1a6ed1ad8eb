package console

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Table is what the programs show where they are not asked for JSON or YAML:
// capitals for the header, three blanks between columns, as kumactl's users
// know it.
type Table struct {
	header []string
	rows   [][]string
}

// NewTable returns a table with these columns.
func NewTable(header ...string) *Table { return &Table{header: header} }

// Row adds a row. Cells are cleaned; an empty one shows as "-", except in the
// last column, so that each line has as many words as columns.
func (t *Table) Row(cells ...string) {
	row := make([]string, len(t.header))
	for i := range row {
		if i < len(cells) {
			row[i] = Line(cells[i])
		}
		if row[i] == "" {
			row[i] = "-"
		}
	}
	t.rows = append(t.rows, row)
}

// WriteTo implements [io.WriterTo]. A table without rows still has its header.
func (t *Table) WriteTo(w io.Writer) (int64, error) {
	var buf bytes.Buffer
	tw := tabwriter.NewWriter(&buf, 0, 0, 3, ' ', 0)
	fmt.Fprintln(tw, strings.Join(t.header, "\t"))
	for _, row := range t.rows {
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	tw.Flush() // a bytes.Buffer takes everything
	return buf.WriteTo(w)
}

// Age returns how long ago t was in the one unit that matters: "7s", "36m",
// "5h", "12d", "2y". A time that has not come is "0s", the zero time "never".
func Age(now, t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return Span(max(now.Sub(t), 0))
}

// Span returns a length of time in the unit that [Age] would choose.
func Span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d/time.Second))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d/time.Minute))
	case d < day:
		return fmt.Sprintf("%dh", int(d/time.Hour))
	case d < 365*day:
		return fmt.Sprintf("%dd", int(d/day))
	}
	return fmt.Sprintf("%dy", int(d/(365*day)))
}

// Moment returns a time with its distance from now: "2026-11-22T12:00:00Z (in
// 29d)" or "… (3h ago)". The zero time is shown as absent.
func Moment(t, now time.Time, absent string) string {
	if t.IsZero() {
		return absent
	}
	text := t.UTC().Format(time.RFC3339)
	if t.After(now) {
		return text + " (in " + Span(t.Sub(now)) + ")"
	}
	return text + " (" + Span(now.Sub(t)) + " ago)"
}
