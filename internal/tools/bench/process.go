package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// bench is one run.
type bench struct {
	bin   string // folder of the binaries
	quick bool
	// floodSpan is how long each case of a flood lasts, floodCases which there are; empty: all.
	floodSpan  time.Duration
	floodCases string
	report     *report
	scratch    string // on disk: a folder for rows to work in
	// profiles is where profiles of the processor are written; empty: none.
	profiles string
}

// pick returns the size of a measurement: the full one, or with --quick the other.
func (b *bench) pick(full, quick int) int {
	if b.quick {
		return quick
	}
	return full
}

// scope is what one row has opened. Everything in it ends with it, in reverse.
type scope struct {
	*bench
	dir string
	// descriptors is the limit of open files of programs; 0: this process's own.
	descriptors int

	mu       sync.Mutex
	cleanups []func()
}

func (b *bench) scope(name string) (*scope, error) {
	dir, err := os.MkdirTemp(b.scratch, name+".")
	if err != nil {
		return nil, fmt.Errorf("making a folder: %w", err)
	}
	s := &scope{bench: b, dir: dir}
	s.onClose(func() { _ = os.RemoveAll(dir) })
	return s, nil
}

func (s *scope) onClose(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, f)
}

func (s *scope) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.cleanups) - 1; i >= 0; i-- {
		s.cleanups[i]()
	}
	s.cleanups = nil
}

// process is a program that a scope started.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string // file with what it says
	done chan struct{}
	once sync.Once
}

// start runs a program until the scope ends. Its standard error goes to a file, and
// its standard output too unless the caller has taken it.
func (s *scope) start(name string, cmd *exec.Cmd) (*process, error) {
	p := &process{name: name, cmd: cmd, log: filepath.Join(s.dir, name+".log"), done: make(chan struct{})}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", name, err)
	}
	defer out.Close()
	cmd.Env, cmd.Stderr, cmd.SysProcAttr = cleanEnv(), out, dieWithParent()
	if cmd.Stdout == nil {
		cmd.Stdout = out
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // how it ended is in ProcessState
	}()
	s.onClose(p.kill)
	return p, nil
}

// program is one of the binaries with arguments.
func (s *scope) program(name string, args ...string) *exec.Cmd {
	program := filepath.Join(s.bin, name)
	if s.descriptors > 0 {
		limit := fmt.Sprintf(`ulimit -n %d; exec "$@"`, s.descriptors)
		return exec.Command("sh", append([]string{"-c", limit, "sh", program}, args...)...)
	}
	return exec.Command(program, args...)
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// kill ends the process without a word, and waits for it.
func (p *process) kill() {
	p.once.Do(func() { _ = p.cmd.Process.Kill() }) // an error says that it ended by itself
	<-p.done
}

// end asks the process to end and returns how long it took.
func (p *process) end(ctx context.Context) (time.Duration, error) {
	begun := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, fmt.Errorf("ending %s: %w", p.name, err)
	}
	select {
	case <-p.done:
		return time.Since(begun), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("%s does not end: %w", p.name, ctx.Err())
	}
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// tail is the end of what the process said.
func (p *process) tail() string {
	f, err := os.Open(p.log)
	if err != nil {
		return ""
	}
	defer f.Close()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, size-2000), io.SeekStart)
	}
	data, _ := io.ReadAll(f)
	return string(data)
}

// failure adds the end of a process's log to an error of dealing with it.
func (p *process) failure(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w\n--- the end of what %s said:\n%s", err, p.name, p.tail())
}

// cleanEnv is the environment without what would steer our programs.
func cleanEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "GLOBAL_") && !strings.HasPrefix(kv, "ZONE_") && !strings.HasPrefix(kv, "KUMA_") {
			env = append(env, kv)
		}
	}
	return env
}

// run runs a client command to its end and returns its standard output.
func (s *scope) run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, name), args...)
	cmd.Env = cleanEnv()
	out, err := cmd.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, failed.Stderr)
	}
	return string(out), err
}

// poll is how often until looks.
const poll = 2 * time.Millisecond

// until waits for a condition, for as long as patience says at most.
func until(ctx context.Context, what string, condition func() (bool, error)) error {
	return untilEvery(ctx, poll, what, condition)
}

// untilEvery is until for a condition that costs what it looks at.
func untilEvery(ctx context.Context, poll time.Duration, what string, condition func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	var last error
	for {
		ok, err := condition()
		if ok {
			return nil
		}
		if err != nil {
			last = err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s: %w (%v)", what, context.Cause(ctx), last)
		}
	}
}

// patience bounds every wait of the bench.
const patience = time.Minute
