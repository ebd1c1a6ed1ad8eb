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
	data, err := os.ReadFile(filepath.Join(filepath.Dir(own), "..", "..", "net", "preauth", "policy.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(data), "//\tprogram port listener")
	if !found {
		t.Fatal("policy.go of package preauth has no table")
	}
	_, table, _ = strings.Cut(table, "\n")
	for line := range strings.Lines(table) {
		text, ok := strings.CutPrefix(line, "//\t")
		if !ok {
			break
		}
		f := strings.Fields(text)
		what := f[3]
		if len(f) > 4 && strings.HasPrefix(f[4], "/") { // a method and a path
			what += " " + f[4]
		}
		for _, listener := range strings.Split(f[2], ",") {
			rows = append(rows, Row{f[0], f[1], listener, what})
		}
	}
	if len(rows) < 10 {
		t.Fatalf("the table has %d rows only: it would prove nothing", len(rows))
	}
	return rows
}

// Covered reports whether the table has a row for a listener of a program, and what is
// served there; "" is the listener itself.
func Covered(t testing.TB, program, listener, what string) bool {
	t.Helper()
	for _, r := range Rows(t) {
		if r.Program == program && r.Listener == listener && (what == "" || r.What == what) {
			return true
		}
	}
	return false
}

// Listed reports whether the table has a row for a route or method of a program.
func Listed(t testing.TB, program, what string) bool {
	t.Helper()
	for _, r := range Rows(t) {
		if r.Program == program && r.What == what {
			return true
		}
	}
	return false
}
