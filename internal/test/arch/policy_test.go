package arch

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/internal/test/policy"
)

// binds are the only files that listen. The last one is for nodes that stand alone, on
// loopback.
var binds = []string{"internal/endpoints/listen.go", "internal/global/node/listen.go", "internal/zone/node/node.go", "internal/zone/node/socket.go", "raftstore/raftnet/layer.go"}

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

// TestEveryRouteAndMethodHasAPolicy finds the pattern of every route and the name of every
// method of gRPC in what is shipped: each needs a row of its own in the table of package
// preauth, and each row is of one that is served.
func TestEveryRouteAndMethodHasAPolicy(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	served := map[string]bool{}
	for _, pkg := range sources(t, root) {
		for file, parsed := range pkg.files {
			ast.Inspect(parsed, func(n ast.Node) bool {
				for _, what := range pkg.servedBy(t, file, n) {
					for _, program := range programsOf(file) {
						served[program+" "+what] = true
						if !policy.Listed(t, program, what) {
							t.Errorf("%s serves %q of the program %s, which has no row in the table of package preauth", file, what, program)
						}
					}
				}
				return true
			})
		}
	}
	for _, r := range policy.Rows(t) {
		if r.What != "*" && !served[r.Program+" "+r.What] {
			t.Errorf("the table names %s of the program %s, which nothing serves", r.What, r.Program)
		}
	}
	if len(served) < 90 {
		t.Errorf("%d routes and methods were found: the test proves nothing", len(served))
	}
}

// generated are the services whose description is generated code, by the function that
// registers them.
var generated = map[string][]string{
	"health":        {"/grpc.health.v1.Health/Check"},
	"authorization": {"/envoy.service.auth.v3.Authorization/Check"},
	"RegisterAggregatedDiscoveryServiceServer": {
		"/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
		"/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
	},
}

// dynamic are the files in which a path is no constant, and what is served there.
var dynamic = map[string]string{"internal/zone/proxyport/server.go": "GET /v1/jwks/*"}

// elsewhere are files whose calls of Handle serve no route of their own, and why.
var elsewhere = map[string]string{
	"internal/global/adminapi/router.go": "its routes are found in their map",
	"internal/runlog/once.go":            "it handles lines of a log",
}

func programsOf(file string) []string {
	if program := programOf(file); program != "" {
		return []string{program}
	}
	return []string{"global", "zone"}
}

// source is a package that is shipped.
type source struct {
	files  map[string]*ast.File
	consts map[string]string // of strings, also of other packages of ours as "package.Name"
}

// eachShipped visits the files of Go that ship, with their names below the root.
func eachShipped(root string, visit func(path, file string) error) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
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
		return visit(path, file)
	})
}

// TestTLSIsVerified: what ships checks whom it talks to. The one place that takes it out
// of the library's hands checks the chain itself.
func TestTLSIsVerified(t *testing.T) {
	const itself = "internal/net/tlsutil/peer.go"
	found := map[string]bool{}
	err := eachShipped(filepath.Join("..", "..", ".."), func(path, file string) error {
		text, err := os.ReadFile(path)
		found[file] = bytes.Contains(text, []byte("InsecureSkipVerify"))
		if found[file] && file != itself {
			t.Errorf("%s does not verify whom it talks to", file)
		}
		return err
	})
	if err != nil || !found[itself] || len(found) < 300 {
		t.Errorf("%d files, %v: the test would prove nothing", len(found), err)
	}
}

// sources parses what is shipped.
func sources(t *testing.T, root string) map[string]*source {
	t.Helper()
	packages, all := map[string]*source{}, map[string]string{}
	err := eachShipped(root, func(path, file string) error {
		if strings.HasSuffix(file, ".pb.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := filepath.Dir(file)
		if packages[dir] == nil {
			packages[dir] = &source{files: map[string]*ast.File{}, consts: map[string]string{}}
		}
		packages[dir].files[file] = parsed
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages {
		for _, f := range p.files {
			for _, decl := range f.Decls {
				if d, ok := decl.(*ast.GenDecl); ok && d.Tok == token.CONST {
					for _, spec := range d.Specs {
						v := spec.(*ast.ValueSpec)
						for i := range v.Values {
							if s, ok := p.text(v.Values[i]); ok {
								p.consts[v.Names[i].Name], all[f.Name.Name+"."+v.Names[i].Name] = s, s
							}
						}
					}
				}
			}
		}
	}
	for _, p := range packages {
		for name, s := range all {
			p.consts[name] = s
		}
	}
	return packages
}

// text is the value of a constant expression of strings.
func (p *source) text(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		return s, err == nil && e.Kind == token.STRING
	case *ast.Ident:
		s, ok := p.consts[e.Name]
		return s, ok
	case *ast.SelectorExpr:
		if of, ok := e.X.(*ast.Ident); ok {
			if method, found := strings.CutPrefix(e.Sel.Name, "Method"); found && of.Name == "http" {
				return strings.ToUpper(method), true
			}
			s, ok := p.consts[of.Name+"."+e.Sel.Name]
			return s, ok
		}
	case *ast.BinaryExpr:
		a, okA := p.text(e.X)
		b, okB := p.text(e.Y)
		return a + b, okA && okB
	}
	return "", false
}

// servedBy is what a node of the syntax serves.
func (p *source) servedBy(t *testing.T, file string, n ast.Node) (found []string) {
	constant := func(e ast.Expr) string {
		if s, ok := p.text(e); ok {
			return s
		}
		if dynamic[file] == "" {
			t.Errorf("%s serves a path that is no constant: list it in dynamic", file)
		}
		return dynamic[file]
	}
	switch n := n.(type) {
	case *ast.CallExpr:
		switch f := n.Fun.(type) {
		case *ast.Ident:
			return generated[f.Name]
		case *ast.SelectorExpr:
			name := f.Sel.Name
			if (name == "Handle" || name == "HandleFunc") && len(n.Args) == 2 && elsewhere[file] == "" {
				if s := constant(n.Args[0]); s != "/" { // which goes on to another mux
					return []string{s}
				}
			}
			if generated[name] == nil && strings.HasPrefix(name, "Register") && strings.HasSuffix(name, "Server") {
				t.Errorf("%s calls %s: list its methods in generated", file, name)
			}
			return generated[name]
		}
	case *ast.CompositeLit:
		switch kind := n.Type.(type) {
		case *ast.Ident:
			if kind.Name == "routes" { // path to method
				for _, e := range n.Elts {
					kv := e.(*ast.KeyValueExpr)
					inner, ok := kv.Value.(*ast.CompositeLit)
					if !ok {
						found = append(found, constant(kv.Key))
						continue
					}
					for _, method := range inner.Elts {
						found = append(found, constant(method.(*ast.KeyValueExpr).Key)+" "+constant(kv.Key))
					}
				}
			}
		case *ast.MapType:
			if of, ok := kind.Value.(*ast.Ident); ok && of.Name == "route" {
				for _, e := range n.Elts {
					found = append(found, constant(e.(*ast.KeyValueExpr).Key))
				}
			}
		}
		found = append(found, p.methodsIn(n)...)
	}
	return found
}

// methodsIn are those of a description of a service of gRPC.
func (p *source) methodsIn(lit *ast.CompositeLit) (found []string) {
	service := ""
	for _, e := range lit.Elts {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			return nil
		}
		key, _ := kv.Key.(*ast.Ident)
		switch {
		case key == nil:
			return nil
		case key.Name == "ServiceName":
			service, _ = p.text(kv.Value)
		case service != "" && (key.Name == "Streams" || key.Name == "Methods"):
			ast.Inspect(kv.Value, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok && len(call.Args) > 0 {
					if name, ok := p.text(call.Args[0]); ok {
						found = append(found, "/"+service+"/"+name)
					}
				}
				return true
			})
		}
	}
	return found
}

// TestEveryDoorHasAPolicy finds whatever listens in what is shipped, and the name under
// which it is charged to the budget: each needs a row in the table of package preauth.
// Routes and methods are held against it beside their handlers.
func TestEveryDoorHasAPolicy(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	named := map[string]bool{}
	err := eachShipped(root, func(path, file string) error {
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
		case selector.Sel.Name == "Listen" && len(n.Args) == 2: // of endpoints.Addr
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
