package testlog

import (
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// Serve runs a server until the test ends, which ends its workers with it, and returns once
// it takes connections at each of the addresses. What it said is shown where the test fails.
func Serve(t *testing.T, addresses, env []string, name string, args ...string) {
	t.Helper()
	p := &Program{Cmd: exec.Command(name, args...), Log: &Log{}, t: t}
	p.Cmd.Env = append(os.Environ(), env...)
	p.Cmd.Stdout, p.Cmd.Stderr = p.Log, p.Log
	p.Cmd.WaitDelay = patience
	if err := p.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = p.Cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		p.end(ended)
		if t.Failed() {
			t.Logf("%s said: %s", name, p.Log)
		}
	})
	for _, address := range addresses {
		p.awaitPort(ended, address)
	}
}

// end has a server end, and kills one that does not.
func (p *Program) end(ended <-chan struct{}) {
	_ = p.Cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-ended:
	case <-time.After(patience):
		_ = p.Cmd.Process.Kill()
		<-ended
	}
}

func (p *Program) awaitPort(ended <-chan struct{}, address string) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return
		}
		select {
		case <-ended:
			p.t.Fatalf("%s ended: %s", p.Cmd.Path, p.Log)
		case <-time.After(20 * time.Millisecond): // between two looks
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s does not listen on %s: %s", p.Cmd.Path, address, p.Log)
		}
	}
}
