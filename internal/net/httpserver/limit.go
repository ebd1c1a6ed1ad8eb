package httpserver

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meridiankds/meridian/internal/lobby"
	"github.com/meridiankds/meridian/internal/net/loglimit"
)

// listener bounds the connections that are open at once. One too many is closed
// at once rather than left waiting, so that who comes then knows.
type listener struct {
	net.Listener
	name  string
	most  int64
	open  atomic.Int64
	log   *slog.Logger
	lines *loglimit.Limiter
	lobby *lobby.Lobby // of strangers; nil: they count like any other
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) > l.most {
			l.open.Add(-1)
			_ = raw.Close() // nothing was said on it
			l.lines.Log(context.Background(), l.log, slog.LevelWarn, "too many connections, one more was closed",
				slog.String("server", l.name), slog.Int64("limit", l.most), slog.String("remote", raw.RemoteAddr().String()))
			continue
		}
		c := &connection{Conn: raw, left: sync.OnceFunc(func() { l.open.Add(-1) }), leave: func() {}}
		if l.lobby != nil {
			var evicted bool
			// Closing may wait for what TLS has to say, and holds up nobody here.
			if c.leave, evicted = l.lobby.Enter(raw.RemoteAddr().String(), func() { _ = raw.Close() }); evicted {
				l.lines.Log(context.Background(), l.log, slog.LevelWarn, "many connections of strangers, one was closed for a newer one",
					slog.String("server", l.name))
			}
		}
		return c, nil
	}
}

// connection counts until it is closed.
type connection struct {
	net.Conn
	left  func()
	leave func() // the lobby

	mu    sync.Mutex
	grace *time.Timer // closes it unless a request comes
	begun bool
}

// Close implements net.Conn.
func (c *connection) Close() error {
	defer c.left()
	c.leave()
	c.stopGrace()
	return c.Conn.Close()
}

// NetConn is the connection below, see tlsutil.Follow.
func (c *connection) NetConn() net.Conn { return c.Conn }

// startGrace gives the connection, whose TLS is done, so long to its first request.
func (c *connection) startGrace(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.grace == nil && !c.begun {
		c.grace = time.AfterFunc(d, func() { _ = c.Conn.Close() })
	}
}

func (c *connection) stopGrace() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun = true
	if c.grace != nil {
		c.grace.Stop()
	}
}

// below finds the connection below TLS.
func below(conn net.Conn) *connection {
	if c, ok := conn.(*connection); ok {
		return c
	}
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = t.NetConn()
	}
	c, _ := conn.(*connection)
	return c
}

type connectionKey struct{}

// Trust tells, with the context of a request, that its caller has proved who it
// is: its connection is no stranger's any more. Anywhere else it does nothing.
func Trust(ctx context.Context) {
	if c, ok := ctx.Value(connectionKey{}).(*connection); ok && c != nil {
		c.leave()
	}
}
