package testlog

import (
	"sync"
	"syscall"
	"testing"
)

func TestLog(t *testing.T) {
	var l Log
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() { _, _ = l.Write([]byte("one two\nthree\n")) })
	}
	writers.Wait()
	if len(l.String()) != 8*14 || !l.Has("one", "two") || !l.Has() || l.Has("two", "three") {
		t.Errorf("it has %q", l.String())
	}
}

func TestProgram(t *testing.T) {
	p := Begin(t, `trap "echo got it; exit 0" TERM; echo ready >&2; while :; do sleep 0.01; done`)
	p.Await("ready")
	p.Signal(syscall.SIGTERM)
	p.Await("got", "it")
	if err := p.Cmd.Wait(); err != nil {
		t.Error(err)
	}
}
