package raftnet

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/meridiankds/meridian/federation"
)

// Loopback listens for peers on a loopback address, without TLS: for one node on
// a laptop and for tests. Other addresses are refused, because whoever reaches an
// open peer port can rewrite the cluster.
func Loopback(addr string) (raft.StreamLayer, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, federation.Errorf(federation.Invalid, "peer address %.80q: %w", addr, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, federation.Errorf(federation.Invalid, "peer address %.80q is not a loopback address", addr).
			WithHint("peers without TLS may listen on 127.0.0.1 only")
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, federation.Errorf(federation.Unavailable, "cannot listen for peers on %s: %w", addr, err)
	}
	return loopback{l}, nil
}

type loopback struct{ net.Listener }

// Dial implements raft.StreamLayer.
func (loopback) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", string(addr), timeout)
}

// advertised is a layer that others reach under another address than its own.
type advertised struct {
	raft.StreamLayer
	addr raft.ServerAddress
}

// Addr is what Raft tells the others.
func (a advertised) Addr() net.Addr { return address(a.addr) }

// peerLayer is a layer that ends its connections when it is closed: Raft's
// transport leaves those that it accepted open, with a goroutine that reads from
// each.
//
// Each connection begins with the id of the node that it is meant for, which the
// other end holds against its own: see [addresses].
type peerLayer struct {
	raft.StreamLayer
	self string

	mu     sync.Mutex
	closed bool
	conns  map[*peerConn]struct{}
}

func newPeerLayer(l raft.StreamLayer, self string) *peerLayer {
	return &peerLayer{StreamLayer: l, self: self, conns: map[*peerConn]struct{}{}}
}

// Accept implements net.Listener.
func (p *peerLayer) Accept() (net.Conn, error) {
	conn, err := p.StreamLayer.Accept()
	if err != nil {
		return nil, err
	}
	return p.keep(&meantFor{Conn: conn, self: p.self})
}

// Dial implements raft.StreamLayer.
func (p *peerLayer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	id, at, ok := splitAddress(addr)
	if !ok {
		return nil, federation.Errorf(federation.Internal, "no id is known of the peer at %.80q", addr)
	}
	conn, err := p.StreamLayer.Dial(at, timeout)
	if err != nil {
		return nil, err
	}
	if err := name(conn, id, timeout); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return p.keep(conn)
}

func (p *peerLayer) keep(conn net.Conn) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	kept := &peerConn{conn, p}
	p.conns[kept] = struct{}{}
	return kept, nil
}

// Close implements net.Listener.
func (p *peerLayer) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for c := range p.conns {
		c.Conn.Close() // it is being given up, and its reader sees the error
	}
	clear(p.conns)
	return p.StreamLayer.Close()
}

type peerConn struct {
	net.Conn
	layer *peerLayer
}

// Read implements net.Conn. Raft logs every other end of a connection than EOF as
// an error, also that of its own shutdown.
func (c *peerConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, net.ErrClosed) {
		err = io.EOF
	}
	return n, err
}

// Close implements net.Conn.
func (c *peerConn) Close() error {
	c.layer.mu.Lock()
	delete(c.layer.conns, c)
	c.layer.mu.Unlock()
	return c.Conn.Close()
}

type address string

// Network implements net.Addr.
func (address) Network() string { return "tcp" }

// String implements net.Addr.
func (a address) String() string { return string(a) }
