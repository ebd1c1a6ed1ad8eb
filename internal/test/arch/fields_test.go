package arch

import (
	"go/ast"
	"go/types"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

// TestEveryAnswerFieldIsFilled wants every field that an API promises to be set by
// something that ships: one that nobody sets is documented, printed and always empty.
func TestEveryAnswerFieldIsFilled(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: checks the types of the whole module")
	}
	loaded, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedImports | packages.NeedTypes | packages.NeedSyntax | packages.NeedTypesInfo, Dir: "../../..",
	}, "./...")
	if err != nil {
		t.Fatal(err)
	}
	const api = module + "/internal/apitypes"
	set := map[string]bool{} // "Type.Field"
	var promised []string
	for _, p := range loaded {
		if len(p.Errors) > 0 {
			t.Fatal(p.Errors)
		}
		if p.PkgPath == api {
			promised = fieldsOf(p.Types)
		}
		if strings.Contains(p.PkgPath, "/internal/test/") || strings.Contains(p.PkgPath, "/internal/tools/") {
			continue
		}
		for _, f := range p.Syntax {
			ast.Inspect(f, func(n ast.Node) bool { markSet(p.TypesInfo, api, n, set); return true })
		}
	}
	if len(promised) < 100 {
		t.Fatalf("%d fields were found: the test would prove nothing", len(promised))
	}
	for _, field := range promised {
		if !set[field] && leftEmpty[field] == "" {
			t.Errorf("apitypes.%s is set by nobody", field)
		}
		if set[field] && leftEmpty[field] != "" {
			t.Errorf("apitypes.%s is set, and leftEmpty says that it is not", field)
		}
	}
}

// leftEmpty are fields that nothing of ours sets, and why.
var leftEmpty = map[string]string{
	"AuthenticateRequest.Require": "services ask with it, and no program of ours",
	"Index.GUI":                   "Kuma has the member",
}

// fieldsOf are the fields of a package's structs that JSON shows.
func fieldsOf(p *types.Package) (all []string) {
	for _, name := range p.Scope().Names() {
		s, ok := p.Scope().Lookup(name).Type().Underlying().(*types.Struct)
		if !ok {
			continue
		}
		for i := range s.NumFields() {
			if f := s.Field(i); f.Exported() && !f.Embedded() && reflect.StructTag(s.Tag(i)).Get("json") != "-" {
				all = append(all, name+"."+f.Name())
			}
		}
	}
	return all
}

// markSet notes the fields of api's structs that a node sets: by name or place in a
// literal, by assignment, or by handing out its address.
func markSet(info *types.Info, api string, n ast.Node, set map[string]bool) {
	owner := func(typ types.Type) (string, *types.Struct) {
		if p, ok := typ.(*types.Pointer); ok {
			typ = p.Elem()
		}
		named, ok := types.Unalias(typ).(*types.Named)
		if !ok || named.Obj().Pkg() == nil || named.Obj().Pkg().Path() != api {
			return "", nil
		}
		s, _ := named.Underlying().(*types.Struct)
		return named.Obj().Name(), s
	}
	var field func(e ast.Expr)
	field = func(e ast.Expr) {
		for {
			if i, ok := e.(*ast.IndexExpr); ok {
				e = i.X // an element of a map or list is set
				continue
			}
			break
		}
		sel, ok := e.(*ast.SelectorExpr)
		if !ok || info.Selections[sel] == nil {
			return
		}
		s := info.Selections[sel]
		field(sel.X) // what it is part of
		typ := s.Recv()
		for _, i := range s.Index()[:len(s.Index())-1] { // through what is embedded
			_, st := owner(typ)
			if st == nil {
				return
			}
			typ = st.Field(i).Type()
		}
		if name, _ := owner(typ); name != "" {
			set[name+"."+sel.Sel.Name] = true
		}
	}
	switch n := n.(type) {
	case *ast.CompositeLit:
		name, s := owner(info.TypeOf(n))
		if s == nil {
			return
		}
		for i, e := range n.Elts {
			if kv, ok := e.(*ast.KeyValueExpr); ok {
				set[name+"."+kv.Key.(*ast.Ident).Name] = true
			} else {
				set[name+"."+s.Field(i).Name()] = true
			}
		}
	case *ast.AssignStmt:
		for _, e := range n.Lhs {
			field(e)
		}
	case *ast.IncDecStmt:
		field(n.X)
	case *ast.UnaryExpr:
		field(n.X)
	case *ast.CallExpr: // a conversion fills all that it has
		if tv := info.Types[n.Fun]; tv.IsType() {
			if name, s := owner(tv.Type); s != nil {
				for i := range s.NumFields() {
					set[name+"."+s.Field(i).Name()] = true
				}
			}
		}
	}
}
