package raftstore

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/test/altered"
	"github.com/meridiankds/meridian/raftstore/raftnet"
	"github.com/meridiankds/meridian/raftstore/state"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// TestAnInstalledSnapshotMeetsTheRules: a snapshot that another member sends, in which
// every checksum is right and one record is none that a command could have made, stops
// this member, and the end names the record.
func TestAnInstalledSnapshotMeetsTheRules(t *testing.T) {
	m := start(t, alone(t, t.TempDir(), testSeal(t))).awaitReady()
	good := snapshotBytes(t, m.fsm.current())
	all := altered.Records(t, good)
	for _, r := range all {
		if k := r.GetKey(); k.GetId().GetKind() == "user" {
			k.Serial++
		}
	}
	before := m.fsm.current()
	if err := m.fsm.Restore(io.NopCloser(bytes.NewReader(altered.Assemble(t, good, all)))); err == nil {
		t.Error("it was installed")
	}
	if m.fsm.current() != before {
		t.Error("something was taken over")
	}
	<-m.done
	if m.err == nil || !strings.Contains(m.err.Error(), "key user-token 1") || federation.AsError(m.err).Hint == "" {
		t.Errorf("the member ended with %v", m.err)
	}
	m.err = nil
}

// TestAStatePastItsLogStopsTheMember: a snapshot may say that it is of a later entry than Raft
// has it for. What comes next would be applied under indexes that are in its past.
func TestAStatePastItsLogStopsTheMember(t *testing.T) {
	seal, ctx := testSeal(t), context.Background()
	other := start(t, alone(t, t.TempDir(), seal)).awaitReady()
	for i := range 30 {
		revokeOn(t, other, fmt.Sprint(i))
	}
	backup := save(t, other)
	m := start(t, alone(t, t.TempDir(), seal)).awaitReady()
	if _, _, err := m.Restore(ctx, ann, RestoreOptions{}, bytes.NewReader(backup)); err != nil {
		t.Fatal(err)
	}
	good, raftIndex := snapshotBytes(t, m.fsm.current()), m.fsm.current().RaftApplied()
	data, err := state.EncodeCommand(&storepb.Command{Level: state.LevelLineage, Op: &storepb.Command_ConfirmLoss{ConfirmLoss: &storepb.ConfirmLoss{}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, offset := range map[string]func(uint64) uint64{
		"as it was": func(n uint64) uint64 { return n },
		"past it":   func(uint64) uint64 { return 0 },
	} {
		all := altered.Records(t, good)
		h := all[0].GetHeader()
		if h.Offset == 0 {
			t.Fatal("the restore left no offset")
		}
		h.Offset = offset(h.Offset)
		f := newFSM()
		if err := f.Restore(io.NopCloser(bytes.NewReader(altered.Assemble(t, good, all)))); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		before := f.current()
		_, stopped := f.Apply(&raft.Log{Index: raftIndex + 1, Data: data}).(error)
		if want := h.Offset == 0; stopped != want || want && (f.current() != before || f.failed.Load() == nil || f.failed.Load().Hint == "") {
			t.Errorf("%s: stopped %t, at %s, before %s", name, stopped, f.current().Revision(), before.Revision())
		}
	}
}

// TestASnapshotOfAnotherClusterIsNotInstalled: only where this node is among the members that
// the snapshot was sent with, and its history is newer, did a restore change the cluster.
func TestASnapshotOfAnotherClusterIsNotInstalled(t *testing.T) {
	seal := testSeal(t)
	older := start(t, alone(t, t.TempDir(), seal)).awaitReady()
	m := start(t, alone(t, t.TempDir(), seal)).awaitReady()
	newer := start(t, alone(t, t.TempDir(), seal)).awaitReady()
	members := func(ids ...string) (conf raft.Configuration) {
		for _, id := range ids {
			conf.Servers = append(conf.Servers, raft.Server{ID: raft.ServerID(id), Address: "x"})
		}
		return conf
	}
	for name, tt := range map[string]struct {
		from  *member
		conf  raft.Configuration
		home  string
		empty bool
		want  bool
	}{
		"another cluster's members":       {from: newer, conf: members(newer.NodeID())},
		"its own members":                 {from: newer, conf: members(newer.NodeID(), m.NodeID()), want: true},
		"an older history":                {from: older, conf: members(m.NodeID())},
		"a node without state":            {from: newer, conf: members(newer.NodeID()), empty: true, want: true},
		"a node that has only its name":   {from: newer, conf: members(newer.NodeID()), empty: true, home: m.ClusterID()},
		"the same, among its own members": {from: newer, conf: members(m.NodeID()), empty: true, home: m.ClusterID(), want: true},
	} {
		file := snapshotBytes(t, tt.from.fsm.current())
		s := &Store{cfg: m.cfg, log: m.log, node: m.node, fsm: newFSM()}
		s.fsm.home = tt.home
		if !tt.empty {
			s.fsm.state = m.fsm.current().Capture()
			s.fsm.publish()
		}
		s.fsm.started.Store(true)
		if err := s.contained(bytes.NewReader(file), tt.conf); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		err := s.fsm.Restore(io.NopCloser(bytes.NewReader(file)))
		if (err == nil) != tt.want {
			t.Errorf("%s: %v", name, err)
		}
		if !tt.want {
			wantCode(t, err, "conflict", "another_cluster")
			if f := s.fsm.failed.Load(); f == nil || f.Hint == "" {
				t.Errorf("%s: the member goes on", name)
			}
		}
	}
	// At a start it is the directory's own.
	own := newFSM()
	own.home = m.ClusterID()
	if err := own.Restore(io.NopCloser(bytes.NewReader(snapshotBytes(t, newer.fsm.current())))); err != nil {
		t.Error(err)
	}
}

// told is a transport on which a test is a leader.
type told struct {
	*raftnet.Transport
	rpcs chan raft.RPC
}

// Consumer implements raft.Transport.
func (s told) Consumer() <-chan raft.RPC { return s.rpcs }

// TestALeaderReplacesNothingThatWasApplied: the member ends, whatever of it the leader's
// snapshot or log lacks, and has what it had.
func TestALeaderReplacesNothingThatWasApplied(t *testing.T) {
	const term = 1000
	seal := testSeal(t)
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("x"), Addr: []byte("x")}
	snapshot := func(data []byte) raft.RPC {
		conf := raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "x", Address: "x"}}})
		return raft.RPC{Reader: bytes.NewReader(data), Command: &raft.InstallSnapshotRequest{
			RPCHeader: header, SnapshotVersion: raft.SnapshotVersionMax, Term: term, Leader: []byte("x"),
			LastLogIndex: 1000, LastLogTerm: term, Configuration: conf, ConfigurationIndex: 1, Size: int64(len(data)),
		}}
	}
	entries := func(_, _ []byte) raft.RPC {
		return raft.RPC{Command: &raft.AppendEntriesRequest{
			RPCHeader: header, Term: term, PrevLogEntry: 1, PrevLogTerm: 1, Entries: []*raft.Log{{Index: 2, Term: term, Type: raft.LogNoop}},
		}}
	}
	for name, leader := range map[string]func(before, another []byte) raft.RPC{
		"a snapshot of before":       func(before, _ []byte) raft.RPC { return snapshot(before) },
		"a snapshot of another past": func(_, another []byte) raft.RPC { return snapshot(another) },
		"entries":                    entries,
		"entries, at once":           entries,
	} {
		t.Run(name, func(t *testing.T) {
			dir, copied := filepath.Join(t.TempDir(), "node"), filepath.Join(t.TempDir(), "copy")
			m := start(t, alone(t, dir, seal)).awaitReady()
			revokeOn(t, m, "kept")
			before := snapshotBytes(t, m.fsm.current())
			m.stop()
			if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			private(t, copied)
			other := start(t, alone(t, copied, seal)).awaitReady()
			for i := range 5 {
				revokeOn(t, other, fmt.Sprint("another ", i))
			}
			another := snapshotBytes(t, other.fsm.current())
			other.stop()

			rpcs := make(chan raft.RPC)
			atOnce := strings.HasSuffix(name, "at once")
			cfg := alone(t, dir, seal)
			cfg.WrapTransport = func(_ string, inner raft.Transport) raft.Transport { return told{inner.(*raftnet.Transport), rpcs} }
			if atOnce {
				cfg.ElectionTimeout = patience // nothing is applied before the leader asks
			}
			m = start(t, cfg)
			acknowledged := "kept"
			if !atOnce {
				acknowledged = "acknowledged"
				revokeOn(t, m.awaitReady(), acknowledged)
			}
			rpc := leader(before, another)
			rpc.RespChan = make(chan raft.RPCResponse, 1)
			rpcs <- rpc
			select {
			case <-m.done:
			case <-time.After(patience):
				t.Fatal("the member goes on")
			}
			wantCode(t, m.err, federation.Conflict, ReasonDiverged)
			if federation.AsError(m.err).Hint == "" {
				t.Errorf("no hint: %v", m.err)
			}
			m.err = nil
			if !start(t, alone(t, dir, seal)).awaitReady().View().Revoked(cptoken.Zone, "", acknowledged) {
				t.Error("what it had acknowledged is gone")
			}
		})
	}
}
