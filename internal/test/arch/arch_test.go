package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/meridiankds/meridian"

// pkg is what `go list -json` tells of a package.
type pkg struct {
	ImportPath string
	Dir        string
	Name       string
	GoFiles    []string
	Imports    []string
	Deps       []string
}

// rel is the package's path inside the module, or its full path.
func rel(path string) string { return strings.TrimPrefix(path, module+"/") }

// list returns every package of the module.
func list(t *testing.T) map[string]pkg {
	t.Helper()
	packages, err := listed()
	if err != nil {
		t.Fatal(err)
	}
	return packages
}

var listed = sync.OnceValues(func() (map[string]pkg, error) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Name,GoFiles,Imports,Deps", module+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, stderr.String())
	}
	packages := map[string]pkg{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("reading go list's answer: %w", err)
		}
		packages[rel(p.ImportPath)] = p
	}
	if len(packages) < 10 {
		return nil, fmt.Errorf("go list found %d packages only: the tests would prove nothing", len(packages))
	}
	return packages, nil
})

// parse returns the files of a package.
func (p pkg) parse(t *testing.T, fset *token.FileSet, mode parser.Mode) (files []*ast.File) {
	t.Helper()
	for _, f := range p.GoFiles {
		parsed, err := parser.ParseFile(fset, filepath.Join(p.Dir, f), nil, mode)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, parsed)
	}
	return files
}

// ships reports whether a package is part of what users run.
func ships(name string) bool {
	return !strings.HasPrefix(name, "internal/test/") && !strings.HasPrefix(name, "internal/tools/")
}

// TestZonesCannotSign proves that what runs in a zone, and the wire between,
// contains no code that could use a private key of the global's, and no Raft.
func TestZonesCannotSign(t *testing.T) {
	packages := list(t)
	forbidden := map[string][]string{
		"kds/server":              {module + "/cptoken/issue", module + "/kds/client", module + "/raftstore", "github.com/hashicorp/raft"},
		"kds/client":              {module + "/cptoken/issue", module + "/kds/server", module + "/raftstore", "github.com/hashicorp/raft"},
		"keysync":                 {module + "/cptoken/issue", module + "/kds", "github.com/hashicorp/raft"},
		"internal/zone/proxyport": {module + "/cptoken/issue", "github.com/hashicorp/raft"},
		"internal/keyring":        {module + "/cptoken/issue", module + "/kds", "github.com/hashicorp/raft"},
		"internal/zone/proxyauth": {module + "/cptoken/issue", module + "/kds", "github.com/hashicorp/raft"},
		"internal/zone/node":      {module + "/cptoken/issue", "github.com/hashicorp/raft"},
		"cmd/zone": {module + "/cptoken/issue", module + "/raftstore", "github.com/hashicorp/raft",
			"github.com/hashicorp/raft-boltdb/v2"},
	}
	for name, bans := range forbidden {
		p, ok := packages[name]
		if !ok {
			t.Errorf("%s does not exist", name)
			continue
		}
		for _, ban := range bans {
			if slices.Contains(p.Deps, ban) {
				t.Errorf("%s links %s", name, ban)
			}
		}
	}
	// The rule is worth something only if the global does link them.
	for _, want := range []string{module + "/cptoken/issue", "github.com/hashicorp/raft"} {
		if !slices.Contains(packages["cmd/global"].Deps, want) {
			t.Errorf("cmd/global does not link %s: is the rule for zones spelled right?", want)
		}
	}
}

// TestPureCores keeps I/O, time and randomness out of the packages that are
// values.
func TestPureCores(t *testing.T) {
	p := list(t)["federation"]
	for _, imported := range p.Imports {
		if strings.Contains(imported, ".") {
			t.Errorf("federation imports %s: it may use the standard library only", imported)
		}
		if slices.Contains([]string{"os", "net", "net/http", "io", "crypto/rand", "math/rand", "log", "log/slog"}, imported) {
			t.Errorf("federation imports %s: it is a pure package", imported)
		}
	}
}

// shipped are the programs that users run.
var shipped = []string{"cmd/global", "cmd/zone"}

// TestNobodyLinksTestCode keeps test helpers and tools out of the binaries.
func TestNobodyLinksTestCode(t *testing.T) {
	packages := list(t)
	for _, name := range shipped {
		for _, dep := range packages[name].Deps {
			// "testing" itself cannot be banned: hashicorp/raft imports it.
			if strings.HasPrefix(dep, module+"/internal/test/") || strings.HasPrefix(dep, module+"/internal/tools/") || strings.Contains(dep, "goleak") {
				t.Errorf("%s links %s", name, dep)
			}
		}
		if len(packages[name].Deps) < 50 {
			t.Errorf("%s links %d packages only: the test would prove nothing", name, len(packages[name].Deps))
		}
	}
}

// TestEveryPackageIsDocumented wants a doc comment that begins as godoc expects,
// and no folder named for what it is not.
func TestEveryPackageIsDocumented(t *testing.T) {
	for name, p := range list(t) {
		base := filepath.Base(name)
		if slices.Contains([]string{"util", "utils", "common", "helpers", "misc", "v2"}, base) {
			t.Errorf("%s: a package is named for what it provides", name)
		}
		text := packageDoc(t, p)
		want := "Package " + p.Name + " "
		if p.Name == "main" {
			want = "Command " + base + " "
		}
		if !strings.HasPrefix(text, want) && !strings.HasSuffix(name, "pb") {
			t.Errorf("%s: the package comment begins %.40q, want %q", name, text, want)
		}
		if strings.HasSuffix(name, "pb") && text == "" {
			t.Errorf("%s has no package comment", name)
		}
	}
}

func packageDoc(t *testing.T, p pkg) string {
	t.Helper()
	fset := token.NewFileSet()
	d, err := doc.NewFromFiles(fset, p.parse(t, fset, parser.PackageClauseOnly|parser.ParseComments), p.ImportPath)
	if err != nil {
		t.Fatal(err)
	}
	return d.Doc
}

// root is the directory of the module.
func root(t *testing.T) string {
	t.Helper()
	return filepath.Dir(list(t)["federation"].Dir)
}
