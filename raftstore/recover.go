package raftstore

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/disk"
	"github.com/meridiankds/meridian/raftstore/raftnet"
	"github.com/meridiankds/meridian/raftstore/state"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// RecoverOptions say how a recovery is done.
type RecoverOptions struct {
	// DryRun reads and changes nothing.
	DryRun bool
	// Logger, Now and Rand default as those of Config do.
	Logger *slog.Logger
	Now    func() time.Time
	Rand   io.Reader
}

// Recovery is what a recovery does, or would do.
type Recovery struct {
	NodeID, ClusterID string
	// Members is the configuration that the folder holds; this node alone is left.
	Members []Member
	// Before is where zones stood as far as this node knows, Revision where its state
	// begins the new history. Of a dry run the history's id is another than later.
	Before, Revision federation.Revision
	// LastIndex is the last entry of Raft's log here. Snapshot is the index of the
	// newest snapshot; entries after it are taken for committed, although the members
	// that are gone may not have had them.
	LastIndex, Snapshot uint64
	// Lacks is the furthest that the folder remembers of a member, where that is
	// beyond LastIndex: what was acknowledged up to there is lost with this node's disk, or
	// with the members that are gone. It is zero where nothing is known to be lost.
	Lacks disk.Standing
	// Counts of what is kept.
	Keys, Zones, Revocations int
}

// Recover makes the node whose data folder this is the only member of its cluster,
// in the manner of Raft's peers.json, and begins a new history, so that zones take
// its state for newer than what the lost members told them. It is for a cluster that
// has lost its majority for good; the folder must not be in use. Everything is
// checked first, and where an error is returned nothing was changed.
//
// One snapshot carries both the configuration and the history: there is no moment at
// which a crash leaves one without the other.
func Recover(dir string, opts RecoverOptions) (Recovery, error) {
	cfg := Config{Dir: dir, Logger: opts.Logger, Now: opts.Now, Rand: opts.Rand}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	node, isNew, err := disk.LoadIdentity(dir)
	if err == nil && isNew {
		err = federation.Errorf(federation.Invalid, "%s is not the data folder of a node", dir).
			WithHint("name the folder of the node that is left with --data-dir")
	}
	if err == nil {
		_, err = disk.CheckDirectory(dir, &node, false)
	}
	if err != nil {
		return Recovery{}, err
	}
	found, err := readFolder(dir)
	if err != nil {
		return Recovery{}, err
	}
	history, plan, err := found.plan(node.ID, cfg)
	if err != nil {
		return plan, err
	}
	if plan.Lacks = found.lacks(dir); opts.DryRun {
		return plan, nil
	}
	if err := recoverFolder(cfg, found.self(node.ID), history, plan.Lacks); err != nil {
		return plan, err
	}
	return plan, disk.ForgetMemory(dir)
}

// folder is what a data folder holds, without Raft running.
type folder struct {
	state    *state.State
	places   map[string]string // where members were last found
	conf     raft.Configuration
	snapshot uint64
	last     uint64
}

// readFolder replays a folder that was checked, and writes nothing.
func readFolder(dir string) (*folder, error) {
	remembered, _ := disk.LoadMemory(dir) // one that cannot be read was being written when the machine failed
	f := &folder{state: state.NewState(), places: remembered.Places}
	if err := f.newestSnapshot(filepath.Join(dir, disk.SnapshotsDir)); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, disk.LogFile)
	db, err := disk.ReadLog(dir)
	if err != nil {
		return nil, disk.Unreadable(path, err)
	}
	err = f.replay(db.Entries)
	if err = errors.Join(err, db.Close()); err != nil {
		return nil, disk.Damaged(path, err)
	}
	return f, nil
}

// lacks is the furthest that standings.json has of a member, where the folder has less.
func (f *folder) lacks(dir string) (most disk.Standing) {
	m, _ := disk.LoadMemory(dir) // one that cannot be read was being written when the machine failed
	for _, s := range append(slices.Collect(maps.Values(m.Others)), m.Own) {
		if s.Raft > max(f.last, most.Raft) && s.History == f.state.History() {
			most = s
		}
	}
	return most
}

// newestSnapshot takes over the snapshot that Raft would restore.
func (f *folder) newestSnapshot(dir string) error {
	best := ""
	var bestMeta raft.SnapshotMeta
	err := disk.EachSnapshot(dir, func(path string) error {
		meta, err := disk.ReadDescription(path)
		if err != nil {
			return disk.Damaged(path, err)
		}
		newer := meta.Term > bestMeta.Term || meta.Term == bestMeta.Term &&
			(meta.Index > bestMeta.Index || meta.Index == bestMeta.Index && meta.ID > bestMeta.ID)
		if best == "" || newer {
			best, bestMeta = path, meta.SnapshotMeta
		}
		return nil
	})
	if err != nil || best == "" {
		return err
	}
	newest, meta, err := disk.OpenSnapshot(best)
	if err != nil {
		return disk.Damaged(best, err)
	}
	f.state, f.conf, f.snapshot, f.last = newest, meta.Configuration, meta.Index, meta.Index
	return nil
}

func (f *folder) replay(log raft.LogStore) error {
	last, err := log.LastIndex()
	if err != nil {
		return err
	}
	for index := f.snapshot + 1; index <= last; index++ {
		var l raft.Log
		if err := log.GetLog(index, &l); err != nil {
			return err
		}
		switch l.Type {
		case raft.LogCommand:
			if _, err := f.state.Apply(index, l.Data); err != nil {
				return fmt.Errorf("entry %d of the log: %w", index, err)
			}
		case raft.LogConfiguration:
			f.conf = raft.DecodeConfiguration(l.Data)
		}
		f.last = index
	}
	return nil
}

// self is the configuration of this node alone.
func (f *folder) self(id string) raft.Configuration {
	var alone raft.Configuration
	for _, s := range f.conf.Servers {
		if string(s.ID) == id {
			s.Suffrage = raft.Voter
			alone.Servers = append(alone.Servers, s)
		}
	}
	return alone
}

func (f *folder) votes(id string) bool {
	for _, s := range f.conf.Servers {
		if string(s.ID) == id {
			return s.Suffrage == raft.Voter
		}
	}
	return false
}

// plan says what a recovery comes to, or why there is nothing to recover.
func (f *folder) plan(id string, cfg Config) (*storepb.History, Recovery, error) {
	r := Recovery{
		NodeID: id, ClusterID: f.state.Cluster(), Before: f.state.Revision(), LastIndex: f.last, Snapshot: f.snapshot,
	}
	voters := 0
	for _, s := range f.conf.Servers {
		m := memberAt(s, f.places)
		if m.Voter {
			voters++
		}
		r.Members = append(r.Members, m)
	}
	r.Keys, r.Zones, r.Revocations = f.state.Size()
	self := f.self(id).Servers
	switch {
	case !f.state.Founded():
		return nil, r, federation.Errorf(federation.Invalid, "%s holds no cluster: it was never founded, or this node never caught up", cfg.Dir).
			WithHint("recover on a member that has the state, or restore a backup into a new cluster")
	case len(self) == 0:
		return nil, r, federation.Errorf(federation.Invalid, "node %s is no member of the cluster as %s knows it", id, cfg.Dir).
			WithHint("recover on a node that was a member")
	case voters == 1 && f.votes(id):
		return nil, r, federation.Errorf(federation.Conflict, "node %s is the only voter already: no majority is lost", id).
			WithReason("alone").WithHint("start it: global server --data-dir %s …", cfg.Dir)
	}
	history, err := newHistory(cfg, f.state.History())
	if err != nil {
		return nil, r, err
	}
	next, err := state.ParseHistory(history)
	r.Revision = federation.Revision{History: next, Index: f.state.Applied()}
	return history, r, err
}

// recoverFSM is the state while Raft rewrites the folder: what it snapshots is in the
// new history.
type recoverFSM struct {
	of      *fsm
	history *storepb.History
	lacks   disk.Standing
}

// Apply implements raft.FSM.
func (f recoverFSM) Apply(l *raft.Log) any { return f.of.Apply(l) }

// Restore implements raft.FSM.
func (f recoverFSM) Restore(in io.ReadCloser) error { return f.of.Restore(in) }

// Snapshot implements raft.FSM.
func (f recoverFSM) Snapshot() (raft.FSMSnapshot, error) {
	if err := f.of.failed.Load(); err != nil {
		return nil, err
	}
	next, err := f.of.state.Recovered(f.history, f.lost(f.of.state))
	if err != nil {
		return nil, err
	}
	return fsmSnapshot{next}, nil
}

// lost is the alarm of what the state is known to lack, nil where no position shows it.
func (f recoverFSM) lost(st *state.State) *storepb.Loss {
	p := readPosition(st, f.lacks.Position)
	history, err := state.ParseHistory(p.GetHistory())
	if err != nil {
		return nil
	}
	if place := st.PlaceOf(history, p.Index, p.Lineage); place != state.Ahead && place != state.Absent {
		return nil
	}
	return &storepb.Loss{
		Position: p, ShownBy: "member " + f.lacks.Node, History: f.history, Applied: st.Revision().Index, Index: st.Applied(),
	}
}

// recoverFolder has Raft write the snapshot and forget the log.
func recoverFolder(cfg Config, alone raft.Configuration, history *storepb.History, lacks disk.Standing) (err error) {
	db, err := disk.OpenLog(cfg.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	logger := raftnet.Logger(cfg.Logger)
	snaps, err := disk.OpenSnapshots(cfg.Dir, logger)
	if err != nil {
		return err
	}
	conf := raft.DefaultConfig()
	conf.ProtocolVersion, conf.LocalID, conf.Logger = raft.ProtocolVersionMax, alone.Servers[0].ID, logger
	_, trans := raft.NewInmemTransport(alone.Servers[0].Address) // dials nobody
	err = raft.RecoverCluster(conf, recoverFSM{newFSM(), history, lacks}, db.Entries, db.Values, snaps, trans, alone)
	if err = errors.Join(err, trans.Close()); err != nil {
		return federation.Errorf(federation.Internal, "the folder %s could not be rewritten: %w", cfg.Dir, err).
			WithHint("check that its disk is not full, and run it again")
	}
	return nil
}
