package xds

import (
	"google.golang.org/protobuf/types/known/anypb"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/meridiankds/meridian/internal/zone/envoyres"
	"github.com/meridiankds/meridian/internal/zone/rollout"
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
	f := newFeed(st, false, func(r *rollout.Response) error { return call.Send(s.sotwResponse(r)) })
	return st.over(serve(f, in, request, st.sotwRequest))
}

// sotwRequest turns a message into what package rollout understands; nil is to be passed
// over.
func (st *stream) sotwRequest(m *discovery.DiscoveryRequest) (*rollout.Request, error) {
	ok, err := st.accept(m, m.GetResourceNames())
	if err != nil || !ok {
		return nil, err
	}
	return &rollout.Request{
		Kind: envoyres.KindOf(m.GetTypeUrl()), Nonce: m.GetResponseNonce(), Version: m.GetVersionInfo(), Names: m.GetResourceNames(),
		Refused: m.GetErrorDetail() != nil, Detail: clipTo(m.GetErrorDetail().GetMessage(), maxRefusal),
	}, nil
}

func (s *Server) sotwResponse(r *rollout.Response) *discovery.DiscoveryResponse {
	m := &discovery.DiscoveryResponse{
		TypeUrl: envoyres.URL(r.Kind), VersionInfo: r.Version, Nonce: r.Nonce, ControlPlane: &core.ControlPlane{Identifier: s.cfg.Zone},
		Resources: make([]*anypb.Any, 0, len(r.Resources)),
	}
	for _, one := range r.Resources {
		m.Resources = append(m.Resources, one.Packed)
	}
	return m
}
