package raftnet

import (
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// TestAppendsAreNotPipelined: Raft's pipeline can end in a deadlock; see inFlight.
func TestAppendsAreNotPipelined(t *testing.T) {
	layer, err := Loopback("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	transport := NewTransport(Config{Layer: layer, Self: "a", Logger: hclog.NewNullLogger()})
	defer transport.Close()
	if _, err := transport.AppendEntriesPipeline("b", transport.LocalAddr()); !errors.Is(err, raft.ErrPipelineReplicationNotSupported) {
		t.Errorf("a pipeline: %v", err)
	}
}

// peersAt tells where each node is.
type peersAt map[raft.ServerID]string

// ServerAddr implements raft.ServerAddressProvider.
func (p peersAt) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	return JoinAddress(string(id), p[id]), nil
}

// TestOneVoteInATerm: a member that has voted does not vote for another one in that term that
// is started where the first candidate was. The first one gets its vote again.
func TestOneVoteInATerm(t *testing.T) {
	const vacant = "vacant.example:5683"
	at := peersAt{}
	open := func(id string, advertise raft.ServerAddress) *Transport {
		layer, err := Loopback("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		at[raft.ServerID(id)] = layer.Addr().String()
		tr := NewTransport(Config{Layer: layer, Advertise: advertise, Self: id, Addresses: at, Logger: hclog.NewNullLogger()})
		t.Cleanup(func() { tr.Close() })
		return tr
	}
	voter, first, second := open("voter", "voter.example:5683"), open("first", vacant), open("second", vacant)
	conf, store := raft.DefaultConfig(), raft.NewInmemStore()
	conf.LocalID, conf.Logger = "voter", hclog.NewNullLogger()
	conf.HeartbeatTimeout, conf.ElectionTimeout = time.Hour, time.Hour
	var servers []raft.Server
	for _, id := range []raft.ServerID{"voter", "first", "second"} {
		servers = append(servers, raft.Server{ID: id, Address: JoinAddress(string(id), "joined.example:1")})
	}
	snapshots := raft.NewInmemSnapshotStore()
	if err := raft.BootstrapCluster(conf, store, store, snapshots, voter, raft.Configuration{Servers: servers}); err != nil {
		t.Fatal(err)
	}
	r, err := raft.NewRaft(conf, &raft.MockFSM{}, store, store, snapshots, voter)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Shutdown().Error() })
	for i, ask := range []struct {
		from  *Transport
		id    raft.ServerID
		votes bool
	}{{first, "first", true}, {second, "second", false}, {first, "first", true}} {
		request := &raft.RequestVoteRequest{
			RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(ask.id), Addr: ask.from.EncodePeer(ask.id, ask.from.LocalAddr())},
			Term:      5, LastLogIndex: 1, LastLogTerm: 1,
		}
		var answer raft.RequestVoteResponse
		if err := ask.from.RequestVote("voter", "", request, &answer); err != nil || answer.Granted != ask.votes {
			t.Errorf("request %d, of %s: %+v, %v", i, ask.id, answer, err)
		}
	}
	if addr, _ := r.LeaderWithID(); addr != "" {
		t.Errorf("leader at %s", addr)
	}
	if got := voter.DecodePeer(first.EncodePeer("first", vacant)); got != vacant {
		t.Errorf("the first is at %s", got)
	}
}
