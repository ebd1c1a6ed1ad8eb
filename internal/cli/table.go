package cli

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/meridiankds/meridian/internal/clock"
)

// Table is what the programs show where they are not asked for JSON or YAML:
// capitals for the header, three blanks between columns, as kumactl's users
// know it.
type Table struct {
	header []string
	rows   [][]string
	wide   int // how many columns only -o wide shows, the last ones
	format Format
}

// NewTable returns a table with these columns.
func NewTable(header ...string) *Table { return &Table{header: header} }

// Wide adds columns that only -o wide shows. It is called before the first row.
func (t *Table) Wide(header ...string) *Table {
	t.header, t.wide = append(t.header, header...), t.wide+len(header)
	return t
}

func (t *Table) formatted(f Format) { t.format = f }

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
	columns := len(t.header)
	switch {
	case t.format.names:
		columns = 1
	case !t.format.wide:
		columns -= t.wide
	}
	var lines []string
	if !t.format.bare && !t.format.names {
		lines = append(lines, strings.Join(t.header[:columns], "\t"))
	}
	for _, row := range t.rows {
		for i, cell := range row {
			if t.header[i] != "ID" {
				row[i] = t.format.named.in(cell)
			}
		}
		lines = append(lines, strings.Join(row[:columns], "\t"))
	}
	text := spread(lines, 3)
	if slices.ContainsFunc(strings.Split(text, "\n"), func(l string) bool { return utf8.RuneCountInString(l) > wideTerminal }) {
		text = spread(lines, 2)
	}
	n, err := io.WriteString(w, text)
	return int64(n), err
}

// wideTerminal is how many characters of a line many see: a table that is wider stands closer.
const wideTerminal = 120

// spread puts the columns of lines, which tabs divide, below each other.
func spread(lines []string, blanks int) string {
	var buf bytes.Buffer
	tw := tabwriter.NewWriter(&buf, 0, 0, blanks, ' ', 0)
	for _, line := range lines {
		fmt.Fprintln(tw, line)
	}
	tw.Flush() // a bytes.Buffer takes everything
	return buf.String()
}

// headed is a table below a line.
type headed struct {
	line  string
	table *Table
}

// Headed shows a line above a table. Programs that read the rows without a header, or the
// first column alone, get none.
func Headed(text string, t *Table) io.WriterTo { return &headed{Line(text), t} }

func (h *headed) formatted(f Format) { h.table.formatted(f) }

// WriteTo implements [io.WriterTo].
func (h *headed) WriteTo(w io.Writer) (int64, error) {
	var buf bytes.Buffer
	if f := h.table.format; !f.bare && !f.names {
		fmt.Fprintf(&buf, "%s\n\n", f.named.in(h.line))
	}
	_, _ = h.table.WriteTo(&buf) // a bytes.Buffer takes everything
	return buf.WriteTo(w)
}

// Age returns how long ago t was in the one unit that matters: "7s", "36m",
// "5h", "12d", "2y". A time that has not come is "0s", the zero time "never".
func Age(now, t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	if !clock.Earlier(t, now) {
		return "0s"
	}
	return between(t, now)
}

// Span returns a length of time in the unit that [Age] would choose.
func Span(d time.Duration) string { return spanSeconds(int64(d / time.Second)) }

// between is Span from one time to a later one, however far away: a Duration ends
// at 292 years, and a token's last second may be in the year 9999.
func between(from, to time.Time) string {
	seconds := clock.WholeSeconds(from, to)
	if to.Nanosecond() < from.Nanosecond() {
		seconds--
	}
	return spanSeconds(seconds)
}

func spanSeconds(s int64) string {
	const minute, hour, day, year = 60, 3600, 86400, 365 * 86400
	switch {
	case s < minute:
		return fmt.Sprintf("%ds", s)
	case s < hour:
		return fmt.Sprintf("%dm", s/minute)
	case s < day:
		return fmt.Sprintf("%dh", s/hour)
	case s < year:
		return fmt.Sprintf("%dd", s/day)
	}
	return fmt.Sprintf("%dy", s/year)
}

// Moment returns a time with its distance from now: "2026-11-22T12:00:00Z (in
// 29d)" or "… (3h ago)". The zero time is shown as absent.
func Moment(t, now time.Time, absent string) string {
	if t.IsZero() {
		return absent
	}
	text := t.UTC().Format(time.RFC3339)
	if clock.Earlier(now, t) {
		return text + " (in " + between(now, t) + ")"
	}
	return text + " (" + between(t, now) + " ago)"
}
