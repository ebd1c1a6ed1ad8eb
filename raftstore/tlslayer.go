package raftstore

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"github.com/hashicorp/raft"
)

// NewTLSLayer returns the layer that members of a cluster use: mutual TLS over a
// bound listener. The two configurations decide who is a peer; advertise is the
// host:port under which the others reach the listener.
func NewTLSLayer(listener net.Listener, advertise string, server, client *tls.Config) raft.StreamLayer {
	// The handshake is made by the first read of Raft's own goroutine for the
	// connection, so a peer that never speaks holds up nobody else.
	return advertised{
		StreamLayer: tlsLayer{Listener: tls.NewListener(listener, server), client: client},
		addr:        raft.ServerAddress(advertise),
	}
}

// tlsLayer implements raft.StreamLayer.
type tlsLayer struct {
	net.Listener
	client *tls.Config
}

// Dial connects to a peer and proves both ends before it returns.
func (l tlsLayer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	dialer := tls.Dialer{Config: l.client}
	return dialer.DialContext(ctx, "tcp", string(addr))
}
