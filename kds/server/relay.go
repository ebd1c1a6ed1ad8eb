package server

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/kdspb"
	"github.com/meridiankds/meridian/kds/wire"
)

// relays counts the requests of each zone that are being answered.
type relays struct {
	mu   sync.Mutex
	open map[string]int
}

// enter takes a place, of which a zone has so many. leave gives it back.
func (r *relays) enter(zone string, most int) (leave func(), ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open[zone] >= most {
		return nil, false
	}
	if r.open == nil {
		r.open = map[string]int{}
	}
	r.open[zone]++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.open[zone]--; r.open[zone] == 0 {
			delete(r.open, zone)
		}
	}, true
}

// relayDataplaneToken serves one call of meridian.v1.Relay/DataplaneToken.
func (s *Server) relayDataplaneToken(ss grpc.ServerStream) error {
	c, err := callOf(ss.Context())
	if err != nil {
		return wire.StatusOf(err)
	}
	var m kdspb.DataplaneTokenRequest
	if err := ss.RecvMsg(&m); err != nil {
		if errors.Is(err, io.EOF) {
			return wire.StatusOf(federation.Errorf(federation.Invalid, "the call carries no request"))
		}
		return endOf(err)
	}
	issued, err := s.relay(ss.Context(), c, &m)
	select {
	case <-c.kicked: // what admitted the zone was taken back meanwhile
		return wire.StatusOf(c.cause)
	default:
	}
	if err != nil {
		s.stats.relayRefused.Add(1)
	} else {
		s.stats.relayed.Add(1)
	}
	return ss.SendMsg(wire.IssuedTokenTo(issued, err))
}

func (s *Server) relay(ctx context.Context, c *call, m *kdspb.DataplaneTokenRequest) (kds.IssuedToken, error) {
	switch {
	case s.cfg.Relay == nil:
		return kds.IssuedToken{}, federation.Errorf(federation.Unavailable, "this member relays nothing").WithReason(kds.ReasonNoRelay)
	case !c.admission.Authenticated:
		return kds.IssuedToken{}, federation.Errorf(federation.Forbidden, "zone %s is connected without authentication, and may pass on nothing", c.creds.Zone).
			WithReason(kds.ReasonUnproven).WithHint("have the zone authenticate: apply it at the global with auth: token")
	case proto.Size(m) > s.limits.RelayMessage:
		return kds.IssuedToken{}, federation.Errorf(federation.TooLarge, "the request has %d bytes, at most %d are passed on", proto.Size(m), s.limits.RelayMessage)
	}
	leave, ok := s.relays.enter(c.creds.Zone, s.limits.RelaysPerZone)
	if !ok {
		e := federation.Errorf(federation.Unavailable, "zone %s has %d requests under way already", c.creds.Zone, s.limits.RelaysPerZone).
			WithReason(kds.ReasonBusyRelay).WithHint("try again in a moment")
		e.RetryAfter = time.Second
		return kds.IssuedToken{}, e
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, s.limits.Relay)
	defer cancel()
	return s.cfg.Relay.DataplaneToken(ctx, c.admission.Zone, wire.TokenRequestFrom(m))
}
