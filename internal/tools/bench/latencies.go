package main

import (
	"sync"
	"time"
)

// latencies remembers when calls began and how long they took.
type latencies struct {
	mu    sync.Mutex
	calls []stretch
}

// stretch is a time from one moment to another.
type stretch struct{ from, to time.Time }

// note adds a call that began then and has ended now.
func (l *latencies) note(begun time.Time) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, stretch{begun, now})
}

func (l *latencies) count() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(len(l.calls))
}

// within returns how long the calls took that ended in a stretch.
func (l *latencies) within(s stretch) (took []time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.calls {
		if !c.to.Before(s.from) && !c.to.After(s.to) {
			took = append(took, c.to.Sub(c.from))
		}
	}
	return took
}
