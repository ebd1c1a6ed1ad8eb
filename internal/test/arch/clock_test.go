package arch

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// rawTimes are the places that compare integers that are times, or are named as such, and
// why. Everybody else asks internal/clock, so that the rule of raftstore/DESIGN.md is kept
// in one place; times that have their type are compared nowhere else.
var rawTimes = map[string]string{
	"internal/global/audit backwards.fill":  "before is an offset in a file",
	"internal/net/preauth ledger.charge":    "before counts bytes",
	"internal/zone/proxies Registry.evict":  "before counts proxies",
	"kds/kuma Catalog.alarm":                "before counts ids",
	"keysync View.CutOff":                   "cut-offs with each other: the later one counts",
	"keysync draft.keepCutOffs":             "cut-offs with each other: the later one counts",
	"raftstore/state State.commitRestore":   "the state's time with a backup's: the later one counts",
	"raftstore/state State.forgetLines":     "times in the state",
	"raftstore/state State.forgetRequests":  "times in the state",
	"internal/zone/xds gate.Read":           "begun counts messages, not seconds",
	"keysync View.narrowTo":                 "cut-offs with each other: the later one counts",
	"keysync ahead.cutsOff":                 "cut-offs with each other: the later one counts",
	"keysync draft.refuse":                  "cut-offs with each other: the later one counts",
	"keysync Store.complete":                "watermarks, which the global stamps: the later one counts",
	"keysync draft.finish":                  "watermarks, which the global stamps: the later one counts",
	"keysync draft.prunable":                "an expiry with the watermark, which the global stamps: a zone's clock forgets nothing",
	"keysync head.count":                    "expiries with each other",
	"keysync modeOf":                        "watermarks, which the global stamps",
	"raftstore newHistory":                  "a new history comes after every one that is known, whatever the clock says",
	"raftstore/state State.checkHeader":     "times in the state, which Apply takes from commands: the core reads no clock",
	"raftstore/state State.checkTimes":      "times in the state, which Apply takes from commands: the core reads no clock",
	"raftstore/state State.dropOldestStage": "times in the state",
	"raftstore/state State.execute":         "the state's time is the latest that any proposer stamped, and never goes back",
	"raftstore/state State.forgotten":       "an expiry with the watermark",
	"raftstore/state State.prune":           "the watermark with the state's time, and with times in the state",
	"raftstore/state State.pruneTombstones": "times in the state with the watermark",
	"raftstore/state State.setCutOff":       "cut-offs with each other: one only moves forward",
	"raftstore/state State.checkCutOffTime": "a cut-off with the state's time: the API holds it against the clocks of the members",
}

// timeNames are integers that hold times: seconds and milliseconds since 1970. An integer
// has no type that says so.
var timeNames = regexp.MustCompile(`(?i)(expires?|watermark|contact|begun|horizon|before|time)$|(Ms|_ms|BeforeS|ExpiresS|TimeMs)$`)

// clockUse is one question to a clock: where, and which function answers it.
type clockUse struct{ place, asks string }

// TestTimesAreComparedInOnePlace finds every comparison of times in what is shipped, by
// the types of what is compared. It must be made by internal/clock, or be listed above;
// and who asks internal/clock is listed in its PLACES.md, with the rule and the verdict.
func TestTimesAreComparedInOnePlace(t *testing.T) {
	raw, asked := map[string]token.Position{}, map[clockUse]bool{}
	for name, p := range typed(t) {
		if name == "internal/clock" {
			continue
		}
		for _, f := range p.files {
			for _, decl := range f.Decls {
				place := name + " " + placeOf(decl)
				ast.Inspect(decl, func(n ast.Node) bool {
					if p.comparesTimes(n) {
						t.Errorf("%s: %s compares times by itself: ask internal/clock", p.fset.Position(n.Pos()), place)
					}
					if p.comparesIntegers(n) {
						raw[place] = p.fset.Position(n.Pos())
					}
					if f := p.clockFunc(n); f != "" {
						asked[clockUse{place, f}] = true
					}
					return true
				})
			}
		}
	}
	for _, place := range slices.Sorted(maps.Keys(raw)) {
		if rawTimes[place] == "" {
			t.Errorf("%s: %s compares integers that are times: ask internal/clock, or list the place in rawTimes with the reason", raw[place], place)
		}
	}
	for place := range rawTimes {
		if _, ok := raw[place]; !ok {
			t.Errorf("rawTimes lists %s, which compares no such integers (any longer)", place)
		}
	}
	listed := clockPlaces(t)
	for use := range asked {
		if !listed[use] {
			t.Errorf("internal/clock/PLACES.md lacks the row | %s | %s | which clock, which mistake is safe | verdict |", use.place, use.asks)
		}
	}
	for use := range listed {
		if !asked[use] {
			t.Errorf("internal/clock/PLACES.md lists %s, which does not ask clock.%s (any longer)", use.place, use.asks)
		}
	}
}

// clockPlaces reads the table of PLACES.md. Each row has four cells, none of them empty.
func clockPlaces(t *testing.T) map[clockUse]bool {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "clock", "PLACES.md"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[clockUse]bool{}
	for line := range strings.Lines(string(data)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		for i := range cells {
			cells[i] = strings.Trim(strings.TrimSpace(cells[i]), "`")
		}
		if len(cells) != 4 || slices.Contains(cells, "") {
			t.Errorf("PLACES.md: a row has the cells place, question, what is compared and verdict: %s", line)
			continue
		}
		for _, f := range strings.Split(cells[1], ", ") {
			listed[clockUse{cells[0], strings.Trim(f, "`")}] = true
		}
	}
	return listed
}

// placeOf names a declaration: a function, a method as Type.Method, or what else there is.
func placeOf(decl ast.Decl) string {
	f, ok := decl.(*ast.FuncDecl)
	if !ok {
		return "(declarations)"
	}
	if f.Recv == nil {
		return f.Name.Name
	}
	recv := f.Recv.List[0].Type
	if star, ok := recv.(*ast.StarExpr); ok {
		recv = star.X
	}
	switch generic := recv.(type) {
	case *ast.IndexExpr:
		recv = generic.X
	case *ast.IndexListExpr:
		recv = generic.X
	}
	return fmt.Sprintf("%s.%s", recv.(*ast.Ident).Name, f.Name.Name)
}

// typedPkg is a package with the types of its expressions.
type typedPkg struct {
	fset  *token.FileSet
	files []*ast.File
	info  *types.Info
}

// comparesTimes reports whether a node compares two times, or subtracts one from another.
func (p *typedPkg) comparesTimes(n ast.Node) bool {
	s, ok := n.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	f, ok := p.info.Uses[s.Sel].(*types.Func)
	if !ok || f.Pkg() == nil || f.Pkg().Path() != "time" {
		return false
	}
	if recv := f.Signature().Recv(); recv != nil {
		return isTime(recv.Type()) && slices.Contains([]string{"Before", "After", "Compare", "Sub"}, f.Name())
	}
	return f.Name() == "Since" || f.Name() == "Until"
}

// comparesIntegers is comparesTimes for integers made of times, or named as such.
func (p *typedPkg) comparesIntegers(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.BinaryExpr:
		ordered := []token.Token{token.LSS, token.LEQ, token.GTR, token.GEQ, token.SUB}
		return slices.Contains(ordered, n.Op) && (p.unixTime(n.X) || p.unixTime(n.Y)) && !p.constant(n.X) && !p.constant(n.Y)
	case *ast.CallExpr:
		if !p.orders(n.Fun) {
			return false
		}
		return slices.ContainsFunc(n.Args, p.unixTime)
	}
	return false
}

// orders reports whether a function is min, max or cmp.Compare.
func (p *typedPkg) orders(fun ast.Expr) bool {
	switch f := ast.Unparen(fun).(type) {
	case *ast.Ident:
		_, builtin := p.info.Uses[f].(*types.Builtin)
		return builtin && (f.Name == "min" || f.Name == "max")
	case *ast.SelectorExpr:
		fn, ok := p.info.Uses[f.Sel].(*types.Func)
		return ok && fn.Pkg() != nil && fn.Pkg().Path() == "cmp" && fn.Name() == "Compare"
	}
	return false
}

func (p *typedPkg) constant(e ast.Expr) bool { return p.info.Types[e].Value != nil }

// unixTime reports whether an expression is an integer made of a time, or named as one.
func (p *typedPkg) unixTime(e ast.Expr) bool {
	if basic, ok := types.Unalias(p.info.TypeOf(e)).(*types.Basic); !ok || basic.Info()&types.IsInteger == 0 {
		return false
	}
	found := false
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if f, ok := p.info.Uses[n.Sel].(*types.Func); ok && f.Signature().Recv() != nil && isTime(f.Signature().Recv().Type()) && strings.HasPrefix(f.Name(), "Unix") {
				found = true
			}
		case *ast.Ident:
			if v, ok := p.info.Uses[n].(*types.Var); ok && timeNames.MatchString(n.Name) {
				basic, isBasic := types.Unalias(v.Type()).(*types.Basic)
				found = found || isBasic && basic.Info()&types.IsInteger != 0
			}
		}
		return true
	})
	return found
}

// isTime reports whether a type is time.Time.
func isTime(t types.Type) bool {
	named, ok := types.Unalias(t).(*types.Named)
	return ok && named.Obj().Pkg() != nil && named.Obj().Pkg().Path() == "time" && named.Obj().Name() == "Time"
}

// clockFunc names the function of internal/clock that a node refers to.
func (p *typedPkg) clockFunc(n ast.Node) string {
	ident, ok := n.(*ast.Ident)
	if !ok {
		return ""
	}
	f, ok := p.info.Uses[ident].(*types.Func)
	if !ok || f.Pkg() == nil || f.Pkg().Path() != module+"/internal/clock" {
		return ""
	}
	return f.Name()
}

// typed returns the packages that are shipped, with their types.
func typed(t *testing.T) map[string]*typedPkg {
	t.Helper()
	exports := exportData(t)
	fset := token.NewFileSet()
	imports := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		file := exports[path]
		if file == "" {
			return nil, fmt.Errorf("go list has no export data of %s", path)
		}
		return os.Open(file)
	})
	packages := map[string]*typedPkg{}
	for name, p := range list(t) {
		if !ships(name) {
			continue
		}
		out := &typedPkg{fset: fset, files: p.parse(t, fset, parser.SkipObjectResolution), info: &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}}
		if _, err := (&types.Config{Importer: imports}).Check(p.ImportPath, fset, out.files, out.info); err != nil {
			t.Fatalf("the types of %s: %v", name, err)
		}
		packages[name] = out
	}
	return packages
}

// exportData are the files in which the compiler left the types of each package.
func exportData(t *testing.T) map[string]string {
	t.Helper()
	cmd := exec.Command("go", "list", "-export", "-deps", "-f", "{{if .Export}}{{.ImportPath}}\t{{.Export}}{{end}}", module+"/...")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w\n%s", err, exit.Stderr)
		}
		t.Fatalf("go list -export: %v", err)
	}
	exports := map[string]string{}
	for line := range bytes.Lines(out) {
		if path, file, ok := strings.Cut(strings.TrimSpace(string(line)), "\t"); ok {
			exports[path] = file
		}
	}
	return exports
}
