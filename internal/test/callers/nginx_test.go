package callers

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startNginx runs nginx with the documented configuration until the test ends, and
// returns its address.
func startNginx(t *testing.T, z *zone, a *app) string {
	t.Helper()
	file, err := os.ReadFile("../../../deploy/nginx/auth-request.conf")
	if err != nil {
		t.Fatal(err)
	}
	text, port := string(file), freePort(t)
	for _, r := range [][2]string{
		{"server zone.example:5678;", "server " + z.address + ";"},
		{"server app.example:8000;", "server " + a.address + ";"},
		{"listen 8080;", "listen 127.0.0.1:" + port + ";"},
		{"/etc/nginx/zone-ca.crt", z.ca},
		{"proxy_ssl_name zone.example;", "proxy_ssl_name localhost;"},
		{"proxy_connect_timeout 1s;", "proxy_connect_timeout 60s;"}, // the machine of a test may be busy
		{"proxy_read_timeout 1s;", "proxy_read_timeout 60s;"},
	} {
		if strings.Count(text, r[0]) != 1 {
			t.Fatalf("deploy/nginx/auth-request.conf has %q %d times", r[0], strings.Count(text, r[0]))
		}
		text = strings.Replace(text, r[0], r[1], 1)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "nginx.conf")
	user := ""
	if os.Getuid() == 0 {
		user = "user root;\n" // the files of the test are its own
	}
	temporary := ""
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temporary += kind + "_temp_path " + filepath.Join(dir, kind) + ";\n"
	}
	whole := user + "daemon off;\nworker_processes 1;\npid " + filepath.Join(dir, "pid") + ";\nerror_log stderr warn;\nevents {}\nhttp {\naccess_log off;\n" + temporary + text + "}\n"
	if err := os.WriteFile(path, []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "nginx", "-p", dir, "-e", "stderr", "-c", path)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // takes its workers along
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
	address := "127.0.0.1:" + port
	for deadline := time.Now().Add(patience); ; {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return address
		}
		select {
		case <-ended:
			t.Fatalf("nginx ended: %s", out.String())
		case <-time.After(20 * time.Millisecond): // between two looks
		}
		if time.Now().After(deadline) {
			t.Fatal("nginx does not listen")
		}
	}
}

// send writes a request as it stands and returns the answer.
func send(t *testing.T, address, request string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp
}

// TestNginxRunsTheDocumentedConfiguration puts the documented configuration into a real
// nginx, between forgers and a service.
func TestNginxRunsTheDocumentedConfiguration(t *testing.T) {
	if _, err := exec.LookPath("nginx"); err != nil {
		t.Skip("skipped: no nginx on the PATH, which Debian has")
	}
	z, a := startZone(t), startApp(t)
	address := startNginx(t, z, a)
	ledger, mesh := sign(t, map[string]any{"Mesh": "payments", "Name": "ledger-1"}), sign(t, map[string]any{"Mesh": "payments"})
	old := sign(t, map[string]any{"Mesh": "payments", "Name": "ledger-1", "exp": time.Now().Unix() - 60})
	egress := sign(t, map[string]any{"Zone": "west", "Scope": []string{"egress"}})
	authorization := func(values ...string) (lines string) {
		for _, v := range values {
			lines += "Authorization: " + v + "\r\n"
		}
		return lines
	}
	for name, tc := range map[string]struct {
		path, lines string
		status      int
		reached     string // the path at the service; "": it must not be reached
	}{
		"the named proxy":          {"/ledger/x?y=1", authorization("Bearer " + ledger), 200, "/ledger/x"},
		"without a scheme":         {"/ledger/x", authorization(ledger), 200, "/ledger/x"},
		"the mesh alone":           {"/ledger/x", authorization("Bearer " + mesh), 403, ""},
		"a zone proxy":             {"/ledger/x", authorization("Bearer " + egress), 401, ""},
		"expired":                  {"/ledger/x", authorization("Bearer " + old), 401, ""},
		"nobody":                   {"/ledger/x", "", 401, ""},
		"another scheme":           {"/ledger/x", authorization("Basic " + ledger), 401, ""},
		"two tokens":               {"/ledger/x", authorization("Bearer "+mesh, "Bearer "+ledger), 400, ""},
		"JSON in the token":        {"/ledger/x", authorization(`Bearer ` + mesh + `","require":{},"x":"`), 401, ""},
		"the end of the JSON":      {"/ledger/x", authorization(`Bearer ` + mesh + `","require":{}}`), 401, ""},
		"anybody":                  {"/x", authorization("Bearer " + egress), 200, "/x"},
		"nobody is asked":          {"/public/x", "", 200, "/public/x"},
		"from public to private":   {"/public/../ledger/x", "", 401, ""},
		"slashes, escaped":         {"/public/..%2fledger/x", "", 401, ""},
		"dots, escaped":            {"/public/%2e%2e/ledger/x", "", 401, ""},
		"from private to public":   {"/ledger/..%2fpublic/x", "", 200, "/public/x"},
		"written otherwise":        {"/y/..%2fledger/x", authorization("Bearer " + ledger), 200, "/ledger/x"},
		"a parameter":              {"/ledger;x/y", authorization("Bearer " + mesh), 400, ""},
		"a parameter, escaped":     {"/ledger%3bx/y", authorization("Bearer " + mesh), 400, ""},
		"without the slash":        {"/ledger", authorization("Bearer " + mesh), 301, ""},
		"two slashes":              {"//ledger//x", authorization("Bearer " + mesh), 403, ""},
		"the question itself":      {"/_meridian", authorization("Bearer " + ledger), 404, ""},
		"forged":                   {"/x", authorization("Bearer "+mesh) + "X-Meridian-Name: admin\r\nx-meridian-service: admin\r\n", 200, "/x"},
		"forged, nobody is asked":  {"/public/x", "X-Meridian-Name: admin\r\nX-MERIDIAN-SCOPE: admin\r\n", 200, "/public/x"},
		"forged with underscores":  {"/public/x", "X_Meridian_Name: admin\r\nX-Meridian_Name: admin\r\n", 200, "/public/x"},
		"forged, an empty value":   {"/public/x", "X-Meridian-Name:\r\nX-Meridian-Name: admin\r\n", 200, "/public/x"},
		"a body with the question": {"/ledger/x", authorization("Bearer "+mesh) + "Content-Type: application/json\r\nContent-Length: 16\r\n", 403, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a.take()
			request := "GET " + tc.path + " HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n" + tc.lines + "\r\n"
			if strings.Contains(tc.lines, "Content-Length") {
				request += `{"require": {}  }`[:16]
			}
			resp := send(t, address, request)
			headers, _, path := a.take()
			if resp.StatusCode != tc.status || path != tc.reached {
				t.Fatalf("%d, reached the service at %q", resp.StatusCode, path)
			}
			for name, values := range headers {
				if meridian.MatchString(name) || name == "Authorization" {
					t.Errorf("the service is shown %s: %v", name, values)
				}
			}
		})
	}
	if log := z.log.String(); !strings.Contains(log, "/v1/authenticate") || strings.Contains(log, "eyJ") {
		t.Errorf("the zone's log does not show the questions, or has a token:\n%s", log)
	}
	z.stop()
	if resp := send(t, address, "GET /x HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n"+authorization(mesh)+"\r\n"); resp.StatusCode != http.StatusInternalServerError {
		t.Errorf("while the zone is away: %d", resp.StatusCode)
	}
}
