package raftnet

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// Transport is Raft's own, but for two things.
//
// The end: Raft handles heartbeats on the goroutines of connections, which its shutdown does
// not wait for, and panics where such a late one finds the log closed.
//
// Votes: Raft keeps for whom it voted by the candidate's address, and votes for the same one
// again. A member that is started in the same term where another candidate was would get the
// other one's votes, and the term two leaders. So a candidate is an address with an id here.
type Transport struct {
	*raft.NetworkTransport
	requests chan raft.RPC
	closing  context.CancelFunc
	passing  sync.WaitGroup

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
	ctx, cancel := context.WithCancel(context.Background())
	t := &Transport{requests: make(chan raft.RPC), closing: cancel, NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:  newPeerLayer(advertised{c.Layer, c.Advertise}, c.Self),
		MaxPool: peerConnections, Timeout: peerTimeout, MaxRPCsInFlight: inFlight,
		Logger: c.Logger, MsgpackUseNewTimeFormat: true, ServerAddressProvider: c.Addresses,
	})}
	t.passing.Go(func() { t.pass(ctx) })
	return t
}

// Consumer implements raft.Transport.
func (t *Transport) Consumer() <-chan raft.RPC { return t.requests }

// pass hands requests on, candidates by their ids.
func (t *Transport) pass(ctx context.Context) {
	for {
		select {
		case rpc := <-t.NetworkTransport.Consumer():
			if vote, ok := rpc.Command.(*raft.RequestVoteRequest); ok && len(vote.ID) > 0 {
				vote.Addr = []byte(JoinAddress(string(vote.ID), string(vote.Addr)))
			}
			select {
			case t.requests <- rpc:
			case <-ctx.Done():
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// DecodePeer implements raft.Transport.
func (t *Transport) DecodePeer(of []byte) raft.ServerAddress {
	if _, at, ok := splitAddress(raft.ServerAddress(of)); ok {
		return at
	}
	return raft.ServerAddress(of)
}

// Close implements raft.WithClose.
func (t *Transport) Close() error {
	err := t.NetworkTransport.Close()
	t.closing()
	t.passing.Wait()
	return err
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
