package node

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/federation"
)

// TestOpenPortsAreWarnedOf: a KDS port that asks nobody who they are, or has no TLS.
func TestOpenPortsAreWarnedOf(t *testing.T) {
	for _, tc := range []struct {
		auth  federation.AuthMode
		plain bool
		want  []string
	}{
		{federation.AuthToken, false, nil}, {federation.AuthNone, false, []string{"--kds-auth is none"}},
		{federation.AuthToken, true, []string{"--kds-tls is false"}}, {federation.AuthNone, true, []string{"--kds-auth is none", "--kds-tls is false"}},
	} {
		var log bytes.Buffer
		n := &Node{cfg: Config{KDSAuth: tc.auth, KDSPlain: tc.plain, Logger: slog.New(slog.NewTextHandler(&log, nil))}}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := n.warnUnproven(ctx); err != nil || strings.Count(log.String(), "level=WARN") != len(tc.want) {
			t.Errorf("%+v: %v, %s", tc, err, log.String())
		}
		for _, want := range tc.want {
			if !strings.Contains(log.String(), want) {
				t.Errorf("%+v: the log does not have %q", tc, want)
			}
		}
	}
}
