package xdsdir

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/zone/envoyres"
)

// clusters is a file of clusters with these names.
func clusters(names ...string) string {
	text := "resources:\n"
	for _, name := range names {
		text += "- '@type': type.googleapis.com/envoy.config.cluster.v3.Cluster\n  name: " + name + "\n  connect_timeout: 5s\n"
	}
	return text
}

// folder is a folder of resources and what is logged about it.
type folder struct {
	t    *testing.T
	path string
	log  bytes.Buffer
	dir  *Dir
}

func newFolder(t *testing.T, files map[string]string) *folder {
	t.Helper()
	f := &folder{t: t, path: t.TempDir()}
	for at, text := range files {
		f.write(at, text)
	}
	var err error
	f.dir, err = Open(Config{Path: f.path, Logger: slog.New(slog.NewTextHandler(&f.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *folder) write(at, text string) {
	f.t.Helper()
	name := filepath.Join(f.path, filepath.FromSlash(at))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(name+".new", []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		f.t.Fatal(err)
	}
}

// clusters returns the names of a proxy's clusters, and their timeouts' seconds.
func (f *folder) clusters(p Proxy) string {
	f.t.Helper()
	set, err := f.dir.For(p)
	if err != nil {
		return "refused"
	}
	var names []string
	for key := range set {
		if key.Kind == types.Cluster {
			names = append(names, key.Name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

var (
	backend = Proxy{Type: "dataplane", Mesh: "default", Name: "backend-1", Services: []string{"backend", "admin"}}
	other   = Proxy{Type: "dataplane", Mesh: "other", Name: "x"}
	ingress = Proxy{Type: "ingress", Name: "in-1"}
	egress  = Proxy{Type: "egress", Name: "eg-1"}
)

func TestWhoGetsWhat(t *testing.T) {
	f := newFolder(t, map[string]string{
		"all/a.yaml":                      clusters("everybody"),
		"dataplane/a.yaml":                clusters("dp"),
		"dataplane/meshes/default/a.yaml": clusters("default"),
		"dataplane/meshes/default/services/backend/a.json":    `{"version_info":"0","resources":[{"@type":"type.googleapis.com/envoy.config.cluster.v3.Cluster","name":"backend"}]}`,
		"dataplane/meshes/default/services/frontend/a.yaml":   clusters("frontend"),
		"dataplane/meshes/default/listeners/ingress/a.yaml":   clusters("listens-in"),
		"dataplane/meshes/default/listeners/egress/a.yaml":    clusters("listens-out"),
		"dataplane/meshes/default/proxies/backend-1/a.yml":    clusters("b1"),
		"dataplane/meshes/default/proxies/backend-1/b.yaml":   strings.Replace(clusters("everybody"), "5s", "7s", 1),
		"dataplane/meshes/default/proxies/backend-1/notes.md": "not a resource",
		"ingress/a.yaml":              clusters("in"),
		"ingress/proxies/in-1/a.yaml": clusters("in1"),
		"egress/.hidden/a.yaml":       "nonsense: [",
	})
	for _, tc := range []struct {
		p    Proxy
		want string
	}{
		{backend, "b1 backend default dp everybody"}, {other, "dp everybody"}, {ingress, "everybody in in1"}, {egress, "everybody"},
		{Proxy{Type: "dataplane", Mesh: "default", Name: "x", Listening: []string{"ingress"}}, "default dp everybody listens-in"},
		{Proxy{Type: "dataplane", Mesh: "default", Name: "x", Listening: []string{"egress", "ingress"}}, "default dp everybody listens-in listens-out"},
		{Proxy{Type: "ingress", Name: "x", Listening: []string{"ingress"}}, "everybody in"},
		{Proxy{Type: "dataplane", Mesh: "default", Name: "..", Services: []string{"../backend", ""}}, "default dp everybody"},
	} {
		if got := f.clusters(tc.p); got != tc.want {
			t.Errorf("%+v gets %q, want %q", tc.p, got, tc.want)
		}
	}
	set, _ := f.dir.For(backend)
	if seconds := set[envoyres.Key{Kind: types.Cluster, Name: "everybody"}].Message.(*cluster.Cluster).GetConnectTimeout().GetSeconds(); seconds != 7 {
		t.Errorf("the special does not replace the general: %d s", seconds)
	}
	if p := f.dir.Problems(); len(p) != 0 || f.log.Len() > 0 {
		t.Errorf("problems %v, log %s", p, f.log.String())
	}
}

func TestChangesAreFollowed(t *testing.T) {
	f := newFolder(t, map[string]string{"all/a.yaml": clusters("a")})
	follow := func(what, want string) {
		t.Helper()
		changed := f.dir.Changed()
		f.dir.Check()
		if got := f.clusters(egress); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
		select {
		case <-changed:
		default:
			t.Errorf("%s: nobody was told", what)
		}
	}
	f.write("all/a.yaml", clusters("b"))
	follow("a file was replaced", "b")
	f.write("egress/x.yaml", clusters("c"))
	follow("a file appeared", "b c")
	f.write("egress/x.yaml", "resources: []")
	follow("a file was emptied", "b")
	// As Kubernetes mounts a ConfigMap: a link to a link that is swapped.
	for _, version := range []string{"1", "2"} {
		f.write("all/..data-"+version+"/m.yaml", clusters("mounted-"+version))
		if err := os.Symlink("..data-"+version, filepath.Join(f.path, "all", "..data.new")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(f.path, "all", "..data.new"), filepath.Join(f.path, "all", "..data")); err != nil {
			t.Fatal(err)
		}
		if version == "1" {
			if err := os.Symlink("..data/m.yaml", filepath.Join(f.path, "all", "m.yaml")); err != nil {
				t.Fatal(err)
			}
		}
		follow("links swapped", "b mounted-"+version)
	}
	changed := f.dir.Changed()
	f.write("all/a.yaml", clusters("b"))
	f.dir.Check()
	select {
	case <-changed:
		t.Error("told of a change where the content stayed")
	default:
	}
	// In place, within the clock of the file system, and of the same length.
	if err := os.WriteFile(filepath.Join(f.path, "all", "a.yaml"), []byte(clusters("z")), 0o600); err != nil {
		t.Fatal(err)
	}
	follow("rewritten in place", "mounted-2 z")
}

func TestABadFile(t *testing.T) {
	f := newFolder(t, map[string]string{
		"all/a.yaml":                  clusters("a"),
		"dataplane/a.yaml":            clusters("dp"),
		"ingress/proxies/in-1/a.yaml": clusters("in1") + "- '@type': type.googleapis.com/envoy.config.cluster.v3.Cluster\n  nam: x\n",
	})
	// Nothing good was ever there: who it is about gets nothing, others do.
	if f.clusters(ingress) != "refused" || f.clusters(Proxy{Type: "ingress", Name: "in-2"}) != "a" || f.clusters(backend) != "a dp" {
		t.Errorf("%q, %q", f.clusters(ingress), f.clusters(backend))
	}
	problems := f.dir.Problems()
	if len(problems) != 1 || !strings.Contains(problems[0].Error(), "ingress/proxies/in-1/a.yaml: line 6: resources[1]: unknown field \"nam\"") {
		t.Errorf("problems %v", problems)
	}
	f.write("ingress/proxies/in-1/a.yaml", clusters("mended"))
	f.dir.Check()
	if got := f.clusters(ingress); got != "a mended" {
		t.Errorf("mended: %q", got)
	}
	// What was good stays while it is bad.
	f.write("dataplane/a.yaml", clusters("new"))
	f.write("dataplane/b.yaml", "resources: [")
	f.dir.Check()
	f.dir.Check()
	if got := f.clusters(backend); got != "a dp" {
		t.Errorf("bad: %q", got)
	}
	f.write("dataplane/b.yaml", clusters("b"))
	f.dir.Check()
	if got := f.clusters(backend); got != "a b new" {
		t.Errorf("mended: %q", got)
	}
	if n := strings.Count(f.log.String(), "folder=dataplane"); n != 2 {
		t.Errorf("logged %d times: %s", n, f.log.String())
	}
	// A folder that is gone as a whole changes nothing.
	if err := os.Rename(f.path, f.path+"-away"); err != nil {
		t.Fatal(err)
	}
	f.dir.Check()
	f.dir.Check()
	if got := f.clusters(backend); !strings.HasPrefix(got, "a b") || strings.Count(f.log.String(), "what it held stays in use") != 1 {
		t.Errorf("gone: %q, %s", got, f.log.String())
	}
	if err := os.Rename(f.path+"-away", f.path); err != nil {
		t.Fatal(err)
	}
	f.dir.Check()
	if !strings.Contains(f.log.String(), "can be read again") {
		t.Error("the return is not logged")
	}
	if _, err := Open(Config{Path: f.path + "-none"}); federation.CodeOf(err) != federation.Invalid {
		t.Errorf("a folder that is not there: %v", err)
	}
}

func TestBadContent(t *testing.T) {
	head := "resources:\n- '@type': type.googleapis.com/envoy.config."
	for name, tc := range map[string]struct{ text, want string }{
		"not yaml":      {"a: b\n c: [", "line 2: not YAML"},
		"a list":        {"- a", "is a map with resources, is a list"},
		"no resources":  {"{}", "must be a list of resources"},
		"something":     {"resources: []\nnode: {}", "line 2: node: is not known here"},
		"no type":       {"resources:\n- name: a\n", "line 2: resources[0]: has no @type"},
		"no resource":   {head + "core.v3.Address\n", "no type of resource that proxies ask for"},
		"no such type":  {"resources:\n- '@type': type.googleapis.com/made.up.Thing\n", "no type of resource"},
		"no name":       {head + "listener.v3.Listener\n  address: {socket_address: {address: 0.0.0.0, port_value: 1}}\n", "has no name"},
		"unknown field": {head + "cluster.v3.Cluster\n  name: a\n\n  connect_timeouts: 5s\n", "line 5: resources[0]: unknown field \"connect_timeouts\""},
		"wrong value":   {head + "cluster.v3.Cluster\n  name: a\n  connect_timeout: soon\n", "line 4: resources[0]: invalid google.protobuf.Duration"},
		"invalid":       {head + "cluster.v3.Cluster\n  name: a\n  connect_timeout: -5s\n", "line 4: resources[0].connect_timeout: invalid Cluster.ConnectTimeout"},
		"invalid inside": {head + "cluster.v3.Cluster\n  name: a\n  transport_socket:\n    name: tls\n    typed_config:\n      '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext\n      sni: " +
			strings.Repeat("x", 300) + "\n", "line 8: resources[0].transport_socket.typed_config.sni: invalid UpstreamTlsContext.Sni"},
		"not linked":   {head + "cluster.v3.Cluster\n  name: a\n  transport_socket:\n    name: tls\n    typed_config:\n      '@type': type.googleapis.com/made.up.Thing\n", "line 7: resources[0].transport_socket.typed_config: \"type.googleapis.com/made.up.Thing\" is no type that Envoy"},
		"a secret":     {"resources:\n- '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret\n  name: s\n  tls_certificate:\n    private_key:\n      inline_bytes: '*** hunter2 ***'\n", "line 6: resources[0]: invalid value for bytes field inlineBytes"},
		"twice inside": {clusters("a", "a"), "the Cluster \"a\" stands in all/x.yaml, line 2 already"},
	} {
		f := newFolder(t, map[string]string{"all/x.yaml": tc.text})
		problems := f.dir.Problems()
		if len(problems) != 1 || !strings.Contains(problems[0].Error(), "all/x.yaml: ") || !strings.Contains(problems[0].Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, problems, tc.want)
		}
		if strings.Contains(f.log.String(), "hunter2") {
			t.Errorf("%s: the log has a secret: %s", name, f.log.String())
		}
	}
}

func TestFoldersAboutNobody(t *testing.T) {
	f := newFolder(t, map[string]string{
		"root.yaml":                                clusters("a"),
		"dataplane/mehses/default/a.yaml":          clusters("a"),
		"dataplane/meshes/a.yaml":                  clusters("a"),
		"dataplane/meshes/m/servises/s/a.yaml":     clusters("a"),
		"ingress/meshes/default/a.yaml":            clusters("a"),
		"gateways/a.yaml":                          clusters("a"),
		"all/deep/a.yaml":                          clusters("a"),
		"egress/proxies/e/deep/a.yaml":             clusters("a"),
		"dataplane/meshes/m/services/s/deep/a.yml": clusters("a"),
		"dataplane/meshes/m/listeners/in/a.yaml":   clusters("a"),
	})
	if got := len(f.dir.Problems()); got != 10 {
		t.Errorf("%d problems: %v", got, f.dir.Problems())
	}
	for range 3 {
		f.dir.Check()
	}
	if n := strings.Count(f.log.String(), "counts for nobody"); n != 10 {
		t.Errorf("logged %d times", n)
	}
	for _, p := range []Proxy{backend, ingress, egress, {Type: "dataplane", Mesh: "m", Name: "x", Services: []string{"s"}}} {
		if got := f.clusters(p); got != "" {
			t.Errorf("%+v gets %q", p, got)
		}
	}
}

func TestRunFollows(t *testing.T) {
	f := newFolder(t, nil)
	changed := f.dir.Changed()
	ctx := t.Context()
	done := make(chan error, 1)
	go func() { done <- f.dir.Run(ctx) }()
	f.write("all/a.yaml", clusters("a"))
	select {
	case <-changed:
	case <-time.After(time.Minute):
		t.Error("the change was not seen")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(clusters("a", "b")))
	f.Add([]byte(`{"resources":[{"@type":"type.googleapis.com/envoy.config.listener.v3.Listener","name":"l"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := parse(data)
		if err != nil && federation.CodeOf(err) != federation.Invalid && federation.CodeOf(err) != federation.TooLarge {
			t.Fatalf("%v", err)
		}
		for _, r := range list {
			if r.Name == "" || r.Message == nil {
				t.Fatalf("%+v", r)
			}
		}
	})
}

// TestNothingVanishesUnasked: a volume that is not mounted takes nothing from anybody.
func TestNothingVanishesUnasked(t *testing.T) {
	f := newFolder(t, map[string]string{"all/a.yaml": clusters("a"), "egress/x.yaml": clusters("x"), "ingress/bad.yaml": "["})
	state := filepath.Join(t.TempDir(), "state.json")
	reopen := func() {
		t.Helper()
		var err error
		if f.dir, err = Open(Config{Path: f.path, State: state, Logger: f.dir.cfg.Logger}); err != nil {
			t.Fatal(err)
		}
	}
	reopen()
	remove := func(at string) {
		t.Helper()
		if err := os.RemoveAll(filepath.Join(f.path, at)); err != nil {
			t.Fatal(err)
		}
		f.dir.Check()
	}
	remove("ingress") // it never held anything
	remove("all")
	remove("egress")
	f.dir.Check()
	if got := f.clusters(egress); got != "a x" {
		t.Errorf("after everything went: %q", got)
	}
	if p := f.dir.Problems(); len(p) != 2 || !strings.Contains(p[0].Error(), "last file of resources is gone") {
		t.Errorf("problems: %v", p)
	}
	if n := strings.Count(f.log.String(), "last file of resources is gone"); n != 2 {
		t.Errorf("told %d times: %s", n, f.log.String())
	}
	for range 2 { // what it held is lost: nobody is given a part, or nothing
		reopen()
		if got := f.clusters(egress); got != "refused" {
			t.Errorf("after a restart: %q", got)
		}
	}
	if got := f.clusters(ingress); got != "refused" {
		t.Errorf("an ingress after a restart: %q", got)
	}
	f.write("egress/x.yaml", "resources: []")
	f.write("all/a.yaml", clusters("b"))
	f.dir.Check()
	if got := f.clusters(egress); got != "b" || len(f.dir.Problems()) != 0 {
		t.Errorf("mended: %q, %v", got, f.dir.Problems())
	}
	f.log.Reset()
	f.write("all/a.yaml", "resources: []")
	f.dir.Check()
	if log := f.log.String(); !strings.Contains(log, "resources changed") || !strings.Contains(log, "removed=1") || !strings.Contains(log, "the last cluster of all was removed") {
		t.Errorf("the log says %s", log)
	}
	remove("all")
	reopen()
	if got := f.clusters(egress); got != "" || len(f.dir.Problems()) != 0 {
		t.Errorf("meant to be empty: %q, %v", got, f.dir.Problems())
	}
}
