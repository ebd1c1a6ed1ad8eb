package xds

import (
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/meridiankds/meridian/internal/zone/envoyres"
	"github.com/meridiankds/meridian/internal/zone/rollout"
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
	f := newFeed(st, true, func(r *rollout.Response) error { return call.Send(s.deltaResponse(r)) })
	return st.over(serve(f, in, request, st.deltaRequest))
}

// deltaRequest turns a message into what package rollout understands; nil is to be passed
// over.
func (st *stream) deltaRequest(m *discovery.DeltaDiscoveryRequest) (*rollout.Request, error) {
	known := make([]string, 0, len(m.GetInitialResourceVersions()))
	for name := range m.GetInitialResourceVersions() {
		known = append(known, name)
	}
	ok, err := st.accept(m, m.GetResourceNamesSubscribe(), m.GetResourceNamesUnsubscribe(), known)
	if err != nil || !ok {
		return nil, err
	}
	return &rollout.Request{
		Kind: envoyres.KindOf(m.GetTypeUrl()), Nonce: m.GetResponseNonce(),
		Subscribe: m.GetResourceNamesSubscribe(), Unsubscribe: m.GetResourceNamesUnsubscribe(), Initial: m.GetInitialResourceVersions(),
		Refused: m.GetErrorDetail() != nil, Detail: clipTo(m.GetErrorDetail().GetMessage(), maxRefusal),
	}, nil
}

func (s *Server) deltaResponse(r *rollout.Response) *discovery.DeltaDiscoveryResponse {
	m := &discovery.DeltaDiscoveryResponse{
		TypeUrl: envoyres.URL(r.Kind), SystemVersionInfo: r.Version, Nonce: r.Nonce, ControlPlane: &core.ControlPlane{Identifier: s.cfg.Zone},
		RemovedResources: r.Removed, Resources: make([]*discovery.Resource, 0, len(r.Resources)),
	}
	for _, one := range r.Resources {
		m.Resources = append(m.Resources, &discovery.Resource{Name: one.Name, Version: one.Version, Resource: one.Packed})
	}
	return m
}
