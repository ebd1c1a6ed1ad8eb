package xds

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authz "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apierr"
	"github.com/meridiankds/meridian/internal/zone/proxyauth"
)

// What the operator of an Envoy may state about the requests it asks about, in
// context_extensions: who the caller must be. What is not stated is taken from the
// token, which then only has to be good.
const (
	extType    = "proxyType"
	extMesh    = "mesh"
	extName    = "name"
	extTag     = "tag/" // with the name of a tag behind it: values, separated by commas
	maxHeaders = 8 << 10
)

// identityHeaders tell the service behind an Envoy who calls. An allowed request
// has those that apply, and none that its caller made up.
var identityHeaders = [...]string{"x-meridian-zone", "x-meridian-method", "x-meridian-kind", "x-meridian-mesh", "x-meridian-name",
	"x-meridian-service", "x-meridian-scope", "x-meridian-token-id", "x-meridian-service-account"}

// Check implements ext_authz: it decides over the token in the authorization
// header of a request that an Envoy got.
func (s *Server) Check(ctx context.Context, r *authz.CheckRequest) (*authz.CheckResponse, error) {
	admission, err := s.check(ctx, r.GetAttributes())
	if err != nil {
		_ = s.refuse(ctx, "refused a request that an Envoy asked about", remoteOf(ctx), r.GetAttributes().GetSource().GetAddress().GetSocketAddress().GetAddress(), err)
		return denied(err), nil
	}
	s.cfg.Trust(ctx)
	return allowed(admission), nil
}

func (s *Server) check(ctx context.Context, about *authz.AttributeContext) (*proxyauth.Admission, error) {
	http := about.GetRequest().GetHttp()
	var values []string
	for name, value := range http.GetHeaders() {
		if strings.EqualFold(name, "authorization") {
			values = append(values, value)
		}
	}
	for _, h := range http.GetHeaderMap().GetHeaders() { // where the Envoy encodes raw headers
		if strings.EqualFold(h.GetKey(), "authorization") {
			values = append(values, h.GetValue()+string(h.GetRawValue()))
		}
	}
	token, err := proxyauth.FromHeader(values)
	if err != nil {
		return nil, err
	}
	claim, err := callerOf(about.GetContextExtensions(), token)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, maxAuthenticate)
	defer cancel()
	return s.cfg.Auth.Authenticate(ctx, claim, token)
}

// callerOf is who a request must come from.
func callerOf(ext map[string]string, token string) (proxyauth.Proxy, error) {
	p := proxyauth.Proxy{Type: ext[extType], Mesh: ext[extMesh], Name: ext[extName]}
	said := cptoken.Claims{}
	if inspected, err := cptoken.Inspect(strings.TrimSpace(token)); err == nil {
		said = inspected.Claims // not verified: it only says what to verify
	}
	if p.Type == "" {
		p.Type = typeOf(said)
	}
	if p.Type != proxyauth.TypeDataplane {
		return p, nil
	}
	if p.Mesh == "" {
		p.Mesh = said.Mesh
	}
	if p.Name == "" {
		p.Name = said.Name
	}
	if p.Mesh == "" {
		return p, cptoken.Refuse(cptoken.Malformed, "the request has no token that names a mesh").
			WithHint("send a dataplane token as authorization, or state the mesh in the filter's context_extensions")
	}
	p.Tags = map[string][]string{}
	stated := false
	for name, values := range ext {
		if tag, ok := strings.CutPrefix(name, extTag); ok {
			p.Tags[tag], stated = strings.Split(values, ","), true
		}
	}
	if !stated {
		p.Tags = said.Tags
	}
	return p, nil
}

// typeOf is the type of proxy that a token is most likely for.
func typeOf(said cptoken.Claims) string {
	if said.Kind != cptoken.Zone {
		if said.Type != "" {
			return said.Type
		}
		return proxyauth.TypeDataplane
	}
	for _, scope := range []cptoken.Scope{cptoken.ScopeEgress, cptoken.ScopeIngress, cptoken.ScopeDataplane} {
		if slices.Contains(said.Scope, scope) {
			return string(scope)
		}
	}
	return proxyauth.TypeEgress
}

func allowed(a *proxyauth.Admission) *authz.CheckResponse {
	values := map[string]string{"x-meridian-zone": a.Zone, "x-meridian-method": string(a.Method), "x-meridian-token-id": a.TokenID}
	if c := a.Claims; c != nil {
		values["x-meridian-kind"], values["x-meridian-mesh"], values["x-meridian-name"] = string(c.Kind), c.Mesh, c.Name
		values["x-meridian-service"] = strings.Join(c.Tags["kuma.io/service"], ",")
		scopes := make([]string, 0, len(c.Scope))
		for _, scope := range c.Scope {
			scopes = append(scopes, string(scope))
		}
		values["x-meridian-scope"] = strings.Join(scopes, ",")
	}
	if a.Account != nil {
		values["x-meridian-service-account"] = a.Account.Namespace + "/" + a.Account.Name
	}
	ok := &authz.OkHttpResponse{HeadersToRemove: []string{"authorization"}}
	for _, name := range identityHeaders {
		if value := headerValue(values[name]); value != "" {
			ok.Headers = append(ok.Headers, header(name, value))
		} else {
			ok.HeadersToRemove = append(ok.HeadersToRemove, name)
		}
	}
	return &authz.CheckResponse{
		Status:       &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse: &authz.CheckResponse_OkResponse{OkResponse: ok},
	}
}

// headerValue returns what can stand in a header, or nothing: a token may claim
// anything, for example a name with a line break.
func headerValue(s string) string {
	if len(s) > maxHeaders || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' }) {
		return ""
	}
	return s
}

func header(name, value string) *core.HeaderValueOption {
	return &core.HeaderValueOption{
		Header:       &core.HeaderValue{Key: name, Value: value},
		AppendAction: core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

func denied(err error) *authz.CheckResponse {
	body := apierr.BodyOf(err)
	text, _ := json.Marshal(body) // of strings and numbers alone: it cannot fail
	e := federation.AsError(err)
	response := &authz.DeniedHttpResponse{
		Status:  &typev3.HttpStatus{Code: typev3.StatusCode(body.Status)},
		Headers: []*core.HeaderValueOption{header("content-type", "application/json")},
		Body:    string(text),
	}
	if e.Reason != "" {
		response.Headers = append(response.Headers, header("x-meridian-reason", e.Reason))
	}
	if e.Code == federation.Unauthenticated {
		response.Headers = append(response.Headers, header("www-authenticate", "Bearer"))
	}
	return &authz.CheckResponse{
		Status:       &rpcstatus.Status{Code: int32(codeOf(e.Code)), Message: e.Reason},
		HttpResponse: &authz.CheckResponse_DeniedResponse{DeniedResponse: response},
	}
}
