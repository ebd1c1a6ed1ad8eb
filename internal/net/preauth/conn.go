package preauth

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/meridiankds/meridian/federation"
)

// Conn is a connection below TLS. Until [Conn.Proved] it costs its source what it costs
// the process, and has a deadline.
type Conn struct {
	net.Conn
	budget *Budget
	port   *port
	ctx    context.Context // ends with the connection
	cancel context.CancelFunc
	proved atomic.Bool
	closed sync.Once

	proving sync.Mutex // one request at a time proves whose the connection is

	header struct { // of PROXY protocol
		once   sync.Once
		reader *bufio.Reader // nil: there is none
		err    error
	}

	// Of the budget's lock: entry is nil once the caller has proved who they are, and
	// for connections that are no stranger's.
	entry  *entry
	holder *holder
	kept   int64 // what [Conn.Keep] charged to the holder
	source Source

	mu      sync.Mutex
	remote  net.Addr
	timer   *time.Timer
	left    time.Duration // of the deadline, while it does not run
	since   time.Time     // when it began to run
	shaking bool          // the handshake is not answered yet: no deadline but this package's counts
	place   *place        // among those that have the processor, nil: it has none
	phase   phase
	version uint16 // of TLS, once the phase is phaseEnding
	records records

	pending pending
	writing chan struct{} // has one in it while something is written
}

// headerRoom is more than a PROXY header that the library accepts may have.
const headerRoom = 4096 + 16

// newConn returns a connection. Its clock runs from start on.
func (b *Budget) newConn(raw net.Conn, p *port, secure, proxied bool) *Conn {
	c := &Conn{Conn: raw, budget: b, port: p, remote: raw.RemoteAddr(), left: b.cfg.Deadline, shaking: secure, writing: make(chan struct{}, 1)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if secure {
		c.phase = phaseHello
	}
	if proxied {
		c.header.reader = bufio.NewReaderSize(io.LimitReader(raw, headerRoom), 256)
	}
	return c
}

// RemoteAddr implements net.Conn: the caller's address, also behind a balancer that
// tells it.
func (c *Conn) RemoteAddr() net.Addr {
	_ = c.readHeader() // an error is Read's to tell
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.remote
}

// NetConn is the connection below, which who follows connections looks for.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// readHeader reads the header of PROXY protocol, and charges the connection to whom it
// names.
func (c *Conn) readHeader() error {
	c.header.once.Do(func() {
		if c.header.reader == nil {
			return
		}
		header, err := proxyproto.Read(c.header.reader)
		if err != nil {
			c.header.err = federation.Errorf(federation.Invalid, "the balancer sent no header of PROXY protocol: %w", err)
			return
		}
		if header.Command.IsLocal() {
			return // the balancer's own, for example to see whether this port is there
		}
		source, ok := SourceOf(header.SourceAddr)
		if !ok {
			c.header.err = federation.Errorf(federation.Invalid, "the header of PROXY protocol names no IP address")
			return
		}
		c.mu.Lock()
		c.remote = header.SourceAddr
		c.mu.Unlock()
		b := c.budget
		b.mu.Lock()
		defer b.mu.Unlock()
		if c.source = source; c.entry != nil {
			b.ledger.move(c.entry, source)
		}
	})
	return c.header.err
}

// Read implements net.Conn. What a caller who has proved nothing sends is charged to
// its source: it is what the layers above may have to keep.
func (c *Conn) Read(p []byte) (n int, err error) {
	if err := c.readHeader(); err != nil {
		return 0, err
	}
	c.reads()
	c.awaitWrites()
	if r := c.header.reader; r != nil && r.Buffered() > 0 {
		n, err = r.Read(p) // what came with the header
	} else {
		n, err = c.Conn.Read(p)
	}
	if n > 0 {
		if over := c.pends(func(p *pending) { p.came += int64(n) }); over != nil {
			return 0, over
		}
	}
	if n > 0 && !c.proved.Load() {
		c.mu.Lock()
		shaking := c.shaking
		c.mu.Unlock()
		// First, since it is held while it waits for its turn.
		large := false
		c.budget.update(func(l *ledger, now time.Time) []*entry {
			if c.entry == nil {
				return nil
			}
			large = shaking && c.entry.raw+int64(n) > maxHello
			return l.read(c.entry, int64(n), shaking, now)
		})
		if large {
			return 0, errLargeHello
		}
		if err := c.came(p[:n]); err != nil {
			return 0, err
		}
	}
	return n, err
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	c.writes()
	c.writing <- struct{}{}
	defer func() { <-c.writing }()
	return c.Conn.Write(p)
}

// awaitWrites waits until what is being written is. Whoever sends and does not take the
// answers would have them queue: HTTP/2 keeps ten thousand answers to pings, and more of
// them than the pings have bytes. Members and zones speak protocols that keep less.
func (c *Conn) awaitWrites() {
	c.pending.mu.Lock()
	version := c.pending.version
	c.pending.mu.Unlock()
	if c.proved.Load() && version != 2 {
		return
	}
	select {
	case c.writing <- struct{}{}:
		<-c.writing
	case <-c.ctx.Done():
	}
}

// mark changes the entry of a connection that has proved nothing.
func (c *Conn) mark(f func(l *ledger, e *entry, now time.Time)) {
	b := c.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.entry != nil && !c.entry.gone {
		f(b.ledger, c.entry, b.cfg.Now())
		b.wake()
	}
}

var errLargeHello = errors.New("the hello of TLS is larger than any caller needs")

var errClosed = errors.New("the connection is closed")

// Proved tells that the caller has proved who they are. The first identity of a
// connection is whose it is from then on; the error says that this one holds as many
// connections as it may, and the connection is then to be closed.
func (c *Conn) Proved(id Identity) error {
	if c.proved.Load() {
		return nil
	}
	c.proving.Lock()
	defer c.proving.Unlock()
	if c.proved.Load() {
		return nil // by another request of this connection, just now
	}
	b := c.budget
	b.mu.Lock()
	if c.entry == nil || c.entry.gone {
		b.mu.Unlock()
		return nil // of the admin socket, proved already, or evicted just now
	}
	from := c.source
	b.mu.Unlock()
	holder, displaced, err := b.held.join(id, c, from)
	if err != nil {
		return err
	}
	b.mu.Lock()
	if c.entry == nil || c.entry.gone {
		b.mu.Unlock()
		b.held.leave(holder, c)
		return errClosed
	}
	if err := b.takeOver(c, holder); err != nil {
		b.mu.Unlock()
		b.held.leave(holder, c)
		return err
	}
	if !id.Unproven {
		b.ledger.prove(c.source, b.cfg.Now())
	}
	b.mu.Unlock()
	c.proved.Store(true)
	c.rest()
	c.pause()
	if displaced != nil {
		_ = displaced.Close()
	}
	if err := c.pends(func(*pending) {}); err != nil { // what came before is theirs, too
		_ = c.Close()
		return err
	}
	return nil
}

// takeOver moves a connection and its open requests from the ledger to whose they are.
// The lock is held.
func (b *Budget) takeOver(c *Conn, holder *holder) error {
	var open []*Request
	var cost int64
	for e := range c.entry.unit.entries {
		if e.parent == c.entry {
			open = append(open, e.request)
			cost += e.request.cost
		}
	}
	if err := b.held.grow(holder, cost); err != nil {
		return err
	}
	for _, r := range open {
		r.holder = holder
	}
	b.left(b.ledger.leave(c.entry))
	c.entry, c.holder = nil, holder
	return nil
}

// Keep tells how many bytes are kept of what has come. Once the caller has proved who they
// are, these count against their identity until told anew, or until the connection is
// closed, which it is to be where an error says that this is more than they may hold.
func (c *Conn) Keep(n int64) error {
	b := c.budget
	b.mu.Lock()
	holder := c.holder
	if holder == nil || c.ctx.Err() != nil {
		b.mu.Unlock()
		return nil
	}
	err := b.held.grow(holder, n-c.kept)
	if err == nil {
		c.kept = n
	}
	b.mu.Unlock()
	if err != nil {
		b.lines.Log(c.ctx, b.cfg.Logger, slog.LevelWarn, "an authenticated caller has as much under way as it may, a connection was closed",
			slog.String("server", c.port.name), slog.String("kind", string(holder.id.Kind)), slog.String("name", holder.id.Name))
	}
	return err
}

// Key is whom places in queues are counted against: the address, or who has proved
// themselves, within the token that they share with others.
func (c *Conn) Key() Key {
	c.budget.mu.Lock()
	defer c.budget.mu.Unlock()
	if c.holder == nil || c.holder.id.Unproven {
		return KeyOf(c.source)
	}
	id := c.holder.id
	return Key{string(id.Kind) + " " + cmp.Or(id.Shared, id.Name), id.Name}
}

// Close implements net.Conn.
func (c *Conn) Close() error {
	err := c.Conn.Close()
	c.closed.Do(func() {
		c.cancel()
		c.rest()
		c.pause()
		b := c.budget
		b.mu.Lock()
		if c.entry != nil {
			b.left(b.ledger.leave(c.entry))
		}
		holder, kept := c.holder, c.kept
		c.kept = 0
		b.mu.Unlock()
		if holder != nil {
			_ = b.held.grow(holder, -kept) // giving back never fails
			b.held.leave(holder, c)
		}
	})
	return err
}
