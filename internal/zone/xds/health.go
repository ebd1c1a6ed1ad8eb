package xds

import (
	"context"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	authz "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// healthOf is what the paths of health checks begin with, maxHealth bounds one in bytes.
const (
	healthOf  = "/grpc.health.v1.Health/"
	maxHealth = 1 << 10
)

// health describes the one method that balancers ask, without a credential. There is no
// Watch, a stream that nobody has proved anything on.
func health() *grpc.ServiceDesc {
	desc := healthpb.Health_ServiceDesc
	desc.Streams = nil
	desc.Methods = slices.DeleteFunc(slices.Clone(desc.Methods), func(m grpc.MethodDesc) bool { return m.MethodName != "Check" })
	return &desc
}

// healthServer says whether this zone can decide over proxies.
type healthServer struct {
	healthpb.UnimplementedHealthServer
	unready func() error
}

// Check implements grpc.health.v1.
func (h healthServer) Check(_ context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	switch r.GetService() {
	case "", discovery.AggregatedDiscoveryService_ServiceDesc.ServiceName, authz.Authorization_ServiceDesc.ServiceName:
	default:
		return nil, status.Error(codes.NotFound, "there is no such service here")
	}
	if h.unready != nil && h.unready() != nil {
		return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_NOT_SERVING}, nil
	}
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
}
