package wire

import (
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/kdspb"
)

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
		Code: federation.Code(m.GetCode()), Detail: Printable(m.GetDetail()), Hint: Printable(m.GetHint()), Reason: Printable(m.GetReason()),
		RetryAfter: min(max(time.Duration(m.GetRetryAfterMs())*time.Millisecond, 0), time.Minute),
	}
	switch e.Code {
	case federation.Invalid, federation.Unauthenticated, federation.Forbidden, federation.NotFound, federation.Conflict,
		federation.TooLarge, federation.Unavailable, federation.UnknownOutcome:
	default:
		e.Code = federation.Internal
	}
	for _, f := range m.GetFields() {
		e.Fields = append(e.Fields, federation.FieldError{Field: Printable(f.GetField()), Reason: Printable(f.GetReason())})
	}
	return e
}

// TokenRequestTo is a request for a token as it travels from a zone.
func TokenRequestTo(r kds.TokenRequest) *kdspb.DataplaneTokenRequest {
	m := &kdspb.DataplaneTokenRequest{
		UserToken: r.UserToken, Name: r.Name, Mesh: r.Mesh, Type: r.Type, Workload: r.Workload, ValidFor: r.ValidFor, RequestId: r.RequestID,
		Tags: make(map[string]*kdspb.TagValues, len(r.Tags)),
	}
	for tag, values := range r.Tags {
		m.Tags[tag] = &kdspb.TagValues{Values: values}
	}
	return m
}

// TokenRequestFrom is its inverse, at the global.
func TokenRequestFrom(m *kdspb.DataplaneTokenRequest) kds.TokenRequest {
	r := kds.TokenRequest{
		UserToken: m.GetUserToken(), Name: m.GetName(), Mesh: m.GetMesh(), Type: m.GetType(), Workload: m.GetWorkload(),
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

// IssuedTokenTo is the answer: a token, or why there is none.
func IssuedTokenTo(issued kds.IssuedToken, err error) *kdspb.DataplaneTokenResponse {
	if err != nil {
		return &kdspb.DataplaneTokenResponse{Refusal: refusalTo(err)}
	}
	return &kdspb.DataplaneTokenResponse{Token: issued.Token, KeyWaiting: issued.KeyWaiting}
}

// IssuedTokenFrom is its inverse, at the zone.
func IssuedTokenFrom(m *kdspb.DataplaneTokenResponse) (kds.IssuedToken, error) {
	switch {
	case m.GetRefusal() != nil:
		return kds.IssuedToken{}, refusalFrom(m.GetRefusal())
	case m.GetToken() == "":
		return kds.IssuedToken{}, federation.Errorf(federation.Internal, "the global's answer holds neither a token nor a reason")
	}
	return kds.IssuedToken{Token: m.GetToken(), KeyWaiting: m.GetKeyWaiting()}, nil
}
