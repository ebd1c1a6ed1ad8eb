package xds

import (
	"context"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/sotw/v3"
)

// StreamAggregatedResources implements ADS, state of the world.
func (s *Server) StreamAggregatedResources(call discovery.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	in, request, err := open(s, call.Context(), call.Recv)
	if err != nil {
		return s.refuse(call.Context(), "refused a stream", remoteOf(call.Context()), "", err)
	}
	st, err := s.admit(call.Context(), request.GetNode(), "ads")
	if err != nil {
		return err
	}
	defer st.conn.Close()
	defer st.watch(call.Context())()
	f := newFeed(st)
	defer f.start()()
	library := sotw.NewServer(s.stop, f.cache, nil, sotw.WithOrderedADS())
	err = library.StreamHandler(&sotwStream{
		AggregatedDiscoveryService_StreamAggregatedResourcesServer: call, stream: st, in: in, pending: request,
	}, resourcev3.AnyType)
	err = st.outcome(err)
	st.close(err)
	if err != nil {
		return statusOf(err)
	}
	return nil
}

// sotwStream is an admitted stream as the library sees it.
type sotwStream struct {
	discovery.AggregatedDiscoveryService_StreamAggregatedResourcesServer
	stream  *stream
	in      *inbox[*discovery.DiscoveryRequest]
	pending *discovery.DiscoveryRequest // the first request, until the library took it
}

// Context is over when the stream must end.
func (s *sotwStream) Context() context.Context { return s.stream.ctx }

// Recv returns the next request that is for the library. What a proxy refused is
// handed on as if it had been taken: the library would send it again at once, and
// for ever.
func (s *sotwStream) Recv() (*discovery.DiscoveryRequest, error) {
	for {
		m := s.pending
		if s.pending = nil; m == nil {
			var err error
			if m, err = s.in.next(s.stream.ctx); err != nil {
				return nil, err
			}
		}
		ok, err := s.stream.accept(m, m.GetResourceNames())
		if err != nil {
			s.stream.conn.End(err)
			return nil, err
		}
		if !ok {
			continue
		}
		if v := s.stream.answered(m.GetTypeUrl(), m.GetResponseNonce(), m.GetErrorDetail().GetMessage(), m.GetErrorDetail() != nil); v != "" {
			m.VersionInfo = v
		}
		m.Node = &core.Node{Id: s.stream.nodeID} // the rest was read, and may be large
		return m, nil
	}
}

// Send sends what the proxy may still have.
func (s *sotwStream) Send(m *discovery.DiscoveryResponse) error {
	if err := s.stream.maySend(m.GetTypeUrl(), m.GetVersionInfo(), m.GetNonce()); err != nil {
		return err
	}
	m.ControlPlane = &core.ControlPlane{Identifier: s.stream.server.cfg.Zone}
	return s.AggregatedDiscoveryService_StreamAggregatedResourcesServer.Send(m)
}
