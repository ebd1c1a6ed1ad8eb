package kds

import (
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/meridiankds/meridian/federation"
)

// subscriptions counts what a stream has subscribed to.
type subscriptions struct {
	limits *Limits
	types  map[string]struct{}
	names  int
}

// note takes a request into account and reports whether it is the first one of
// its type.
func (s *subscriptions) note(r *request) (first bool, err error) {
	if r.typeURL == "" {
		return false, federation.Errorf(federation.Invalid, "type_url is empty")
	}
	if _, known := s.types[r.typeURL]; !known {
		if len(s.types) >= s.limits.Types {
			return false, federation.Errorf(federation.TooLarge, "more than %d types on a stream", s.limits.Types)
		}
		if s.types == nil {
			s.types = map[string]struct{}{}
		}
		s.types[r.typeURL] = struct{}{}
		first = true
	}
	s.names = max(s.names-r.unsubscribe, 0) + r.subscribe
	if s.names > s.limits.Names {
		return false, federation.Errorf(federation.TooLarge, "more than %d names on a stream", s.limits.Names)
	}
	return first, nil
}

// handleOther acts on a request of a type that has no resources here: each
// subscription is answered with none. A zone of Kuma's waits for an answer to each
// of its types and is content with an empty one.
func (st *stream) handleOther(r *request, first bool) error {
	if r.nonce != "" {
		st.session.answered(!r.refused)
	}
	if r.refused {
		st.srv.cfg.Logger.Warn("zone refused an answer", "zone", st.call.creds.Zone,
			"instance", st.session.id.instance, "type", printable(r.typeURL), "cause", r.refusal)
	}
	// Names beside a nonce are no new subscription, or a client that repeats them with
	// each acknowledgement would be answered for ever.
	if !first && (r.subscribe == 0 || r.nonce != "") {
		return nil
	}
	st.session.sent(1)
	return st.send(&discovery.DeltaDiscoveryResponse{
		TypeUrl:      r.typeURL,
		Nonce:        st.srv.kuma.nonce(),
		ControlPlane: &core.ControlPlane{Identifier: originGlobal},
	})
}
