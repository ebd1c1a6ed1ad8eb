package xds

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	authz "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/zone/proxyauth"
	"google.golang.org/grpc/codes"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// check asks as an Envoy does.
func (b *bench) check(client authz.AuthorizationClient, ext, headers map[string]string) *authz.CheckResponse {
	b.t.Helper()
	r, err := client.Check(b.t.Context(), &authz.CheckRequest{Attributes: &authz.AttributeContext{
		ContextExtensions: ext,
		Request:           &authz.AttributeContext_Request{Http: &authz.AttributeContext_HttpRequest{Headers: headers}},
	}})
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

func TestExtAuthzAllows(t *testing.T) {
	b := newBench(t, nil)
	client := authz.NewAuthorizationClient(b.dial())
	r := b.check(client, nil, map[string]string{"authorization": "Bearer " + sign(t, backendClaims), "x-meridian-name": "admin", "x-meridian-scope": "cp"})
	ok := r.GetOkResponse()
	if r.GetStatus().GetCode() != int32(codes.OK) || ok == nil {
		t.Fatalf("%v", r)
	}
	got := map[string]string{}
	for _, h := range ok.GetHeaders() {
		got[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
		if h.GetAppendAction() != core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			t.Errorf("%s would be added to the caller's own", h.GetHeader().GetKey())
		}
	}
	for name, want := range map[string]string{"x-meridian-zone": "west", "x-meridian-kind": "dataplane", "x-meridian-mesh": "default", "x-meridian-name": "backend-1",
		"x-meridian-service": "backend", "x-meridian-token-id": "id-1", "x-meridian-method": "dpToken"} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	for _, name := range []string{"authorization", "x-meridian-scope", "x-meridian-service-account"} {
		if !slices.Contains(ok.GetHeadersToRemove(), name) {
			t.Errorf("%s is not removed: %v", name, ok.GetHeadersToRemove())
		}
	}
	// What the operator stated counts, and a zone token is told by its kind.
	zone := map[string]string{"authorization": sign(t, map[string]any{"Zone": "west", "Scope": []string{"ingress"}})}
	if r := b.check(client, map[string]string{"proxyType": "ingress"}, zone); r.GetOkResponse() == nil {
		t.Errorf("stated: %v", r)
	}
	if r := b.check(client, nil, zone); r.GetOkResponse() == nil {
		t.Errorf("not stated: %v", r)
	}
}

func TestExtAuthzDenies(t *testing.T) {
	b := newBench(t, nil)
	client := authz.NewAuthorizationClient(b.dial())
	good := sign(t, backendClaims)
	b.copy.revoke(true, "revoked")
	for name, tc := range map[string]struct {
		ext     map[string]string
		headers map[string]string
		status  int
		reason  string
	}{
		"nothing":         {nil, nil, 401, "missing_token"},
		"a long token":    {nil, map[string]string{"authorization": strings.Repeat("x", 9000)}, 401, "too_large"},
		"a name alone":    {map[string]string{"name": "web"}, map[string]string{"authorization": sign(t, map[string]any{"Mesh": "default"})}, 403, "wrong_name"},
		"an empty type":   {map[string]string{"proxyType": ""}, map[string]string{"authorization": good}, 403, "misconfigured"},
		"no token":        {map[string]string{"proxyType": "egress"}, nil, 401, "missing_token"},
		"two tokens":      {nil, map[string]string{"authorization": good + "," + good}, 401, "malformed"},
		"revoked":         {nil, map[string]string{"authorization": sign(t, map[string]any{"Mesh": "default", "jti": "revoked"})}, 401, "revoked"},
		"another mesh":    {map[string]string{"mesh": "other"}, map[string]string{"authorization": good}, 403, "wrong_mesh"},
		"another name":    {map[string]string{"name": "web"}, map[string]string{"authorization": good}, 403, "wrong_name"},
		"another service": {map[string]string{"tag/kuma.io/service": "web"}, map[string]string{"authorization": good}, 403, "tag_mismatch"},
		"another type":    {map[string]string{"proxyType": "egress"}, map[string]string{"authorization": good}, 401, "wrong_kind"},
		"another zone":    {nil, map[string]string{"authorization": sign(t, map[string]any{"Zone": "east", "Scope": []string{"egress"}})}, 403, "wrong_zone"},
	} {
		before := b.refused.Load()
		r := b.check(client, tc.ext, tc.headers)
		if n := b.refused.Load() - before; n != 1 {
			t.Errorf("%s: counted %d times", name, n)
		}
		denied := r.GetDeniedResponse()
		if denied == nil || int(denied.GetStatus().GetCode()) != tc.status || r.GetStatus().GetMessage() != tc.reason ||
			r.GetStatus().GetCode() == int32(codes.OK) || !strings.Contains(denied.GetBody(), `"reason":"`+tc.reason+`"`) {
			t.Errorf("%s: %v", name, r)
		}
	}
	if strings.Contains(b.log.String(), "eyJ") {
		t.Error("the log has a token")
	}
}

// A zone that asks for nothing says so of whom it lets in.
func TestExtAuthzWithoutAuthentication(t *testing.T) {
	b := newBench(t, func(_ *Config, s *keyring.Settings) { s.Auth.Type = keyring.None })
	client := authz.NewAuthorizationClient(b.dial())
	r := b.check(client, map[string]string{"proxyType": "egress"}, nil)
	if r.GetStatus().GetMessage() != "not_proved" {
		t.Errorf("stated: %v", r)
	}
	r = b.check(client, nil, map[string]string{"authorization": "anything"})
	for _, h := range r.GetOkResponse().GetHeaders() {
		if h.GetHeader().GetKey() == "x-meridian-method" && h.GetHeader().GetValue() == "none" {
			return
		}
	}
	t.Errorf("%v", r)
}

// TestEveryIdentityHeaderIsDocumented, and is taken from clients and copied from answers in
// the configurations that name headers one by one.
func TestEveryIdentityHeaderIsDocumented(t *testing.T) {
	read := func(file string) string {
		text, err := os.ReadFile("../../../" + file)
		if err != nil {
			t.Fatal(err)
		}
		return strings.ToLower(string(text))
	}
	page, nginx, lua, caddy := read("docs/proxies.md"), read("deploy/nginx/auth-request.conf"), read("deploy/haproxy/meridian.lua"), read("deploy/caddy/Caddyfile")
	for _, name := range proxyauth.IdentityHeaders {
		if name != proxyauth.IdentityHeaders[0] && !strings.Contains(page, "`-"+strings.TrimPrefix(name, proxyauth.HeaderPrefix)+"`") {
			t.Errorf("docs/proxies.md does not name %s", name)
		}
		for file, there := range map[string]bool{
			"nginx/auth-request.conf": strings.Contains(nginx, "proxy_set_header "+name+" $") && strings.Contains(nginx, "$upstream_http_"+strings.ReplaceAll(name, "-", "_")+";"),
			"haproxy/meridian.lua":    strings.Contains(lua, `"`+name+`",`),
			"caddy/Caddyfile":         strings.Contains(caddy, " "+name+" ") || strings.Contains(caddy, " "+name+"\n"),
		} {
			if !there {
				t.Errorf("deploy/%s does not take over %s", file, name)
			}
		}
	}
}

// forgeries are names under which services know one of our headers.
var forgeries = []string{"x_meridian_name", "X-Meridian-Role", "x-meridian_name", "X.Meridian.Name", "x-meridian-", "x_MERIDIAN-scope"}

// TestForgedHeadersAreRemoved: whatever becomes x-meridian- in a service does not
// reach it, in both forms in which an Envoy shows headers.
func TestForgedHeadersAreRemoved(t *testing.T) {
	b := newBench(t, nil)
	client := authz.NewAuthorizationClient(b.dial())
	headers := map[string]string{"authorization": sign(t, backendClaims), "x-meridians": "kept", "my-x-meridian-name": "kept"}
	raw := []*core.HeaderValue{{Key: "authorization", RawValue: []byte(sign(t, backendClaims))}}
	for _, name := range forgeries {
		headers[name] = "admin"
		raw = append(raw, &core.HeaderValue{Key: name, RawValue: []byte("admin")})
	}
	for form, http := range map[string]*authz.AttributeContext_HttpRequest{
		"headers": {Headers: headers}, "header_map": {HeaderMap: &core.HeaderMap{Headers: raw}},
	} {
		r, err := client.Check(t.Context(), &authz.CheckRequest{Attributes: &authz.AttributeContext{Request: &authz.AttributeContext_Request{Http: http}}})
		if err != nil {
			t.Fatal(err)
		}
		removed := r.GetOkResponse().GetHeadersToRemove()
		if !slices.Contains(removed, "authorization") {
			t.Errorf("%s: the token stays", form)
		}
		for _, name := range forgeries {
			if !slices.Contains(removed, strings.ToLower(name)) {
				t.Errorf("%s: %s stays: %v", form, name, removed)
			}
		}
		for _, name := range []string{"x-meridians", "my-x-meridian-name", "x-meridian-name"} {
			if slices.Contains(removed, name) {
				t.Errorf("%s: %s is removed", form, name)
			}
		}
	}
}

// TestTwoTokensAreRefused, in the form of headers that can show two, and counted.
func TestTwoTokensAreRefused(t *testing.T) {
	b := newBench(t, nil)
	client := authz.NewAuthorizationClient(b.dial())
	one := &core.HeaderValue{Key: "authorization", RawValue: []byte(sign(t, backendClaims))}
	r, err := client.Check(t.Context(), &authz.CheckRequest{Attributes: &authz.AttributeContext{Request: &authz.AttributeContext_Request{
		Http: &authz.AttributeContext_HttpRequest{HeaderMap: &core.HeaderMap{Headers: []*core.HeaderValue{one, {Key: "Authorization", Value: "x"}}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	if r.GetStatus().GetMessage() != "malformed" || b.refused.Load() != 1 {
		t.Errorf("counted %d times: %v", b.refused.Load(), r)
	}
}

// TestUnfitValuesAreRefused: a header that is missing, or reads as another list,
// would make a caller pass for somebody else.
func TestUnfitValuesAreRefused(t *testing.T) {
	b := newBench(t, nil)
	client := authz.NewAuthorizationClient(b.dial())
	for name, claims := range map[string]map[string]any{
		"a name that is not ASCII":        {"Mesh": "default", "Name": "b\u00e4ckend"},
		"a name with a line break":        {"Mesh": "default", "Name": "a\nb"},
		"a name that ends with a blank":   {"Mesh": "default", "Name": "admin "},
		"a service with a comma":          {"Mesh": "default", "Tags": map[string]any{"kuma.io/service": []string{"backend,admin"}}},
		"a name with a comma":             {"Mesh": "default", "Name": "admin,web"},
		"a workload that is not ASCII":    {"Mesh": "default", "Workload": "b\u00e4ckend"},
		"a workload with a comma":         {"Mesh": "default", "Workload": "a,b"},
		"a service that ends with blanks": {"Mesh": "default", "Tags": map[string]any{"kuma.io/service": []string{"admin ", "x"}}},
		"an empty service":                {"Mesh": "default", "Tags": map[string]any{"kuma.io/service": []string{""}}},
		"a service that is not printable": {"Mesh": "default", "Tags": map[string]any{"kuma.io/service": []string{"a\x7fb"}}},
	} {
		before := b.refused.Load()
		r := b.check(client, nil, map[string]string{"authorization": sign(t, claims)})
		if r.GetDeniedResponse().GetStatus().GetCode() != 403 || r.GetStatus().GetMessage() != "unfit_value" {
			t.Errorf("%s: %v", name, r)
		}
		if n := b.refused.Load() - before; n != 1 {
			t.Errorf("%s: counted %d times", name, n)
		}
	}
}

// TestDynamicMetadata: Envoy's RBAC filter is given all that is proved.
func TestDynamicMetadata(t *testing.T) {
	b := newBench(t, nil)
	client := authz.NewAuthorizationClient(b.dial())
	expires := float64(time.Now().Add(time.Hour).Unix())
	for want, claims := range map[string]map[string]any{
		`{"expires":%.0f,"kind":"dataplane","mesh":"default","method":"dpToken","name":"b","proved":["proxyType","mesh","name","workload","tag/kuma.io/service","tag/version"],` +
			`"tags":{"kuma.io/service":["x","y"],"version":["v,1"]},"tokenId":"id-1","workload":"w","zone":"west"}`: {"Mesh": "default", "Name": "b", "Workload": "w", "exp": expires,
			"Tags": map[string]any{"kuma.io/service": []string{"x", "y"}, "version": []string{"v,1"}}},
		`{"expires":%.0f,"kind":"zone","method":"zoneToken","proved":["proxyType","zone"],"scope":["egress","ingress"],"tokenId":"id-1","zone":"west"}`: {
			"Zone": "west", "exp": expires, "Scope": []string{"egress", "ingress"}},
	} {
		r := b.check(client, nil, map[string]string{"authorization": sign(t, claims)})
		got, err := json.Marshal(r.GetDynamicMetadata().AsMap())
		if want = fmt.Sprintf(want, expires); err != nil || string(got) != want {
			t.Errorf("%v\n got %s\nwant %s", err, got, want)
		}
	}
}

// TestDenialsAreReadable: a gRPC client shows the body as a message, everybody else
// gets JSON; the challenge says invalid_token only where a token came.
func TestDenialsAreReadable(t *testing.T) {
	b := newBench(t, nil)
	client := authz.NewAuthorizationClient(b.dial())
	for name, tc := range map[string]struct {
		http      *authz.AttributeContext_HttpRequest
		json      bool
		challenge string
	}{
		"a browser":            {&authz.AttributeContext_HttpRequest{Method: "GET", Protocol: "HTTP/2", Headers: map[string]string{"authorization": "x"}}, true, `Bearer error="invalid_token"`},
		"no token":             {&authz.AttributeContext_HttpRequest{Method: "GET", Protocol: "HTTP/1.1"}, true, "Bearer"},
		"HTTP/1 POST":          {&authz.AttributeContext_HttpRequest{Method: "POST", Protocol: "HTTP/1.1"}, true, "Bearer"},
		"JSON over HTTP/2":     {&authz.AttributeContext_HttpRequest{Method: "POST", Protocol: "HTTP/2", Headers: map[string]string{"content-type": "application/json"}}, true, "Bearer"},
		"gRPC":                 {&authz.AttributeContext_HttpRequest{Method: "POST", Protocol: "HTTP/2", Headers: map[string]string{"content-type": "application/grpc+proto", "authorization": "x"}}, false, `Bearer error="invalid_token"`},
		"gRPC as far as shown": {&authz.AttributeContext_HttpRequest{Method: "POST", Protocol: "HTTP/2"}, false, "Bearer"},
	} {
		r, err := client.Check(t.Context(), &authz.CheckRequest{Attributes: &authz.AttributeContext{Request: &authz.AttributeContext_Request{Http: tc.http}}})
		if err != nil {
			t.Fatal(err)
		}
		denied, headers := r.GetDeniedResponse(), map[string]string{}
		for _, h := range denied.GetHeaders() {
			headers[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
		}
		if json.Valid([]byte(denied.GetBody())) != tc.json || strings.HasPrefix(headers["content-type"], "application/json") != tc.json ||
			headers["www-authenticate"] != tc.challenge || !tc.json && !strings.HasPrefix(denied.GetBody(), headers["x-meridian-reason"]+": ") {
			t.Errorf("%s: %v", name, r)
		}
	}
}

// TestAZoneThatCannotDecideSaysWhenToAskAgain.
func TestAZoneThatCannotDecideSaysWhenToAskAgain(t *testing.T) {
	b := newBench(t, nil)
	b.copy.mu.Lock()
	b.copy.view = &fakeView{} // no key of any kind
	b.copy.mu.Unlock()
	r := b.check(authz.NewAuthorizationClient(b.dial()), nil, map[string]string{"authorization": sign(t, backendClaims)})
	retry := ""
	for _, h := range r.GetDeniedResponse().GetHeaders() {
		if h.GetHeader().GetKey() == "retry-after" {
			retry = h.GetHeader().GetValue()
		}
	}
	if r.GetDeniedResponse().GetStatus().GetCode() != 503 || retry == "" || r.GetStatus().GetCode() != int32(codes.Unavailable) {
		t.Errorf("retry after %q: %v", retry, r)
	}
}

// TestRefusalsCanBeTraced: the log line of a refusal has what ties it to a request.
func TestRefusalsCanBeTraced(t *testing.T) {
	b := newBench(t, nil)
	client := authz.NewAuthorizationClient(b.dial())
	if _, err := client.Check(t.Context(), &authz.CheckRequest{Attributes: &authz.AttributeContext{ContextExtensions: map[string]string{"nmae": "secret-name"},
		Request: &authz.AttributeContext_Request{Http: &authz.AttributeContext_HttpRequest{Id: "4711", Method: "PUT", Host: "shop.example", Path: "/orders?token=secret",
			Headers: map[string]string{"x-request-id": "r-1"}}}}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"route=shop.example/orders ", "method=PUT", "requestId=r-1", "streamId=4711", "reason=misconfigured"} {
		if !strings.Contains(b.log.String(), want) {
			t.Errorf("the log has no %s: %s", want, b.log)
		}
	}
	if strings.Contains(b.log.String(), "token=secret") {
		t.Errorf("the log has the query: %s", b.log)
	}
}
