package httpserver

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"github.com/meridiankds/meridian/internal/loglimit"
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
		return &connection{Conn: raw, left: sync.OnceFunc(func() { l.open.Add(-1) })}, nil
	}
}

// connection counts until it is closed.
type connection struct {
	net.Conn
	left func()
}

// Close implements net.Conn.
func (c *connection) Close() error {
	defer c.left()
	return c.Conn.Close()
}
