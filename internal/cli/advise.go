package cli

import (
	"errors"

	"github.com/meridiankds/meridian/federation"
)

// Advise returns err with a hint that says what to do next, unless it has one
// already. It stays the fault of the command line where it was one; nil stays
// nil.
func Advise(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	var e *federation.Error
	if !errors.As(err, &e) {
		e = federation.Errorf(federation.Internal, "%w", err)
	}
	if e.Hint != "" {
		return err
	}
	// The text of err, which may say more than what it wraps.
	advised := e.WithHint(format, args...).WithCause(err)
	advised.Detail = err.Error()
	if ExitCode(err) == ExitUsage {
		return Usage(advised)
	}
	return advised
}
