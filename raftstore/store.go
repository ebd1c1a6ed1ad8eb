package raftstore

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/disk"
	"github.com/meridiankds/meridian/raftstore/state"
)

// Defaults of Config.
const (
	DefaultElectionTimeout   = 350 * time.Millisecond
	DefaultSnapshotThreshold = 8192
)

// Config is what a node of the cluster is started with.
type Config struct {
	// Dir is the data folder. It is made (0700) where it is not there, and holds
	// node.json, raft.db and snapshots/.
	Dir string
	// Layer connects the members. The store closes it when Run returns.
	Layer raft.StreamLayer
	// Advertise is the address at which the other members reach Layer; empty:
	// Layer's own.
	Advertise raft.ServerAddress
	// Seal are the seal keys of this cluster.
	Seal *issue.SealKeys
	// Bootstrap lets a node whose folder is empty found a cluster of its own.
	// Without it such a node waits until a member adds it.
	Bootstrap bool
	// ControlPlaneKey is the secret with which an earlier control plane signed its
	// control plane tokens. A cluster that is founded with it has it as serial 1,
	// imported, so that those tokens, which name serial 1, go on being good.
	// Afterwards it is not looked at. nil: a key is made.
	ControlPlaneKey []byte
	// Logger, Now and Rand default to discarding, the system's clock and
	// crypto/rand. Keys are always made with crypto/rand.
	Logger *slog.Logger
	Now    func() time.Time
	Rand   io.Reader
	// ElectionTimeout scales all of Raft's timeouts.
	ElectionTimeout time.Duration
	// SnapshotThreshold is how many log entries lead to a snapshot.
	SnapshotThreshold uint64
	// Committed is told how long each change that this node proposed took until it
	// was replicated and applied here; nil: nobody is.
	Committed func(took time.Duration)
	// WrapTransport lets a test lose or double what Raft sends; nil if unset.
	WrapTransport TransportWrapper
}

// TransportWrapper returns what Raft of the node self uses in place of t.
type TransportWrapper func(self string, t raft.Transport) raft.Transport

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Dir == "":
		return c, federation.Errorf(federation.Invalid, "no data folder is given")
	case c.Layer == nil:
		return c, federation.Errorf(federation.Invalid, "no peer listener is given")
	case c.Seal == nil:
		return c, federation.Errorf(federation.Invalid, "no seal key is given").
			WithHint("make one with global generate seal-key and name its file with --seal-key-file")
	}
	if c.Advertise == "" {
		c.Advertise = raft.ServerAddress(c.Layer.Addr().String())
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.ElectionTimeout == 0 {
		c.ElectionTimeout = DefaultElectionTimeout
	}
	if c.ElectionTimeout < 20*time.Millisecond || c.ElectionTimeout > time.Minute {
		return c, federation.Errorf(federation.Invalid, "the election timeout %s is not between 20ms and 1m", c.ElectionTimeout)
	}
	if c.SnapshotThreshold == 0 {
		c.SnapshotThreshold = DefaultSnapshotThreshold
	}
	return c, nil
}

// Store is one member of the replicated state. Reads answer from the newest state
// that this member has applied and never wait; writes go through Raft and succeed
// on the leader only. It is safe for concurrent use.
type Store struct {
	cfg     Config
	log     *slog.Logger
	node    disk.Identity
	fsm     *fsm
	signers signers
	broken  brokenCache
	lack    lackCache
	secrets secretCache
	memory  memory
	pruning *pruneClock
	// distrust is what the files said when the node was opened.
	distrust disk.Distrust

	// foundAt is the feature level of a cluster that this node founds.
	foundAt atomic.Uint32
	started atomic.Bool
	// withheld: this node was elected and does not lead, for want of a seal key.
	withheld atomic.Bool
	raft     atomic.Pointer[raft.Raft] // nil before it runs and after
	writing  sync.RWMutex              // held to read while a write is under way
	lead     leadership
	running  chan struct{}
	begun    atomic.Pointer[time.Time]
	ready    chan struct{}
}

// Open checks the data folder and returns a store that is not started. Every file
// is read and checked first: where one is damaged, written by a newer program, or
// was last started with another seal key, the error names it and says what to do, and
// nothing on disk is changed. Only then is the identity of a new node written.
func Open(cfg Config) (*Store, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	n, isNew, err := disk.LoadIdentity(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if !isNew {
		if err := n.VerifySeal(cfg.Dir, cfg.Seal); err != nil {
			return nil, err
		}
	}
	distrust, err := disk.CheckDirectory(cfg.Dir, &n, isNew)
	if err != nil {
		return nil, err
	}
	if isNew {
		if n, err = disk.NewIdentity(cfg.Dir, cfg.Seal, cfg.Rand); err != nil {
			return nil, err
		}
	}
	s := &Store{
		cfg:     cfg,
		log:     cfg.Logger,
		node:    n,
		fsm:     newFSM(),
		pruning: newPruneClock(),

		distrust: distrust,

		lead:    leadership{changed: make(chan struct{})},
		running: make(chan struct{}),
		ready:   make(chan struct{}),
	}
	s.fsm.home = n.Cluster
	s.foundAt.Store(state.Level)
	if err := s.recall(); err != nil {
		return nil, err
	}
	return s, nil
}

// NodeID is the random name of this node, for ever the same in its data folder.
func (s *Store) NodeID() string { return s.node.ID }

// ClusterID is the cluster's id, "" before this node knows it.
func (s *Store) ClusterID() string { return s.fsm.current().Cluster() }

// Applied is the index of the last command that this node applied: Raft's, and after
// the restore of a backup with a longer log a constant more.
func (s *Store) Applied() uint64 { return s.fsm.current().Applied() }

// Ready is closed when the cluster is founded and this node has caught up with it.
// Whether it can also use every key, CanSign says.
func (s *Store) Ready() <-chan struct{} { return s.ready }

// Leader returns the id and address of the leader as this node knows it, empty
// where it knows none.
func (s *Store) Leader() (id, addr string) {
	r := s.raft.Load()
	if r == nil {
		return "", ""
	}
	a, i := r.LeaderWithID()
	return string(i), string(a)
}

// IsLeader reports whether this node leads and has everything applied that was
// acknowledged before.
func (s *Store) IsLeader() bool { return s.lead.current() != nil }

// LeaderContext waits until this node leads, everything that was acknowledged
// before is applied, and every key has been tested. It returns a context that
// ends with ctx or when the leadership is lost.
func (s *Store) LeaderContext(ctx context.Context) (context.Context, error) {
	return s.lead.wait(ctx)
}

// Head returns the cluster's id and the revision of the last change that zones
// see; zero before the cluster is founded.
func (s *Store) Head() (cluster string, rev federation.Revision) {
	st := s.fsm.current()
	return st.Cluster(), st.Revision()
}

// Watch returns a channel that is closed at the next acknowledged change. Get
// it before reading Head, so that no change falls between.
func (s *Store) Watch() <-chan struct{} { return s.fsm.watch.next() }

// Since returns what leads a zone at rev to this node's state; full state where
// rev is zero, of an older history, or from before the oldest tombstone. It is an
// Unavailable error where rev is ahead of this node. A broken key is a removed one.
func (s *Store) Since(rev federation.Revision) (cptoken.Delta, error) {
	st := s.fsm.current()
	d, err := st.Since(rev)
	if err != nil {
		return d, err
	}
	d.Position = s.positionOf(st)
	return s.brokenIn(st).withhold(d), nil
}

// View returns the public keys, revocations and cut-offs of every kind as they are now,
// without keys that are broken, or that this node cannot open to tell: [Store.CanSign] says
// so then. It does not change any more: take a new one for each token.
func (s *Store) View() cptoken.View {
	st := s.fsm.current()
	return trusted{st.View(), s.brokenIn(st), s.lacks(st)}
}
