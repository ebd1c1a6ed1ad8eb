package main

import (
	"testing"

	"github.com/meridiankds/meridian/internal/test/hangup"
	"github.com/meridiankds/meridian/internal/test/tempdir"
)

func TestHangup(t *testing.T) {
	t.Parallel()
	hangup.Play(t, tempdir.Short(t), func(config, data string) string {
		return "global dev --config " + config + " --data-dir " + data +
			" --api-addr 127.0.0.1:0 --api-tls-addr 127.0.0.1:0 --kds-addr 127.0.0.1:0 --peer-addr 127.0.0.1:0 --diagnostics-addr 127.0.0.1:0"
	}, "Meridian global is up", "audit-room: 7")
}
