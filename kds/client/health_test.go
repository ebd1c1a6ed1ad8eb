package client

import (
	"testing"
	"time"
)

// A zone that refuses after a short silence must not refuse because of its own first
// health call, which spreads over seconds.
func TestTheFirstHealthCallComesBeforeTheSilenceCounts(t *testing.T) {
	for _, silence := range []time.Duration{time.Second, 5 * time.Second, 9 * time.Second, 30 * time.Second, time.Hour} {
		if wait := firstWait(0.999, silence); wait > silence/2 || wait > firstHealth {
			t.Errorf("with --max-stale %s the first call comes after %s", silence, wait)
		}
	}
	if wait := firstWait(0.999, 0); wait < firstHealth/2 {
		t.Errorf("without a limit zones that come at once make their calls at once: %s", wait)
	}
}
