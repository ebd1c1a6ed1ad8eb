package cli

import (
	"errors"
	"fmt"
	"testing"

	"github.com/meridiankds/meridian/federation"
)

func TestAdvise(t *testing.T) {
	plain := federation.Errorf(federation.NotFound, "gone")
	for _, tt := range []struct {
		name       string
		err        error
		text, hint string
		code       federation.Code
		exit       int
	}{
		{"nothing", nil, "", "", "", ExitOK},
		{"without a hint", plain, "gone", "look at x", federation.NotFound, ExitError},
		{"with its own", plain.WithHint("mine"), "gone", "mine", federation.NotFound, ExitError},
		{"of the command line", Usage(plain), "gone", "look at x", federation.NotFound, ExitUsage},
		{"wrapped", fmt.Errorf("reading: %w", plain), "reading: gone", "look at x", federation.NotFound, ExitError},
		{"of a library", errors.New("broken"), "broken", "look at x", federation.Internal, ExitError},
	} {
		err := Advise(tt.err, "look at %s", "x")
		if federation.CodeOf(err) != tt.code || ExitCode(err) != tt.exit {
			t.Errorf("%s: code %s, exit %d", tt.name, federation.CodeOf(err), ExitCode(err))
		}
		if err == nil {
			continue
		}
		if e := federation.AsError(err); err.Error() != tt.text || e.Hint != tt.hint || !errors.Is(err, tt.err) {
			t.Errorf("%s: %v, hint %q", tt.name, err, e.Hint)
		}
	}
}
