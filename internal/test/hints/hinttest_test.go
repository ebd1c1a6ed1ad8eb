package hints

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestFind(t *testing.T) {
	dir := t.TempDir()
	source := "package p\n\n" +
		"var a = \"see `global get zones --mesh M | sort`, or not\"\n" +
		"var b = \"make one with: global generate seal-key > seal.key\"\n" +
		"var c = e.WithHint(\"the global rotates, then global keys list shows it\")\n" +
		"var d = \"a global that runs: global. Not global keys either\"\n" +
		"var f = `Examples:\n  global dev\n`\n"
	for name, text := range map[string]string{"p.go": source, "p_test.go": "not Go at all"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found, err := Find(dir, "global")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range found {
		got = append(got, filepath.Base(m.String()))
	}
	want := []string{
		"p.go:3:9: global get zones --mesh M",
		"p.go:4:9: global generate seal-key",
		"p.go:5:20: global keys list shows it",
		"p.go:7:9: global dev",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
