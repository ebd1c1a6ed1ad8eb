package attack

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTheIndexIsTrue looks up every test that the package's documentation names, and
// that every test of this package stands there.
func TestTheIndexIsTrue(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`([a-z/]+)\.((?:Test|Fuzz)\w+)`).FindAllStringSubmatch(string(doc), -1)
	if len(named) < 40 {
		t.Fatalf("the index names %d tests only", len(named))
	}
	sources := map[string]string{}
	for _, n := range named {
		dir, name := n[1], n[2]
		if _, read := sources[dir]; !read {
			sources[dir] = testsOf(t, filepath.Join("..", "..", "..", filepath.FromSlash(dir)))
		}
		if !strings.Contains(sources[dir], "func "+name+"(") {
			t.Errorf("%s has no %s", dir, name)
		}
	}
	for _, n := range regexp.MustCompile(`func (Test\w+)\(`).FindAllStringSubmatch(testsOf(t, "."), -1) {
		if n[1] != "TestTheIndexIsTrue" && !strings.Contains(string(doc), "internal/test/attack."+n[1]) {
			t.Errorf("the index lacks %s", n[1])
		}
	}
}

// testsOf returns the test files of a folder in one string.
func testsOf(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no tests: %v", dir, err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}
