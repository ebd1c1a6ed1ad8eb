package preauth

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// listener admits connections to the budget.
type listener struct {
	net.Listener
	budget *Budget
	port   *port
	secure bool
	once   sync.Once
	closed chan struct{}
}

// Listen returns l, whose connections are charged to the budget under the name of a
// port. secure tells that TLS is spoken there, with a configuration of [Budget.TLS]. A
// nil listener stays nil. Connections of Unix sockets are let through: who can open one
// is trusted, and has descriptors of its own.
func (b *Budget) Listen(l net.Listener, name string, secure bool) net.Listener {
	if l == nil {
		return nil
	}
	return &listener{Listener: l, budget: b, port: b.port(name), secure: secure, closed: make(chan struct{})}
}

// Accept implements net.Listener. Where nobody can make room, the connections that come
// stay in the system's queue.
func (l *listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		source, ok := SourceOf(raw.RemoteAddr())
		if !ok {
			return raw, nil
		}
		proxied := slices.ContainsFunc(l.budget.cfg.Proxies, func(p netip.Prefix) bool { return containsRemote(p, raw) })
		c := l.budget.newConn(raw, l.port, l.secure, proxied)
		switch l.admit(c, source) {
		case admitted:
			c.start()
			return c, nil
		case wait: // the listener was closed meanwhile
			_ = raw.Close()
			return nil, net.ErrClosed
		case refused:
			_ = raw.Close()
		}
	}
}

// containsRemote reports whether a connection comes from a network.
func containsRemote(p netip.Prefix, raw net.Conn) bool {
	tcp, ok := raw.RemoteAddr().(*net.TCPAddr)
	return ok && p.Contains(tcp.AddrPort().Addr().Unmap())
}

// admit waits until the ledger lets the connection in, or refuses it.
func (l *listener) admit(c *Conn, source Source) verdict {
	b := l.budget
	for first := true; ; first = false {
		b.mu.Lock()
		now := b.cfg.Now()
		e, evicted, v := b.ledger.enter(source, l.port, now, func() { _ = c.Close() })
		b.left(evicted)
		switch v {
		case admitted:
			c.entry, c.source = e, source
			l.port.Connections++
		case refused:
			l.port.Refused++
		case wait:
			if first {
				l.port.Waits++
			}
		}
		var changed chan struct{}
		if v == wait {
			if b.changed == nil {
				b.changed = make(chan struct{})
			}
			changed = b.changed
		}
		b.mu.Unlock()
		b.evict(evicted)
		switch v {
		case refused:
			b.lines.Log(context.Background(), b.cfg.Logger, slog.LevelWarn,
				"too many unauthenticated connections from one address, one more was closed",
				slog.String("server", l.port.name), slog.String("source", source.Unit.String()))
			return v
		case admitted:
			return v
		}
		again := time.NewTimer(recently) // who has just advanced may stall by then
		select {
		case <-changed:
		case <-again.C:
		case <-l.closed:
			again.Stop()
			return wait
		}
		again.Stop()
	}
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
	l.once.Do(func() {
		close(l.closed)
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
