package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// handshakeTimeout is how long a connection may take to prove who it is.
const handshakeTimeout = 10 * time.Second

// maxHandshakes bounds the connections that have proven nothing yet.
const maxHandshakes = 256

// Port splits the connections to the peer port by their protocol.
type Port struct {
	listener net.Listener
	server   *tls.Config
	log      *slog.Logger
	raft, h2 *half
}

// NewPort returns the port of a bound listener. server decides who is a peer.
func NewPort(listener net.Listener, server *tls.Config, log *slog.Logger) *Port {
	return &Port{
		listener: listener, server: server, log: log,
		raft: newHalf(listener.Addr()), h2: newHalf(listener.Addr()),
	}
}

// Raft accepts the connections of Raft.
func (p *Port) Raft() net.Listener { return p.raft }

// Run takes connections until ctx ends, closes the listener and returns when every
// connection has been handed over or closed.
func (p *Port) Run(ctx context.Context) error {
	var wait sync.WaitGroup
	defer wait.Wait()
	defer p.raft.Close()
	defer p.h2.Close()
	stop := context.AfterFunc(ctx, func() { p.listener.Close() })
	defer stop()
	slots := make(chan struct{}, maxHandshakes)
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			// Out of file descriptors, mostly: others give some back.
			p.log.Warn("a peer's connection could not be taken", "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		select {
		case slots <- struct{}{}:
			wait.Go(func() {
				defer func() { <-slots }()
				p.admit(ctx, conn)
			})
		default:
			conn.Close()
		}
	}
}

// admit makes the handshake and hands the connection to its protocol.
func (p *Port) admit(ctx context.Context, raw net.Conn) {
	conn := tls.Server(raw, p.server)
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		if !errors.Is(err, context.Canceled) {
			p.log.Warn("a peer was refused", "remote", raw.RemoteAddr().String(), "cause", plainCause(err))
		}
		raw.Close()
		return
	}
	to := p.h2
	switch conn.ConnectionState().NegotiatedProtocol {
	case tlsutil.ALPNRaft:
		to = p.raft
	case tlsutil.ALPNHTTP2:
	default:
		p.log.Warn("a peer was refused", "remote", raw.RemoteAddr().String(), "cause", "it asks for no protocol of this port")
		conn.Close()
		return
	}
	if !to.give(ctx, conn) {
		conn.Close()
	}
}

// half is the listener of one protocol.
type half struct {
	addr   net.Addr
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func newHalf(addr net.Addr) *half {
	return &half{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (h *half) give(ctx context.Context, conn net.Conn) bool {
	select {
	case h.conns <- conn:
		return true
	case <-h.closed:
	case <-ctx.Done():
	}
	return false
}

// Accept implements net.Listener.
func (h *half) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. The port itself stays open.
func (h *half) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// Addr implements net.Listener.
func (h *half) Addr() net.Addr { return h.addr }
