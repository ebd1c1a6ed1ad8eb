package federation

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Code classifies an [Error]. The set is closed: kds and internal/global/adminapi map
// each code to a gRPC or HTTP status, and nothing else translates.
type Code string

// The codes, from the caller's fault to ours.
const (
	// Invalid: the request is wrong in itself; sending it again cannot help.
	Invalid Code = "invalid"
	// Unauthenticated: the caller did not prove who it is.
	Unauthenticated Code = "unauthenticated"
	// Forbidden: the caller is known and may not do this.
	Forbidden Code = "forbidden"
	// NotFound: the thing that is named does not exist.
	NotFound Code = "not_found"
	// Conflict: the request is well formed but the state forbids it now.
	Conflict Code = "conflict"
	// TooLarge: a bound on size or number was exceeded.
	TooLarge Code = "too_large"
	// Unavailable: nothing was changed; the same request may succeed later.
	Unavailable Code = "unavailable"
	// UnknownOutcome: the request may or may not have taken effect.
	UnknownOutcome Code = "unknown_outcome"
	// Internal: a defect or a damaged resource of this node.
	Internal Code = "internal"
)

// FieldError names one input that was wrong and why.
type FieldError struct {
	Field  string // as the caller spelled it, for example "validFor" or "scope[1]"
	Reason string
}

// Error is the one error vocabulary of Meridian, also over the wire. Detail and
// Hint are shown to operators: they say what happened and what to do next, and
// never contain a token or key.
type Error struct {
	Code Code
	// Detail is one line: what happened, and to what.
	Detail string
	// Hint is one line: what to do next. May be empty.
	Hint string
	// Fields lists the inputs at fault when Code is Invalid. May be empty.
	Fields []FieldError
	// Reason is a machine-readable word where the code is too coarse, such as a
	// token's refusal reason ("expired", "wrong_zone"). May be empty.
	Reason string
	// RetryAfter is how long the caller should wait when Code is Unavailable.
	// Zero means that the caller may choose.
	RetryAfter time.Duration

	cause error
}

// Error returns Detail, preceded by the fields at fault if Detail does not stand
// on its own.
func (e *Error) Error() string {
	if e.Detail != "" {
		return e.Detail
	}
	if len(e.Fields) > 0 {
		return fmt.Sprintf("%s: %s", e.Fields[0].Field, e.Fields[0].Reason)
	}
	return string(e.Code)
}

// Unwrap returns the error that caused this one, or nil. The cause is for logs
// and errors.Is; it is never sent to a caller.
func (e *Error) Unwrap() error { return e.cause }

// WithHint returns a copy of e with the hint set.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// WithReason returns a copy of e with the machine-readable reason set.
func (e *Error) WithReason(reason string) *Error {
	c := *e
	c.Reason = reason
	return &c
}

// WithCause returns a copy of e that unwraps to cause.
func (e *Error) WithCause(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// Errorf returns an Error of the given code. A %w verb in format is honoured:
// the wrapped error becomes the cause.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Detail: err.Error(), cause: errors.Unwrap(err)}
}

// InvalidField returns an Invalid error for a single input.
func InvalidField(field, format string, args ...any) *Error {
	reason := fmt.Sprintf(format, args...)
	return &Error{
		Code:   Invalid,
		Detail: field + ": " + reason,
		Fields: []FieldError{{Field: field, Reason: reason}},
	}
}

// CodeOf returns the code of what [AsError] makes of err, "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	return AsError(err).Code
}

// AsError returns the first Error in err's chain, or wraps err as Internal with
// a detail that repeats nothing of err, so that what is sent to a caller cannot
// leak what a library put into its message. A call that ended before its answer was there,
// because who made it has gone or its time was over, is Unavailable: nothing is wrong here.
// It returns nil for nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	switch {
	case errors.Is(err, context.Canceled):
		return &Error{Code: Unavailable, Detail: "the call was ended before its answer was there", cause: err}
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: Unavailable, Detail: "it was not done in the time that it may take", cause: err}
	}
	return &Error{Code: Internal, Detail: "internal error, see this node's log", cause: err}
}
