package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// typesOf are the types that a package declares, and the names of their methods;
// those of an interface too.
type typesOf map[string]map[string]bool

// TestAdaptersAreExplicit wants that a struct which stands for another value says
// which methods it has: it embeds nothing of this module that has methods of its own
// (except within one package), nothing that is called a store, and hides no embedded
// method behind one of the same name. Otherwise whatever embeds a store compiles
// wherever the store does, and putting the wrong one into a place changes only what the
// program does.
func TestAdaptersAreExplicit(t *testing.T) {
	packages := list(t)
	fset := token.NewFileSet()
	files := map[string][]*ast.File{}
	types := map[string]typesOf{}
	for name, p := range packages {
		types[name] = typesOf{}
		files[name] = p.parse(t, fset, parser.SkipObjectResolution)
		for _, parsed := range files[name] {
			types[name].collect(parsed)
		}
	}
	embedded := 0
	for name, list := range files {
		if strings.HasSuffix(name, "pb") {
			continue // generated
		}
		for _, f := range list {
			eachEmbedded(f, func(outer string, field ast.Expr) {
				from, inner := named(f, field)
				if from == "" {
					from = name
				}
				methods, known := types[from][inner]
				if !known {
					return // of a library
				}
				embedded++
				at := fset.Position(field.Pos())
				switch {
				case from != name && len(methods) > 0:
					t.Errorf("%s: %s embeds %s.%s: make it a field, and write the methods that its interface wants", at, outer, from, inner)
				case strings.HasSuffix(inner, "Store"):
					t.Errorf("%s: %s embeds a store: make it a field, and write the methods that its interface wants", at, outer)
				}
				for m := range types[name][outer] {
					if methods[m] {
						t.Errorf("%s: %s.%s hides the one of %s, which it embeds: make that a field", at, outer, m, inner)
					}
				}
			})
		}
	}
	if embedded < 5 {
		t.Errorf("%d embedded types of this module were found: the test would prove nothing", embedded)
	}
}

func (ts typesOf) add(name, method string) {
	if ts[name] == nil {
		ts[name] = map[string]bool{}
	}
	if method != "" {
		ts[name][method] = true
	}
}

func (ts typesOf) collect(f *ast.File) {
	for _, decl := range f.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Recv != nil {
				ts.add(base(d.Recv.List[0].Type), d.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				s, ok := spec.(*ast.TypeSpec)
				if !ok {
					continue
				}
				ts.add(s.Name.Name, "")
				if i, ok := s.Type.(*ast.InterfaceType); ok {
					for _, m := range i.Methods.List {
						for _, n := range m.Names {
							ts.add(s.Name.Name, n.Name)
						}
					}
				}
			}
		}
	}
}

// eachEmbedded visits the embedded fields of the structs that a file declares.
func eachEmbedded(f *ast.File, visit func(outer string, field ast.Expr)) {
	ast.Inspect(f, func(n ast.Node) bool {
		s, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if st, ok := s.Type.(*ast.StructType); ok {
			for _, field := range st.Fields.List {
				if len(field.Names) == 0 {
					visit(s.Name.Name, field.Type)
				}
			}
		}
		return true
	})
}

// base is the name of a type without pointer and type parameters.
func base(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.StarExpr:
		return base(x.X)
	case *ast.IndexExpr:
		return base(x.X)
	case *ast.IndexListExpr:
		return base(x.X)
	case *ast.Ident:
		return x.Name
	case *ast.SelectorExpr:
		return x.Sel.Name
	}
	return ""
}

// named is the package of this module that a type is of, "" for the file's own, and
// its name. A library's type has a package that nobody knows.
func named(f *ast.File, e ast.Expr) (from, name string) {
	if p, ok := e.(*ast.StarExpr); ok {
		e = p.X
	}
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return "", base(e)
	}
	qualifier := base(s.X)
	for _, spec := range f.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		local := filepath.Base(path)
		if spec.Name != nil {
			local = spec.Name.Name
		}
		if local == qualifier {
			return rel(path), s.Sel.Name
		}
	}
	return "a library", s.Sel.Name
}
