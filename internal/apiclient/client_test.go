package apiclient

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/test/tempdir"
)

const secretToken = "eyJhbGciOiJSUzI1NiJ9.secret.secret"

// global serves handler as a global and returns a client of it.
func global(t *testing.T, handler http.HandlerFunc) *Global {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return clientOf(t, Target{Service: API("global"), Address: server.URL, token: secretToken})
}

func clientOf(t *testing.T, target Target) *Global {
	t.Helper()
	g, err := NewGlobal(target, "global/test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.c.http.CloseIdleConnections)
	return g
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func TestRequestAsTheAPIWantsIt(t *testing.T) {
	g := global(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		want := `{"zone":"west","scope":["egress"],"validFor":"720h0m0s"}`
		if r.Method != "POST" || r.URL.Path != "/tokens/zone" || string(body) != want {
			t.Errorf("got %s %s %s", r.Method, r.URL.Path, body)
		}
		for name, want := range map[string]string{
			"Authorization": "Bearer " + secretToken, "Content-Type": "application/json",
			"Accept": "application/json", "User-Agent": "global/test",
		} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if len(r.Header.Get("X-Request-Id")) != 36 {
			t.Errorf("X-Request-Id %q is not a UUID", r.Header.Get("X-Request-Id"))
		}
		fmt.Fprintln(w, "the.issued.token")
	})
	token, err := g.ZoneToken(t.Context(), apitypes.ZoneTokenRequest{Zone: "west", Scope: []string{"egress"}, ValidFor: "720h0m0s"})
	if token.Token != "the.issued.token" || token.KeyWaiting != "" || err != nil {
		t.Errorf("%q, %v", token, err)
	}
}

func TestPathsAreEscaped(t *testing.T) {
	asked := make(chan string, 1)
	g := global(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.EscapedPath() + "?" + r.URL.RawQuery
		answerJSON(w, 200, map[string]any{"name": "x", "key": map[string]any{"kid": "2"}})
	})
	_, err := g.GlobalSecret(t.Context(), "a/../b?c#d e")
	if got := <-asked; err != nil || got != "/global-secrets/a%2F..%2Fb%3Fc%23d%20e?" {
		t.Errorf("%s, %v", got, err)
	}
	_, err = g.Holding(t.Context(), "dataplane", "default", "2")
	if got := <-asked; err != nil || got != "/v1/keys/dataplane/2/holding?mesh=default" {
		t.Errorf("%s, %v", got, err)
	}
	for _, name := range []string{"", ".", ".."} {
		if _, err := g.GlobalSecret(t.Context(), name); federation.CodeOf(err) != federation.Invalid {
			t.Errorf("%q as a name: %v", name, err)
		}
	}
}

func TestListReadsEveryPage(t *testing.T) {
	g := global(t, func(w http.ResponseWriter, r *http.Request) {
		page := apitypes.List[apitypes.Zone]{Total: 3}
		// The host of next is another one: only its query counts.
		next := "http://stranger.invalid/zones?offset=2&size=2"
		switch r.URL.RawQuery {
		case "size=1000":
			page.Items, page.Next = []apitypes.Zone{{Name: "a"}, {Name: "b"}}, &next
		case "offset=2&size=2":
			page.Items = []apitypes.Zone{{Name: "c"}}
		default:
			t.Errorf("asked for %s", r.URL)
		}
		answerJSON(w, 200, page)
	})
	zones, err := g.Zones(t.Context())
	if err != nil || len(zones) != 3 || zones[2].Name != "c" {
		t.Errorf("%v, %v", zones, err)
	}
}

func TestListWithoutEnd(t *testing.T) {
	same := "/zones?size=1000"
	g := global(t, func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, 200, apitypes.List[apitypes.Zone]{Total: 9, Items: []apitypes.Zone{{Name: "a"}}, Next: &same})
	})
	if _, err := g.Zones(t.Context()); err == nil || !strings.Contains(err.Error(), "has no end") {
		t.Errorf("got %v", err)
	}
}

func TestTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, 200, apitypes.List[apitypes.Key]{Items: []apitypes.Key{{KID: "1"}}})
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes fail on purpose
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.crt")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())

	g := clientOf(t, Target{Service: API("global"), Address: server.URL, CAFile: ca, token: secretToken})
	if keys, err := g.Keys(t.Context()); err != nil || len(keys) != 1 {
		t.Fatalf("with the CA: %v, %v", keys, err)
	}
	tests := []struct {
		name   string
		target Target
		hint   string
	}{
		{"without a CA", Target{Address: server.URL}, "give the CA of the global with --ca-file"},
		{"another name", Target{Address: "https://localhost:" + port, CAFile: ca}, "use a name that the certificate is made out for"},
		{"plain HTTP", Target{Address: "http://127.0.0.1:" + port}, "write https://"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.target.Service = API("global")
			_, err := clientOf(t, tt.target).Revoke(t.Context(), apitypes.RevokeRequest{Kind: "zone", IDs: []string{"x"}})
			if e := federation.AsError(err); e.Code == federation.UnknownOutcome || !strings.Contains(e.Hint, tt.hint) {
				t.Errorf("%+v\nwant the hint %q", e, tt.hint)
			}
		})
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	_, err := clientOf(t, Target{Service: API("global"), Address: strings.Replace(plain.URL, "http:", "https:", 1)}).Keys(t.Context())
	if e := federation.AsError(err); !strings.Contains(e.Hint, "write http://") {
		t.Errorf("TLS to a plain port: %+v", e)
	}
	if _, err := NewGlobal(Target{Service: API("global"), Address: server.URL, CAFile: "/nowhere"}, "x"); err == nil {
		t.Error("a CA file that is not there is no error")
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(tempdir.Short(t), "admin.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "localhost" || r.Header.Get("Authorization") != "" {
			t.Errorf("host %q, authorization %q", r.Host, r.Header.Get("Authorization"))
		}
		_, _ = io.WriteString(w, "an.admin.token")
	}))
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	target, err := Socket("global", path)
	if err != nil {
		t.Fatal(err)
	}
	if token, err := clientOf(t, target).UserToken(t.Context(), apitypes.UserTokenRequest{Name: "admin"}); err != nil || token.Token != "an.admin.token" {
		t.Errorf("%q, %v", token, err)
	}
	gone, err := Socket("global", path+".gone")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := clientOf(t, gone).Keys(t.Context()); federation.CodeOf(err) != federation.Unavailable {
		t.Errorf("no socket: %v", err)
	}
}

func TestHealth(t *testing.T) {
	for _, tt := range []struct {
		name           string
		healthy, ready int
		code           federation.Code
		says           string
	}{
		{"ready", 200, 200, "", ""},
		{"starting", 200, 503, federation.Unavailable, "is not ready"},
		{"ill", 503, 200, federation.Unavailable, "is not healthy"},
		{"something else", 404, 404, federation.Internal, "answered /healthy with status 404"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mux := http.NewServeMux()
			mux.HandleFunc("GET /healthy", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(tt.healthy) })
			mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(tt.ready) })
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set(apitypes.HeaderService, "zone")
				mux.ServeHTTP(w, r)
			}))
			t.Cleanup(server.Close)
			err := Health(t.Context(), Target{Service: Diagnostics("zone"), Address: server.URL}, "zone/test")
			if federation.CodeOf(err) != tt.code || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}
