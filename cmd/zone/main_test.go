package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/endpoints"
	"github.com/meridiankds/meridian/internal/test/tempdir"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"zone": func() { os.Exit(execute()) }})
}

// TestScripts runs the scripts in testdata/script, each against a fake zone of
// its own: API and health on ZONE_ADDRESS, proxies over TLS on ZONE_DP_ADDRESS
// (CA ca.crt), both also named by the data folder "node", with a socket in it;
// $GLOBAL is what answers where a global is. What it is asked goes
// to the file "requests".
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setup,
		WorkdirRoot:         tempdir.Short(t), // it has sockets
	})
}

func setup(env *testscript.Env) error {
	if err := private(env.WorkDir); err != nil {
		return err
	}
	handler := fakeZone(env.WorkDir)
	api := httptest.NewServer(handler)
	env.Defer(api.Close)
	proxies := httptest.NewUnstartedServer(handler)
	proxies.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes fail on purpose
	proxies.StartTLS()
	env.Defer(proxies.Close)
	ca := filepath.Join(env.WorkDir, "ca.crt")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: proxies.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		return err
	}
	dir := filepath.Join(env.WorkDir, "node")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	listener, err := net.Listen("unix", filepath.Join(dir, "api.sock"))
	if err != nil {
		return err
	}
	socket := httptest.NewUnstartedServer(handler)
	socket.Listener.Close()
	socket.Listener = listener
	socket.Start()
	env.Defer(socket.Close)
	// A global on the port where somebody may look for the zone.
	global := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(apitypes.HeaderService, "global")
		io.WriteString(w, `{"node":"n1","cluster":"c1"}`)
	}))
	env.Defer(global.Close)
	// A program with the race detector sleeps a second before it ends, for races of
	// goroutines that outlive main; a script starts dozens of them.
	env.Setenv("GORACE", "atexit_sleep_ms=20")
	env.Setenv("GLOBAL", global.URL)
	node := endpoints.Endpoints{
		AdminSocket: filepath.Join(dir, "api.sock"),
		API:         api.Listener.Addr().String(), Diagnostics: api.Listener.Addr().String(),
		DP: proxies.Listener.Addr().String(), CAFile: ca,
	}
	if err := node.Write(dir); err != nil {
		return err
	}
	env.Setenv("ZONE_ADDRESS", api.URL)
	env.Setenv("ZONE_DP_ADDRESS", proxies.URL)
	env.Setenv("ZONE_DIAGNOSTICS_ADDR", api.Listener.Addr().String())
	return nil
}

// fakeZone answers as a zone does. It accepts the token "good"; any other token
// is the reason for which it is refused. It is empty while a file "empty" lies in
// dir.
func fakeZone(dir string) http.Handler {
	reply := func(w http.ResponseWriter, status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	problem := func(w http.ResponseWriter, status int, reason, detail, hint string) {
		reply(w, status, map[string]any{"status": status, "title": "Refused", "detail": detail, "reason": reason, "hint": hint})
	}
	empty := func() bool {
		_, err := os.Stat(filepath.Join(dir, "empty"))
		return err == nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/proxies/config", func(w http.ResponseWriter, r *http.Request) {
		if q := r.URL.Query(); q.Get("name") != "backend-1" || q.Get("mesh") == "other" || q.Get("type") == "egress" {
			problem(w, 404, "", "no proxy is connected here", "`zone get proxies` shows who is")
			return
		}
		reply(w, 200, apitypes.ZoneProxyConfigs{Items: []apitypes.ZoneProxyConfig{{Type: "dataplane", Mesh: "default", Name: "backend-1", Remote: "10.0.0.7:41000", Protocol: "delta-ads",
			Resources: []apitypes.ZoneProxyConfigOfName{
				{Type: "type.googleapis.com/envoy.config.cluster.v3.Cluster", Name: "c1", State: "acknowledged", Has: map[string]any{"name": "c1"}},
				{Type: "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", Name: "r1", State: "held back", Reason: "refers to Cluster c9, which is not acknowledged yet"},
			}}}})
	})
	mux.HandleFunc("POST /v1/xds/accept", func(w http.ResponseWriter, r *http.Request) {
		var body apitypes.XDSAccept
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Digest != "3f9c21d07a1b" {
			problem(w, 404, "", fmt.Sprintf("no folder of resources whose files are gone has the digest %q", body.Digest), "`zone status` shows which there are: files may have come back, or changed before they went")
			return
		}
		reply(w, 200, apitypes.XDSAccept{Digest: body.Digest, Folder: "egress"})
	})
	mux.HandleFunc("GET /v1/proxies", func(w http.ResponseWriter, r *http.Request) {
		onSocket := r.Context().Value(http.LocalAddrContextKey).(net.Addr).Network() == "unix"
		if r.Header.Get("Authorization") != "Bearer my-token" && !onSocket {
			problem(w, 401, "", "the request carries no user token", "send a user token (--token-file)")
			return
		}
		since := time.Now().Add(-10*time.Minute - time.Second)
		resources := func(refused string) []apitypes.ZoneProxyResources {
			return []apitypes.ZoneProxyResources{
				{Type: "type.googleapis.com/envoy.config.cluster.v3.Cluster", Sent: "v1", Nonce: "1", Acknowledged: "v1", At: since, Wanted: 3, InPlace: 3},
				{Type: "type.googleapis.com/envoy.config.listener.v3.Listener", Sent: "v2", Nonce: "2", Refused: refused, At: since, Wanted: 3, InPlace: 1,
					HeldBack: []apitypes.HeldBack{{Name: "web", Refused: true, Reason: refused}, {Name: "api", Reason: "refers to Route r1, which is not acknowledged yet"}}},
			}
		}
		reply(w, 200, apitypes.ZoneProxies{Total: 3, Items: []apitypes.ZoneProxy{
			{Type: "dataplane", Mesh: "default", Name: "backend-1", Identity: apitypes.Identity{Method: "dpToken", Kind: "dataplane", Name: "backend-1", ID: "id-1"},
				Remote: "10.0.0.1:4711", Protocol: "ads", Since: since, Resources: resources("no address")},
			{Type: "egress", Name: "egress-1", Identity: apitypes.Identity{Method: "zoneToken", Kind: "zone", Scope: []string{"egress", "ingress"}, ID: "id-2"},
				Remote: "10.0.0.2:4711", Protocol: "delta-ads", Since: since, Resources: resources("")[:1]},
			{Type: "ingress", Name: "ingress-1", Identity: apitypes.Identity{Method: "none"}, Remote: "10.0.0.3:4711", Protocol: "ads", Since: since},
		}})
	})
	mux.HandleFunc("POST /v1/authenticate", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_ = os.WriteFile(filepath.Join(dir, "requests"), append(body, '\n'), 0o600)
		var request apitypes.AuthenticateRequest
		_ = json.Unmarshal(body, &request)
		switch {
		case empty():
			problem(w, 503, "no_keys", "zone west knows no keys yet", "zone status shows what keeps it")
		case request.Token == "strange":
			problem(w, 400, "", "mesh: must not be empty", "")
		case request.Token != "good":
			problem(w, 403, request.Token, "the token is for zone west, this is zone east", "")
		default:
			expires := time.Date(2036, 11, 22, 12, 0, 0, 0, time.UTC)
			reply(w, 200, apitypes.Identity{Kind: "zone", Zone: "west", Scope: []string{"egress"}, ID: "id-1", Expires: &expires, Revision: "0123456789abcdef-1@42"})
		}
	})
	mux.HandleFunc("POST /bootstrap", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_ = os.WriteFile(filepath.Join(dir, "requests"), append(body, '\n'), 0o600)
		var request struct {
			DataplaneToken string `json:"dataplaneToken"`
		}
		_ = json.Unmarshal(body, &request)
		if request.DataplaneToken != "good" {
			problem(w, 403, request.DataplaneToken, "the token is for zone west, this is zone east", "")
			return
		}
		config := "node: {id: default.backend-1}\n"
		reply(w, 200, map[string]any{"bootstrap": base64.StdEncoding.EncodeToString([]byte(config))})
	})
	mux.HandleFunc("POST /tokens/dataplane", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_ = os.WriteFile(filepath.Join(dir, "requests"), append(body, '\n'), 0o600)
		if r.Header.Get("Authorization") != "Bearer my-token" {
			problem(w, 503, "global_away", "this zone is not connected to the global, which issues its tokens", "zone status shows how the zone stands with the global")
			return
		}
		w.Header().Set("Meridian-Key-Waiting", "dataplane-token-signing-key-default-2")
		_, _ = io.WriteString(w, "a.dataplane.token")
	})
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		onSocket := r.Context().Value(http.LocalAddrContextKey).(net.Addr).Network() == "unix"
		if r.Header.Get("Authorization") != "Bearer my-token" && !onSocket {
			problem(w, 401, "missing_token", "the request carries no user token", "send a user token (--token-file)")
			return
		}
		reply(w, 200, statusFor(empty()))
	})
	mux.HandleFunc("GET /healthy", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set(apitypes.HeaderService, "zone") })
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(apitypes.HeaderService, "zone")
		if empty() {
			problem(w, 503, "no_keys", "zone west knows no keys yet", "zone status shows what keeps it")
		}
	})
	return mux
}

func statusFor(empty bool) apitypes.ZoneStatus {
	since, heard := time.Now().Add(-10*time.Minute), time.Now().Add(-2*time.Minute)
	if empty {
		return apitypes.ZoneStatus{Zone: "west", Instance: "i-1", Version: "v1", Revision: "none", Empty: true,
			Global: apitypes.ZoneGlobal{Since: &since, LastError: "connection refused"}}
	}
	return apitypes.ZoneStatus{
		Zone: "west", Instance: "i-1", Version: "v1", Cluster: "c-1", Revision: "0123456789abcdef-1@42",
		Global:      apitypes.ZoneGlobal{Connected: true, Address: "127.0.0.1:5685", Member: "n1", Since: &since, LastHeard: &heard},
		Keys:        []apitypes.ZoneKey{{Kind: "user", KID: "1"}, {Kind: "zone", KID: "1"}, {Kind: "zone", KID: "2"}},
		Revocations: map[string]int{"zone": 3, "dataplane": 0, "user": 1}, CutOffs: 1,
	}
}

// runApp runs a command line in this process.
func runApp(args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	app := newApp(console.IO{In: strings.NewReader(""), Out: &o, Err: &e})
	code = console.Run(context.Background(), app, append([]string{"zone"}, args...))
	return code, o.String(), e.String()
}

func TestExitCodes(t *testing.T) {
	for line, want := range map[string]int{
		"version":                              console.ExitOK,
		"verify --help":                        console.ExitOK,
		"verify --token-file /nowhere":         console.ExitError,
		"status --address http://127.0.0.1:1":  console.ExitError,
		"health --diagnostics-addr [::1]:1":    console.ExitError,
		"verify":                               console.ExitUsage,
		"verify token":                         console.ExitUsage,
		"verify --token-file x --proxy-type y": console.ExitUsage,
		"status -o xml":                        console.ExitUsage,
		"staus":                                console.ExitUsage,
	} {
		if code, out, errs := runApp(strings.Fields(line)...); code != want {
			t.Errorf("zone %s: exit %d, want %d\n%s%s", line, code, want, out, errs)
		}
	}
}

func TestEveryCommandHasHelpWithExamples(t *testing.T) {
	app := newApp(console.IO{})
	for _, c := range app.Commands {
		code, out, errs := runApp(c.Name, "--help")
		_, examples, ok := strings.Cut(out, "Examples:\n")
		if code != 0 || errs != "" || !ok || !strings.Contains(examples, "zone "+c.Name) {
			t.Errorf("zone %s --help: exit %d\n%s%s", c.Name, code, out, errs)
		}
		for _, f := range c.Flags {
			if doc, ok := f.(cli.DocGenerationFlag); !ok || doc.GetUsage() == "" {
				t.Errorf("zone %s: the flag %s is not explained", c.Name, f.Names()[0])
			}
		}
	}
}

func TestStatusLines(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	since := now.Add(-3 * time.Hour)
	tests := []struct {
		name   string
		status apitypes.ZoneStatus
		want   string
	}{
		{"alone", apitypes.ZoneStatus{Zone: "west", Revision: "none", Empty: true,
			Global: apitypes.ZoneGlobal{Since: &since, LastError: "dial\x1b[2J: refused"}},
			"zone:        west\nrevision:    none\nglobal:      not connected for 3h\nlast error:  dial [2J: refused\nlast heard:  never since the zone started\nkeys:        none\nrevoked:     none\n"},
		{"connected", apitypes.ZoneStatus{Zone: "west", Revision: "r@1", Global: apitypes.ZoneGlobal{Connected: true, Address: "g:5685", LastHeard: &since},
			Keys: []apitypes.ZoneKey{{Kind: "future"}, {Kind: "dataplane"}, {Kind: "zone"}}, Revocations: map[string]int{"zone": 2, "user": 0}, CutOffs: 2},
			"zone:        west\nrevision:    r@1\nglobal:      connected to g:5685\nlast heard:  3h ago\nkeys:        1 future, 1 zone-token, 1 dataplane-token\nrevoked:     2 zone-token\ncut-offs:    2\n"},
		{"under a global of Kuma's", apitypes.ZoneStatus{Zone: "west", Revision: "r@1", Global: apitypes.ZoneGlobal{Connected: true, Address: "g:5685", Kind: "kuma", LastHeard: &since}},
			"zone:        west\nrevision:    r@1\nglobal:      connected to g:5685\nglobal is:   Kuma's\nlast heard:  3h ago\nkeys:        none\nrevoked:     none\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b strings.Builder
			if _, err := statusLines(tt.status, now).WriteTo(&b); err != nil {
				t.Fatal(err)
			}
			if b.String() != tt.want {
				t.Errorf("got\n%s\nwant\n%s", b.String(), tt.want)
			}
		})
	}
}

func TestRefusalIsBothDataAndError(t *testing.T) {
	refusal := fmt.Errorf("wrapped: %w", federation.Errorf(federation.Forbidden, "for west").WithReason("wrong_zone"))
	var b strings.Builder
	err := tell(&b, console.FormatJSON, verdictOf(apitypes.Identity{}, refusal), refusal)
	if err == nil || err.Error() != "refused (wrong_zone): for west" || !strings.Contains(b.String(), `"accepted": false`) ||
		!strings.Contains(b.String(), `"reason": "wrong_zone"`) {
		t.Errorf("%v\n%s", err, b.String())
	}
}

// private makes a script's files private to this user, as what holds tokens should be.
func private(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return os.Chmod(path, 0o600)
	})
}

// TestOneRuleForMeshes: a command about one mesh takes the mesh default where none is named, and
// its help says so.
func TestOneRuleForMeshes(t *testing.T) {
	seen := 0
	var each func([]*cli.Command)
	each = func(commands []*cli.Command) {
		for _, c := range commands {
			for _, f := range c.Flags {
				if doc, ok := f.(cli.DocGenerationFlag); ok && f.Names()[0] == "mesh" {
					seen++
					if text := strings.Trim(doc.GetDefaultText(), `"`); text != "default" {
						t.Errorf("zone %s --mesh has the default %q", c.Name, text)
					}
				}
			}
			each(c.Subcommands)
		}
	}
	each(newApp(console.IO{}).Commands)
	if seen < 3 {
		t.Errorf("only %d commands have --mesh", seen)
	}
}
