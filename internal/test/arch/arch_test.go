package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Name,GoFiles,Imports,Deps", module+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	packages := map[string]pkg{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("reading go list's answer: %v", err)
		}
		packages[rel(p.ImportPath)] = p
	}
	if len(packages) < 10 {
		t.Fatalf("go list found %d packages only: the test would prove nothing", len(packages))
	}
	return packages
}

// arrows names, for each package, the packages of this module that it may
// import. A package that is absent here fails the test: adding one means
// deciding where it stands.
var arrows = map[string][]string{
	"federation":            {},
	"cptoken":               {"federation"},
	"cptoken/issue":         {"cptoken", "federation"},
	"raftstore/storepb":     {},
	"raftstore":             {"internal/disk", "raftstore/storepb", "cptoken/issue", "cptoken", "federation"},
	"keysync":               {"internal/disk", "cptoken", "federation"},
	"kds/kdspb":             {},
	"kds":                   {"cptoken", "federation"},
	"kds/wire":              {"kds", "kds/kdspb", "cptoken", "federation"},
	"kds/kuma":              {"kds", "kds/wire", "kds/kdspb", "cptoken", "federation"},
	"kds/server":            {"kds", "kds/kuma", "kds/wire", "kds/kdspb", "cptoken", "federation", "internal/net/loglimit"},
	"kds/client":            {"kds", "kds/kuma", "kds/wire", "kds/kdspb", "cptoken", "federation"},
	"internal/test/kdstest": {"kds", "cptoken", "federation"}, // tests only
	"internal/access":       {"cptoken", "federation"},
	"internal/global/audit": {"internal/net/loglimit", "federation"},
	"internal/net/throttle": {"federation"},
	"internal/rolefile":     {"internal/disk", "internal/access", "internal/config", "federation"},
	"internal/apierr":       {"federation"},
	"internal/net/tlsutil":  {"internal/disk", "federation"},
	"internal/global/fleet": {"cptoken", "federation"},
	"internal/apitypes":     {},
	"internal/global/adminapi": {"internal/apitypes", "internal/access", "internal/apierr", "internal/global/fleet",
		"raftstore", "cptoken/issue", "cptoken", "federation", "internal/net/loglimit", "internal/global/audit"},
	"internal/global/admission": {"kds", "internal/net/tlsutil", "cptoken/issue", "cptoken", "federation", "internal/net/loglimit"},
	"internal/zone/proxyport":   {"internal/keyring", "internal/apitypes", "internal/zone/bootstrap", "internal/zone/statement", "internal/lobby", "internal/zone/proxies", "internal/zone/resource", "internal/zone/proxyauth", "internal/access", "internal/apierr", "keysync", "cptoken", "federation", "internal/net/loglimit"},
	"internal/endpoints":        {"internal/net/tlsutil", "federation"},
	"internal/net/httpserver":   {"internal/lobby", "internal/apierr", "internal/net/loglimit", "federation"},
	"internal/disk":             {},
	"internal/keyring":          {"internal/disk", "internal/config", "cptoken", "federation"},
	"internal/config":           {"federation"},
	"internal/global/node": {"internal/disk", "internal/keyring", "internal/global/adminapi", "internal/global/admission", "internal/endpoints", "internal/global/fleet",
		"internal/net/httpserver", "internal/net/tlsutil", "kds", "kds/server", "raftstore", "cptoken/issue", "cptoken", "federation",
		"internal/apitypes", "internal/metrics", "internal/access", "internal/global/membership", "internal/global/peer", "internal/rolefile",
		"internal/global/audit", "internal/net/throttle"},
	"internal/zone/node": {"internal/keyring", "internal/zone/proxies", "internal/zone/xdsdir", "internal/zone/xds", "internal/zone/proxyport", "internal/endpoints",
		"internal/net/httpserver", "internal/net/tlsutil", "kds", "kds/client", "keysync", "cptoken", "federation", "internal/zone/sessions", "internal/metrics",
		"internal/zone/proxyauth", "internal/rolefile", "internal/zone/tokenreview", "internal/net/throttle"},
	"internal/cli": {"federation"},
	"internal/apiclient": {"internal/apitypes", "internal/endpoints", "internal/apierr", "internal/net/tlsutil",
		"cptoken", "federation"},
	"internal/test/cluster":  nil, // tests only: held by TestNobodyLinksTestCode
	"internal/test/arch":     {},
	"cmd/global":             {"cmd/global/audit", "cmd/global/certs", "cmd/global/cluster", "cmd/global/keys", "cmd/global/resources", "cmd/global/revocations", "cmd/global/seal", "cmd/global/server", "cmd/global/snapshot", "cmd/global/tokens", "cmd/global/zones", "internal/cli", "internal/coredump"},
	"cmd/global/audit":       {"cmd/global/client", "federation", "internal/apiclient", "internal/apitypes", "internal/cli"},
	"cmd/global/certs":       {"cptoken/issue", "federation", "internal/cli", "internal/net/tlsutil"},
	"cmd/global/client":      {"cptoken", "federation", "internal/apiclient", "internal/cli"},
	"cmd/global/cluster":     {"cmd/global/client", "internal/apiclient", "internal/apitypes", "internal/cli", "raftstore"},
	"cmd/global/keys":        {"cmd/global/client", "cptoken", "federation", "internal/apiclient", "internal/apitypes", "internal/cli"},
	"cmd/global/resources":   {"cmd/global/client", "cptoken", "federation", "internal/apiclient", "internal/apitypes", "internal/cli"},
	"cmd/global/revocations": {"cmd/global/client", "cptoken", "federation", "internal/apiclient", "internal/apitypes", "internal/cli"},
	"cmd/global/seal":        {"cmd/global/client", "cptoken/issue", "internal/apitypes", "internal/cli"},
	"cmd/global/server":      {"internal/keyring", "cmd/global/client", "cptoken/issue", "federation", "internal/cli", "internal/config", "internal/endpoints", "internal/global/audit", "internal/global/node", "internal/rolefile", "internal/zone/proxyauth", "kds/wire"},
	"cmd/global/snapshot":    {"cmd/global/client", "federation", "internal/apiclient", "internal/apitypes", "internal/cli", "internal/global/adminapi", "raftstore"},
	"cmd/global/tokens":      {"cmd/global/client", "cptoken", "cptoken/issue", "federation", "internal/apiclient", "internal/apitypes", "internal/cli", "internal/endpoints", "internal/net/tlsutil"},
	"cmd/global/zones":       {"cmd/global/client", "federation", "internal/apitypes", "internal/cli"},
	"cmd/zone": {"internal/keyring", "internal/apitypes", "kds/wire", "internal/zone/node", "internal/apiclient", "internal/config", "internal/cli",
		"internal/net/tlsutil", "cptoken", "federation", "internal/coredump", "internal/zone/proxyauth", "internal/rolefile",
		"internal/zone/agent", "internal/zone/resource"},
	"internal/coredump":          {},
	"internal/zone/sessions":     {"cptoken"},
	"internal/zone/statement":    {"cptoken", "federation"},
	"internal/zone/proxyauth":    {"internal/keyring", "internal/zone/statement", "internal/net/loglimit", "internal/config", "cptoken", "federation"},
	"internal/metrics":           {},
	"internal/global/peer":       {"internal/global/audit", "internal/access", "internal/global/fleet", "internal/apierr", "internal/net/tlsutil", "federation"},
	"internal/global/membership": {"internal/global/peer", "raftstore", "federation"},
	"internal/net/loglimit":      {},
	"internal/test/hints":        {}, // tests only
	"internal/yamldoc":           {"federation"},
	"internal/zone/resource":     {"internal/yamldoc", "federation"},
	"internal/zone/xdsdir":       {"internal/disk", "internal/yamldoc", "federation"},
	"internal/lobby":             {},
	"internal/zone/bootstrap":    {"internal/zone/resource", "internal/yamldoc", "federation"},
	"internal/zone/proxies":      {"internal/zone/proxyauth", "internal/zone/resource", "internal/zone/sessions", "cptoken", "federation"},
	"internal/zone/xds": {"internal/keyring", "internal/zone/statement", "internal/apierr", "internal/lobby", "internal/net/loglimit", "internal/zone/proxies", "internal/zone/proxyauth",
		"internal/zone/resource", "internal/zone/xdsdir", "cptoken", "federation"},

	"internal/zone/tokenreview":      {"internal/disk", "internal/net/loglimit", "internal/net/tlsutil", "federation"},
	"internal/zone/agent":            {"internal/zone/resource", "internal/apierr", "internal/net/tlsutil", "federation"},
	"internal/test/kube":             {}, // tests only
	"internal/test/kube/kubestandin": {"internal/test/kube"},
	"internal/tools/faultload":       {"federation"}, // a command for scripts/test-faults
	"internal/test/attack":           {},             // tests only
	"internal/tools/bench":           nil,            // a command that measures all of them: Go lets nobody import it
}

// TestArrowsPointDownward holds every import inside the module against the
// picture.
func TestArrowsPointDownward(t *testing.T) {
	packages := list(t)
	for name, p := range packages {
		allowed, known := arrows[name]
		if !known {
			t.Errorf("%s stands nowhere in the picture: add it to arrows with what it may import", name)
			continue
		}
		if allowed == nil {
			continue
		}
		for _, imported := range p.Imports {
			if strings.HasPrefix(imported, module) && !slices.Contains(allowed, rel(imported)) {
				t.Errorf("%s imports %s, which the picture does not allow", name, rel(imported))
			}
		}
	}
	for name := range arrows {
		if _, ok := packages[name]; !ok {
			t.Errorf("the picture names %s, which does not exist", name)
		}
	}
}

// owners names the only packages that may import a third-party module. The bench
// is no owner of any: it uses them bare, as the baselines of what we built on them.
var owners = map[string][]string{
	"github.com/golang-jwt/jwt/v5":        {"cptoken", "cptoken/issue"},
	"github.com/hashicorp/raft":           {"raftstore"},
	"github.com/hashicorp/raft-boltdb/v2": {"raftstore"},
	"github.com/hashicorp/go-hclog":       {"raftstore"},
	"go.etcd.io/bbolt":                    {"keysync", "raftstore"},
	"google.golang.org/grpc":              {"kds/wire", "kds/server", "kds/client", "internal/zone/agent", "internal/zone/xds"},
	// Envoy's messages are read from an operator's folder by one package and served
	// by another: who talks to zones has nothing to do with either.
	"github.com/envoyproxy/go-control-plane":     {"kds/wire", "kds/kuma", "kds/server", "kds/client", "internal/zone/xdsdir", "internal/zone/agent", "internal/zone/xds"},
	"github.com/envoyproxy/go-control-plane/...": {"kds/wire", "kds/kuma", "kds/server", "kds/client", "internal/zone/xdsdir", "internal/zone/agent", "internal/zone/xds"},
	"google.golang.org/protobuf":                 {"kds/wire", "kds/kuma", "kds/server", "kds/client", "kds/kdspb", "raftstore", "raftstore/storepb", "internal/zone/xdsdir", "internal/zone/agent", "internal/zone/xds"},
	"github.com/urfave/cli/v2":                   {"cmd/global/...", "cmd/zone", "internal/cli"},
	"github.com/mattn/go-isatty":                 {"internal/cli"},
	"github.com/prometheus/client_golang":        {"internal/metrics"},
	"go.yaml.in/yaml/v3":                         {"internal/yamldoc"}, // of the readers of YAML the one that tells lines
}

// TestEachModuleHasOneOwner keeps libraries behind the package that owns them,
// so that replacing one touches one place.
func TestEachModuleHasOneOwner(t *testing.T) {
	used := map[string]bool{}
	for name, p := range list(t) {
		for _, imported := range p.Imports {
			for lib, allowed := range owners {
				prefix := strings.TrimSuffix(lib, "/...")
				if imported != prefix && !strings.HasPrefix(imported, prefix+"/") {
					continue
				}
				used[lib] = true
				if !owns(allowed, name) && name != "internal/tools/bench" {
					t.Errorf("%s imports %s, which belongs to %s", name, imported, strings.Join(allowed, " and "))
				}
			}
		}
	}
	for lib := range owners {
		if !used[lib] && !strings.HasSuffix(lib, "...") && lib != "github.com/envoyproxy/go-control-plane" {
			t.Errorf("nothing imports %s: the rule for it proves nothing", lib)
		}
	}
}

// owns reports whether a package is one of the owners, or below one that ends in "/...".
func owns(owners []string, name string) bool {
	return slices.ContainsFunc(owners, func(owner string) bool {
		tree, below := strings.CutSuffix(owner, "/...")
		return name == tree || below && strings.HasPrefix(name, tree+"/")
	})
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

// TestNobodyLinksTestCode keeps test helpers out of the binaries.
func TestNobodyLinksTestCode(t *testing.T) {
	for _, name := range []string{"cmd/global", "cmd/zone"} {
		for _, dep := range list(t)[name].Deps {
			// "testing" itself cannot be banned: hashicorp/raft imports it.
			if strings.HasPrefix(dep, module+"/internal/test/") || strings.Contains(dep, "goleak") {
				t.Errorf("%s links %s", name, dep)
			}
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
	var files []*ast.File
	for _, f := range p.GoFiles {
		parsed, err := parser.ParseFile(fset, filepath.Join(p.Dir, f), nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, parsed)
	}
	d, err := doc.NewFromFiles(fset, files, p.ImportPath)
	if err != nil {
		t.Fatal(err)
	}
	return d.Doc
}
