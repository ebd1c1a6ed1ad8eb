package xds

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"google.golang.org/grpc"

	authz "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/net/preauth"
	"github.com/meridiankds/meridian/internal/zone/proxyauth"
)

// Check implements ext_authz: it decides over the token in the authorization
// header of a request that an Envoy got. What the operator states in
// context_extensions about its caller is proved by the token, or the answer is no:
// see package statement.
func (s *Server) Check(ctx context.Context, r *authz.CheckRequest) (*authz.CheckResponse, error) {
	about := r.GetAttributes()
	response, err := s.check(ctx, about)
	if err != nil {
		s.denied(ctx, about, err)
		return denied(err, about), nil
	}
	return response, nil
}

// authorization describes ext_authz's one method. It is the generated description but
// for one thing: a question is decoded when its turn has come, because it may be made to
// cost many times its size and holds the very token that would tell who asks.
func authorization() *grpc.ServiceDesc {
	desc := authz.Authorization_ServiceDesc
	desc.Methods = slices.Clone(desc.Methods)
	for i, method := range desc.Methods {
		desc.Methods[i].Handler = func(srv any, ctx context.Context, dec func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			leave, err := preauth.Parsing(ctx)
			if err != nil {
				return nil, statusOf(err)
			}
			defer leave()
			return method.Handler(srv, ctx, dec, func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
				trim(req.(*authz.CheckRequest))
				leave()
				return interceptor(ctx, req, info, handler)
			})
		}
	}
	return &desc
}

// trim lets go of what nobody looks at of a question, while its token is judged.
func trim(r *authz.CheckRequest) {
	if http := r.GetAttributes().GetRequest().GetHttp(); http != nil {
		http.Body, http.RawBody = "", nil
	}
	if about := r.GetAttributes(); about != nil {
		about.MetadataContext, about.RouteMetadataContext, about.TlsSession = nil, nil, nil
	}
}

func (s *Server) check(ctx context.Context, about *authz.AttributeContext) (*authz.CheckResponse, error) {
	token, err := proxyauth.FromHeader(headersOf(about, "authorization"))
	if err != nil {
		s.cfg.Auth.Count(proxyauth.KindUnknown, err)
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, maxAuthenticate)
	defer cancel()
	admission, err := s.cfg.Auth.Prove(ctx, about.GetContextExtensions(), routeOf(about), token)
	if err == nil {
		err = preauth.Proved(ctx, admission.Identity())
	}
	if err != nil {
		return nil, err
	}
	response, err := allowed(admission, about)
	if err != nil { // of a token that was accepted
		s.cfg.Auth.Count(admission.Kind(), err)
	}
	return response, err
}

// headersOf returns the values of a header of the request that an Envoy got, which
// comes in either of two forms.
func headersOf(about *authz.AttributeContext, name string) (values []string) {
	http := about.GetRequest().GetHttp()
	for key, value := range http.GetHeaders() {
		if strings.EqualFold(key, name) {
			values = append(values, value)
		}
	}
	for _, h := range http.GetHeaderMap().GetHeaders() { // where the Envoy encodes raw headers
		if strings.EqualFold(h.GetKey(), name) {
			values = append(values, h.GetValue()+string(h.GetRawValue()))
		}
	}
	return values
}

// routeOf is what the operator knows a request's route by: host and path, without
// the query, which may hold secrets.
func routeOf(about *authz.AttributeContext) string {
	http := about.GetRequest().GetHttp()
	path, _, _ := strings.Cut(http.GetPath(), "?")
	return http.GetHost() + path
}

// denied logs a refusal so that it can be found from the request: its route, and the
// id that the Envoy or its client gave it.
func (s *Server) denied(ctx context.Context, about *authz.AttributeContext, err error) {
	e := federation.AsError(err)
	level := slog.LevelInfo
	if e.Code == federation.Internal {
		level = slog.LevelError
	}
	http := about.GetRequest().GetHttp()
	s.lines.Log(ctx, s.cfg.Logger, level, "refused a request that an Envoy asked about", slog.String("remote", remoteOf(ctx)),
		slog.String("caller", clip(about.GetSource().GetAddress().GetSocketAddress().GetAddress())),
		slog.String("method", clip(http.GetMethod())), slog.String("route", clip(routeOf(about))),
		slog.String("requestId", clip(strings.Join(headersOf(about, "x-request-id"), ","))), slog.String("streamId", clip(http.GetId())),
		slog.String("reason", e.Reason), slog.String("detail", clipTo(e.Error(), maxDetail)), slog.String("hint", e.Hint))
}
