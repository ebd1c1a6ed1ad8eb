package arch

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// architectureTable returns the rows of the first table below a heading of
// ARCHITECTURE.md, without its head.
func architectureTable(t *testing.T, heading string) (rows [][]string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root(t), "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(data), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("ARCHITECTURE.md has no heading %q", heading)
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			if rows != nil || strings.HasPrefix(line, "## ") {
				break
			}
			continue
		}
		var cells []string
		for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		rows = append(rows, cells)
	}
	if len(rows) < 2 || !strings.HasPrefix(rows[1][0], "--") {
		t.Fatalf("ARCHITECTURE.md has no table below %q", heading)
	}
	return rows[2:]
}

var quoted = regexp.MustCompile("`([^`]+)`")

// inQuotes returns what a cell has between back quotes.
func inQuotes(cell string) (names []string) {
	for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
		names = append(names, m[1])
	}
	return names
}

// TestLibrariesStayWhereTheyAre holds every import of a library against the table in
// ARCHITECTURE.md, so that replacing one touches the packages named there. The
// benchmarks may use any of them bare: they are the baselines of what is built on them.
func TestLibrariesStayWhereTheyAre(t *testing.T) {
	allowed := map[string][]string{} // library: packages
	used := map[string]map[string]bool{}
	for _, row := range architectureTable(t, "Libraries") {
		for _, lib := range inQuotes(row[0]) {
			allowed[lib], used[lib] = inQuotes(row[1]), map[string]bool{}
		}
	}
	for name, p := range list(t) {
		for _, imported := range p.Imports {
			if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") || strings.HasPrefix(imported, module) {
				continue
			}
			lib := libraryOf(allowed, imported)
			if lib == "" {
				t.Errorf("%s imports %s, which is not in the table of libraries of ARCHITECTURE.md", name, imported)
				continue
			}
			at := slices.IndexFunc(allowed[lib], func(pattern string) bool { return matches(pattern, name) })
			switch {
			case at >= 0:
				used[lib][allowed[lib][at]] = true
			case name != "internal/tools/bench":
				t.Errorf("%s imports %s, which the table of libraries of ARCHITECTURE.md has in %s only", name, imported, strings.Join(allowed[lib], ", "))
			}
		}
	}
	for lib, packages := range allowed {
		for _, name := range packages {
			if !used[lib][name] {
				t.Errorf("ARCHITECTURE.md says that %s imports %s, and it does not", name, lib)
			}
		}
	}
}

// libraryOf returns the entry of the table that a path belongs to, "" if none.
func libraryOf(table map[string][]string, path string) (lib string) {
	for name := range table {
		if (path == name || strings.HasPrefix(path, name+"/")) && len(name) > len(lib) {
			lib = name
		}
	}
	return lib
}

// matches reports whether a package is the one named, or below a name with "/...".
func matches(pattern, name string) bool {
	tree, below := strings.CutSuffix(pattern, "/...")
	return name == tree || below && strings.HasPrefix(name, tree+"/")
}
