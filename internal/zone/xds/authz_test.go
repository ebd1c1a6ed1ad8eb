package xds

import (
	"slices"
	"strings"
	"testing"

	authz "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/meridiankds/meridian/internal/zone/proxyauth"
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
		"nothing":         {nil, nil, 401, "malformed"},
		"no token":        {map[string]string{"proxyType": "egress"}, nil, 401, "missing_token"},
		"two tokens":      {nil, map[string]string{"authorization": good + "," + good}, 401, "malformed"},
		"revoked":         {nil, map[string]string{"authorization": sign(t, map[string]any{"Mesh": "default", "jti": "revoked"})}, 401, "revoked"},
		"another mesh":    {map[string]string{"mesh": "other"}, map[string]string{"authorization": good}, 403, "wrong_mesh"},
		"another name":    {map[string]string{"name": "web"}, map[string]string{"authorization": good}, 403, "wrong_name"},
		"another service": {map[string]string{"tag/kuma.io/service": "backend,web"}, map[string]string{"authorization": good}, 403, "tag_mismatch"},
		"another type":    {map[string]string{"proxyType": "egress"}, map[string]string{"authorization": good}, 401, "wrong_kind"},
		"another zone":    {nil, map[string]string{"authorization": sign(t, map[string]any{"Zone": "east", "Scope": []string{"egress"}})}, 403, "wrong_zone"},
	} {
		r := b.check(client, tc.ext, tc.headers)
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
	b := newBench(t, func(_ *Config, s *proxyauth.Settings) { s.Auth.Type = proxyauth.None })
	r := b.check(authz.NewAuthorizationClient(b.dial()), map[string]string{"proxyType": "egress"}, map[string]string{"authorization": "anything"})
	for _, h := range r.GetOkResponse().GetHeaders() {
		if h.GetHeader().GetKey() == "x-meridian-method" && h.GetHeader().GetValue() == "none" {
			return
		}
	}
	t.Errorf("%v", r)
}
