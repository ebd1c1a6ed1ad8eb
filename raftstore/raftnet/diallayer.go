package raftnet

import (
	"context"
	"net"
	"time"

	"github.com/hashicorp/raft"
)

// Dialer connects to a peer's Raft and has proven both ends when it returns.
type Dialer func(ctx context.Context, addr string) (net.Conn, error)

// NewLayer returns the layer that members of a cluster use, over connections that
// somebody else secures: listener accepts those of peers only, dial proves who
// answers. advertise is the host:port under which the others reach the listener.
func NewLayer(listener net.Listener, advertise string, dial Dialer) raft.StreamLayer {
	return advertised{StreamLayer: dialLayer{listener, dial}, addr: raft.ServerAddress(advertise)}
}

// dialLayer implements raft.StreamLayer.
type dialLayer struct {
	net.Listener
	dial Dialer
}

// Dial implements raft.StreamLayer.
func (l dialLayer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return l.dial(ctx, string(addr))
}
