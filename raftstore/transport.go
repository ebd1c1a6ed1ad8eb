package raftstore

import (
	"sync"

	"github.com/hashicorp/raft"
)

// transport is Raft's own, but for the end: Raft handles heartbeats on the
// goroutines of connections, which its shutdown does not wait for, and panics where
// such a late one finds the log closed.
type transport struct {
	*raft.NetworkTransport

	beating sync.RWMutex
	ended   bool
}

func newTransport(config *raft.NetworkTransportConfig) *transport {
	return &transport{NetworkTransport: raft.NewNetworkTransportWithConfig(config)}
}

// SetHeartbeatHandler implements raft.Transport.
func (t *transport) SetHeartbeatHandler(handle func(raft.RPC)) {
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

// end waits for the heartbeats that are being handled, and refuses later ones.
func (t *transport) end() {
	t.beating.Lock()
	defer t.beating.Unlock()
	t.ended = true
}
