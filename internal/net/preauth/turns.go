package preauth

import (
	"net"
	"time"
)

// turns hands out the processor to callers who have not proved who they are: as many at a
// time as there are processors, in turn by network, then address. A scheduler of
// goroutines knows no turns: a valid caller would be served after all that strangers have
// sent by then. Addresses that have lately proved themselves have places of their own.
type turns struct {
	strangers, known *Queue
	most             time.Duration // after which one ends, see maxTurn
}

func newTurns(places int) turns {
	return turns{NewQueue(places, maxQueued), NewQueue(places, maxQueued), maxTurn}
}

// Waits is how many had to wait.
func (t turns) Waits() uint64 { return t.strangers.Waits() + t.known.Waits() }

// shake waits for a place for the handshake, unless it has one. The deadline does not
// run meanwhile.
func (c *Conn) shake() error {
	if c.proved.Load() || c.placed() {
		return nil
	}
	c.pause()
	c.mark(func(_ *ledger, e *entry, _ time.Time) { e.queued = true })
	err := c.take(func() { c.mark(func(_ *ledger, e *entry, _ time.Time) { e.working = false }) })
	c.mark(func(_ *ledger, e *entry, _ time.Time) { e.queued, e.working = false, err == nil })
	if err != nil {
		return err
	}
	if c.ctx.Err() != nil {
		c.rest()
		return net.ErrClosed
	}
	c.start()
	return nil
}

// maxTurn ends a turn after the handshake whose reader neither asks for more nor hands on:
// net/http reads a byte ahead while a handler waits, and waits itself after some refusals.
const maxTurn = 50 * time.Millisecond

// turn waits for a place for what came after the handshake. The layers above work on it
// until they ask for more, answer or hand it on, or until maxTurn is over. Unlike a handshake
// it may be evicted meanwhile, and its deadline runs.
func (c *Conn) turn() error {
	if c.proved.Load() || c.placed() {
		return nil
	}
	if err := c.take(nil); err != nil {
		return err
	}
	if c.ctx.Err() != nil || c.proved.Load() { // by another request of this connection
		c.rest()
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if held := c.place; held != nil {
		held.over = time.AfterFunc(c.budget.turns.most, func() { c.restIf(held) })
	}
	return nil
}

func (c *Conn) placed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.place != nil
}

// place is one among those for whom the server works. left is called once it is given
// back; nil: nobody is to know. over ends the turn; nil: the handshake does.
type place struct {
	leave, left func()
	over        *time.Timer
}

// take waits for a place. left is called once it is given back; nil: nobody is to know.
func (c *Conn) take(left func()) error {
	b := c.budget
	b.mu.Lock()
	key, queue := KeyOf(c.source), b.turns.strangers
	if b.ledger.lately(c.source.Unit, b.cfg.Now()) {
		queue = b.turns.known
	}
	b.mu.Unlock()
	leave, err := queue.Enter(c.ctx, key)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.place = &place{leave: leave, left: left}
	return nil
}

// rest gives the place back: the server waits for the caller, or is done.
func (c *Conn) rest() {
	c.mu.Lock()
	held := c.place
	c.mu.Unlock()
	c.restIf(held)
}

// restIf gives a place back, if it is still that of the connection.
func (c *Conn) restIf(held *place) {
	c.mu.Lock()
	if held == nil || c.place != held {
		c.mu.Unlock()
		return
	}
	c.place = nil
	c.mu.Unlock()
	if held.over != nil {
		held.over.Stop()
	}
	held.leave()
	if held.left != nil {
		held.left()
	}
}
