package server

import (
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/kuma"
	"github.com/meridiankds/meridian/kds/wire"
)

// subscriptions counts what a stream has subscribed to.
type subscriptions struct {
	limits *kds.Limits
	types  map[string]struct{}
	names  int
}

// note takes a request into account and reports whether it is the first one of
// its type.
func (s *subscriptions) note(r *wire.Request) (first bool, err error) {
	if r.TypeURL == "" {
		return false, federation.Errorf(federation.Invalid, "type_url is empty")
	}
	if _, known := s.types[r.TypeURL]; !known {
		if len(s.types) >= s.limits.Types {
			return false, federation.Errorf(federation.TooLarge, "more than %d types on a stream", s.limits.Types)
		}
		if s.types == nil {
			s.types = map[string]struct{}{}
		}
		s.types[r.TypeURL] = struct{}{}
		first = true
	}
	s.names = max(s.names-r.Unsubscribe, 0) + r.Subscribe
	if s.names > s.limits.Names {
		return false, federation.Errorf(federation.TooLarge, "more than %d names on a stream", s.limits.Names)
	}
	return first, nil
}

// handleOther acts on a request of a type that has no resources here: each
// subscription is answered with none. A zone of Kuma's waits for an answer to each
// of its types and is content with an empty one.
func (st *stream) handleOther(r *wire.Request, first bool) error {
	if r.Nonce != "" {
		st.session.answered(!r.Refused)
	}
	if r.Refused {
		st.srv.cfg.Logger.Warn("zone refused an answer", "zone", st.call.creds.Zone,
			"instance", st.session.id.instance, "type", wire.Printable(r.TypeURL), "cause", r.Refusal)
	}
	// Names beside a nonce are no new subscription, or a client that repeats them with
	// each acknowledgement would be answered for ever.
	if !first && (r.Subscribe == 0 || r.Nonce != "") {
		return nil
	}
	st.session.sent(1)
	return st.send(&discovery.DeltaDiscoveryResponse{
		TypeUrl:      r.TypeURL,
		Nonce:        st.srv.kuma.Nonce(),
		ControlPlane: &core.ControlPlane{Identifier: kuma.OriginGlobal},
	})
}
