package xdsdir

import (
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// TestDocsListWhatIsLinked keeps the list for operators true.
func TestDocsListWhatIsLinked(t *testing.T) {
	text, err := os.ReadFile("../../../docs/proxies.md")
	if err != nil {
		t.Fatal(err)
	}
	docs := string(text)
	file, err := parser.ParseFile(token.NewFileSet(), "linked.go", nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	if len(file.Imports) < 50 {
		t.Fatalf("%d packages are linked: the test would prove little", len(file.Imports))
	}
	for _, i := range file.Imports {
		path := strings.Trim(i.Path.Value, `"`)
		name := strings.ReplaceAll(path[strings.Index(path, "/envoy/")+1:], "/", ".")
		listed := strings.Contains(docs, "`"+name+"`")
		for cut := 0; !listed; {
			next := strings.IndexByte(name[cut:], '.')
			if next < 0 {
				break
			}
			cut += next + 1
			group, rest, found := strings.Cut(docs, "- `"+name[:cut]+"`")
			_ = group
			listed = found && strings.Contains(strings.SplitN(rest, "\n- ", 2)[0], "`"+name[cut:]+"`")
		}
		if !listed {
			t.Errorf("docs/proxies.md does not list %s", name)
		}
	}
}
