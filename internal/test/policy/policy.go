// Package policy reads the table of package preauth, so that tests can hold listeners,
// routes and methods against it.
package policy

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Row is one line of the table.
type Row struct{ Program, Port, Listener, What string }

// Rows returns the table in the doc comment of package preauth.
func Rows(t testing.TB) (rows []Row) {
	t.Helper()
	_, own, _, _ := runtime.Caller(0)
	data, err := os.ReadFile(filepath.Join(filepath.Dir(own), "..", "..", "net", "preauth", "doc.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(data), "//\tprogram port listener")
	if !found {
		t.Fatal("the doc comment of package preauth has no table")
	}
	_, table, _ = strings.Cut(table, "\n")
	for line := range strings.Lines(table) {
		text, ok := strings.CutPrefix(line, "//\t")
		if !ok {
			break
		}
		f := strings.Fields(text)
		what := f[3]
		if len(f) > 5 && strings.HasPrefix(f[4], "/") { // a method and a path
			what += " " + f[4]
		}
		rows = append(rows, Row{f[0], f[1], f[2], what})
	}
	if len(rows) < 10 {
		t.Fatalf("the table has %d rows only: it would prove nothing", len(rows))
	}
	return rows
}

// Covered reports whether the table has a row for what is served on a listener of a
// program: "" is the listener itself.
func Covered(t testing.TB, program, listener, what string) bool {
	t.Helper()
	for _, r := range Rows(t) {
		if r.Program != program || r.Listener != listener {
			continue
		}
		prefix, pattern := strings.CutSuffix(r.What, "*")
		if what == "" || r.What == what || pattern && strings.HasPrefix(what, prefix) {
			return true
		}
	}
	return false
}
