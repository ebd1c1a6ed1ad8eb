package callers

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meridiankds/meridian/internal/test/testlog"
)

// arrived is a request that reached the service behind a proxy.
type arrived struct {
	method, target, body string
	headers              http.Header
}

// service is what stands behind a proxy. It remembers all that reached it, and takes every
// upgrade that is offered to it.
type service struct {
	address string
	mu      sync.Mutex
	all     []arrived
}

func startService(t *testing.T) *service {
	t.Helper()
	s := &service{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.all = append(s.all, arrived{r.Method, r.RequestURI, string(body), r.Header.Clone()})
		s.mu.Unlock()
		for upgrade := range strings.SplitSeq(strings.Join(r.Header.Values("Upgrade"), ","), ",") {
			if upgrade = strings.TrimSpace(upgrade); upgrade != "" && upgrade != "websocket" {
				w.Header().Set("Connection", "Upgrade")
				w.Header().Set("Upgrade", upgrade)
				w.WriteHeader(http.StatusSwitchingProtocols)
				return
			}
		}
	}))
	server.Listener = lenient{server.Listener}
	server.Start()
	t.Cleanup(server.Close)
	s.address = server.Listener.Addr().String()
	return s
}

// lenient has a server of Go's take targets whose escapes are none, as other services do.
type lenient struct{ net.Listener }

func (l lenient) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return &lenientConn{Conn: conn}, err
}

type lenientConn struct {
	net.Conn
	rest []byte
}

var brokenEscape = regexp.MustCompile(`%([^0-9A-Fa-f]|[0-9A-Fa-f][^0-9A-Fa-f])`)

func (c *lenientConn) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		came := make([]byte, 4096)
		n, err := c.Conn.Read(came)
		if c.rest = brokenEscape.ReplaceAll(came[:n], []byte("%25$1")); err != nil && n == 0 {
			return 0, err
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (s *service) take() []arrived {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.all
	s.all = nil
	return all
}

// edited returns a documented file with the addresses of a test: each replacement must find
// its place as often as it says.
func edited(t *testing.T, file string, replacements ...[2]string) string {
	t.Helper()
	data, err := os.ReadFile("../../../deploy/" + file)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, r := range replacements {
		if !strings.Contains(text, r[0]) {
			t.Fatalf("deploy/%s does not have %q", file, r[0])
		}
		text = strings.ReplaceAll(text, r[0], r[1])
	}
	return text
}

// written writes a file of the test's own and returns its path.
func written(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// runNginx runs nginx with what stands in its http block, or beside it, and returns once it
// listens at the address.
func runNginx(t *testing.T, address, http, beside string) {
	t.Helper()
	dir, user, temporary := t.TempDir(), "", ""
	if os.Getuid() == 0 {
		user = "user root;\n" // the files of the test are its own
	}
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temporary += kind + "_temp_path " + filepath.Join(dir, kind) + ";\n"
	}
	conf := written(t, "nginx.conf", user+"daemon off;\nworker_processes 1;\npid "+filepath.Join(dir, "pid")+";\nerror_log stderr warn;\n"+beside+
		"\nevents {}\nhttp {\naccess_log off;\n"+temporary+http+"}\n")
	testlog.Serve(t, []string{address}, nil, "nginx", "-p", dir, "-e", "stderr", "-c", conf)
}

// forwardAuth are the proxies of other projects that ask at /v1/authorize, with the
// documented configuration of each.
var forwardAuth = map[string]func(t *testing.T, z *zone, app string) (address string){
	"nginx": func(t *testing.T, z *zone, app string) string {
		address := "127.0.0.1:" + freePort(t)
		runNginx(t, address, edited(t, "nginx/auth-request.conf", [2]string{"server zone.example:5678;", "server " + z.address + ";"},
			[2]string{"server app.example:8000;", "server " + app + ";"}, [2]string{"listen 8080;", "listen " + address + ";"},
			[2]string{"/etc/nginx/zone-ca.crt", z.ca}, [2]string{"proxy_ssl_name zone.example;", "proxy_ssl_name localhost;"},
			// The machine of a test may be busy.
			[2]string{"proxy_connect_timeout 1s;", "proxy_connect_timeout 60s;"}, [2]string{"proxy_read_timeout 1s;", "proxy_read_timeout 60s;"}), "")
		return address
	},
	"haproxy": func(t *testing.T, z *zone, app string) string { return startHAProxy(t, z, app) },
	"caddy": func(t *testing.T, z *zone, app string) string {
		port := freePort(t)
		conf := written(t, "Caddyfile", edited(t, "caddy/Caddyfile", [2]string{"http://:8080", "http://:" + port}, [2]string{"app.example:8000", app},
			[2]string{"https://zone.example:5678", "https://" + z.address}, [2]string{"/etc/caddy/zone-ca.crt", z.ca}, [2]string{"zone.example", "localhost"},
			[2]string{"timeout 1s", "timeout 60s"}))
		home := t.TempDir()
		testlog.Serve(t, []string{"127.0.0.1:" + port}, []string{"HOME=" + home, "XDG_DATA_HOME=" + home, "XDG_CONFIG_HOME=" + home}, "caddy", "run", "--adapter", "caddyfile", "--config", conf)
		return "127.0.0.1:" + port
	},
}

// startHAProxy runs HAProxy with the documented configuration, and changes to meridian.lua.
func startHAProxy(t *testing.T, z *zone, app string, lua ...[2]string) (address string) {
	t.Helper()
	address, via := "127.0.0.1:"+freePort(t), "abns@meridian-"+freePort(t)
	lua = append(lua, [2]string{"abns@meridian-zone", via}, [2]string{"TIMEOUT = 1000", "TIMEOUT = 60000"})
	conf := written(t, "haproxy.cfg", edited(t, "haproxy/haproxy.cfg", [2]string{"bind :8080", "bind " + address}, [2]string{"abns@meridian-zone", via},
		[2]string{"/etc/haproxy/meridian.lua", written(t, "meridian.lua", edited(t, "haproxy/meridian.lua", lua...))},
		[2]string{"app.example:8000", app}, [2]string{"zone zone.example:5678", "zone " + z.address},
		[2]string{"/etc/haproxy/zone-ca.crt", z.ca}, [2]string{"zone.example", "localhost"}, [2]string{"server 30s", "server 90s"}))
	testlog.Serve(t, []string{address}, nil, "haproxy", "-db", "-f", conf)
	return address
}

// TestHAProxyRefusesWhereLuaFails: HAProxy goes on with a request whose action failed.
func TestHAProxyRefusesWhereLuaFails(t *testing.T) {
	needProgram(t, "haproxy")
	z, s, k := startZone(t), startService(t), makeTokens(t)
	for name, edit := range map[string][2]string{
		"at once":       {"local asked =", "error('x') local asked ="},
		"behind a yes":  {"txn:set_var(\"txn.meridian\", \"yes\")", "error('x')"},
		"another's 200": {"local answer = core", "local answer = { status = 200, headers = {} } or core"},
	} {
		address := startHAProxy(t, z, s.address, edit)
		answers := sendRaw(t, address, "GET /x HTTP/1.1\nHost: edge\nConnection: close\nAuthorization: "+k.ledger+"\n\n")
		if len(answers) != 1 || answers[0].StatusCode != http.StatusForbidden && answers[0].StatusCode != http.StatusServiceUnavailable || len(s.take()) > 0 {
			t.Errorf("%s: %v", name, answers)
		}
	}
}

// TestDocumentedConfigurations: the pages have the files as they are.
func TestDocumentedConfigurations(t *testing.T) {
	for file, name := range map[string]string{
		"nginx/auth-request.conf": "proxies.md", "haproxy/haproxy.cfg": "proxies.md", "haproxy/meridian.lua": "proxies.md", "caddy/Caddyfile": "proxies.md",
		"grpc/bootstrap.json": "grpc.md", "grpc/resources.yaml": "grpc.md",
	} {
		page, err := os.ReadFile("../../../docs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if text := edited(t, file); !strings.Contains(string(page), "\n"+strings.TrimSpace(text)+"\n```\n") {
			t.Errorf("docs/%s does not have deploy/%s as it is", name, file)
		}
	}
}

// eachForwardAuth runs a test with each of these proxies that is installed.
func eachForwardAuth(t *testing.T, test func(t *testing.T, address string, z *zone, s *service)) {
	for _, name := range slices.Sorted(maps.Keys(forwardAuth)) {
		t.Run(name, func(t *testing.T) {
			needProgram(t, name)
			z, s := startZone(t), startService(t)
			test(t, forwardAuth[name](t, z, s.address), z, s)
		})
	}
}

// needProgram skips where a program is not installed.
func needProgram(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("skipped: no %s on the PATH, which Debian has", name)
	}
}

// another is how long a second answer on one connection is waited for. Nothing depends on
// whether it comes: what matters is what reaches the service.
const another = 200 * time.Millisecond

// afterwards separates what is sent at once from what is sent behind the first answer.
const afterwards = "\x01"

// sendRaw writes what it is given as it stands, with each "\r\n" made of a "\n", and
// returns the answers. Whoever answers closes.
func sendRaw(t *testing.T, address, text string) (answers []*http.Response) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	text, later, _ := strings.Cut(strings.ReplaceAll(text, "\n", "\r\n"), afterwards)
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	for in := bufio.NewReader(conn); ; {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return answers
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		if err := conn.SetReadDeadline(time.Now().Add(another)); err != nil {
			t.Fatal(err)
		}
		if answers = append(answers, resp); resp.Close {
			return answers
		}
		_, _ = io.WriteString(conn, later) // it may be closed
		later = ""
	}
}

// The tokens of these tests.
type tokens struct{ ledger, mesh, old, egress string }

func makeTokens(t *testing.T) tokens {
	return tokens{
		ledger: sign(t, map[string]any{"Mesh": "payments", "Name": "ledger-1", "Tags": map[string]any{"kuma.io/service": []string{"ledger"}}}),
		mesh:   sign(t, map[string]any{"Mesh": "payments"}),
		old:    sign(t, map[string]any{"Mesh": "payments", "Name": "ledger-1", "exp": time.Now().Unix() - 60}),
		egress: sign(t, map[string]any{"Zone": "west", "Scope": []string{"egress"}}),
	}
}

// TestForwardAuthRunsTheDocumentedConfiguration: who is let in, with what identity, and who
// is refused for what reason, through each proxy.
func TestForwardAuthRunsTheDocumentedConfiguration(t *testing.T) {
	k := makeTokens(t)
	eachForwardAuth(t, func(t *testing.T, address string, z *zone, s *service) {
		for name, tc := range map[string]struct {
			path, token string
			status      int
			reason      string
			identity    map[string]string // at the service; nil: it must not be reached
		}{
			"the named proxy":   {"/ledger/x?y=1&name=z", "Bearer " + k.ledger, 200, "", map[string]string{"Name": "ledger-1", "Mesh": "payments", "Kind": "dataplane", "Service": "ledger", "Zone": "west"}},
			"without a scheme":  {"/ledger/x", k.ledger, 200, "", map[string]string{"Name": "ledger-1"}},
			"the mesh alone":    {"/ledger/x", "Bearer " + k.mesh, 403, "wrong_name", nil},
			"a zone proxy":      {"/ledger/x", "Bearer " + k.egress, 401, "wrong_kind", nil},
			"expired":           {"/ledger/x", "Bearer " + k.old, 401, "expired", nil},
			"nobody":            {"/ledger/x", "", 401, "missing_token", nil},
			"another scheme":    {"/ledger/x", "Basic " + k.ledger, 401, "malformed", nil},
			"anybody":           {"/x", "Bearer " + k.egress, 200, "", map[string]string{"Scope": "egress", "Kind": "zone", "Name": "", "Mesh": ""}},
			"anybody, a mesh":   {"/x?mesh=default&name=z", "Bearer " + k.mesh, 200, "", map[string]string{"Mesh": "payments", "Name": "", "Service": "", "Scope": ""}},
			"nobody is asked":   {"/public/x", "", 200, "", map[string]string{"Zone": "", "Name": ""}},
			"a token for all":   {"/public/x", "Bearer " + k.ledger, 200, "", map[string]string{"Zone": "", "Name": ""}},
			"a token of no use": {"/x", "Bearer garbage", 401, "malformed", nil},
		} {
			for _, method := range []string{"GET", "POST"} {
				s.take()
				request := method + " " + tc.path + " HTTP/1.1\nHost: edge\nConnection: close\nX-Meridian-Name: admin\nX-Meridian-Workload: admin\n"
				if tc.token != "" {
					request += "Authorization: " + tc.token + "\n"
				}
				body := ""
				if method == "POST" {
					body = "a body for the service"
					request += fmt.Sprintf("Content-Type: application/grpc\nContent-Length: %d\n", len(body))
				}
				answers, reached := sendRaw(t, address, request+"\n"+body), s.take()
				if len(answers) != 1 || answers[0].StatusCode != tc.status || answers[0].Header.Get("X-Meridian-Reason") != tc.reason || (len(reached) == 1) != (tc.identity != nil) {
					t.Errorf("%s, %s: answered %+v, reached the service: %v", name, method, answers, reached)
					continue
				}
				if tc.status == 401 && answers[0].Header.Get("Www-Authenticate") == "" {
					t.Errorf("%s, %s: no WWW-Authenticate", name, method)
				}
				if tc.identity == nil {
					continue
				}
				if r := reached[0]; r.body != body || r.method != method || r.headers.Get("Authorization") != "" || r.headers.Get("X-Meridian-Workload") != "" || r.target != tc.path {
					t.Errorf("%s, %s: the service is given %+v", name, method, r)
				}
				for header, want := range tc.identity {
					if got := reached[0].headers.Get("X-Meridian-" + header); got != want {
						t.Errorf("%s, %s: %s is %q, want %q", name, method, header, got, want)
					}
				}
			}
		}
		if log := z.log.String(); !strings.Contains(log, "route=edge/ledger/x") || strings.Contains(log, "eyJ") || strings.Contains(log, "misconfigured") {
			t.Errorf("the zone's log does not show the questions, has a token, or a statement that is a mistake:\n%s", log)
		}
		z.stop()
		s.take()
		answers := sendRaw(t, address, "GET /x HTTP/1.1\nHost: edge\nConnection: close\nAuthorization: "+k.ledger+"\n\n")
		if len(answers) != 1 || answers[0].StatusCode < 500 || len(s.take()) > 0 {
			t.Errorf("while the zone is away: %v", answers)
		}
	})
}

// readings are what services make of the path of a target: as it stands or decoded, once
// or twice, without parameters, in any case.
func readings(target string) (all []string) {
	raw, _, _ := strings.Cut(target, "?")
	for range 3 {
		for _, p := range []string{raw, strings.ReplaceAll(raw, "\\", "/")} {
			parts := strings.Split(p, "/")
			for i := range parts {
				parts[i], _, _ = strings.Cut(parts[i], ";")
			}
			all = append(all, path.Clean("/"+p), path.Clean("/"+strings.Join(parts, "/")))
		}
		decoded, err := url.PathUnescape(raw)
		if err != nil {
			return all
		}
		raw = decoded
	}
	return all
}

// within reports whether every service takes a target for one below a place.
func within(target, place string) bool {
	return strings.HasPrefix(target, place+"/") && !slices.ContainsFunc(readings(target), func(p string) bool { return p != place && !strings.HasPrefix(p, place+"/") })
}

// below reports whether a service could take a target for one below a place.
func below(target, place string) bool {
	return slices.ContainsFunc(readings(target), func(p string) bool { return p == place || strings.HasPrefix(p, place+"/") })
}
