package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// arrivals stamps when each of many receivers sees the next thing. It costs them
// two atomic operations, and the role one wake-up for all of them together.
type arrivals struct {
	waiting []atomic.Bool
	stamps  []atomic.Int64 // nanoseconds, wall clock
	missing atomic.Int64

	mu   sync.Mutex
	done chan struct{}
}

// arm waits for one thing at each of n receivers.
func (a *arrivals) arm(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.waiting) != n {
		a.waiting, a.stamps = make([]atomic.Bool, n), make([]atomic.Int64, n)
	}
	a.done = make(chan struct{})
	a.missing.Store(int64(n))
	for i := range a.waiting {
		a.stamps[i].Store(0)
		a.waiting[i].Store(true)
	}
}

// saw notes that receiver i saw something, at this moment.
func (a *arrivals) saw(i int) {
	now := time.Now().UnixNano()
	if i >= len(a.waiting) || !a.waiting[i].CompareAndSwap(true, false) {
		return
	}
	a.stamps[i].Store(now)
	if a.missing.Add(-1) == 0 {
		close(a.done)
	}
}

// collect waits until all have seen it and returns when each did.
func (a *arrivals) collect(ctx context.Context) ([]int64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-a.done:
	case <-ctx.Done():
		return nil, fmt.Errorf("%d of %d did not see it: %w", a.missing.Load(), len(a.waiting), ctx.Err())
	}
	stamps := make([]int64, len(a.stamps))
	for i := range stamps {
		stamps[i] = a.stamps[i].Load()
	}
	return stamps, nil
}

// since turns stamps into times since a moment. One before it would be a mistake of
// the measurement.
func since(moment int64, stamps []int64) ([]time.Duration, error) {
	took := make([]time.Duration, len(stamps))
	for i, at := range stamps {
		if took[i] = time.Duration(at - moment); took[i] < 0 {
			return nil, fmt.Errorf("receiver %d saw it %s before it was there", i, -took[i])
		}
	}
	return took, nil
}
