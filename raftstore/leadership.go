package raftstore

import (
	"context"
	"sync"

	"github.com/meridiankds/meridian/federation"
)

// leadership is the context of this node's present leadership, if it has one.
type leadership struct {
	mu      sync.Mutex
	ctx     context.Context
	changed chan struct{}
}

// begin publishes a leadership that is fit for work.
func (l *leadership) begin(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ctx = ctx
	close(l.changed)
	l.changed = make(chan struct{})
}

// current returns the context of the leadership, nil where there is none.
func (l *leadership) current() context.Context {
	ctx, _ := l.peek()
	return ctx
}

func (l *leadership) peek() (context.Context, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx != nil && l.ctx.Err() != nil {
		l.ctx = nil
	}
	return l.ctx, l.changed
}

func (l *leadership) wait(ctx context.Context) (context.Context, error) {
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		lead, changed := l.peek()
		if lead != nil {
			return join(ctx, lead), nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// join returns a context with the values of ctx that ends with either, and leaves
// nothing behind on either when it has: ctx may outlive many leaderships.
func join(ctx, lead context.Context) context.Context {
	joined, cancel := context.WithCancelCause(ctx)
	release := context.AfterFunc(lead, func() {
		cancel(federation.Errorf(federation.Unavailable, "this node no longer leads").WithReason("not_leader"))
	})
	context.AfterFunc(joined, func() { release() })
	return joined
}
