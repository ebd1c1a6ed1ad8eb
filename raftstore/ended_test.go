package raftstore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/disk"
)

// counting is a context that knows how many watch it.
type counting struct {
	context.Context
	done chan struct{}

	mu   sync.Mutex
	held map[*func()]struct{}
}

func (c *counting) watchers() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.held)
}

func (c *counting) Done() <-chan struct{} { return c.done }

// AfterFunc is what package context uses where a context brings its own.
func (c *counting) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held[&f] = struct{}{}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, ok := c.held[&f]
		delete(c.held, &f)
		return ok
	}
}

// TestLeadershipsLeaveNothingBehind: a context that outlives a thousand leaderships
// remembers none of them, and neither does a leadership its waiters.
func TestLeadershipsLeaveNothingBehind(t *testing.T) {
	newCounting := func() *counting {
		return &counting{Context: context.Background(), done: make(chan struct{}), held: map[*func()]struct{}{}}
	}
	long := newCounting()
	for range 1000 {
		lead, lose := context.WithCancel(context.Background())
		joined := join(long, lead)
		lose()
		<-joined.Done()
		if err := context.Cause(joined); federation.AsError(err).Reason != "not_leader" {
			t.Fatalf("ended with %v", err)
		}
	}
	settled(t, func() bool { return long.watchers() == 0 })

	lead := newCounting()
	ctx, cancel := context.WithCancelCause(context.Background())
	joined := join(ctx, lead)
	why := errors.New("why")
	cancel(why)
	<-joined.Done()
	if !errors.Is(context.Cause(joined), why) {
		t.Errorf("ended with %v", context.Cause(joined))
	}
	settled(t, func() bool { return lead.watchers() == 0 })
}

// settled waits for what another goroutine is about to do.
func settled(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("still not so")
		}
	}
}

func TestEndedContextGetsNoLeadership(t *testing.T) {
	l := leadership{changed: make(chan struct{})}
	l.begin(context.Background())
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := l.wait(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	if lead, err := l.wait(ctx); err == nil || lead != nil {
		t.Errorf("an ended context leads: %v", lead)
	}
}

// fullLog is a log on a disk that takes nothing while full is set.
type fullLog struct {
	raft.LogStore
	full bool
}

func (f *fullLog) StoreLogs(logs []*raft.Log) error {
	if f.full {
		return syscall.ENOSPC
	}
	return f.LogStore.StoreLogs(logs)
}

func (f *fullLog) StoreLog(l *raft.Log) error { return f.StoreLogs([]*raft.Log{l}) }

// TestNodeThatCannotStoreEnds: only what fails again and again, and only before the
// node was ready.
func TestNodeThatCannotStoreEnds(t *testing.T) {
	full := &fullLog{LogStore: raft.NewInmemStore()}
	g := disk.NewGuardedLog(full)
	write := func(fail bool) {
		full.full = fail
		if err := g.StoreLog(&raft.Log{Index: 1}); (err != nil) != fail {
			t.Fatalf("stored: %v", err)
		}
	}
	for range 3 * disk.MaxUnstored {
		for range disk.MaxUnstored - 1 {
			write(true)
		}
		write(false)
	}
	select {
	case <-g.GaveUp():
		t.Fatal("gave up on a disk that has room again")
	default:
	}
	for range disk.MaxUnstored {
		write(true)
	}
	s := &Store{cfg: Config{Dir: "folder"}, ready: make(chan struct{})}
	err := s.awaitUnstored(t.Context(), g)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), filepath.Join("folder", disk.LogFile)) || federation.AsError(err).Hint == "" {
		t.Errorf("ended with %v", err)
	}
	close(s.ready)
	if err := s.awaitUnstored(t.Context(), disk.NewGuardedLog(full)); err != nil {
		t.Errorf("a node that was ready ends with %v", err)
	}
}

// TestSnapshotsArePrivate: also in a folder that was there with another mode.
func TestSnapshotsArePrivate(t *testing.T) {
	dir, seal := t.TempDir(), testSeal(t)
	start(t, alone(t, dir, seal)).awaitReady().stop()
	path := filepath.Join(dir, disk.SnapshotsDir)
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	start(t, alone(t, dir, seal)).awaitReady().stop()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
}
