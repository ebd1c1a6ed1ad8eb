package node_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// writers are all functions of a zone that write to a disk, and how a disk is noticed that
// fails or hangs in them: the zone must not count as whole on one.
var writers = map[string]string{
	"keysync/file.go update":                     "every commit: under Store.writing, and behind where it fails",
	"keysync/file.go openOrBegin":                "at the start, which it ends",
	"keysync/file.go openFile":                   "at the start, and in recover",
	"keysync/file.go setAside":                   "at the start, which it ends",
	"keysync/file.go syncFolder":                 "at the start, which it ends",
	"keysync/file.go rewrite":                    "in recover, under Store.writing",
	"keysync/recover.go probeSpace":              "in recover, under Store.writing",
	"keysync/stage.go newStage":                  "in write, as a commit",
	"keysync/stage.go add":                       "in write, as a commit",
	"keysync/stage.go remove":                    "what is left is emptied by the next set; under Store.writing",
	"keysync/store.go Open":                      "at the start; what is left is emptied",
	"internal/disk/datadir.go OpenDataDir":       "at the start, which it ends",
	"internal/disk/datadir.go writeMark":         "at the start, which it ends",
	"cmd/zone/dev.go devToken":                   "at the start, which it ends",
	"internal/endpoints/endpoints.go Write":      "at the start, which it ends",
	"internal/endpoints/endpoints.go Remove":     "at the end",
	"internal/net/tlsutil/file.go WriteFile":     "who calls it is in this list",
	"internal/net/tlsutil/authority.go":          "certificates that the zone makes itself: the log says so, and the one before serves",
	"internal/net/tlsutil/ca.go":                 "not in a zone",
	"internal/zone/keysets/keysets.go save":      "which key sets were fetched, for operators alone: the log says so",
	"internal/zone/xdsdir/hold.go save":          "which folders hold something: the log says so, and what they hold is served all the same",
	"internal/zone/node/socket.go":               "at the start, which it ends",
	"internal/zone/agent/envoy.go":               "another program: it ends",
	"internal/disk/open.go":                      "reads only",
	"internal/zone/agent/workdir.go":             "another program: at the start, which it ends, and at the end",
	"internal/zone/agent/secrets.go replaceFile": "another program: at the start, which it ends; later its log says so, and Envoy keeps the former",
}

// TestEveryWriteIsKnown finds a function that writes to a disk and is not in the list.
func TestEveryWriteIsKnown(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	found := map[string]bool{}
	for _, dir := range []string{"keysync", "internal/zone", "internal/disk", "internal/endpoints", "internal/tokenfile", "internal/keyring", "internal/net/tlsutil", "kds/client", "cmd/zone"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			return writesIn(path, filepath.ToSlash(name), found)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, place := range slices.Sorted(maps.Keys(found)) {
		file, _, _ := strings.Cut(place, " ")
		if writers[place] == "" && writers[file] == "" {
			t.Errorf("%s writes to a disk: say in this list how a disk is noticed that fails or hangs there", place)
		}
	}
	for place := range writers {
		if !found[place] && !slices.ContainsFunc(slices.Collect(maps.Keys(found)), func(f string) bool { return strings.HasPrefix(f, place+" ") }) {
			t.Errorf("%s is in the list and does not write", place)
		}
	}
}

// writesIn notes the functions of a file that call something that writes.
func writesIn(path, name string, found map[string]bool) error {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	for _, decl := range file.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok && writing(sel) {
				found[name+" "+fn.Name.Name] = true
			} else if id, ok := call.Fun.(*ast.Ident); ok && id.Name == "WriteFile" {
				found[name+" "+fn.Name.Name] = true
			}
			return true
		})
	}
	return nil
}

// writing reports whether a call changes a file system.
func writing(sel *ast.SelectorExpr) bool {
	of, _ := sel.X.(*ast.Ident)
	switch sel.Sel.Name {
	case "WriteFile", "OpenFile", "Create", "CreateTemp", "Mkdir", "MkdirAll", "MkdirTemp", "Rename", "Remove", "RemoveAll", "Link", "Symlink", "Truncate":
		return of != nil && (of.Name == "os" || of.Name == "tlsutil")
	case "WriteAt", "Sync":
		return true
	case "Update", "Batch": // of bbolt
		inner, ok := sel.X.(*ast.SelectorExpr)
		return ok && inner.Sel.Name == "db"
	}
	return false
}
