package main

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
)

func TestDisksGoBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "node")
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := func(when string, files map[string]string) {
		t.Helper()
		found := map[string]string{}
		for _, name := range []string{"raft.db", "standings.json", "snapshots/1"} {
			if data, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
				found[name] = string(data)
			}
		}
		if !maps.Equal(found, files) {
			t.Errorf("%s: %v, want %v", when, found, files)
		}
	}
	do := func(what, only string) {
		t.Helper()
		if err := runDisk(what, only, []string{dir}); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	write("raft.db", "older")
	write("standings.json", "older")
	do("keep", "")
	write("raft.db", "newer")
	write("standings.json", "newer")
	write("snapshots/1", "newer")
	do("back", "raft.db")
	want("one file went back", map[string]string{"raft.db": "older", "standings.json": "newer", "snapshots/1": "newer"})
	for range 2 {
		do("back", "")
		want("everything went back", map[string]string{"raft.db": "older", "standings.json": "older"})
	}
	do("empty", "")
	want("emptied", nil)
	if runDisk("mend", "", []string{dir}) == nil || runDisk("back", "none", []string{dir}) == nil {
		t.Error("what cannot be done is taken for done")
	}
}
