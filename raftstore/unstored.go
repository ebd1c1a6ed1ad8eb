package raftstore

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/hashicorp/raft"
)

// maxUnstored is how often in a row the log may refuse an entry before a node that
// was not ready yet gives up. Raft itself tries for ever: a node that is elected and
// cannot store its first entry steps down, and is elected again an election timeout
// or two later.
const maxUnstored = 5

// guardedLog counts the entries that could not be stored. A node that works waits
// for room on its disk; one that has just been started tells the operator, who looks.
type guardedLog struct {
	raft.LogStore

	mu      sync.Mutex
	inARow  int
	gaveUp  chan struct{} // closed when lastErr is set
	lastErr error
}

func newGuardedLog(log raft.LogStore) *guardedLog {
	return &guardedLog{LogStore: log, gaveUp: make(chan struct{})}
}

// StoreLog implements raft.LogStore.
func (g *guardedLog) StoreLog(l *raft.Log) error { return g.count(g.LogStore.StoreLog(l)) }

// StoreLogs implements raft.LogStore.
func (g *guardedLog) StoreLogs(logs []*raft.Log) error { return g.count(g.LogStore.StoreLogs(logs)) }

func (g *guardedLog) count(err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err == nil {
		g.inARow = 0
		return nil
	}
	g.inARow++
	if g.inARow == maxUnstored && g.lastErr == nil {
		g.lastErr = err
		close(g.gaveUp)
	}
	return err
}

// awaitUnstored ends a node that cannot store anything before it was ready once.
func (s *Store) awaitUnstored(ctx context.Context, g *guardedLog) error {
	select {
	case <-s.ready:
	case <-ctx.Done():
	case <-g.gaveUp:
		return unwritable(filepath.Join(s.cfg.Dir, logFile), fmt.Errorf(
			"no entry could be stored in %d attempts, the last time: %w", maxUnstored, g.lastErr))
	}
	return nil
}
