package cli

import (
	"errors"

	"github.com/meridiankds/meridian/federation"
)

// The exit codes of the programs.
const (
	ExitOK    = 0
	ExitError = 1
	ExitUsage = 2
	// ExitPending: it is done, but somebody has yet to learn of it, or to see to what it shows.
	ExitPending = 3
)

// usageError marks an error as one of the command line itself.
type usageError struct{ err error }

func (u usageError) Error() string { return u.err.Error() }
func (u usageError) Unwrap() error { return u.err }

// Usage marks err as the fault of the command line, which makes the exit code 2.
func Usage(err error) error {
	if err == nil {
		return nil
	}
	return usageError{err}
}

// pendingError marks what is done, but not everywhere yet.
type pendingError struct{ err error }

func (p pendingError) Error() string { return p.err.Error() }
func (p pendingError) Unwrap() error { return p.err }

// Pending marks err as telling of something that is done and not yet known
// everywhere, which makes the exit code 3: the command is not to be repeated.
func Pending(err error) error {
	if err == nil {
		return nil
	}
	return pendingError{err}
}

// IsPending reports whether an error was marked by Pending.
func IsPending(err error) bool {
	var p pendingError
	return errors.As(err, &p)
}

// Usagef returns a usage error; hint says what to type instead and may be empty.
func Usagef(hint, format string, args ...any) error {
	return Usage(federation.Errorf(federation.Invalid, format, args...).WithHint("%s", hint))
}

// ExitCode returns the exit code for the outcome of a command.
func ExitCode(err error) int {
	var u usageError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &u):
		return ExitUsage
	case IsPending(err):
		return ExitPending
	}
	return ExitError
}
