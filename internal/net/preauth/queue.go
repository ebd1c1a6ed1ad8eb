package preauth

import (
	"context"
	"sync"
	"time"

	"github.com/meridiankds/meridian/federation"
)

// Key is whom a place in a [Queue] is counted against: a unit within something wider,
// an address within its network or a caller by name.
type Key struct{ Wide, Unit string }

// KeyOf is the key of a source.
func KeyOf(s Source) Key { return Key{s.Wide.String(), s.Unit.String()} }

// Named is the key of an authenticated caller.
func Named(name string) Key { return Key{name, name} }

// Queue hands out a bounded number of places. Who waits is served in turn by network,
// then by address, then in order of arrival. It is safe for concurrent use.
type Queue struct {
	places, most int

	mu    sync.Mutex
	free  int
	waits uint64
	line  line[chan error] // nil: the place is yours
}

// NewQueue returns a queue with so many places, in which at most so many wait.
func NewQueue(places, waiting int) *Queue {
	return &Queue{places: places, most: waiting, free: places}
}

// Enter waits for a place, until ctx ends. leave gives it back and must be called once.
// The error is Unavailable where too many of the same network wait already, or the
// cause of ctx.
func (q *Queue) Enter(ctx context.Context, key Key) (leave func(), err error) {
	t, err := q.join(key)
	if err != nil {
		return nil, err
	}
	if t == nil {
		return q.leave, nil
	}
	select {
	case err := <-t.value:
		if err != nil {
			return nil, err
		}
		return q.leave, nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	gone := t.at != nil
	if gone {
		q.line.remove(t)
	}
	q.mu.Unlock()
	if !gone && <-t.value == nil {
		q.leave() // it came while ctx ended
	}
	return nil, context.Cause(ctx)
}

// join takes a free place, which is nil, or waits in the line.
func (q *Queue) join(key Key) (*waiter[chan error], error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.free > 0 {
		q.free--
		return nil, nil
	}
	if q.line.waiting >= q.most {
		busiest := q.line.busiest()
		if busiest == nil || q.line.of(key.Wide) >= busiest.waiting {
			return nil, busy()
		}
		last := busiest.busiest().newest()
		q.line.remove(last)
		last.value <- busy()
	}
	q.waits++
	return q.line.add(key, make(chan error, 1)), nil
}

func busy() error {
	e := federation.Errorf(federation.Unavailable, "too many requests from this address wait for their turn").WithReason("too_many_waiting")
	e.RetryAfter = time.Second
	return e.WithHint("try again in a moment; requests from other addresses are served in turn")
}

// leave gives a place to whose turn it is.
func (q *Queue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.line.turn()
	if u == nil {
		q.free++
		return
	}
	t := u.oldest()
	q.line.remove(t)
	t.value <- nil
}

// WaitingBesides reports whether anybody waits whose key is another one.
func (q *Queue) WaitingBesides(key Key) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	own := 0
	if w := q.line.wides[key.Wide]; w != nil {
		if u := w.units[key.Unit]; u != nil {
			own = u.waiters.Len()
		}
	}
	return q.line.waiting > own
}

// Waits is how many had to wait since the queue was made.
func (q *Queue) Waits() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waits
}
