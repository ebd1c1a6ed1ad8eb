// Package hangup tells whether a program heeds SIGHUP as both of ours do.
package hangup

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/meridiankds/meridian/internal/test/testlog"
)

// Play sends SIGHUP to a program itself: it takes over what it can, names what it cannot, and
// ends in its own time. Started by nohup it does not even look. line starts it with a file of
// settings and a data directory, both in dir, ready is what it then says, and restart a setting
// that takes a restart, with its value.
func Play(t *testing.T, dir string, line func(config, data string) string, ready, restart string) {
	t.Helper()
	config := filepath.Join(dir, "config.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	start := line(config, filepath.Join(dir, "data"))
	setting, _, _ := strings.Cut(restart, ":")
	write("log-level: info\n")
	p := testlog.Begin(t, "exec "+start)
	p.Await(ready)
	write("log-level: debug\n" + restart + "\n")
	p.Signal(syscall.SIGHUP)
	p.Await("reloaded", "logLevel=debug")
	p.Await("take a restart", setting)
	write("log-leevel: debug\n")
	p.Signal(syscall.SIGHUP)
	p.Await("cannot be read again", "log-leevel")
	p.Signal(syscall.SIGTERM)
	p.Await("msg=stopped")
	if err := p.Cmd.Wait(); err != nil {
		t.Errorf("it ended with %v\n%s", err, p.Log.String())
	}

	write("log-level: info\n")
	p = testlog.Begin(t, `trap "" HUP; exec `+start)
	p.Await(ready)
	p.Signal(syscall.SIGHUP)
	p.Signal(syscall.SIGTERM)
	p.Await("msg=stopped")
	if err := p.Cmd.Wait(); err != nil || strings.Contains(p.Log.String(), "reloaded") {
		t.Errorf("under nohup it ended with %v\n%s", err, p.Log.String())
	}
}
