package server

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/meridiankds/meridian/kds"
)

// health answers grpc.health.v1: whether this member can serve zones. Balancers ask it
// without a credential, so it is the one call that is not admitted: it costs its caller
// what any unauthenticated call does, and tells nothing else. There is no Watch, a stream
// that nobody has proved anything on.
func (s *Server) health(ss grpc.ServerStream) error {
	md, _ := metadata.FromIncomingContext(ss.Context())
	defer callerOf(ss.Context(), &kds.Credentials{}).under().Public(md)()
	var asked healthpb.HealthCheckRequest
	if err := ss.RecvMsg(&asked); err != nil {
		return endOf(err)
	}
	switch asked.GetService() {
	case "", kds.SyncService, kds.GlobalService, kds.RelayService:
	default:
		return status.Error(codes.NotFound, "there is no such service here")
	}
	answer := healthpb.HealthCheckResponse_NOT_SERVING
	if cluster, _ := s.cfg.Source.Head(); cluster != "" {
		answer = healthpb.HealthCheckResponse_SERVING
	}
	return ss.SendMsg(&healthpb.HealthCheckResponse{Status: answer})
}
