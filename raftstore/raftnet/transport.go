package raftnet

import (
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// Transport is Raft's own, but for the end: Raft handles heartbeats on the
// goroutines of connections, which its shutdown does not wait for, and panics where
// such a late one finds the log closed.
type Transport struct {
	*raft.NetworkTransport

	beating sync.RWMutex
	ended   bool
}

// peerConnections is how many connections to one member are kept, and peerTimeout bounds
// connecting and each request.
const (
	peerConnections = 3
	peerTimeout     = 10 * time.Second
)

// Config says how a member reaches the others.
type Config struct {
	Layer     raft.StreamLayer
	Advertise raft.ServerAddress // at which the others reach Layer
	Self      string             // this node's id
	Addresses raft.ServerAddressProvider
	Logger    hclog.Logger
}

// inFlight is how many appends may be under way to one member. Two and more are a pipeline of
// Raft's, which can end in a deadlock where a member refuses one, or is lost, while the next
// ones are sent (github.com/hashicorp/raft/issues/612): the leader's heartbeats go on, so that
// nobody else is elected, but that member is sent no entry any more, and the leader does not
// stop when it is told to. Entries that come meanwhile go with the next append.
const inFlight = 1

// NewTransport returns the transport of a member. It closes Layer with itself.
func NewTransport(c Config) *Transport {
	return &Transport{NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:  newPeerLayer(advertised{c.Layer, c.Advertise}, c.Self),
		MaxPool: peerConnections, Timeout: peerTimeout, MaxRPCsInFlight: inFlight,
		Logger: c.Logger, MsgpackUseNewTimeFormat: true, ServerAddressProvider: c.Addresses,
	})}
}

// EncodePeer implements raft.Transport. Members tell each other their addresses as they
// are: who they are is said apart.
func (*Transport) EncodePeer(_ raft.ServerID, at raft.ServerAddress) []byte { return []byte(at) }

// SetHeartbeatHandler implements raft.Transport.
func (t *Transport) SetHeartbeatHandler(handle func(raft.RPC)) {
	t.NetworkTransport.SetHeartbeatHandler(func(rpc raft.RPC) {
		t.beating.RLock()
		defer t.beating.RUnlock()
		if t.ended {
			rpc.Respond(nil, raft.ErrTransportShutdown)
			return
		}
		handle(rpc)
	})
}

// End waits for the heartbeats that are being handled, and refuses later ones.
func (t *Transport) End() {
	t.beating.Lock()
	defer t.beating.Unlock()
	t.ended = true
}
