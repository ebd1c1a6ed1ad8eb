package raftnet

import (
	"errors"
	"testing"

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
