package disk

import (
	"sync"

	"github.com/hashicorp/raft"
)

// MaxUnstored is how often in a row the log may refuse an entry before a node that
// was not ready yet gives up. Raft itself tries for ever: a node that is elected and
// cannot store its first entry steps down, and is elected again an election timeout
// or two later.
const MaxUnstored = 5

// GuardedLog counts the entries that could not be stored. A node that works waits
// for room on its disk; one that has just been started tells the operator, who looks.
type GuardedLog struct {
	raft.LogStore

	mu      sync.Mutex
	inARow  int
	gaveUp  chan struct{} // closed when lastErr is set
	lastErr error
}

// NewGuardedLog counts what log refuses to store.
func NewGuardedLog(log raft.LogStore) *GuardedLog {
	return &GuardedLog{LogStore: log, gaveUp: make(chan struct{})}
}

// StoreLog implements raft.LogStore.
func (g *GuardedLog) StoreLog(l *raft.Log) error { return g.count(g.LogStore.StoreLog(l)) }

// StoreLogs implements raft.LogStore.
func (g *GuardedLog) StoreLogs(logs []*raft.Log) error { return g.count(g.LogStore.StoreLogs(logs)) }

func (g *GuardedLog) count(err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err == nil {
		g.inARow = 0
		return nil
	}
	g.inARow++
	if g.inARow == MaxUnstored && g.lastErr == nil {
		g.lastErr = err
		close(g.gaveUp)
	}
	return err
}

// GaveUp is closed when maxUnstored entries in a row could not be stored.
func (g *GuardedLog) GaveUp() <-chan struct{} { return g.gaveUp }

// Err is why the last of them could not; once GaveUp is closed.
func (g *GuardedLog) Err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lastErr
}
