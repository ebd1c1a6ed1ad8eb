package arch

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// layer is a set of packages that know nothing of each other, and nothing of what
// lies above. A name that ends in "/*" is every package right below it.
type layer struct {
	name     string
	packages []string
}

// layers is the house from the ground up: a package imports only packages of layers
// before its own. A new package needs one word here, in the lowest layer where
// everything that it imports lies below; ARCHITECTURE.md shows the same list.
var layers = []layer{
	{"ground", []string{"federation", "internal/apitypes", "internal/clock", "internal/coredump",
		"internal/metrics", "internal/setsum", "internal/spelling", "kds/kdspb", "raftstore/storepb"}},
	{"files and lines", []string{"internal/disk", "internal/global/paging", "internal/net/loglimit", "internal/redact", "internal/runlog", "internal/zone/envoyres", "raftstore/ptree"}},
	{"plumbing", []string{"cptoken", "internal/apierr", "internal/apierr/grpcerr", "internal/cli", "internal/config", "internal/global/audit", "internal/net/preauth", "internal/net/throttle",
		"internal/net/tlsutil", "internal/support", "internal/yamldoc", "internal/zone/rollout", "raftstore/raftnet"}},
	{"tokens and rights", []string{"cptoken/issue", "internal/access", "internal/endpoints", "internal/global/auditlist", "internal/global/idlist", "internal/global/secretname", "internal/keyring",
		"internal/net/httpserver", "internal/net/turns", "internal/tokenfile", "kds", "keysync", "raftstore/state"}},
	{"wire", []string{"internal/apiclient", "kds/wire", "raftstore/disk"}},
	{"kuma's wire", []string{"kds/kuma"}},
	{"state and streams", []string{"kds/client", "kds/server", "raftstore"}},
	{"what a program knows", []string{"internal/global/clocks", "internal/global/fleet", "internal/zone/keysets", "internal/zone/resource",
		"internal/zone/sessions", "internal/zone/statement", "internal/zone/tokenreview", "internal/zone/xdsdir"}},
	{"what it decides", []string{"internal/global/adminapi", "internal/global/admission", "internal/global/loss", "internal/global/peer",
		"internal/zone/agent", "internal/zone/bootstrap", "internal/zone/proxyauth"}},
	{"members and proxies", []string{"internal/global/membership", "internal/zone/proxies"}},
	{"what proxies talk to", []string{"internal/zone/proxyport", "internal/zone/xds"}},
	{"nodes", []string{"internal/global/node", "internal/zone/node"}},
	{"what commands share", []string{"cmd/global/client"}},
	{"commands", []string{"cmd/global/*", "cmd/zone"}},
	{"the global's table of contents", []string{"cmd/global"}},
	{"stand-ins", []string{"internal/test/kube", "internal/test/kdstest", "internal/test/raftfake", "internal/test/altered", "internal/test/selfsigned", "internal/test/testlog"}},
	{"tests and tools", []string{"internal/test/*", "internal/test/kube/*", "internal/tools/*"}},
}

// layerOf returns the number of a package's layer, -1 if it has none. Its own name
// counts more than a pattern.
func layerOf(name string) int {
	parent := name[:max(0, strings.LastIndexByte(name, '/'))]
	pattern := -1
	for i, l := range layers {
		if slices.Contains(l.packages, name) {
			return i
		}
		if slices.Contains(l.packages, parent+"/*") {
			pattern = i
		}
	}
	return pattern
}

// TestImportsPointDownward holds every import inside the module against the layers.
func TestImportsPointDownward(t *testing.T) {
	packages := list(t)
	for name, p := range packages {
		own := layerOf(name)
		if own < 0 {
			t.Errorf("%s is in no layer: add it to the lowest one above everything that it imports", name)
			continue
		}
		for _, imported := range p.Imports {
			if !strings.HasPrefix(imported, module) {
				continue
			}
			if its := layerOf(rel(imported)); its >= own {
				t.Errorf("%s (layer %d, %s) imports %s (layer %d, %s): imports point to lower layers only",
					name, own+1, layers[own].name, rel(imported), its+1, layers[max(its, 0)].name)
			}
		}
	}
	seen := map[string]bool{}
	for _, l := range layers {
		for _, name := range l.packages {
			if seen[name] {
				t.Errorf("%s is in two layers", name)
			}
			seen[name] = true
			if _, ok := packages[name]; !ok && !strings.HasSuffix(name, "/*") {
				t.Errorf("the layer %q names %s, which does not exist", l.name, name)
			}
		}
	}
}

// TestSidesKnowNothingOfEachOther keeps what runs at the global and what runs in a
// zone apart: they have the wire in common.
func TestSidesKnowNothingOfEachOther(t *testing.T) {
	checked := 0
	for name, p := range list(t) {
		for _, sides := range [][2]string{{"internal/global/", "internal/zone/"}, {"internal/zone/", "internal/global/"}} {
			if !strings.HasPrefix(name, sides[0]) {
				continue
			}
			checked++
			for _, dep := range p.Deps {
				if strings.HasPrefix(rel(dep), sides[1]) {
					t.Errorf("%s links %s", name, rel(dep))
				}
			}
		}
	}
	if checked < 10 {
		t.Errorf("%d packages were checked: the test would prove nothing", checked)
	}
}

// TestLayersAreDocumented holds the table of layers in ARCHITECTURE.md against layers.
func TestLayersAreDocumented(t *testing.T) {
	var want []string
	for i, l := range layers {
		var names []string
		for _, name := range l.packages {
			names = append(names, "`"+name+"`")
		}
		want = append(want, fmt.Sprintf("| %d | %s | %s |", i+1, l.name, strings.Join(names, ", ")))
	}
	slices.Reverse(want) // the page shows the top first
	var got []string
	for _, cells := range architectureTable(t, "The layers") {
		got = append(got, "| "+strings.Join(cells, " | ")+" |")
	}
	if !slices.Equal(got, want) {
		t.Errorf("the table of layers in ARCHITECTURE.md differs from layers; it should be:\n%s", strings.Join(want, "\n"))
	}
}

var goFile = regexp.MustCompile("`([a-z0-9/_]+\\.(?:go|proto|md))`")

// TestArchitectureNamesFiles wants every file that ARCHITECTURE.md leads to.
func TestArchitectureNamesFiles(t *testing.T) {
	dir := root(t)
	data, err := os.ReadFile(filepath.Join(dir, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := goFile.FindAllStringSubmatch(string(data), -1)
	if len(found) < 30 {
		t.Errorf("ARCHITECTURE.md names %d files: the test would prove nothing", len(found))
	}
	for _, m := range found {
		if _, err := os.Stat(filepath.Join(dir, m[1])); err != nil {
			t.Errorf("ARCHITECTURE.md leads to %s, which is not there", m[1])
		}
	}
}
