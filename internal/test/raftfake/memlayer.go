package raftfake

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Network connects members within one process, for tests: no ports, and any
// member can be cut off from the others and connected again.
type Network struct {
	mu     sync.Mutex
	layers map[raft.ServerAddress]*memLayer
	cut    map[raft.ServerAddress]bool
}

// NewNetwork returns a network without members.
func NewNetwork() *Network {
	return &Network{layers: map[raft.ServerAddress]*memLayer{}, cut: map[raft.ServerAddress]bool{}}
}

// Listen returns the layer of a new member. An address may be used again once its
// layer is closed.
func (n *Network) Listen(addr raft.ServerAddress) (raft.StreamLayer, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, taken := n.layers[addr]; taken {
		return nil, fmt.Errorf("address %s is in use", addr)
	}
	l := &memLayer{net: n, addr: addr, accept: make(chan net.Conn), closed: make(chan struct{})}
	n.layers[addr] = l
	return l, nil
}

// Cut separates a member from all others, or connects it again. Connections that
// it has are closed.
func (n *Network) Cut(addr raft.ServerAddress, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[addr] = cut
	if !cut {
		return
	}
	for other, l := range n.layers {
		l.drop(func(peer raft.ServerAddress) bool { return other == addr || peer == addr })
	}
}

func (n *Network) dial(from, to raft.ServerAddress) (*memLayer, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l, ok := n.layers[to]
	if !ok || from != to && (n.cut[from] || n.cut[to]) {
		return nil, fmt.Errorf("no route from %s to %s", from, to)
	}
	return l, nil
}

// memLayer is one member's listener, and the connections that it dialled.
type memLayer struct {
	net    *Network
	addr   raft.ServerAddress
	accept chan net.Conn
	once   sync.Once
	closed chan struct{}

	mu    sync.Mutex
	conns map[net.Conn]raft.ServerAddress
}

// Dial implements raft.StreamLayer.
func (l *memLayer) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	target, err := l.net.dial(l.addr, to)
	if err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case target.accept <- far:
	case <-target.closed:
		return nil, errors.New("connection refused")
	case <-timer.C:
		return nil, errors.New("connection timed out")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns == nil {
		l.conns = map[net.Conn]raft.ServerAddress{}
	}
	l.conns[near] = to
	return near, nil
}

func (l *memLayer) drop(which func(peer raft.ServerAddress) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn, peer := range l.conns {
		if which(peer) {
			conn.Close()
			delete(l.conns, conn)
		}
	}
}

// Accept implements net.Listener.
func (l *memLayer) Accept() (net.Conn, error) {
	select {
	case conn := <-l.accept:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *memLayer) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.net.mu.Lock()
		delete(l.net.layers, l.addr)
		l.net.mu.Unlock()
		l.drop(func(raft.ServerAddress) bool { return true })
	})
	return nil
}

// Addr implements net.Listener.
func (l *memLayer) Addr() net.Addr { return memAddr(l.addr) }

// memAddr is an address in a Network.
type memAddr string

// Network implements net.Addr.
func (memAddr) Network() string { return "memory" }

// String implements net.Addr.
func (a memAddr) String() string { return string(a) }
