package main

import (
	"testing"

	"github.com/meridiankds/meridian/internal/test/hangup"
	"github.com/meridiankds/meridian/internal/test/tempdir"
)

func TestHangup(t *testing.T) {
	t.Parallel()
	hangup.Play(t, tempdir.Short(t), func(config, data string) string {
		return "zone server --zone west --config " + config + " --data-dir " + data +
			" --global-address 127.0.0.1:1 --dp-addr 127.0.0.1:0 --api-addr 127.0.0.1:0 --diagnostics-addr 127.0.0.1:0"
	}, "zone is ready", "max-stale: 5m")
}
