package xds

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authz "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apierr"
	"github.com/meridiankds/meridian/internal/apierr/grpcerr"
	"github.com/meridiankds/meridian/internal/zone/proxyauth"
)

// allowed is the answer for a request that may go on: without its token, with the
// headers of whom it comes from, and the same as dynamic metadata.
func allowed(a *proxyauth.Admission, about *authz.AttributeContext) (*authz.CheckResponse, error) {
	values, err := a.Headers()
	if err != nil {
		return nil, err
	}
	metadata, err := metadataOf(a)
	if err != nil {
		return nil, err
	}
	ok := &authz.OkHttpResponse{HeadersToRemove: append([]string{"authorization"}, forged(about)...)}
	for _, name := range proxyauth.IdentityHeaders {
		if value := values[name]; value != "" {
			ok.Headers = append(ok.Headers, header(name, value))
		} else {
			ok.HeadersToRemove = append(ok.HeadersToRemove, name)
		}
	}
	return &authz.CheckResponse{
		Status:          &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse:    &authz.CheckResponse_OkResponse{OkResponse: ok},
		DynamicMetadata: metadata,
	}, nil
}

// forged lists the headers of a request, as far as the zone is shown them, that a
// service could take for one of ours: WSGI and CGI turn '-' into '_' and tell no
// case, and PHP does so with '.'. Those that are overwritten or removed anyway are
// left out.
func forged(about *authz.AttributeContext) (names []string) {
	http := about.GetRequest().GetHttp()
	add := func(name string) {
		name = strings.ToLower(name)
		if strings.HasPrefix(strings.Map(dashed, name), proxyauth.HeaderPrefix) && !slices.Contains(names, name) && !slices.Contains(proxyauth.IdentityHeaders[:], name) {
			names = append(names, name)
		}
	}
	for name := range http.GetHeaders() {
		add(name)
	}
	for _, h := range http.GetHeaderMap().GetHeaders() {
		add(h.GetKey())
	}
	slices.Sort(names)
	return names
}

// dashed turns everything but letters and digits into '-'.
func dashed(c rune) rune {
	if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
		return '-'
	}
	return c
}

// metadataOf is what is proved, for Envoy's RBAC filter and access log, in the
// namespace of the ext_authz filter: with all tags, scopes and the expiry in Unix
// seconds.
func metadataOf(a *proxyauth.Admission) (*structpb.Struct, error) {
	list := func(values []string) []any {
		out := make([]any, len(values))
		for i, v := range values {
			out[i] = v
		}
		return out
	}
	all := map[string]any{"zone": a.Zone, "method": string(a.Method), "proved": list(a.Proved())}
	set := func(key, value string) {
		if value != "" {
			all[key] = value
		}
	}
	set("tokenId", a.TokenID)
	if c := a.Claims; c != nil {
		set("kind", string(c.Kind))
		set("mesh", c.Mesh)
		set("name", c.Name)
		set("workload", c.Workload)
		if len(c.Scope) > 0 {
			all["scope"] = list(a.Scopes())
		}
		tags := map[string]any{}
		for tag, values := range c.Tags {
			tags[tag] = list(values)
		}
		if len(tags) > 0 {
			all["tags"] = tags
		}
	}
	if a.Account != nil {
		set("serviceAccount", a.Account.Namespace+"/"+a.Account.Name)
	}
	if !a.Expires.IsZero() {
		all["expires"] = a.Expires.Unix()
	}
	metadata, err := structpb.NewStruct(all)
	if err != nil { // a claim that is not UTF-8
		return nil, cptoken.Refuse(cptoken.UnfitValue, "the token has a value that cannot be handed on").
			WithHint("issue it with names and tags of printable ASCII")
	}
	return metadata, nil
}

func header(name, value string) *core.HeaderValueOption {
	return &core.HeaderValueOption{
		Header:       &core.HeaderValue{Key: name, Value: value},
		AppendAction: core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// denied is the answer for a request that may not go on.
func denied(err error, about *authz.AttributeContext) *authz.CheckResponse {
	body := apierr.BodyOf(err)
	e := federation.AsError(err)
	contentType, text := "application/json", ""
	if mayBeGRPC(about) { // its body becomes the message of the status
		contentType = "text/plain; charset=utf-8"
		text = strings.TrimPrefix(e.Reason+": "+body.Detail, ": ")
	} else {
		data, _ := json.Marshal(body) // of strings and numbers alone: it cannot fail
		text = string(data)
	}
	response := &authz.DeniedHttpResponse{
		Status:  &typev3.HttpStatus{Code: typev3.StatusCode(body.Status)},
		Headers: []*core.HeaderValueOption{header("content-type", contentType)},
		Body:    text,
	}
	add := func(name, value string) {
		if value != "" {
			response.Headers = append(response.Headers, header(name, value))
		}
	}
	add(proxyauth.HeaderReason, e.Reason)
	add("www-authenticate", apierr.Challenge(e))
	if seconds := apierr.RetryAfter(e); seconds > 0 {
		add("retry-after", strconv.Itoa(seconds))
	}
	return &authz.CheckResponse{
		Status:       &rpcstatus.Status{Code: int32(grpcerr.Code(e.Code)), Message: e.Reason},
		HttpResponse: &authz.CheckResponse_DeniedResponse{DeniedResponse: response},
	}
}

// mayBeGRPC reports whether a request is a gRPC call, or could be one as far as the
// zone is shown: an Envoy that sends authorization alone leaves the content type out.
func mayBeGRPC(about *authz.AttributeContext) bool {
	if types := headersOf(about, "content-type"); len(types) > 0 {
		return strings.HasPrefix(strings.ToLower(types[0]), "application/grpc")
	}
	http := about.GetRequest().GetHttp()
	return http.GetMethod() == "POST" && !strings.HasPrefix(http.GetProtocol(), "HTTP/1")
}
