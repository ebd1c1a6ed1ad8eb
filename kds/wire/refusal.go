package wire

import (
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/kds/kdspb"
)

// RefusalTo is an error as it travels to a zone's user. It is the user who is told,
// and who has shown a token: unlike the status of a call it has the whole reason.
func RefusalTo(err error) *kdspb.Refusal {
	e := federation.AsError(err)
	m := &kdspb.Refusal{
		Code: string(e.Code), Detail: e.Error(), Hint: e.Hint, Reason: e.Reason, RetryAfterMs: e.RetryAfter.Milliseconds(),
	}
	for _, f := range e.Fields {
		m.Fields = append(m.Fields, &kdspb.FieldError{Field: f.Field, Reason: f.Reason})
	}
	return m
}

// RefusalFrom is its inverse, at the zone.
func RefusalFrom(m *kdspb.Refusal) error {
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
