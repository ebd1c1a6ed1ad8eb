package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meridiankds/meridian/internal/test/tempdir"
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
	p := begin(t, "exec "+line)
	p.await("Meridian global is up")
	write("log-level: debug\naudit-room: 7\n")
	p.signal(syscall.SIGHUP)
	p.await("reloaded", "logLevel=debug")
	p.await("take a restart", "audit-room")
	write("log-leevel: debug\n")
	p.signal(syscall.SIGHUP)
	p.await("cannot be read again", "log-leevel")
	p.signal(syscall.SIGTERM)
	p.await("msg=stopped")
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v\n%s", err, p.log.String())
	}

	write("log-level: info\n")
	p = begin(t, `trap "" HUP; exec `+line)
	p.await("Meridian global is up")
	p.signal(syscall.SIGHUP)
	p.signal(syscall.SIGTERM)
	p.await("msg=stopped")
	if err := p.cmd.Wait(); err != nil || strings.Contains(p.log.String(), "reloaded") {
		t.Errorf("under nohup it ended with %v\n%s", err, p.log.String())
	}
}

// program is this program as a process.
type program struct {
	t   *testing.T
	cmd *exec.Cmd
	log *output
}

// begin starts a line of shell, and ends what it started with the test.
func begin(t *testing.T, line string) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.CommandContext(t.Context(), "sh", "-c", line), log: &output{}}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *program) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("%s: %v\n%s", s, err, p.log.String())
	}
}

// await waits until the log has a line with all of the words.
func (p *program) await(words ...string) {
	p.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for line := range strings.Lines(p.log.String()) {
			has := true
			for _, word := range words {
				has = has && strings.Contains(line, word)
			}
			if has {
				return
			}
		}
	}
	p.t.Fatalf("no line with %q\n%s", words, p.log.String())
}
