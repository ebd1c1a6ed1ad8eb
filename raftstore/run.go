package raftstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"

	"github.com/meridiankds/meridian/raftstore/disk"
	"github.com/meridiankds/meridian/raftstore/raftnet"

	"golang.org/x/sync/errgroup"

	"github.com/meridiankds/meridian/federation"
)

const (
	logCacheEntries  = 64 // entries may have half a MiB each
	snapshotInterval = 2 * time.Minute
)

// Run starts Raft, founds a cluster where that is allowed and there is none, and
// blocks until ctx ends, which is no error, or this node cannot go on: a command
// that it cannot apply, or a key that it cannot use. It may be called once, and
// closes Config.Layer.
func (s *Store) Run(ctx context.Context) error {
	if !s.started.CompareAndSwap(false, true) {
		return federation.Errorf(federation.Internal, "the store was started before")
	}
	db, err := disk.OpenLog(s.cfg.Dir)
	if err != nil {
		return errors.Join(err, s.closeLayer())
	}
	p, err := s.startRaft(db)
	if err != nil {
		return errors.Join(err, s.closeLayer(), db.Close())
	}
	err = s.serve(ctx, p)
	p.stop(s)
	if closed := db.Close(); closed != nil {
		err = errors.Join(err, disk.Unwritable(filepath.Join(s.cfg.Dir, disk.LogFile), closed))
	}
	return err
}

// closeLayer closes the peer listener, which Raft's transport may have done.
func (s *Store) closeLayer() error {
	if err := s.cfg.Layer.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// process is Raft while it runs.
type process struct {
	raft   *raft.Raft
	trans  *raftnet.Transport
	logs   raft.LogStore
	stored *disk.GuardedLog // what logs writes to
	notify chan bool
	fresh  bool // this start made the cluster's first configuration
}

func (s *Store) startRaft(db *disk.Log) (p *process, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = disk.Damaged(s.cfg.Dir, fmt.Errorf("starting Raft failed: %v", r))
		}
	}()
	logger := raftnet.Logger(s.log)
	p = &process{notify: make(chan bool, 16)}
	conf := s.raftConfig()
	conf.Logger, conf.NotifyCh = logger, p.notify

	snaps, err := disk.OpenSnapshots(s.cfg.Dir, logger)
	if err != nil {
		return nil, err
	}
	stable := db.Values
	snaps = s.memory.guard.GuardSnapshots(snaps)
	p.stored = disk.NewGuardedLog(s.memory.guard.GuardLog(db.Entries))
	logs, err := raft.NewLogCache(logCacheEntries, p.stored)
	if err != nil {
		return nil, err
	}
	p.logs = logs
	p.trans = raftnet.NewTransport(raftnet.Config{
		Layer: s.cfg.Layer, Advertise: s.cfg.Advertise, Self: s.node.ID, Addresses: addresses{s}, Logger: logger,
	})
	trans := p.trans
	defer func() {
		if err != nil {
			err = errors.Join(err, trans.Close())
		}
	}()
	if err := disk.ForgetBootstrap(logs, stable, snaps); err != nil {
		return nil, disk.Unwritable(filepath.Join(s.cfg.Dir, disk.LogFile), err)
	}
	known, err := raft.HasExistingState(logs, stable, snaps)
	if err != nil {
		return nil, disk.Damaged(s.cfg.Dir, err)
	}
	if !known && s.cfg.Bootstrap {
		if err := s.mayFound(); err != nil {
			return nil, err
		}
		p.fresh = true
		alone := raft.Configuration{Servers: []raft.Server{{
			Suffrage: raft.Voter, ID: raft.ServerID(s.node.ID), Address: s.joinAddress(),
		}}}
		if err := raft.BootstrapCluster(conf, logs, stable, snaps, p.trans, alone); err != nil {
			return nil, disk.Unwritable(filepath.Join(s.cfg.Dir, disk.LogFile), err)
		}
	}
	var between raft.Transport = p.trans
	if s.cfg.WrapTransport != nil {
		between = s.cfg.WrapTransport(s.node.ID, between)
	}
	p.raft, err = raft.NewRaft(conf, s.fsm, logs, stable, snaps, between)
	if err != nil {
		if f := s.fsm.failed.Load(); f != nil {
			return nil, f
		}
		return nil, disk.Damaged(s.cfg.Dir, err)
	}
	s.fsm.started.Store(true)
	s.raft.Store(p.raft)
	begun := time.Now()
	s.begun.Store(&begun)
	close(s.running)
	return p, nil
}

// raftConfig derives every timeout from one: the lease and the commit interval in
// the proportions of Raft's own defaults.
func (s *Store) raftConfig() *raft.Config {
	conf := raft.DefaultConfig()
	conf.ProtocolVersion = raft.ProtocolVersionMax
	conf.LocalID = raft.ServerID(s.node.ID)
	conf.HeartbeatTimeout = s.cfg.ElectionTimeout
	conf.ElectionTimeout = s.cfg.ElectionTimeout
	conf.LeaderLeaseTimeout = s.cfg.ElectionTimeout / 2
	conf.CommitTimeout = s.cfg.ElectionTimeout / 20
	conf.SnapshotThreshold = s.cfg.SnapshotThreshold
	conf.SnapshotInterval = snapshotInterval
	conf.ShutdownOnRemove = false
	conf.NoLegacyTelemetry = true
	return conf
}

// serve does what a member does beside Raft, until ctx ends or it cannot go on.
func (s *Store) serve(ctx context.Context, p *process) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, work := errgroup.WithContext(ctx)
	group.Go(func() error { return s.followLeadership(work, p) })
	group.Go(func() error { return s.awaitReady(work, p) })
	group.Go(func() error { return s.followSealCheck(work) })
	group.Go(func() error { return s.awaitUnstored(work, p.stored) })
	group.Go(func() error { return s.keepMemory(work) })
	group.Go(func() error { return s.awaitContradiction(work) })
	group.Go(func() error {
		select {
		case <-s.fsm.failure:
			return s.fsm.failed.Load()
		case <-work.Done():
			return nil
		}
	})
	if err := group.Wait(); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// stop leaves the cluster in an orderly way. Writes that are under way end first,
// because Raft may leave them without an answer when it shuts down; a leader hands
// over, so that the others need not wait for a timeout.
func (p *process) stop(s *Store) {
	s.writing.Lock()
	s.raft.Store(nil)
	s.writing.Unlock()
	if p.raft.State() == raft.Leader && voters(p.raft) > 1 {
		if err := p.raft.LeadershipTransfer().Error(); err != nil {
			s.log.Info("the leadership could not be handed over", "error", err)
		}
	}
	if err := p.raft.Shutdown().Error(); err != nil {
		s.log.Warn("Raft did not stop cleanly", "error", err)
	}
	p.trans.End()
}

func voters(r *raft.Raft) (n int) {
	for _, server := range members(r) {
		if server.Suffrage == raft.Voter {
			n++
		}
	}
	return n
}

func members(r *raft.Raft) []raft.Server {
	future := r.GetConfiguration()
	if future.Error() != nil {
		return nil
	}
	return future.Configuration().Servers
}

// mayFound refuses to found a cluster in the folder of a node that has one.
func (s *Store) mayFound() error {
	if s.node.Cluster == "" {
		return nil
	}
	return s.node.LostLog(s.cfg.Dir, "it holds no state")
}

// awaitUnstored ends a node that cannot store anything before it was ready once.
func (s *Store) awaitUnstored(ctx context.Context, g *disk.GuardedLog) error {
	select {
	case <-s.ready:
	case <-ctx.Done():
	case <-g.GaveUp():
		return disk.Unwritable(filepath.Join(s.cfg.Dir, disk.LogFile), fmt.Errorf(
			"no entry could be stored in %d attempts, the last time: %w", disk.MaxUnstored, g.Err()))
	}
	return nil
}
