package preauth

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// listener admits connections to the budget.
type listener struct {
	net.Listener
	budget *Budget
	port   *port
	secure bool

	begin    sync.Once
	gathered chan struct{} // closed when nobody gathers any more
	arrived  chan struct{} // somebody is in line
	failed   chan error    // of taking connections from the system
	end      sync.Once
	closed   chan struct{}
}

// Listen returns l, whose connections are charged to the budget under the name of a
// port. secure tells that TLS is spoken there, with a configuration of [Budget.TLS]. A
// nil listener stays nil. Unix sockets are let through: who can open one is trusted, and
// has descriptors of its own.
func (b *Budget) Listen(l net.Listener, name string, secure bool) net.Listener {
	if l == nil {
		return nil
	}
	if _, ok := SourceOf(l.Addr()); !ok {
		return l
	}
	return &listener{
		Listener: l, budget: b, port: b.port(name), secure: secure,
		gathered: make(chan struct{}), arrived: make(chan struct{}, 1), failed: make(chan error), closed: make(chan struct{}),
	}
}

// Accept implements net.Listener. Where nobody can make room, the connections that come
// stay in line.
func (l *listener) Accept() (net.Conn, error) {
	l.begin.Do(func() { go l.gather() })
	for {
		c, changed := l.admit()
		if c != nil {
			c.start()
			return c, nil
		}
		again := time.NewTimer(recently) // who has just advanced may stall by then
		if changed == nil {
			again.Stop()
		}
		select {
		case <-l.arrived:
		case <-changed:
		case <-again.C:
		case err := <-l.failed:
			again.Stop()
			return nil, err
		case <-l.closed:
			again.Stop()
			return nil, net.ErrClosed
		}
		again.Stop()
	}
}

// containsRemote reports whether a connection comes from a network.
func containsRemote(p netip.Prefix, raw net.Conn) bool {
	tcp, ok := raw.RemoteAddr().(*net.TCPAddr)
	return ok && p.Contains(tcp.AddrPort().Addr().Unmap())
}

// maxTries is how many of those who have to go on waiting are tried before somebody leaves:
// somebody who holds less may be let in. Who is refused is no try: nobody may come after them
// for whom those behind them would be looked at.
const maxTries = 4

// admit lets in whose turn it is. changed is closed when it is worth another look; nil:
// nobody waits.
func (l *listener) admit() (_ *Conn, changed <-chan struct{}) {
	b := l.budget
	for waits := 0; waits < maxTries; {
		b.mu.Lock()
		from, t := l.port.arrivals.next()
		if t == nil {
			b.mu.Unlock()
			return nil, changed
		}
		a := t.value
		var c *Conn
		e, evicted, v := b.ledger.enter(a.source, l.port, a.came, b.cfg.Now(), func() { _ = c.Close() })
		b.left(evicted)
		switch v {
		case admitted:
			c = b.newConn(a.raw, l.port, l.secure, a.proxied)
			c.entry, c.source = e, a.source
			l.port.Connections++
		case refused:
			l.port.Refused++
		case wait:
			waits++
			l.waits(a)
			changed = b.change()
		}
		if v != wait {
			from.remove(t)
			b.waiting--
			b.wake()
		}
		b.mu.Unlock()
		b.evict(evicted)
		switch v {
		case admitted:
			return c, nil
		case refused:
			b.refuse(a)
		}
	}
	return nil, changed
}

// refuse closes an arrival.
func (b *Budget) refuse(a *arrival) {
	reset(a.raw)
	b.lines.Log(context.Background(), b.cfg.Logger, slog.LevelWarn,
		"too many unauthenticated connections from one address, one more was closed",
		slog.String("server", a.port.name), slog.Any("source", a.source.Unit))
}

// reset closes a connection on which nothing was said, and leaves nothing of it in the
// system.
func reset(raw net.Conn) {
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = raw.Close()
}

// closeGrace is how long a connection may still take to its first request once its
// listener is closed: who connected just before the end is answered.
const closeGrace = 500 * time.Millisecond

// Close implements net.Listener. It soon closes connections on which nothing was ever
// asked: a server that stops waits for no silent caller. All others are the server's to
// drain. Whether an answer has left is known to it alone: a request is over here before
// its answer is written.
func (l *listener) Close() error {
	err := l.Listener.Close()
	l.end.Do(func() {
		close(l.closed)
		l.begin.Do(func() { close(l.gathered) }) // nobody ever gathered
		<-l.gathered
		l.budget.dropArrivals(l.port)
		time.AfterFunc(closeGrace, func() { l.budget.closeUnasked(l.port) })
	})
	return err
}

// closeUnasked closes the connections of a port on which no request has begun.
func (b *Budget) closeUnasked(p *port) {
	b.mu.Lock()
	unasked := b.ledger.unasked(p)
	for _, e := range unasked {
		b.left(b.ledger.leave(e))
	}
	b.mu.Unlock()
	for _, e := range unasked {
		e.evict()
	}
}

// Of finds the connection of a budget below TLS; nil: it is none.
func Of(conn net.Conn) *Conn {
	for conn != nil {
		if c, ok := conn.(*Conn); ok {
			return c
		}
		under, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		conn = under.NetConn()
	}
	return nil
}
