package testlog

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// patience bounds what [Program.Await] waits for; it is no measurement.
const patience = time.Minute

// Program is a process of a test, which ends with the test.
type Program struct {
	Cmd *exec.Cmd
	Log *Log // what it writes

	t *testing.T
}

// Begin starts a line of shell.
func Begin(t *testing.T, line string) *Program {
	t.Helper()
	p := &Program{Cmd: exec.CommandContext(t.Context(), "sh", "-c", line), Log: &Log{}, t: t}
	p.Cmd.Stdout, p.Cmd.Stderr = p.Log, p.Log
	if err := p.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// Signal sends it a signal.
func (p *Program) Signal(s os.Signal) {
	p.t.Helper()
	if err := p.Cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("%s: %v\n%s", s, err, p.Log)
	}
}

// Await waits until its log has a line with all of the words.
func (p *Program) Await(words ...string) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); !p.Log.Has(words...); {
		if time.Now().After(deadline) {
			p.t.Fatalf("no line with %q\n%s", words, p.Log)
		}
		time.Sleep(10 * time.Millisecond) // between two looks
	}
}
