package server

import (
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/kdspb"
	"github.com/meridiankds/meridian/kds/wire"
)

// handlers is what the service descriptions call: one method an RPC.
type handlers interface {
	globalToZone(grpc.ServerStream) error
	zoneToGlobal(grpc.ServerStream) error
	adminStream(grpc.ServerStream) error
	healthCheck(grpc.ServerStream) error
	relayDataplaneToken(grpc.ServerStream) error
	health(grpc.ServerStream) error
}

// services describes the RPCs of this port. Envoy's .proto files are not in its
// Go module and Kuma's are not ours, so the descriptions that protoc would write
// are written here. HealthCheck and DataplaneToken, unary calls, are described as
// streams: the two are the same on the wire, and a stream is authenticated before
// its message is read.
func services() []*grpc.ServiceDesc {
	return []*grpc.ServiceDesc{{
		ServiceName: kds.SyncService,
		HandlerType: (*handlers)(nil),
		Streams: []grpc.StreamDesc{
			describe("GlobalToZoneSync", handlers.globalToZone),
			describe("ZoneToGlobalSync", handlers.zoneToGlobal),
		},
	}, {
		ServiceName: kds.GlobalService,
		HandlerType: (*handlers)(nil),
		Streams: []grpc.StreamDesc{
			describe("HealthCheck", handlers.healthCheck),
			describe("StreamXDSConfigs", handlers.adminStream),
			describe("StreamStats", handlers.adminStream),
			describe("StreamClusters", handlers.adminStream),
		},
	}, {
		ServiceName: kds.RelayService,
		HandlerType: (*handlers)(nil),
		Streams:     []grpc.StreamDesc{describe("DataplaneToken", handlers.relayDataplaneToken)},
	}, {
		ServiceName: kds.HealthService,
		HandlerType: (*handlers)(nil),
		Streams:     []grpc.StreamDesc{describe("Check", handlers.health)},
	}}
}

func describe(name string, h func(handlers, grpc.ServerStream) error) grpc.StreamDesc {
	return grpc.StreamDesc{
		StreamName:    name,
		ServerStreams: true,
		ClientStreams: true,
		Handler:       func(srv any, ss grpc.ServerStream) error { return h(srv.(handlers), ss) },
	}
}

// healthCheck notes that the zone is there and says when to call again.
func (s *Server) healthCheck(ss grpc.ServerStream) error {
	c, err := callOf(ss.Context())
	if err != nil {
		return wire.StatusOf(err)
	}
	if err := ss.RecvMsg(&wire.Discard{}); err != nil && !errors.Is(err, io.EOF) {
		return endOf(err)
	}
	if c.conn != nil {
		c.conn.heard(c.creds.Zone, s.cfg.Now())
	}
	return ss.SendMsg(&kdspb.ZoneHealthCheckResponse{Interval: durationpb.New(s.cfg.HealthInterval)})
}

// zoneToGlobal keeps the stream open and asks for nothing: Meridian wants none
// of a zone's resources.
func (s *Server) zoneToGlobal(ss grpc.ServerStream) error { return s.keepOpen(ss) }

// adminStream keeps the stream open and never asks: there are no requests for a
// proxy's configuration, statistics or clusters.
func (s *Server) adminStream(ss grpc.ServerStream) error { return s.keepOpen(ss) }

// keepOpen drops whatever a zone sends, unread, until it hangs up or has to: also
// for sending too much of what nobody asked for.
func (s *Server) keepOpen(ss grpc.ServerStream) error {
	c, err := callOf(ss.Context())
	if err != nil {
		return wire.StatusOf(err)
	}
	ended, tooMany := make(chan error, 1), make(chan struct{})
	s.receivers.Go(func() {
		for range s.limits.Unasked {
			if err := ss.RecvMsg(&wire.Discard{}); err != nil {
				ended <- err
				return
			}
			s.stats.unasked.Add(1)
		}
		close(tooMany)
	})
	select {
	case <-tooMany:
		s.cfg.Logger.Warn("zone sends what it was not asked for", "zone", c.creds.Zone, "method", c.method, "messages", s.limits.Unasked)
		return wire.StatusOf(federation.Errorf(federation.TooLarge, "more than %d messages that nobody asked for", s.limits.Unasked))
	case err := <-ended:
		return endOf(err)
	case <-c.kicked:
		return wire.StatusOf(c.cause)
	case <-ss.Context().Done():
		return endOf(ss.Context().Err())
	}
}
