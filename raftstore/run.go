package raftstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sync/errgroup"

	"github.com/meridiankds/meridian/federation"
)

const (
	logCacheEntries  = 64 // entries may have half a MiB each
	keptSnapshots    = 2
	peerConnections  = 3
	peerTimeout      = 10 * time.Second
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
	db, err := s.openLog()
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
		err = errors.Join(err, unwritable(filepath.Join(s.cfg.Dir, logFile), closed))
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

// openLog opens raft.db for writing. It was checked by Open; recover guards against
// what happened to it since.
func (s *Store) openLog() (db *raftboltdb.BoltStore, err error) {
	path := filepath.Join(s.cfg.Dir, logFile)
	defer func() {
		if p := recover(); p != nil {
			err = damaged(path, fmt.Errorf("opening it failed: %v", p))
		}
	}()
	db, err = raftboltdb.New(raftboltdb.Options{
		Path:                    path,
		BoltOptions:             &bbolt.Options{NoFreelistSync: true, Timeout: time.Second},
		MsgpackUseNewTimeFormat: true,
	})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, inUse(path, err)
	}
	if err != nil {
		return nil, unwritable(path, err)
	}
	return db, nil
}

// process is Raft while it runs.
type process struct {
	raft   *raft.Raft
	trans  *transport
	logs   raft.LogStore
	stored *guardedLog // what logs writes to
	notify chan bool
	fresh  bool // this start made the cluster's first configuration
}

func (s *Store) startRaft(db *raftboltdb.BoltStore) (p *process, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = damaged(s.cfg.Dir, fmt.Errorf("starting Raft failed: %v", r))
		}
	}()
	logger := raftLogger(s.log)
	p = &process{notify: make(chan bool, 16)}
	conf := s.raftConfig()
	conf.Logger, conf.NotifyCh = logger, p.notify

	if err := s.tidySnapshots(); err != nil {
		return nil, err
	}
	files, err := raft.NewFileSnapshotStoreWithLogger(s.cfg.Dir, keptSnapshots, logger)
	if err != nil {
		return nil, unwritable(filepath.Join(s.cfg.Dir, snapshotsDir), err)
	}
	snaps, stable := sumSnapshots{files}, sumStable{db}
	p.stored = newGuardedLog(sumLog{db})
	logs, err := raft.NewLogCache(logCacheEntries, p.stored)
	if err != nil {
		return nil, err
	}
	p.logs = logs
	p.trans = newTransport(&raft.NetworkTransportConfig{
		Stream: newPeerLayer(advertised{s.cfg.Layer, s.cfg.Advertise}, s.node.ID), MaxPool: peerConnections, Timeout: peerTimeout,
		Logger: logger, MsgpackUseNewTimeFormat: true, ServerAddressProvider: addresses{s},
	})
	trans := p.trans
	defer func() {
		if err != nil {
			err = errors.Join(err, trans.Close())
		}
	}()
	if err := forgetBootstrap(logs, stable, snaps); err != nil {
		return nil, unwritable(filepath.Join(s.cfg.Dir, logFile), err)
	}
	known, err := raft.HasExistingState(logs, stable, snaps)
	if err != nil {
		return nil, damaged(s.cfg.Dir, err)
	}
	if !known && s.cfg.Bootstrap {
		if err := s.mayFound(); err != nil {
			return nil, err
		}
		p.fresh = true
		alone := raft.Configuration{Servers: []raft.Server{{
			Suffrage: raft.Voter, ID: raft.ServerID(s.node.ID), Address: s.cfg.Advertise,
		}}}
		if err := raft.BootstrapCluster(conf, logs, stable, snaps, p.trans, alone); err != nil {
			return nil, unwritable(filepath.Join(s.cfg.Dir, logFile), err)
		}
	}
	var between raft.Transport = plainNames{p.trans}
	if s.cfg.Intercept != nil {
		between = intercepted{plainNames{p.trans}, s.node.ID, s.cfg.Intercept}
	}
	p.raft, err = raft.NewRaft(conf, s.fsm, logs, stable, snaps, between)
	if err != nil {
		if f := s.fsm.failed.Load(); f != nil {
			return nil, f
		}
		return nil, damaged(s.cfg.Dir, err)
	}
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

// tidySnapshots makes the folder as private as the rest, and removes snapshots that
// were never finished.
func (s *Store) tidySnapshots() error {
	dir := filepath.Join(s.cfg.Dir, snapshotsDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return unwritable(dir, err)
	}
	if err := os.Chmod(dir, 0o700); err != nil { // it may be there from before
		return unwritable(dir, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return unreadable(dir, err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".tmp") {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return unwritable(dir, err)
		}
	}
	return nil
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
	p.trans.end()
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
