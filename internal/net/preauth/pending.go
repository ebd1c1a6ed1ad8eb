package preauth

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// pending is what has come on a connection of HTTP and is with no handler: headers that are
// not complete, and bodies that nobody reads. Once the caller has proved who they are it
// counts against their quota, like all else that they hold. TLS is above this package, so
// only sums are known: all that has come since a request was known to have no more in store
// may be its own.
type pending struct {
	mu      sync.Mutex
	version int   // of HTTP; 0: no handler of ours was ever called
	came    int64 // bytes
	idle    int64 // what had come when the last request was over
	open    int   // requests
	unread  map[*Request]unread
	told    int64 // what is charged
	streams streams
}

// unread is a body that its handler is not reading.
type unread struct {
	since int64 // what had come when nothing of it was in store
	most  int64 // what may be in store
}

// The most that servers keep. What comes beyond it is something else, such as frames
// without content.
const (
	mostHeaders = 20 << 10 // of HTTP/1
	mostUnread  = 256 << 10
	mostPending = 1 << 20 // of all bodies on a connection of HTTP/2
)

// pends notes what happens on a connection, and charges what is pending. The error says
// that this is more than the identity may hold.
func (c *Conn) pends(note func(p *pending)) error {
	p := &c.pending
	p.mu.Lock()
	note(p)
	if c.proved.Load() {
		defer p.mu.Unlock()
		n := p.bytes()
		if n == p.told {
			return nil
		}
		if err := c.Keep(n); err != nil {
			return err
		}
		p.told = n
		return nil
	}
	cost := p.streams.cost(p.open)
	more := cost - p.streams.told
	p.streams.told = cost
	p.mu.Unlock()
	if more != 0 {
		c.budget.update(func(l *ledger, now time.Time) []*entry {
			if c.entry == nil {
				return nil
			}
			return l.occupy(c.entry, more, now)
		})
	}
	return nil
}

func (p *pending) bytes() (n int64) {
	switch {
	case p.version == 1 && p.open == 0:
		return headerFactor * min(p.came-p.idle, mostHeaders)
	case p.version == 1:
		return 0 // what nobody reads stays with the system
	}
	for _, u := range p.unread {
		n += min(p.came-u.since, u.most)
	}
	return min(n, mostPending) + p.streams.cost(p.open)
}

// begins notes a request. What came since all others were over may be of its body.
func (r *Request) begins(version int, length int64) error {
	return r.conn.pends(func(p *pending) {
		p.version = version
		p.open++
		p.streams.arrives()
		if version == 1 || length == 0 {
			return
		}
		if p.unread == nil {
			p.unread = map[*Request]unread{}
		}
		r.store = unread{p.idle, mostUnread}
		if length > 0 {
			r.store.most = min(length, mostUnread)
		}
		p.unread[r] = r.store
	})
}

// ends notes that a request is over.
func (r *Request) ends() {
	_ = r.conn.pends(func(p *pending) {
		delete(p.unread, r)
		r.store = unread{}
		if p.open--; p.open == 0 {
			p.idle = p.came
		}
	})
}

// reads calls read, the handler's way to more of the body. Meanwhile nothing is in store
// that nobody reads. Where less came back than there was room for, nothing is left in
// store; where it had to wait, nothing was when it began.
func (r *Request) reads(read func([]byte) (int, error), into []byte) (n int, err error) {
	var began int64
	_ = r.conn.pends(func(p *pending) {
		began = p.came
		delete(p.unread, r)
	})
	n, err = read(into)
	_ = r.conn.pends(func(p *pending) {
		switch {
		case r.store.most == 0: // the request is over
			return
		case err != nil:
			r.store = unread{}
			return
		case n < len(into):
			r.store.since = p.came
		case p.came > began:
			r.store.since = max(r.store.since, began)
		}
		p.unread[r] = r.store
	})
	return n, err
}

// ConnState is for http.Server: a connection that is idle has nothing of a request any
// more, also where a body was passed over.
func ConnState(conn net.Conn, state http.ConnState) {
	if c := Of(conn); c != nil && state == http.StateIdle {
		_ = c.pends(func(p *pending) { p.idle = p.came })
	}
}
