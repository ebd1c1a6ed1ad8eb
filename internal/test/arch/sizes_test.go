package arch

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The bounds of a package, tests and generated code apart: what one reader can keep
// in mind.
const (
	maxFiles = 30
	maxLines = 5000
)

// large are packages above the bounds, and why.
var large = map[string]string{
	"internal/tools/bench": "one benchmark a file, which share their scaffolding; nobody imports it",
}

// TestPackagesStaySmall measures every package. Its log, with -v, is the list.
func TestPackagesStaySmall(t *testing.T) {
	packages := list(t)
	type size struct {
		name         string
		files, lines int
	}
	var sizes []size
	for name, p := range packages {
		s := size{name: name}
		for _, f := range p.GoFiles {
			if strings.HasSuffix(f, ".pb.go") {
				continue
			}
			data, err := os.ReadFile(filepath.Join(p.Dir, f))
			if err != nil {
				t.Fatal(err)
			}
			s.files++
			s.lines += bytes.Count(data, []byte("\n"))
		}
		sizes = append(sizes, s)
		over := s.files > maxFiles || s.lines > maxLines
		if why := large[name]; over == (why == "") {
			t.Errorf("%s has %d files and %d lines; a package has at most %d and %d: split it, or say in large why not (or no longer)",
				name, s.files, s.lines, maxFiles, maxLines)
		}
	}
	slices.SortFunc(sizes, func(a, b size) int { return b.lines - a.lines })
	for _, s := range sizes {
		t.Logf("%3d files %5d lines  %s", s.files, s.lines, s.name)
	}
	for name := range large {
		if _, ok := packages[name]; !ok {
			t.Errorf("large names %s, which does not exist", name)
		}
	}
}
