package kds

import (
	"strconv"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/meridiankds/meridian/federation"
)

// subscriptions counts what a stream has subscribed to.
type subscriptions struct {
	limits *Limits
	types  map[string]struct{}
	names  int
	nonce  uint64 // of the last answer to another type
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

// handleOther acts on a request of a type other than ChangesType.
func (st *stream) handleOther(r *request, first bool) error {
	if r.refused {
		st.srv.cfg.Logger.Warn("zone refused an answer", "zone", st.call.creds.Zone,
			"type", printable(r.typeURL), "cause", r.refusal)
	}
	if !first && r.subscribe == 0 {
		return nil // an acknowledgement
	}
	st.other.nonce++
	return st.send(st.resources(r.typeURL))
}

// resources is the answer to a subscription of one of Kuma's types: nothing, for
// every type. A zone of Kuma's waits for an answer to each and is content with
// an empty one. This is where GlobalSecret, Secret, Config and Mesh will get
// their resources.
func (st *stream) resources(typeURL string) *discovery.DeltaDiscoveryResponse {
	return &discovery.DeltaDiscoveryResponse{
		TypeUrl:      typeURL,
		Nonce:        strconv.FormatUint(st.other.nonce, 10),
		ControlPlane: &core.ControlPlane{Identifier: "global"},
	}
}
