package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
)

// claimLimits are the bounds of what several doors take in, and the one package that
// declares each: a door that is narrower or wider than the next one accepts what the
// next refuses, or refuses what was promised.
var claimLimits = map[string]string{
	"maxkidlen":      "cptoken",
	"maxidlen":       "cptoken",
	"maxreason":      "federation",
	"maxrelaymeshes": "federation",
	"maxrun":         "cptoken",
}

// TestEachClaimHasOneLimit fails for a constant of such a name in another package,
// unless it is that constant under another name.
func TestEachClaimHasOneLimit(t *testing.T) {
	fset, found := token.NewFileSet(), map[string]bool{}
	for name, p := range list(t) {
		for _, parsed := range p.parse(t, fset, parser.SkipObjectResolution) {
			ast.Inspect(parsed, func(n ast.Node) bool {
				spec, ok := n.(*ast.ValueSpec)
				if !ok {
					return true
				}
				for i, ident := range spec.Names {
					limit := strings.ToLower(ident.Name)
					owner, known := claimLimits[limit]
					if !known {
						continue
					}
					if name == owner {
						found[limit] = true
						continue
					}
					if i < len(spec.Values) {
						if s, ok := spec.Values[i].(*ast.SelectorExpr); ok && strings.EqualFold(s.Sel.Name, limit) {
							continue
						}
					}
					t.Errorf("%s: %s declares %s, which is %s's to say", fset.Position(ident.Pos()), name, ident.Name, owner)
				}
				return true
			})
		}
	}
	for limit, owner := range claimLimits {
		if !found[limit] {
			t.Errorf("%s does not declare %s: the rule for it proves nothing", owner, limit)
		}
	}
}
