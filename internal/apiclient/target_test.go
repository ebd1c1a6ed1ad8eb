package apiclient

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/endpoints"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// folder makes the data folder of a node.
func folder(t *testing.T, e endpoints.Endpoints) string {
	t.Helper()
	dir := t.TempDir()
	if err := e.Write(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// listenUnix leaves a socket at a path, which is as long as a test's may be.
func listenUnix(t *testing.T, path string) {
	t.Helper()
	t.Chdir(filepath.Dir(path)) // a socket's path has at most 107 bytes
	listener, err := net.Listen("unix", filepath.Base(path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
}

func TestResolve(t *testing.T) {
	dev := folder(t, endpoints.Endpoints{API: "127.0.0.1:1111", APITLS: "127.0.0.1:1112", CAFile: "/dev.crt", AdminTokenFile: file(t, "dev-token\n")})
	other := folder(t, endpoints.Endpoints{APITLS: "127.0.0.1:2222", CAFile: "/other.crt", AdminTokenFile: file(t, "other-token")})
	mine := file(t, "  my-token\r\n")
	token := file(t, "dev-token\n")
	socket := folder(t, endpoints.Endpoints{API: "127.0.0.1:1", APITLS: "127.0.0.1:2", CAFile: "/s.crt", AdminTokenFile: token, AdminSocket: "/elsewhere/admin.sock"})
	listenUnix(t, filepath.Join(socket, "admin.sock"))
	gone := folder(t, endpoints.Endpoints{API: "127.0.0.1:1", APITLS: "127.0.0.1:3333", AdminTokenFile: token, AdminSocket: "/elsewhere/admin.sock"})
	plain := folder(t, endpoints.Endpoints{API: "127.0.0.1:4444", AdminTokenFile: token})
	tests := []struct {
		name  string
		flags Flags
		env   map[string]string
		want  Target
	}{
		{"nothing said", Flags{}, nil, Target{Address: "http://127.0.0.1:5681"}},
		{"address flag", Flags{Address: "https://g:5682"}, map[string]string{"GLOBAL_ADDRESS": "http://env"}, Target{Address: "https://g:5682"}},
		{"address in the environment", Flags{}, map[string]string{"GLOBAL_ADDRESS": "https://env:1"}, Target{Address: "https://env:1"}},
		{"host and port alone", Flags{Address: "127.0.0.1:9"}, nil, Target{Address: "http://127.0.0.1:9"}},
		{"unix socket", Flags{Address: "unix:///run/admin.sock"}, nil, Target{Address: "unix:///run/admin.sock"}},
		{"data folder brings address, CA and token", Flags{DataDir: dev}, nil,
			Target{Address: "https://127.0.0.1:1112", CAFile: "/dev.crt", token: "dev-token"}},
		{"a socket in the data folder is asked without a token", Flags{DataDir: socket}, nil,
			Target{Address: "unix://" + socket + "/admin.sock", CAFile: "/s.crt"}},
		{"as somebody else if that is wished", Flags{DataDir: socket, TokenFile: mine}, nil,
			Target{Address: "unix://" + socket + "/admin.sock", CAFile: "/s.crt", token: "my-token"}},
		{"a folder that was moved", Flags{}, map[string]string{"GLOBAL_DATA_DIR": socket},
			Target{Address: "unix://" + socket + "/admin.sock", CAFile: "/s.crt"}},
		{"a socket that is gone", Flags{DataDir: gone}, nil,
			Target{Address: "https://127.0.0.1:3333", token: "dev-token"}},
		{"plain HTTP gets no token of the folder", Flags{DataDir: plain}, nil, Target{Address: "http://127.0.0.1:4444"}},
		{"TLS where there is no plain port", Flags{DataDir: other}, nil,
			Target{Address: "https://127.0.0.1:2222", CAFile: "/other.crt", token: "other-token"}},
		{"the flag's folder counts more than the environment", Flags{DataDir: dev},
			map[string]string{"GLOBAL_ADDRESS": "https://env", "GLOBAL_TOKEN": "env-token", "GLOBAL_CA_FILE": "/env.crt"},
			Target{Address: "https://127.0.0.1:1112", CAFile: "/dev.crt", token: "dev-token"}},
		{"the environment counts more than a folder that it names", Flags{},
			map[string]string{"GLOBAL_DATA_DIR": dev, "GLOBAL_TOKEN": "env-token", "GLOBAL_CA_FILE": "/env.crt"},
			Target{Address: "https://127.0.0.1:1112", CAFile: "/env.crt", token: "env-token"}},
		{"a folder's token does not go to another address", Flags{Address: "https://stranger"},
			map[string]string{"GLOBAL_DATA_DIR": dev}, Target{Address: "https://stranger"}},
		{"neither by the environment", Flags{},
			map[string]string{"GLOBAL_DATA_DIR": dev, "GLOBAL_ADDRESS": "https://stranger"}, Target{Address: "https://stranger"}},
		{"token file before token", Flags{TokenFile: mine}, map[string]string{"GLOBAL_TOKEN": "env-token"},
			Target{Address: DefaultAPI, token: "my-token"}},
		{"token before token file in the environment", Flags{},
			map[string]string{"GLOBAL_TOKEN": " env-token\n", "GLOBAL_TOKEN_FILE": mine}, Target{Address: DefaultAPI, token: "env-token"}},
		{"token file in the environment", Flags{}, map[string]string{"GLOBAL_TOKEN_FILE": mine}, Target{Address: DefaultAPI, token: "my-token"}},
		{"token on standard input", Flags{TokenFile: "-"}, nil, Target{Address: DefaultAPI, token: "stdin-token"}},
		{"a zone's environment is not a global's", Flags{}, map[string]string{"ZONE_ADDRESS": "http://z", "ZONE_TOKEN": "z"}, Target{Address: DefaultAPI}},
		{"a token over loopback", Flags{Address: "http://[::1]:5681", TokenFile: mine}, nil, Target{Address: "http://[::1]:5681", token: "my-token"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Resolve(API("global"), tt.flags, func(k string) string { return tt.env[k] }, strings.NewReader("stdin-token\n"))
			if err != nil {
				t.Fatal(err)
			}
			if got.Address != tt.want.Address || got.CAFile != tt.want.CAFile || got.token != tt.want.token {
				t.Errorf("got %s, CA %q, token %q; want %s, CA %q, token %q",
					got.Address, got.CAFile, got.token, tt.want.Address, tt.want.CAFile, tt.want.token)
			}
		})
	}
}

func TestResolveRefuses(t *testing.T) {
	noAPI := folder(t, endpoints.Endpoints{KDS: "127.0.0.1:5685"})
	token := file(t, "secret-token")
	plain := folder(t, endpoints.Endpoints{API: "127.0.0.1:1"})
	tests := []struct {
		name  string
		flags Flags
		env   map[string]string
		says  string
	}{
		{"another scheme", Flags{Address: "ftp://x"}, nil, "is not an address"},
		{"no host", Flags{Address: "http://:5681"}, nil, "is not an address"},
		{"a query", Flags{Address: "http://x?y"}, nil, "is not an address"},
		{"control characters", Flags{Address: "http://x\x00"}, nil, "is not an address"},
		{"a relative socket", Flags{Address: "unix://admin.sock"}, nil, "is not an address"},
		{"a password", Flags{Address: "http://me:pw@x"}, nil, "must not hold a user name"},
		{"a token in the clear", Flags{Address: "http://10.0.0.1:5681", TokenFile: token}, nil, "in the clear"},
		{"a token in the clear by name", Flags{Address: "http://localhost.example.com", TokenFile: token}, nil, "in the clear"},
		{"a token to where a node was", Flags{DataDir: plain, TokenFile: token}, nil, "plain HTTP does not prove"},
		{"the same from the environment", Flags{}, map[string]string{"GLOBAL_DATA_DIR": plain, "GLOBAL_TOKEN": "secret"}, "plain HTTP does not prove"},
		{"no such folder", Flags{DataDir: "/nowhere/at/all"}, nil, "no node runs in"},
		{"a folder without that port", Flags{DataDir: noAPI}, nil, "serves no such port"},
		{"no such token file", Flags{TokenFile: "/nowhere/token"}, nil, "no such file"},
		{"a folder for a token", Flags{TokenFile: "/"}, nil, "is a directory"},
		{"an empty token file", Flags{TokenFile: file(t, "\n")}, nil, "is empty"},
		{"two tokens", Flags{TokenFile: file(t, "secret-a\nsecret-b\n")}, nil, "one token alone"},
		{"no text", Flags{TokenFile: file(t, "secret\x00\xff")}, nil, "one token alone"},
		{"a large file", Flags{TokenFile: file(t, strings.Repeat("secret", 3000))}, nil, "that is no token"},
		{"an endless file", Flags{TokenFile: "/dev/zero"}, nil, "that is no token"},
		{"two tokens in the environment", Flags{}, map[string]string{"GLOBAL_TOKEN": "secret-a secret-b"}, "GLOBAL_TOKEN does not hold one token"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Resolve(API("global"), tt.flags, func(k string) string { return tt.env[k] }, strings.NewReader(""))
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("got %v, want an error with %q", err, tt.says)
			}
			if e := federation.AsError(err); e.Hint == "" {
				t.Errorf("%v says not what to do", err)
			}
			if strings.Contains(fmt.Sprintf("%+v", federation.AsError(err)), "secret-") {
				t.Errorf("%v shows what the file holds", err)
			}
		})
	}
}

func TestServicesFindTheirPort(t *testing.T) {
	dir := folder(t, endpoints.Endpoints{API: "127.0.0.1:1", DP: "127.0.0.1:2", Diagnostics: "127.0.0.1:3", CAFile: "/ca", AdminTokenFile: "/not/there"})
	for want, s := range map[string]Service{
		"http://127.0.0.1:3":  Diagnostics("zone"),
		"https://127.0.0.1:2": ProxyPort(),
	} {
		// A service without tokens does not read the folder's token.
		got, err := Resolve(s, Flags{DataDir: dir}, func(string) string { return "" }, nil)
		if err != nil || got.Address != want || got.token != "" || got.CAFile != "/ca" {
			t.Errorf("got %v, %v, want %s", got, err, want)
		}
		empty := folder(t, endpoints.Endpoints{})
		if _, err := Resolve(s, Flags{DataDir: empty}, func(string) string { return "" }, nil); federation.CodeOf(err) != federation.NotFound {
			t.Errorf("%s: a node without the port: %v", want, err)
		}
	}
}

func TestTargetShowsNoToken(t *testing.T) {
	target := Target{Address: "http://127.0.0.1:1", token: "secret-token"}
	for _, shown := range []string{
		fmt.Sprint(target), fmt.Sprintf("%v %+v %#v %s", target, target, target, target), fmt.Sprintf("%v", &target), target.LogValue().String(),
	} {
		if strings.Contains(shown, "secret") {
			t.Errorf("shows its token: %s", shown)
		}
	}
}

func TestSocket(t *testing.T) {
	got, err := Socket("global", "meridian-data/admin.sock")
	wd, _ := os.Getwd()
	if want := "unix://" + wd + "/meridian-data/admin.sock"; err != nil || got.Address != want {
		t.Errorf("got %v, %v, want %s", got, err, want)
	}
}

// TestTokensGoWhereTheyAreFor: no zone is sent a user token that is good at the global, nor
// the global one that is for a zone; and a token for a zone goes to no other.
func TestTokensGoWhereTheyAreFor(t *testing.T) {
	token := func(claims string) string {
		enc := base64.RawURLEncoding.EncodeToString
		return enc([]byte(`{"alg":"RS256","kid":"1","typ":"JWT"}`)) + "." + enc([]byte(claims)) + "." + enc([]byte("signature"))
	}
	everywhere, west := token(`{"Name":"ann","Groups":["admin"]}`), token(`{"Name":"ann","Groups":["admin"],"aud":["zone:west"]}`)
	for name, tt := range map[string]struct {
		node, token string
		zones       []string
		refused     bool
	}{
		"the global's at the global": {"global", everywhere, nil, false},
		"the global's at a zone":     {"zone", everywhere, nil, true},
		"a zone's at the global":     {"global", west, nil, true},
		"a zone's at the zone":       {"zone", west, []string{"west"}, false},
		"for nobody, at a zone":      {"zone", token(`{"Name":"ann","aud":[]}`), nil, true},
	} {
		env := map[string]string{strings.ToUpper(tt.node) + "_TOKEN": tt.token}
		target, err := Resolve(API(tt.node), Flags{Address: "https://127.0.0.1:1"}, func(name string) string { return env[name] }, nil)
		if (err != nil) != tt.refused || tt.refused && federation.AsError(err).Reason != string(cptoken.WrongAudience) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && !slices.Equal(target.zones, tt.zones) {
			t.Errorf("%s: it may go to the zones %v, want %v", name, target.zones, tt.zones)
		}
	}
	// The zone that answers is known by its certificate before anything is sent.
	ca, err := tlsutil.NewAuthority("prod", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for zone, want := range map[string]bool{"west": true, "east": false} {
		var asked atomic.Bool
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked.Store(true)
			_, _ = io.WriteString(w, "{}")
		}))
		certPEM, keyPEM, err := ca.Issue(tlsutil.Identity{Cluster: "prod", Role: tlsutil.RoleZone, Name: zone}, []string{"127.0.0.1"}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.X509KeyPair(certPEM, keyPEM)
		if err != nil {
			t.Fatal(err)
		}
		server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.StartTLS()
		defer server.Close()
		file := filepath.Join(t.TempDir(), "ca.crt")
		if err := os.WriteFile(file, ca.CertPEM(), 0o600); err != nil {
			t.Fatal(err)
		}
		target, err := Resolve(API("zone"), Flags{Address: server.URL, CAFile: file}, func(name string) string {
			return map[string]string{"ZONE_TOKEN": west}[name]
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		c, err := NewZone(target, "zone/test")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Status(t.Context()); asked.Load() != want {
			t.Errorf("zone %s was asked with west's token: %v (%v)", zone, asked.Load(), err)
		}
	}
}

// TestWhatDevMakesIsFound: the one node of its kind that runs below the present folder is
// asked where nobody says another, unless others could have put it there.
func TestWhatDevMakesIsFound(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, e := range map[string]endpoints.Endpoints{
		"meridian-data": {API: "127.0.0.1:1111"}, "west-data": {API: "127.0.0.1:2222", DP: "127.0.0.1:3333"},
		"other": {API: "127.0.0.1:4444", DP: "127.0.0.1:4445"},
	} {
		if err := os.Mkdir(name, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := e.Write(name); err != nil {
			t.Fatal(err)
		}
	}
	found := func(s Service, flags Flags, env map[string]string) string {
		t.Helper()
		target, err := Resolve(s, flags, func(name string) string { return env[name] }, nil)
		if err != nil {
			t.Fatal(err)
		}
		return target.Address
	}
	for _, tt := range []struct{ got, want string }{
		{found(API("global"), Flags{}, nil), "http://127.0.0.1:1111"},
		{found(API("zone"), Flags{}, nil), "http://127.0.0.1:2222"},
		{found(ProxyPort(), Flags{}, nil), "https://127.0.0.1:3333"},
		{found(API("zone"), Flags{DataDir: "other"}, nil), "http://127.0.0.1:4444"},
		{found(API("zone"), Flags{Address: "http://127.0.0.1:5"}, nil), "http://127.0.0.1:5"},
		{found(API("zone"), Flags{}, map[string]string{"ZONE_DATA_DIR": "other"}), "http://127.0.0.1:4444"},
	} {
		if tt.got != tt.want {
			t.Errorf("found %s, want %s", tt.got, tt.want)
		}
	}
	if err := os.Chmod("meridian-data", 0o777); err != nil {
		t.Fatal(err)
	}
	if got := found(API("global"), Flags{}, nil); got != DefaultAPI {
		t.Errorf("in a folder that others may write it found %s", got)
	}
	if err := os.Rename("other", "east-data"); err != nil {
		t.Fatal(err)
	}
	if got := found(ProxyPort(), Flags{}, nil); got != ProxyPort().Default {
		t.Errorf("of two zones it found %s", got)
	}
}

// TestAFlagBeatsTheEnvironment: who names a certificate on the command line is not taken for
// whom a token of the environment names.
func TestAFlagBeatsTheEnvironment(t *testing.T) {
	token := filepath.Join(t.TempDir(), "env.token")
	if err := os.WriteFile(token, []byte("env-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, env := range []map[string]string{{"GLOBAL_TOKEN_FILE": token}, {"GLOBAL_TOKEN": "env-token"}} {
		get := func(name string) string { return env[name] }
		target, err := Resolve(API("global"), Flags{Address: "https://g:5682", CertFile: "/my.crt", KeyFile: "/my.key"}, get, nil)
		if err != nil || target.token != "" || target.CertFile != "/my.crt" {
			t.Errorf("%v: the token %q, the certificate %q: %v", env, target.token, target.CertFile, err)
		}
		if target, err := Resolve(API("global"), Flags{Address: "https://g:5682"}, get, nil); err != nil || target.token != "env-token" {
			t.Errorf("%v without a flag: the token %q: %v", env, target.token, err)
		}
	}
}
