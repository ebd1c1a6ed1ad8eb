package kds

import "sync"

// turns lets so many go on at once. Of those that wait the last to come goes first:
// it has the most patience left, while who has waited longest may have given up, and
// what is spent on it would be lost. Nobody is starved by that: who gave up comes
// back, as the last.
type turns struct {
	mu      sync.Mutex
	free    int
	waiting []chan struct{}
}

func newTurns(n int) *turns { return &turns{free: n} }

// take waits for a turn.
func (t *turns) take() {
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return
	}
	mine := make(chan struct{})
	t.waiting = append(t.waiting, mine)
	t.mu.Unlock()
	<-mine
}

// give ends a turn.
func (t *turns) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	last := len(t.waiting) - 1
	if last < 0 {
		t.free++
		return
	}
	close(t.waiting[last])
	t.waiting[last] = nil
	t.waiting = t.waiting[:last]
}
