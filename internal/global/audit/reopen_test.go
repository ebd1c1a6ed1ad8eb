package audit

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestReopenLeavesAFileThatWasMoved: the next record begins a new file. One that is in its
// place is gone on with: a new one would take an old one away.
func TestReopenLeavesAFileThatWasMoved(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir, Options{Now: newClock().now})
	files := func() []string {
		names, err := filepath.Glob(filepath.Join(dir, "change-*.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	act(t, l, Change, "ann", Done)
	for range 2 * filesPerClass {
		l.Reopen()
		act(t, l, Change, "ann", Done)
	}
	first := files()
	if len(first) != 1 {
		t.Fatalf("there are %d files, none of which was moved", len(first))
	}
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(first[0], moved); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(moved)
	if err != nil {
		t.Fatal(err)
	}
	l.Reopen()
	act(t, l, Change, "bob", Done)
	after, err := os.Stat(moved)
	if err != nil {
		t.Fatal(err)
	}
	if now := files(); len(now) != 1 || slices.Equal(now, first) || after.Size() != before.Size() {
		t.Errorf("after it was moved there are %v, and the moved one grew by %d bytes", now, after.Size()-before.Size())
	}
	if records, damaged := all(t, l, Query{}); damaged > 0 || len(records) == 0 || users(records)[:3] != "bob" {
		t.Errorf("%d records are read, %d damaged: %s", len(records), damaged, users(records))
	}
}
