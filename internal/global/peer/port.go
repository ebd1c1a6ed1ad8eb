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
	server   func() tlsutil.PeerEnd
	gate     *Gate
	log      *slog.Logger
	raft, h2 *half
}

// Protocols are those of the port: what it serves behind the proof, and HTTP/2 as
// versions spoke it that proved nothing, which are told so.
var Protocols = []string{tlsutil.ALPNRaft, tlsutil.ALPNPeerHTTP2, tlsutil.ALPNHTTP2}

// NewPort returns the port of a bound listener. server returns the TLS end of one
// connection, which decides who is a node of the cluster.
func NewPort(listener net.Listener, server func() tlsutil.PeerEnd, gate *Gate, log *slog.Logger) *Port {
	return &Port{
		listener: listener, server: server, gate: gate, log: log,
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

// admit has both ends prove themselves and hands the connection to its protocol.
func (p *Port) admit(ctx context.Context, raw net.Conn) {
	proving, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn, to, err := p.handshake(proving, raw)
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			p.log.Warn("a peer was refused", "remote", raw.RemoteAddr().String(), "cause", plainCause(err))
		}
		raw.Close()
		return
	}
	if !to.give(proving, conn) {
		conn.Close()
	}
}

// handshake returns a connection on which both ends have proved the seal key, and its
// protocol. A connection of a version that proves nothing is for the refusal that
// [Handler] has for it.
func (p *Port) handshake(ctx context.Context, raw net.Conn) (net.Conn, *half, error) {
	end := p.server()
	conn := tls.Server(raw, end.Config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, nil, err
	}
	to := p.h2
	switch conn.ConnectionState().NegotiatedProtocol {
	case tlsutil.ALPNRaft:
		to = p.raft
	case tlsutil.ALPNPeerHTTP2:
	case tlsutil.ALPNHTTP2:
		return conn, p.h2, nil
	default:
		conn.Close() // with an alert that says so
		return nil, nil, errors.New("it asks for no protocol of this port")
	}
	var proof Proof
	err := within(ctx, raw, func() (err error) {
		proof, err = p.gate.check(conn, end.Shown())
		return err
	})
	if err != nil {
		_ = conn.CloseWrite() // what was said to it arrives before the end
		return nil, nil, err
	}
	proved, err := p.gate.keep(conn, proof)
	return proved, to, err
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
