package kds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/kds/kdspb"
)

// Relay answers what zones pass on for their users. It decides alone whether the
// zone may ask and the user may have; the server has authenticated the zone.
type Relay interface {
	// DataplaneToken issues a dataplane token, or returns an error for the user.
	DataplaneToken(ctx context.Context, zone string, r TokenRequest) (IssuedToken, error)
}

// TokenRequest asks for a dataplane token in a user's name. It prints without the
// user's token.
type TokenRequest struct {
	UserToken  string // the user's own; a secret
	Name, Mesh string
	Tags       map[string][]string
	Type       string // "", "dataplane", "ingress" or "egress"
	ValidFor   string // a duration; empty: as long as the zone may ask for
	RequestID  string // for the logs of both sides; may be empty
}

// Format implements fmt.Formatter for every verb.
func (r TokenRequest) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "a dataplane token for %q in mesh %q", r.Name, r.Mesh)
}

// IssuedToken is the answer.
type IssuedToken struct {
	Token string // a secret
	// KeyWaiting names a newer key that is prepared and signs nothing yet.
	KeyWaiting string
}

// Format implements fmt.Formatter for every verb.
func (IssuedToken) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "an issued token") }

// Reasons of a relay's refusals.
const (
	reasonUnproven   = "zone_not_authenticated"
	reasonBusyRelay  = "too_many_relayed"
	reasonGlobalAway = "global_away"
	reasonNoRelay    = "no_relay"
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
		return statusOf(err)
	}
	var m kdspb.DataplaneTokenRequest
	if err := ss.RecvMsg(&m); err != nil {
		if errors.Is(err, io.EOF) {
			return statusOf(federation.Errorf(federation.Invalid, "the call carries no request"))
		}
		return endOf(err)
	}
	issued, err := s.relay(ss.Context(), c, &m)
	select {
	case <-c.kicked: // what admitted the zone was taken back meanwhile
		return statusOf(c.cause)
	default:
	}
	if err != nil {
		s.stats.relayRefused.Add(1)
		return ss.SendMsg(&kdspb.DataplaneTokenResponse{Refusal: refusalTo(err)})
	}
	s.stats.relayed.Add(1)
	return ss.SendMsg(&kdspb.DataplaneTokenResponse{Token: issued.Token, KeyWaiting: issued.KeyWaiting})
}

func (s *Server) relay(ctx context.Context, c *call, m *kdspb.DataplaneTokenRequest) (IssuedToken, error) {
	switch {
	case s.cfg.Relay == nil:
		return IssuedToken{}, federation.Errorf(federation.Unavailable, "this member relays nothing").WithReason(reasonNoRelay)
	case !c.admission.Authenticated:
		return IssuedToken{}, federation.Errorf(federation.Forbidden, "zone %s is connected without authentication, and may pass on nothing", c.creds.Zone).
			WithReason(reasonUnproven).WithHint("have the zone authenticate: apply it at the global with auth: token")
	case proto.Size(m) > s.limits.RelayMessage:
		return IssuedToken{}, federation.Errorf(federation.TooLarge, "the request has %d bytes, at most %d are passed on", proto.Size(m), s.limits.RelayMessage)
	}
	leave, ok := s.relays.enter(c.creds.Zone, s.limits.RelaysPerZone)
	if !ok {
		e := federation.Errorf(federation.Unavailable, "zone %s has %d requests under way already", c.creds.Zone, s.limits.RelaysPerZone).
			WithReason(reasonBusyRelay).WithHint("try again in a moment")
		e.RetryAfter = time.Second
		return IssuedToken{}, e
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, s.limits.Relay)
	defer cancel()
	return s.cfg.Relay.DataplaneToken(ctx, c.admission.Zone, requestFrom(m))
}

func requestFrom(m *kdspb.DataplaneTokenRequest) TokenRequest {
	r := TokenRequest{
		UserToken: m.GetUserToken(), Name: m.GetName(), Mesh: m.GetMesh(), Type: m.GetType(),
		ValidFor: m.GetValidFor(), RequestID: m.GetRequestId(),
	}
	for tag, values := range m.GetTags() {
		if r.Tags == nil {
			r.Tags = make(map[string][]string, len(m.GetTags()))
		}
		r.Tags[tag] = values.GetValues()
	}
	return r
}

// refusalTo is an error as it travels to a zone's user. It is the user who is told,
// and who has shown a token: unlike the status of a call it has the whole reason.
func refusalTo(err error) *kdspb.Refusal {
	e := federation.AsError(err)
	m := &kdspb.Refusal{
		Code: string(e.Code), Detail: e.Error(), Hint: e.Hint, Reason: e.Reason, RetryAfterMs: e.RetryAfter.Milliseconds(),
	}
	for _, f := range e.Fields {
		m.Fields = append(m.Fields, &kdspb.FieldError{Field: f.Field, Reason: f.Reason})
	}
	return m
}

// refusalFrom is its inverse, at the zone.
func refusalFrom(m *kdspb.Refusal) error {
	e := &federation.Error{
		Code: federation.Code(m.GetCode()), Detail: printable(m.GetDetail()), Hint: printable(m.GetHint()), Reason: printable(m.GetReason()),
		RetryAfter: min(max(time.Duration(m.GetRetryAfterMs())*time.Millisecond, 0), time.Minute),
	}
	switch e.Code {
	case federation.Invalid, federation.Unauthenticated, federation.Forbidden, federation.NotFound, federation.Conflict,
		federation.TooLarge, federation.Unavailable, federation.UnknownOutcome:
	default:
		e.Code = federation.Internal
	}
	for _, f := range m.GetFields() {
		e.Fields = append(e.Fields, federation.FieldError{Field: printable(f.GetField()), Reason: printable(f.GetReason())})
	}
	return e
}
