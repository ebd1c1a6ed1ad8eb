package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/meridiankds/meridian/internal/test/tempdir"
	"github.com/meridiankds/meridian/internal/test/testlog"
)

// TestHangup sends SIGHUP to the program itself: it takes over what it can, names what it
// cannot, and ends in its own time. Started by nohup it does not even look.
func TestHangup(t *testing.T) {
	t.Parallel()
	dir := tempdir.Short(t)
	config := filepath.Join(dir, "config.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	line := "global dev --config " + config + " --data-dir " + filepath.Join(dir, "data") +
		" --api-addr 127.0.0.1:0 --api-tls-addr 127.0.0.1:0 --kds-addr 127.0.0.1:0 --peer-addr 127.0.0.1:0 --diagnostics-addr 127.0.0.1:0"
	write("log-level: info\n")
	p := testlog.Begin(t, "exec "+line)
	p.Await("Meridian global is up")
	write("log-level: debug\naudit-room: 7\n")
	p.Signal(syscall.SIGHUP)
	p.Await("reloaded", "logLevel=debug")
	p.Await("take a restart", "audit-room")
	write("log-leevel: debug\n")
	p.Signal(syscall.SIGHUP)
	p.Await("cannot be read again", "log-leevel")
	p.Signal(syscall.SIGTERM)
	p.Await("msg=stopped")
	if err := p.Cmd.Wait(); err != nil {
		t.Errorf("it ended with %v\n%s", err, p.Log.String())
	}

	write("log-level: info\n")
	p = testlog.Begin(t, `trap "" HUP; exec `+line)
	p.Await("Meridian global is up")
	p.Signal(syscall.SIGHUP)
	p.Signal(syscall.SIGTERM)
	p.Await("msg=stopped")
	if err := p.Cmd.Wait(); err != nil || strings.Contains(p.Log.String(), "reloaded") {
		t.Errorf("under nohup it ended with %v\n%s", err, p.Log.String())
	}
}
