package access

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/net/preauth"
)

// fakeVerify knows three tokens.
func fakeVerify(_ context.Context, token string) (*cptoken.Claims, error) {
	switch token {
	case "admin-token":
		return &cptoken.Claims{Kind: cptoken.User, Name: "ann", Groups: []string{"ops", AdminGroup}}, nil
	case "user-token":
		return &cptoken.Claims{Kind: cptoken.User, Name: "bob", Groups: []string{"ops"}}, nil
	case "nameless-token":
		return &cptoken.Claims{Kind: cptoken.User, Groups: []string{AdminGroup}}, nil
	case "zone-token":
		return &cptoken.Claims{Kind: cptoken.Zone, Zone: "west"}, nil
	case "nothing":
		return nil, nil
	}
	return nil, federation.Errorf(federation.Unauthenticated, "the token is bad").WithReason("bad_signature")
}

func request(edit func(*http.Request)) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "http://localhost:5681/zones", nil)
	r.RemoteAddr = "127.0.0.1:40000"
	if edit != nil {
		edit(r)
	}
	return r
}

func header(name string, values ...string) func(*http.Request) {
	return func(r *http.Request) { r.Header[name] = values }
}

func TestTokens(t *testing.T) {
	p := Policy{Verify: fakeVerify, LocalhostIsAdmin: true, Socket: true}
	tests := map[string]struct {
		headers []string
		name    string
		admin   bool
		reason  string
	}{
		"admin":            {headers: []string{"Bearer admin-token"}, name: "ann", admin: true},
		"any case":         {headers: []string{"bearer  admin-token "}, name: "ann", admin: true},
		"user":             {headers: []string{"Bearer user-token"}, name: "bob"},
		"nameless":         {headers: []string{"Bearer nameless-token"}, reason: "wrong_name"},
		"another kind":     {headers: []string{"Bearer zone-token"}, reason: "wrong_kind"},
		"no claims":        {headers: []string{"Bearer nothing"}, reason: "wrong_kind"},
		"bad":              {headers: []string{"Bearer forged"}, reason: "bad_signature"},
		"no scheme":        {headers: []string{"admin-token"}, reason: "malformed"},
		"another scheme":   {headers: []string{"Basic admin-token"}, reason: "malformed"},
		"empty":            {headers: []string{""}, reason: "malformed"},
		"empty token":      {headers: []string{"Bearer "}, reason: "malformed"},
		"two tokens":       {headers: []string{"Bearer admin-token admin-token"}, reason: "malformed"},
		"two in a list":    {headers: []string{"Bearer admin-token,admin-token"}, reason: "malformed"},
		"two headers":      {headers: []string{"Bearer admin-token", "Bearer admin-token"}, reason: "malformed"},
		"a very long one":  {headers: []string{"Bearer " + strings.Repeat("x", cptoken.MaxTokenBytes+1)}, reason: "too_large"},
		"the longest kind": {headers: []string{"Bearer " + strings.Repeat("x", cptoken.MaxTokenBytes)}, reason: "bad_signature"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			// From loopback and over the socket: a bad token is refused there too.
			c, err := p.Authenticate(request(header("Authorization", test.headers...)))
			if test.reason != "" {
				if e := federation.AsError(err); err == nil || e.Reason != test.reason || e.Code != federation.Unauthenticated {
					t.Fatalf("got %+v, %v, want the reason %s", c, err, test.reason)
				}
				for _, h := range test.headers {
					if token := strings.TrimPrefix(h, "Bearer "); len(token) > 8 && strings.Contains(err.Error(), token) {
						t.Error("the error contains the token")
					}
				}
				return
			}
			if err != nil || c.Name != test.name || c.Admin() != test.admin || c.Via != ViaToken || c.Remote != "127.0.0.1:40000" {
				t.Errorf("got %+v, %v", c, err)
			}
		})
	}
	if _, err := (Policy{}).Authenticate(request(header("Authorization", "Bearer admin-token"))); federation.CodeOf(err) != federation.Unauthenticated {
		t.Errorf("a policy that verifies nothing: %v", err)
	}
}

func TestWithoutToken(t *testing.T) {
	local := Policy{Verify: fakeVerify, LocalhostIsAdmin: true}
	and := func(edits ...func(*http.Request)) func(*http.Request) {
		return func(r *http.Request) {
			for _, e := range edits {
				e(r)
			}
		}
	}
	from := func(addr string) func(*http.Request) { return func(r *http.Request) { r.RemoteAddr = addr } }
	host := func(h string) func(*http.Request) { return func(r *http.Request) { r.Host = h } }
	origin := func(o ...string) func(*http.Request) { return header("Origin", o...) }
	overTLS := func(r *http.Request) { r.TLS = &tls.ConnectionState{} }
	type testCase struct {
		policy Policy
		edit   func(*http.Request)
		via    string // "" where it is refused
		reason string
	}
	tests := map[string]testCase{
		"network":                 {policy: Policy{Verify: fakeVerify}, reason: "missing_token"},
		"zero policy":             {policy: Policy{}, reason: "missing_token"},
		"socket":                  {policy: Policy{Socket: true}, edit: and(from("@"), host("anything")), via: ViaSocket},
		"loopback":                {policy: local, via: ViaLoopback},
		"loopback, IPv6":          {policy: local, edit: and(from("[::1]:9"), host("[::1]:5681")), via: ViaLoopback},
		"loopback, mapped":        {policy: local, edit: from("[::ffff:127.0.0.1]:9"), via: ViaLoopback},
		"loopback, no port":       {policy: local, edit: host("127.0.0.1"), via: ViaLoopback},
		"loopback, IPv6, no port": {policy: local, edit: host("[::1]"), via: ViaLoopback},
		"same origin":             {policy: local, edit: origin("http://localhost:5681"), via: ViaLoopback},
		"same origin, TLS":        {policy: local, edit: and(origin("https://localhost:5681"), overTLS), via: ViaLoopback},
		"another machine":         {policy: local, edit: from("192.0.2.1:9"), reason: "missing_token"},
		"an address that is none": {policy: local, edit: from("localhost:9"), reason: "missing_token"},
		"rebound name":            {policy: local, edit: host("evil.example:5681"), reason: "foreign_host"},
		"rebound name, alike":     {policy: local, edit: host("localhost.evil.example"), reason: "foreign_host"},
		"no host":                 {policy: local, edit: host(""), reason: "foreign_host"},
		"other loopback address":  {policy: local, edit: host("127.0.0.2:5681"), reason: "foreign_host"},
		"another site":            {policy: local, edit: origin("https://evil.example"), reason: "foreign_origin"},
		"another port":            {policy: local, edit: origin("http://localhost:3000"), reason: "foreign_origin"},
		"another scheme":          {policy: local, edit: origin("https://localhost:5681"), reason: "foreign_origin"},
		"a file":                  {policy: local, edit: origin("null"), reason: "foreign_origin"},
		"empty origin":            {policy: local, edit: origin(""), reason: "foreign_origin"},
		"one of two origins":      {policy: local, edit: origin("http://localhost:5681", "http://evil.example"), reason: "foreign_origin"},
		"an image in a page":      {policy: local, edit: header("Sec-Fetch-Site", "cross-site"), reason: "foreign_origin"},
		"behind a proxy":          {policy: local, edit: header("X-Forwarded-For", "192.0.2.1"), reason: "forwarded"},
		"behind another proxy":    {policy: local, edit: header("Forwarded", "for=192.0.2.1"), reason: "forwarded"},
	}
	for _, name := range []string{"X-Forwarded-Proto", "x-forwarded-port", "X-Forwarded-Client-Cert", "X-Client-IP", "True-Client-IP",
		"CF-Connecting-IP", "X-Envoy-External-Address", "x-envoy-original-path", "X-Envoy-Peer-Metadata", "X-Forwarded", "Via", "X-Real-IP",
		"X_Forwarded_For", "X-Original-Forwarded-For", "X-Original-Url", "CDN-Loop", "Proxy-Connection", "X-Cluster-Client-Ip", "Client-IP",
		"Fastly-Client-IP", "X-Scheme", "X-Amzn-Trace-Id", "X-ProxyUser-Ip"} {
		tests["with "+name] = testCase{policy: local, edit: header(name, "192.0.2.1"), reason: "forwarded"}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := test.policy.Authenticate(request(test.edit))
			if test.via == "" {
				if e := federation.AsError(err); err == nil || e.Reason != test.reason || e.Hint == "" {
					t.Fatalf("got %+v, %v, want the reason %s and a hint", c, err, test.reason)
				}
				if test.reason != "missing_token" && federation.CodeOf(err) != federation.Forbidden {
					t.Errorf("code %s", federation.CodeOf(err))
				}
				return
			}
			if err != nil || c.Via != test.via || !c.Admin() || c.Name == "" || c.Remote == "" {
				t.Errorf("got %+v, %v", c, err)
			}
		})
	}
}

// TestBalancersTakeLocalhostAway: who comes through a named balancer is no administrator,
// also where the balancer says 127.0.0.1, which is its own machine, or names nobody.
func TestBalancersTakeLocalhostAway(t *testing.T) {
	policy := Policy{LocalhostIsAdmin: true}
	for name, tc := range map[string]struct{ balancers, sent, reason string }{
		"no balancer":           {"192.0.2.1/32", "", ""},
		"a client of its own":   {"127.0.0.0/8", "PROXY TCP4 127.0.0.1 127.0.0.1 4711 5681\r\n", "forwarded"},
		"a client, over IPv6":   {"127.0.0.0/8", "PROXY TCP6 ::1 ::1 4711 5681\r\n", "forwarded"},
		"nobody's, version 1":   {"127.0.0.0/8", "PROXY UNKNOWN\r\n", "forwarded"},
		"its own, version 2":    {"127.0.0.0/8", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", "forwarded"},
		"a client of elsewhere": {"127.0.0.0/8", "PROXY TCP4 192.0.2.9 127.0.0.1 4711 5681\r\n", "missing_token"},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		budget := preauth.New(preauth.Config{Proxies: []netip.Prefix{netip.MustParsePrefix(tc.balancers)}})
		reasons := make(chan string, 1)
		server := &http.Server{ConnContext: preauth.ConnContext, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			reason := ""
			if _, err := policy.Authenticate(r); err != nil {
				reason = federation.AsError(err).Reason
			}
			reasons <- reason
		})}
		done := make(chan error, 1)
		go func() { done <- server.Serve(budget.Listen(l, "test", false)) }()
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(tc.sent + "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil { // until it was answered
			t.Error(name, err)
		}
		select {
		case reason := <-reasons:
			if reason != tc.reason {
				t.Errorf("%s: %q, want %q", name, reason, tc.reason)
			}
		default:
			t.Errorf("%s: no request arrived", name)
		}
		conn.Close()
		server.Close()
		<-done
	}
}

// TestGrantsAreToldUnlessOurs: an administrator's right that loopback alone gave away is
// told of once, but not for our command line.
func TestGrantsAreToldUnlessOurs(t *testing.T) {
	var log bytes.Buffer
	p := Policy{LocalhostIsAdmin: true, Granted: WarnOnce(slog.New(slog.NewTextHandler(&log, nil)))}
	ask := func(agent string) {
		r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:5681/", nil)
		r.RemoteAddr = "127.0.0.1:9"
		r.Header.Set("User-Agent", agent)
		if c, err := p.Authenticate(r); err != nil || !c.Admin() {
			t.Errorf("%s: %+v, %v", agent, c, err)
		}
	}
	ask("global/1.0")
	ask("zone/1.0")
	if log.Len() > 0 {
		t.Errorf("warned of our own: %s", log.String())
	}
	ask("curl/8.0")
	ask("curl/8.0")
	if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), "forwarder") {
		t.Errorf("%d warnings: %s", n, log.String())
	}
}

// TestEveryPlaceThatGrantsSaysIt: wherever users learn of the flag, and where dev sets
// it for them, they learn what it means behind a forwarder.
func TestEveryPlaceThatGrantsSaysIt(t *testing.T) {
	found := 0
	for _, root := range []string{"../../cmd", "../../docs", "../../README.md", "../../SECURITY.md"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			lines := strings.Split(string(data), "\n")
			for i, line := range lines {
				if !strings.Contains(line, "localhost-is-admin") && !strings.Contains(line, "is an administrator") || strings.Contains(line, "has it is an administrator") || strings.Contains(line, `c.Bool(`) {
					continue
				}
				found++
				around := strings.Join(lines[max(0, i-3):min(len(lines), i+4)], "\n")
				if !strings.Contains(around, "forwarder") {
					t.Errorf("%s:%d grants administrator's rights and does not say what that is behind a forwarder", path, i+1)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found < 5 {
		t.Errorf("found %d places only", found)
	}
}

// TestWhoIsToldHowToShowAToken: our command lines hear of their flags, and others of the header
// and of the command that makes a token for what they asked.
func TestWhoIsToldHowToShowAToken(t *testing.T) {
	for _, tt := range []struct{ agent, zone, says, not string }{
		{"global/v1", "", "--token-file", "admin-token"},
		{"zone/v1", "west", "--token-file", "admin-token"},
		{"curl/8.5.0", "", "global admin-token --data-dir", "--token-file"},
		{"curl/8.5.0", "west", "where ZONE is west", "admin-token"},
		{"", "", "Authorization: Bearer TOKEN", "--token-file"},
	} {
		r := httptest.NewRequest("GET", "https://global.example/zones", nil)
		r.Header.Set("User-Agent", tt.agent)
		_, err := Policy{Verify: fakeVerify, Zone: tt.zone}.Authenticate(r)
		if hint := federation.AsError(err).Hint; !strings.Contains(hint, tt.says) || strings.Contains(hint, tt.not) {
			t.Errorf("%q at %q is told %q", tt.agent, tt.zone, hint)
		}
	}
}
