package preauth

import (
	"container/list"
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
// then by address, then in order of arrival: whoever takes a thousand places in the
// queue waits for a thousand turns of its own, and others for one. It is safe for
// concurrent use.
type Queue struct {
	places, most int

	mu      sync.Mutex
	free    int
	waiting int
	waits   uint64
	turns   list.List // of *wideQueue, the next first
	wides   map[string]*wideQueue
}

type wideQueue struct {
	name    string
	at      *list.Element
	waiting int
	turns   list.List // of *unitQueue
	units   map[string]*unitQueue
}

type unitQueue struct {
	name    string
	at      *list.Element
	tickets list.List // of *ticket
}

// ticket is one who waits. served or lost is decided under the queue's lock.
type ticket struct {
	wide  *wideQueue
	unit  *unitQueue
	at    *list.Element // nil: served or lost
	ready chan error    // nil: the place is yours
}

// NewQueue returns a queue with so many places, in which at most so many wait.
func NewQueue(places, waiting int) *Queue {
	return &Queue{places: places, most: waiting, free: places, wides: map[string]*wideQueue{}}
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
	case err := <-t.ready:
		if err != nil {
			return nil, err
		}
		return q.leave, nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	gone := t.at != nil
	if gone {
		q.remove(t)
	}
	q.mu.Unlock()
	if !gone && <-t.ready == nil {
		q.leave() // it came while ctx ended
	}
	return nil, context.Cause(ctx)
}

// join takes a free place, which is a nil ticket, or a ticket.
func (q *Queue) join(key Key) (*ticket, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.free > 0 {
		q.free--
		return nil, nil
	}
	if q.waiting >= q.most {
		busiest := q.busiest()
		if w := q.wides[key.Wide]; busiest == nil || w != nil && w.waiting >= busiest.waiting {
			return nil, busy()
		}
		last := busiest.turns.Back().Value.(*unitQueue).tickets.Back().Value.(*ticket)
		q.remove(last)
		last.ready <- busy()
	}
	q.waits++
	return q.add(key), nil
}

func busy() error {
	e := federation.Errorf(federation.Unavailable, "too many requests from this address wait for their turn").WithReason("too_many_waiting")
	e.RetryAfter = time.Second
	return e.WithHint("try again in a moment; requests from other addresses are served in turn")
}

func (q *Queue) add(key Key) *ticket {
	w := q.wides[key.Wide]
	if w == nil {
		w = &wideQueue{name: key.Wide, units: map[string]*unitQueue{}}
		w.at = q.turns.PushBack(w)
		q.wides[key.Wide] = w
	}
	u := w.units[key.Unit]
	if u == nil {
		u = &unitQueue{name: key.Unit}
		u.at = w.turns.PushBack(u)
		w.units[key.Unit] = u
	}
	t := &ticket{wide: w, unit: u, ready: make(chan error, 1)}
	t.at = u.tickets.PushBack(t)
	w.waiting++
	q.waiting++
	return t
}

// remove takes a ticket out of the queue. The lock is held.
func (q *Queue) remove(t *ticket) {
	t.unit.tickets.Remove(t.at)
	t.at = nil
	q.waiting--
	if t.wide.waiting--; t.wide.waiting == 0 {
		q.turns.Remove(t.wide.at)
		delete(q.wides, t.wide.name)
	}
	if t.unit.tickets.Len() == 0 {
		t.wide.turns.Remove(t.unit.at)
		delete(t.wide.units, t.unit.name)
	}
}

func (q *Queue) busiest() (most *wideQueue) {
	for _, w := range q.wides {
		if most == nil || w.waiting > most.waiting {
			most = w
		}
	}
	return most
}

// leave gives a place to whose turn it is.
func (q *Queue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting == 0 {
		q.free++
		return
	}
	w := q.turns.Front().Value.(*wideQueue)
	u := w.turns.Front().Value.(*unitQueue)
	t := u.tickets.Front().Value.(*ticket)
	q.turns.MoveToBack(w.at)
	w.turns.MoveToBack(u.at)
	q.remove(t)
	t.ready <- nil
}

// WaitingBesides reports whether anybody waits whose key is another one.
func (q *Queue) WaitingBesides(key Key) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	own := 0
	if w := q.wides[key.Wide]; w != nil {
		if u := w.units[key.Unit]; u != nil {
			own = u.tickets.Len()
		}
	}
	return q.waiting > own
}

// Waits is how many had to wait since the queue was made.
func (q *Queue) Waits() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waits
}
