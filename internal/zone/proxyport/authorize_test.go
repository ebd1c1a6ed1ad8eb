package proxyport

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/internal/zone/proxyauth"
)

// ledgerClaims are of a token that names a proxy and its service.
var ledgerClaims = map[string]any{"Mesh": "default", "Name": "ledger-1", "Tags": map[string]any{"kuma.io/service": []string{"ledger", "audit"}}}

// TestAuthorizeRules: where the statement stands, and that nothing else has a say.
func TestAuthorizeRules(t *testing.T) {
	z := newZone(t, nil)
	z.learn()
	ledger, mesh := "Bearer "+sign(t, ledgerClaims), "Bearer "+sign(t, map[string]any{"Mesh": "default"})
	named, other, mistake := "name=ledger-1&mesh=default", "name=ledger-2", "Name=ledger-1"
	type headers = http.Header
	with := func(token string, more ...string) headers {
		h := headers{"Authorization": {token}}
		for i := 0; i < len(more); i += 2 {
			h[more[i]] = append(h[more[i]], more[i+1])
		}
		return h
	}
	const require = "X-Meridian-Require"
	for name, tc := range map[string]struct {
		target string
		header headers
		status int
		reason string
	}{
		"stated in the query":                  {"/v1/authorize?" + named, with(ledger), 200, ""},
		"another one":                          {"/v1/authorize?" + other, with(ledger), 403, "wrong_name"},
		"the mesh alone":                       {"/v1/authorize?" + named, with(mesh), 403, "wrong_name"},
		"nothing stated":                       {"/v1/authorize", with(mesh), 200, ""},
		"an empty query":                       {"/v1/authorize?", with(mesh), 200, ""},
		"the path, escaped":                    {"/v1%2fauthorize?" + other, with(ledger), 403, "wrong_name"},
		"an unknown key":                       {"/v1/authorize?" + mistake, with(ledger), 403, "misconfigured"},
		"a key of another's":                   {"/v1/authorize?mesh=default&access_token=x", with(ledger), 403, "misconfigured"},
		"a key twice":                          {"/v1/authorize?name=ledger-2&name=ledger-1", with(ledger), 403, "misconfigured"},
		"a key twice, alike":                   {"/v1/authorize?name=ledger-1&name=ledger-1", with(ledger), 403, "misconfigured"},
		"a key twice, escaped":                 {"/v1/authorize?name=ledger-2&n%61me=ledger-1", with(ledger), 403, "misconfigured"},
		"a semicolon":                          {"/v1/authorize?mesh=default;name=ledger-2", with(ledger), 403, "misconfigured"},
		"a bad escape":                         {"/v1/authorize?name=%zz", with(ledger), 403, "misconfigured"},
		"two questions":                        {"/v1/authorize?name=ledger-1?name=ledger-2", with(ledger), 403, "wrong_name"},
		"the header beside the query":          {"/v1/authorize?" + other, with(ledger, require, named), 403, "wrong_name"},
		"the header alone, exact path":         {"/v1/authorize", with(mesh, require, other), 200, ""},
		"a mistake in a header that is passed": {"/v1/authorize?" + named, with(ledger, require, mistake), 200, ""},

		"below, stated":              {"/v1/authorize/orders", with(ledger, require, named), 200, ""},
		"below, another one":         {"/v1/authorize/orders", with(ledger, require, other), 403, "wrong_name"},
		"below, nothing stated":      {"/v1/authorize/orders", with(mesh, require, ""), 200, ""},
		"below, nothing, written":    {"/v1/authorize/orders", with(mesh, require, "&"), 200, ""},
		"below, the client's query":  {"/v1/authorize/orders?" + named, with(ledger, require, other), 403, "wrong_name"},
		"below, a mistake in that":   {"/v1/authorize/orders?" + mistake + ";%zz", with(ledger, require, named), 200, ""},
		"below, the header is gone":  {"/v1/authorize/orders", with(ledger), 403, "misconfigured"},
		"below, the query instead":   {"/v1/authorize/?" + named, with(ledger), 403, "misconfigured"},
		"below, two headers":         {"/v1/authorize/orders", with(ledger, require, named, require, named), 403, "misconfigured"},
		"below, a key twice":         {"/v1/authorize/orders", with(ledger, require, "name=ledger-2&name=ledger-1"), 403, "misconfigured"},
		"below, two in one header":   {"/v1/authorize/orders", with(ledger, require, other+", "+named), 403, "wrong_name"},
		"below, escaped":             {"/v1/authorize%2forders?" + named, with(ledger, require, other), 403, "wrong_name"},
		"below, back to the path":    {"/v1/authorize/../authorize?" + named, with(ledger, require, other), 403, "wrong_name"},
		"below, back by dots":        {"/v1/authorize/.?" + named, with(ledger, require, other), 403, "wrong_name"},
		"below, to the key sets":     {"/v1/authorize/../jwks/zone", with(mesh, require, other), 403, "wrong_name"},
		"below, to the key sets, %":  {"/v1/authorize/%2e%2e/jwks/zone", with(mesh, require, other), 403, "wrong_name"},
		"below, the slash alone":     {"/v1/authorize/", with(ledger, require, other), 403, "wrong_name"},
		"below, two slashes":         {"/v1/authorize//?" + named, with(ledger, require, other), 403, "wrong_name"},
		"below, a query, escaped":    {"/v1/authorize/%3f" + named, with(ledger, require, other), 403, "wrong_name"},
		"not below":                  {"/v1/authorizeorders?" + named, with(ledger, require, named), 404, ""},
		"a question mark, escaped":   {"/v1/authorize%3f" + named, with(ledger, require, named), 404, ""},
		"a slash before it":          {"//v1/authorize?" + named, with(ledger, require, named), 404, ""},
		"dots before it":             {"/x/../v1/authorize?" + named, with(ledger, require, named), 404, ""},
		"in capitals":                {"/v1/Authorize?" + named, with(ledger, require, named), 404, ""},
		"no token":                   {"/v1/authorize", headers{}, 401, "missing_token"},
		"no token, below":            {"/v1/authorize/", headers{require: {""}}, 401, "missing_token"},
		"two tokens":                 {"/v1/authorize", headers{"Authorization": {mesh, mesh}}, 401, "malformed"},
		"two tokens in one":          {"/v1/authorize", with(mesh + ", " + mesh), 401, "malformed"},
		"another scheme":             {"/v1/authorize", with("Basic " + mesh[len("Bearer "):]), 401, "malformed"},
		"a token elsewhere":          {"/v1/authorize", headers{"X-Forwarded-Authorization": {mesh}, "Proxy-Authorization": {mesh}, "Cookie": {"token=" + mesh}}, 401, "missing_token"},
		"a token in the query":       {"/v1/authorize?token=x", headers{}, 403, "misconfigured"},
		"another one is forwarded":   {"/v1/authorize?" + other, with(ledger, "X-Forwarded-Uri", "/?"+named, "X-Original-Url", "https://zone/v1/authorize?"+named, "X-Rewrite-Url", "/v1/jwks/zone"), 403, "wrong_name"},
		"another method is asked":    {"/v1/authorize?" + other, with(ledger, "X-Http-Method-Override", "OPTIONS", "X-Forwarded-Method", "OPTIONS"), 403, "wrong_name"},
		"it is known already":        {"/v1/authorize?" + other, with(ledger, "If-None-Match", "*", "If-Modified-Since", "Mon, 01 Jan 2040 00:00:00 GMT", "Range", "bytes=0-0"), 403, "wrong_name"},
		"it is known, and allowed":   {"/v1/authorize?" + named, with(ledger, "If-None-Match", "*", "If-Match", "x", "Range", "bytes=0-0", "Expect", "200-ok"), 200, ""},
		"a preflight":                {"/v1/authorize?" + named, headers{"Origin": {"https://evil"}, "Access-Control-Request-Method": {"PUT"}}, 401, "missing_token"},
		"identity that is forged":    {"/v1/authorize?" + named, with(mesh, "X-Meridian-Name", "ledger-1", "X-Meridian-Mesh", "default"), 403, "wrong_name"},
		"a name that does not fit":   {"/v1/authorize", with("Bearer " + sign(t, map[string]any{"Mesh": "default", "Name": "a,b"})), 403, "unfit_value"},
		"a host of somebody's":       {"/v1/authorize?" + other, with(ledger, "X-Forwarded-Host", "zone.example", "Forwarded", "host=zone.example"), 403, "wrong_name"},
		"a name with blanks, stated": {"/v1/authorize?name=ledger-1%20", with(ledger), 403, "misconfigured"},
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"} {
			r := httptest.NewRequest(http.MethodGet, "https://zone.example"+tc.target, nil)
			r.Method, r.Header = method, tc.header.Clone()
			w := httptest.NewRecorder()
			z.server.Proxies().ServeHTTP(w, r)
			h := w.Header()
			if w.Code != tc.status || h.Get(proxyauth.HeaderReason) != tc.reason {
				t.Errorf("%s, %s: %d %s", name, method, w.Code, h.Get(proxyauth.HeaderReason))
			}
			if (h.Get("X-Meridian-Zone") == "west") != (w.Code == 200) || h.Get("Location") != "" || h.Get("ETag") != "" || h.Get("Cache-Control") != "no-store" {
				t.Errorf("%s, %s: %d %v", name, method, w.Code, h)
			}
		}
	}
	if log := z.log.String(); strings.Contains(log, "eyJ") {
		t.Errorf("the log has a token:\n%s", log)
	}
}

// TestAuthorizeTellsWhoCalls, in the headers that ext_authz sets too, and the operator
// which request was refused.
func TestAuthorizeTellsWhoCalls(t *testing.T) {
	z := newZone(t, nil)
	z.learn()
	ask := func(target, token string, header http.Header) http.Header {
		r := httptest.NewRequest(http.MethodGet, "https://asks.example"+target, nil)
		r.Header = header
		r.Header.Set("Authorization", token)
		w := httptest.NewRecorder()
		z.server.Proxies().ServeHTTP(w, r)
		return w.Header()
	}
	got := ask("/v1/authorize", sign(t, ledgerClaims), http.Header{})
	for name, want := range map[string]string{
		"x-meridian-zone": "west", "x-meridian-method": "dpToken", "x-meridian-kind": "dataplane", "x-meridian-mesh": "default", "x-meridian-name": "ledger-1",
		"x-meridian-service": "ledger,audit", "x-meridian-token-id": "7d444840-9dc0-4cd1-b245-5ffdce74fad2",
	} {
		if got.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, got.Get(name), want)
		}
	}
	for _, name := range proxyauth.IdentityHeaders {
		// Else what a client made up stays where a proxy copies what is there.
		if values := got.Values(name); len(values) != 1 {
			t.Errorf("%s is there %d times", name, len(values))
		}
	}
	if got.Get("x-meridian-workload") != "" {
		t.Errorf("a workload that the token does not name: %v", got)
	}
	for target, want := range map[string][]string{
		"/v1/authorize?name=x":        {"method=DELETE", "route=shop.example/orders/7", "requestId=4711"},
		"/v1/authorize/orders/8?k=s3": {"method=GET", "route=asks.example/orders/8"},
	} {
		ask(target, sign(t, ledgerClaims), http.Header{"X-Forwarded-Method": {"DELETE"}, "X-Forwarded-Uri": {"/orders/7?key=s3cret"}, "X-Forwarded-Host": {"shop.example"}, "X-Request-Id": {"4711"}, "X-Meridian-Require": {"name=x"}})
		for _, want := range append(want, "reason=wrong_name") {
			if !strings.Contains(z.log.String(), want) || strings.Contains(z.log.String(), "s3") {
				t.Errorf("%s: the log does not have %s, or has a query:\n%s", target, want, z.log.String())
			}
		}
	}
}

// TestAuthorizeWaitsForNoBody: a proxy that passes on the length of a body that it keeps is
// answered at once, and nothing behind the question is taken for another one.
func TestAuthorizeWaitsForNoBody(t *testing.T) {
	z := newZone(t, nil)
	z.learn()
	server := httptest.NewServer(z.server.Proxies())
	defer server.Close()
	token := sign(t, ledgerClaims)
	for name, length := range map[string]string{"a length": "Content-Length: 10", "chunks": "Transfer-Encoding: chunked"} {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET /v1/authorize HTTP/1.1\r\nHost: zone\r\nAuthorization: "+token+"\r\n"+length+"\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(conn)
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != 200 || !resp.Close {
			t.Fatalf("%s: %v %v", name, resp, err)
		}
		if _, err := io.WriteString(conn, "GET /v1/authorize HTTP/1.1\r\nHost: zone\r\nAuthorization: "+token+"\r\n\r\n"); err == nil {
			if rest, _ := io.ReadAll(in); len(rest) > 0 {
				t.Errorf("%s: what follows is answered: %q", name, rest)
			}
		}
	}
}

// TestNoOtherRouteSaysYes: whoever is led to another path, by a mistake or by a client, gets
// a yes from none of them without a token, but for the key sets, which are public.
func TestNoOtherRouteSaysYes(t *testing.T) {
	z := newZone(t, nil)
	z.learn()
	paths := []string{"*", "/v1", "/v1/", "/healthy", "/ready", "/v1/jwks", "/v1/jwks/", "/v1/jwks/dataplane/default", "/v1/jwks/zone/", "/v1/authorize/x", "/v1/status"}
	for path := range z.server.proxyRoutes() {
		paths = append(paths, path, path+"/", path+"/..", "/"+path)
	}
	public := []string{"GET /v1/jwks/zone", "HEAD /v1/jwks/zone", "GET /v1/jwks/dataplane/default", "HEAD /v1/jwks/dataplane/default"}
	seen := 0
	for _, path := range paths {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "X"} {
			r := httptest.NewRequest(http.MethodGet, "https://zone/", nil)
			r.Method, r.URL.Path = method, path
			w := httptest.NewRecorder()
			z.server.Proxies().ServeHTTP(w, r)
			if yes := w.Code < 400; yes != slices.Contains(public, method+" "+path) {
				t.Errorf("%s %s: %d", method, path, w.Code)
			} else if yes {
				seen++
			}
		}
	}
	if seen != len(public) {
		t.Errorf("%d public answers were seen: the test proves little", seen)
	}
}
