package xds

import (
	"context"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/config"
	"github.com/envoyproxy/go-control-plane/pkg/server/delta/v3"
)

// DeltaAggregatedResources implements ADS, delta.
func (s *Server) DeltaAggregatedResources(call discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	in, request, err := open(s, call.Context(), call.Recv)
	if err != nil {
		return s.refuse(call.Context(), "refused a stream", remoteOf(call.Context()), "", err)
	}
	st, err := s.admit(call.Context(), request.GetNode(), "delta-ads")
	if err != nil {
		return err
	}
	defer st.conn.Close()
	defer st.watch(call.Context())()
	f := newFeed(st)
	defer f.start()()
	library := delta.NewServer(s.stop, f.cache, nil, func(o *config.Opts) { *o = config.NewOpts() })
	err = library.DeltaStreamHandler(&deltaStream{
		AggregatedDiscoveryService_DeltaAggregatedResourcesServer: call, stream: st, in: in, pending: request,
	}, resourcev3.AnyType)
	err = st.outcome(err)
	st.close(err)
	if err != nil {
		return statusOf(err)
	}
	return nil
}

// deltaStream is an admitted stream as the library sees it.
type deltaStream struct {
	discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	stream  *stream
	in      *inbox[*discovery.DeltaDiscoveryRequest]
	pending *discovery.DeltaDiscoveryRequest // the first request, until the library took it
}

// Context is over when the stream must end.
func (s *deltaStream) Context() context.Context { return s.stream.ctx }

// Recv returns the next request that is for the library.
func (s *deltaStream) Recv() (*discovery.DeltaDiscoveryRequest, error) {
	for {
		m := s.pending
		if s.pending = nil; m == nil {
			var err error
			if m, err = s.in.next(s.stream.ctx); err != nil {
				return nil, err
			}
		}
		known := make([]string, 0, len(m.GetInitialResourceVersions()))
		for name := range m.GetInitialResourceVersions() {
			known = append(known, name)
		}
		ok, err := s.stream.accept(m, m.GetResourceNamesSubscribe(), m.GetResourceNamesUnsubscribe(), known)
		if err != nil {
			s.stream.conn.End(err)
			return nil, err
		}
		if !ok {
			continue
		}
		s.stream.answered(m.GetTypeUrl(), m.GetResponseNonce(), m.GetErrorDetail().GetMessage(), m.GetErrorDetail() != nil)
		m.Node = &core.Node{Id: s.stream.nodeID} // the rest was read, and may be large
		return m, nil
	}
}

// Send sends what the proxy may still have.
func (s *deltaStream) Send(m *discovery.DeltaDiscoveryResponse) error {
	if err := s.stream.maySend(m.GetTypeUrl(), m.GetSystemVersionInfo(), m.GetNonce()); err != nil {
		return err
	}
	m.ControlPlane = &core.ControlPlane{Identifier: s.stream.server.cfg.Zone}
	return s.AggregatedDiscoveryService_DeltaAggregatedResourcesServer.Send(m)
}
