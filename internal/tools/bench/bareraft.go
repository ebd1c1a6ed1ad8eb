package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	globalnode "github.com/meridiankds/meridian/internal/global/node"
)

// The baseline of failover: hashicorp/raft with nothing around it but a state that
// counts, in processes of its own, with the timeouts and the log store of a global.

// raftStart is how a node of it begins. Servers are all of them; the first start of
// each founds the cluster.
type raftStart struct {
	ID      string   `json:"id"`
	Dir     string   `json:"dir"`
	Servers []string `json:"servers"` // addresses, which are the ids too
}

// counter is the state machine.
type counter struct{ n uint64 }

func (c *counter) Apply(*raft.Log) any { c.n++; return c.n }
func (c *counter) Snapshot() (raft.FSMSnapshot, error) {
	return nil, errors.New("the baseline takes none")
}
func (c *counter) Restore(io.ReadCloser) error { return nil }

// newRaftRole is the node in its child.
func newRaftRole() (methods, func()) {
	var node *raft.Raft
	m := methods{
		"start": method(func(_ context.Context, in raftStart) (none, error) {
			var err error
			node, err = startRaft(in)
			return none{}, err
		}),
		"leads": method(func(context.Context, none) (bool, error) { return node.State() == raft.Leader, nil }),
		"write": method(func(_ context.Context, timeout time.Duration) (bool, error) {
			return node.Apply([]byte("0d4cd35c-8b5e-4ba4-8b8c-0b3d6f6bb5c4"), timeout).Error() == nil, nil
		}),
		"writes": method(func(context.Context, none) (uint64, error) { return node.AppliedIndex(), nil }),
	}
	return m, func() {}
}

func startRaft(in raftStart) (*raft.Raft, error) {
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(in.ID)
	conf.HeartbeatTimeout, conf.ElectionTimeout = globalnode.DefaultElectionTimeout, globalnode.DefaultElectionTimeout
	conf.LeaderLeaseTimeout = globalnode.DefaultElectionTimeout / 2
	conf.CommitTimeout = globalnode.DefaultElectionTimeout / 20
	conf.Logger = hclog.New(&hclog.LoggerOptions{Output: os.Stderr, Level: hclog.Info})
	db, err := raftboltdb.New(raftboltdb.Options{
		Path: filepath.Join(in.Dir, "raft.db"), BoltOptions: &bbolt.Options{NoFreelistSync: true}, MsgpackUseNewTimeFormat: true,
	})
	if err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	snaps, err := raft.NewFileSnapshotStoreWithLogger(in.Dir, 1, conf.Logger)
	if err != nil {
		return nil, fmt.Errorf("opening the snapshots: %w", err)
	}
	trans, err := raft.NewTCPTransportWithLogger(in.ID, nil, 3, 10*time.Second, conf.Logger)
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	var all raft.Configuration
	for _, address := range in.Servers {
		all.Servers = append(all.Servers, raft.Server{ID: raft.ServerID(address), Address: raft.ServerAddress(address)})
	}
	if err := raft.BootstrapCluster(conf, db, db, snaps, trans, all); err != nil && !errors.Is(err, raft.ErrCantBootstrap) {
		return nil, fmt.Errorf("founding: %w", err)
	}
	return raft.NewRaft(conf, &counter{}, db, db, snaps, trans)
}

// bareRaft is the cluster of them, seen from the parent.
type bareRaft struct {
	*scope
	starts []raftStart
	nodes  []*child
}

func (s *scope) startBareRaft(ctx context.Context, n int) (*bareRaft, error) {
	b := &bareRaft{scope: s}
	var servers []string
	for range n {
		address, err := freePort()
		if err != nil {
			return nil, err
		}
		servers = append(servers, address)
	}
	for i, address := range servers {
		dir := filepath.Join(s.dir, fmt.Sprintf("raft-%d", i+1))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("making a folder: %w", err)
		}
		b.starts = append(b.starts, raftStart{address, dir, servers})
		b.nodes = append(b.nodes, nil)
		if err := b.launch(ctx, i); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (b *bareRaft) launch(ctx context.Context, i int) (err error) {
	if b.nodes[i], err = b.role("raft", filepath.Base(b.starts[i].Dir)); err != nil {
		return err
	}
	_, err = ask[none](ctx, b.nodes[i], "start", b.starts[i])
	return err
}

// leader waits for one.
func (b *bareRaft) leader(ctx context.Context) (leader int, err error) {
	err = until(ctx, "a leader of the baseline", func() (bool, error) {
		for i, node := range b.nodes {
			if leads, err := ask[bool](ctx, node, "leads", none{}); err == nil && leads {
				leader = i
				return true, nil
			}
		}
		return false, nil
	})
	return leader, err
}

// kill ends the leader and returns how long it took until another took a write,
// which is tried at both that are left; then it brings the killed one back.
func (b *bareRaft) kill(ctx context.Context) (time.Duration, error) {
	lost, err := b.leader(ctx)
	if err != nil {
		return 0, err
	}
	if ok, err := ask[bool](ctx, b.nodes[lost], "write", time.Second); err != nil || !ok {
		return 0, fmt.Errorf("the baseline takes no write: %w", err)
	}
	b.nodes[lost].kill()
	begun := time.Now()
	err = until(ctx, "a write at the baseline", func() (bool, error) {
		for i, node := range b.nodes {
			if i == lost {
				continue
			}
			if ok, err := ask[bool](ctx, node, "write", time.Second); err != nil || ok {
				return ok, err
			}
		}
		return false, nil
	})
	took := time.Since(begun)
	if err != nil {
		return 0, err
	}
	if err := b.launch(ctx, lost); err != nil {
		return 0, err
	}
	return took, b.level(ctx)
}

// level waits until all nodes have applied the same.
func (b *bareRaft) level(ctx context.Context) error {
	return until(ctx, "the baseline to be level", func() (bool, error) {
		var first uint64
		for i, node := range b.nodes {
			n, err := ask[uint64](ctx, node, "writes", none{})
			if err != nil {
				return false, err
			}
			if i == 0 {
				first = n
			} else if n != first {
				return false, nil
			}
		}
		return true, nil
	})
}
