package attack

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/internal/test/policy"
)

// binds are the only files that listen. The last one is for nodes that stand alone, on
// loopback.
var binds = []string{"internal/global/node/listen.go", "internal/zone/node/node.go", "internal/zone/node/socket.go", "raftstore/raftnet/layer.go"}

// programOf is whose port a file serves; "" for both.
func programOf(file string) string {
	switch {
	case strings.HasPrefix(file, "internal/zone/"):
		return "zone"
	case strings.HasPrefix(file, "internal/global/"), strings.HasPrefix(file, "kds/"):
		return "global"
	}
	return ""
}

// TestEveryDoorHasAPolicy finds whatever listens in what is shipped, and the name under
// which it is charged to the budget: each needs a row in the table of package preauth.
// Routes and methods are held against it beside their handlers.
func TestEveryDoorHasAPolicy(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	named := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		file, _ := filepath.Rel(root, path)
		file = filepath.ToSlash(file)
		if d.IsDir() && (strings.HasPrefix(file, "internal/test") || strings.HasPrefix(file, "internal/tools") || strings.HasPrefix(d.Name(), ".") && file != ".") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			for _, name := range doorsIn(n) {
				if name == "" {
					if !slices.Contains(binds, file) {
						t.Errorf("%s listens: bind in one of %v, where it is charged to the budget", file, binds)
					}
					continue
				}
				program := programOf(file)
				named[program+" "+name] = true
				if !policy.Covered(t, program, name, "") {
					t.Errorf("%s serves %q of the program %q, which has no row in the table of package preauth", file, name, program)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range policy.Rows(t) {
		if !named[r.Program+" "+r.Listener] {
			t.Errorf("the table names %s %s, which nothing serves", r.Program, r.Listener)
		}
	}
}

// doorsIn returns the names of listeners that a node of the syntax serves, "" for one
// that is bound.
func doorsIn(n ast.Node) (names []string) {
	text := func(e ast.Expr) string {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			s, _ := strconv.Unquote(lit.Value)
			return s
		}
		return ""
	}
	switch n := n.(type) {
	case *ast.CallExpr:
		selector, ok := n.Fun.(*ast.SelectorExpr)
		if !ok {
			return nil
		}
		of, _ := selector.X.(*ast.Ident)
		switch {
		case of != nil && (of.Name == "net" || of.Name == "tls") && strings.HasPrefix(selector.Sel.Name, "Listen"):
			return []string{""}
		case selector.Sel.Name == "Listen" && len(n.Args) == 3 && text(n.Args[1]) != "":
			return []string{text(n.Args[1])} // of a budget
		}
	case *ast.CompositeLit:
		selector, ok := n.Type.(*ast.SelectorExpr)
		if !ok || selector.Sel.Name != "Server" {
			return nil
		}
		if of, ok := selector.X.(*ast.Ident); !ok || of.Name != "httpserver" {
			return nil
		}
		for _, e := range n.Elts {
			if kv, ok := e.(*ast.KeyValueExpr); ok {
				if key, ok := kv.Key.(*ast.Ident); ok && key.Name == "Name" {
					names = append(names, text(kv.Value))
				}
			}
		}
	}
	return names
}
