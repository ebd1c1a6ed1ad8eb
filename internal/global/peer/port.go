package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/meridiankds/meridian/internal/net/loglimit"
	"github.com/meridiankds/meridian/internal/net/preauth"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// handshakeTimeout is how long a connection that this node makes may take until both
// ends have proved themselves. How long others have is for the budget to say.
const handshakeTimeout = 10 * time.Second

// Port splits the connections to the peer port by their protocol.
type Port struct {
	listener net.Listener
	server   func() tlsutil.PeerEnd
	gate     *Gate
	budget   *preauth.Budget
	log      *slog.Logger
	lines    *loglimit.Limiter
	raft, h2 *half
}

// Protocols are those of the port: what it serves behind the proof, and HTTP/2 as
// versions spoke it that proved nothing, which are told so.
var Protocols = []string{tlsutil.ALPNRaft, tlsutil.ALPNPeerHTTP2, tlsutil.ALPNHTTP2}

// NewPort returns the port of a bound listener. server returns the TLS end of one
// connection, which decides who is a node of the cluster; budget bounds what others
// cost.
func NewPort(listener net.Listener, server func() tlsutil.PeerEnd, gate *Gate, budget *preauth.Budget, log *slog.Logger) *Port {
	return &Port{
		listener: budget.Listen(listener, "peers", true), server: server, gate: gate, budget: budget, log: log,
		lines: loglimit.New(refusalLines, nil),
		raft:  newHalf(listener.Addr()), h2: newHalf(listener.Addr()),
	}
}

// refusalLines is how many refused connections a second are logged: one a peer and
// second is enough to see what is wrong.
const refusalLines = 5

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
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			// Out of file descriptors, mostly: others give some back.
			p.lines.Log(ctx, p.log, slog.LevelWarn, "a peer's connection could not be taken", slog.Any("error", err))
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		wait.Go(func() { p.admit(ctx, conn) })
	}
}

// admit has both ends prove themselves and hands the connection to its protocol.
func (p *Port) admit(ctx context.Context, raw net.Conn) {
	conn, to, err := p.handshake(ctx, raw)
	if err != nil {
		if !errors.Is(err, context.Canceled) && !errors.Is(err, net.ErrClosed) { // the budget tells of whom it cut off
			p.lines.Log(ctx, p.log, slog.LevelWarn, "a peer was refused", slog.String("remote", raw.RemoteAddr().String()), slog.String("cause", plainCause(err)))
		}
		raw.Close()
		return
	}
	giving, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if !to.give(giving, conn) {
		conn.Close()
	}
}

// handshake returns a connection on which both ends have proved the seal key, and its
// protocol. A connection of a version that proves nothing is for the refusal that
// [Handler] has for it.
func (p *Port) handshake(ctx context.Context, raw net.Conn) (net.Conn, *half, error) {
	end := p.server()
	conn := tls.Server(raw, p.budget.TLS(end.Config))
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
	if c := preauth.Of(raw); c != nil {
		if err := c.Proved(preauth.Identity{Kind: preauth.Node, Name: proof.Node}); err != nil {
			return nil, nil, err
		}
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
