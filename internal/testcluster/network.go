package testcluster

import (
	"context"
	"fmt"
	"net"
	"sync"
)

// Network lets globals find each other under names that outlive a restart, and
// takes the network away between one of them and the others.
type Network struct {
	mu    sync.Mutex
	at    map[string]string // where a name is now
	cut   map[string]bool
	conns map[*netConn]struct{}
}

// NewNetwork returns a network without nodes.
func NewNetwork() *Network {
	return &Network{at: map[string]string{}, cut: map[string]bool{}, conns: map[*netConn]struct{}{}}
}

// Place says where the node of a name listens now.
func (n *Network) Place(name, addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.at[name] = addr
}

// Cut separates a node from the others, or connects it again.
func (n *Network) Cut(name string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[name] = cut
	for c := range n.conns {
		if cut && (c.from == name || c.to == name) {
			c.Conn.Close()
			delete(n.conns, c)
		}
	}
}

// Dialer is the way out of the node of that name.
func (n *Network) Dialer(from string) func(ctx context.Context, to string) (net.Conn, error) {
	return func(ctx context.Context, to string) (net.Conn, error) {
		n.mu.Lock()
		addr, known := n.at[to]
		blocked := n.blocked(from, to)
		n.mu.Unlock()
		if !known || blocked {
			return nil, fmt.Errorf("no route from %s to %s", from, to)
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.blocked(from, to) {
			conn.Close()
			return nil, fmt.Errorf("no route from %s to %s", from, to)
		}
		c := &netConn{Conn: conn, net: n, from: from, to: to}
		n.conns[c] = struct{}{}
		return c, nil
	}
}

func (n *Network) blocked(from, to string) bool { return from != to && (n.cut[from] || n.cut[to]) }

type netConn struct {
	net.Conn
	net      *Network
	from, to string
}

// Close implements net.Conn.
func (c *netConn) Close() error {
	c.net.mu.Lock()
	delete(c.net.conns, c)
	c.net.mu.Unlock()
	return c.Conn.Close()
}
