package membership

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/global/peer"
	"github.com/meridiankds/meridian/raftstore"
	"github.com/meridiankds/meridian/raftstore/state"
)

// Store is what membership needs of the replicated state; *raftstore.Store is one.
type Store interface {
	NodeID() string
	ClusterID() string
	Running() <-chan struct{}
	Ready() <-chan struct{}
	HoldsState() bool
	IsLeader() bool
	Leader() (id, addr string)
	LeaderContext(ctx context.Context) (context.Context, error)
	LeaderContact() time.Duration
	Applied() uint64

	Members() []raftstore.Member
	AddressOf(id string) string
	Locate(id, addr string)
	Bootstrap(level uint32) error
	FeatureLevel() uint32
	RaiseLevel(ctx context.Context, o raftstore.Origin, level uint32) error
	AddMember(id, addr string) error
	PromoteMember(id string) error
	DemoteMember(id string) error
	TransferLead(id string) error
	RemoveMember(id string) error
}

// Peers asks other nodes; *peer.Client does.
type Peers interface {
	Hello(ctx context.Context, addr string, self peer.Hello) (peer.Hello, error)
	Promise(ctx context.Context, to peer.Target, p peer.Promise) error
	Join(ctx context.Context, to peer.Target, r peer.JoinRequest) error
}

// Fleet knows which members report; *fleet.Fleet does.
type Fleet interface {
	// Reported returns what the member last said it had applied, and whether its
	// report still counts.
	Reported(member string) (applied uint64, live bool)
	// Heard returns how long ago the member reported to this leader, if it did.
	Heard(member string) (ago time.Duration, ok bool)
	Forget(member string)
}

// Defaults of Config.
const (
	DefaultStabilize = 10 * time.Second
	DefaultDeadAfter = 10 * time.Minute
)

// Config is what a Membership is made from. Stabilize, DeadAfter and Now have defaults.
type Config struct {
	Peers Peers
	Fleet Fleet
	// Advertise is where other members reach this one.
	Advertise string
	Version   string
	// Expect is how many nodes found the cluster, Join where to look for them.
	Expect int
	Join   []string
	// NonVoter has this node follow without a vote: it founds nothing, is never promoted,
	// and gives a vote back that it had.
	NonVoter bool
	// Stabilize is how long a new member must keep up before it is promoted,
	// DeadAfter how long a dead one may be silent before it may be removed.
	Stabilize, DeadAfter time.Duration
	Logger               *slog.Logger
	Now                  func() time.Time
}

// Membership is one node's part in it. It is safe for concurrent use.
type Membership struct {
	cfg   Config
	boot  string
	store Store

	mu       sync.Mutex
	runs     map[string]run // in which run of its process a node was last found
	sees     []string       // what this node saw in its last round, before the founding
	promised string         // the founder that has this node's word
	founder  bool
	refusals int               // how often in a row the leader called this node removed
	refusal  *federation.Error // in which words
	said     map[string]string // what was last said in the log, by topic
	levels   map[string]uint32 // the feature levels that members last named
	// nonVoters are the nodes that last said that they want no vote.
	nonVoters map[string]bool
	boots     map[string]string // in which run of its process a member last reported

	joining sync.Mutex // the leader takes in one node after the other
	settled chan struct{}
}

// run is one run of a node's process.
type run struct {
	boot   string
	former string // where the node was found before it
}

// New returns a Membership. Attach must be called before anything else.
func New(cfg Config) *Membership {
	if cfg.Stabilize == 0 {
		cfg.Stabilize = DefaultStabilize
	}
	if cfg.DeadAfter == 0 {
		cfg.DeadAfter = DefaultDeadAfter
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Membership{
		cfg: cfg, boot: rand.Text(), runs: map[string]run{}, said: map[string]string{},
		levels: map[string]uint32{}, nonVoters: map[string]bool{}, boots: map[string]string{},
		settled: make(chan struct{}),
	}
}

// Boot names this run of the process in what it tells others.
func (m *Membership) Boot() string { return m.boot }

// Attach gives m the store that it works for.
func (m *Membership) Attach(s Store) { m.store = s }

// Known are the addresses where others may be, as this node knows before Raft runs.
func (m *Membership) Known() (to []peer.Target) {
	for _, addr := range m.addresses() {
		to = append(to, peer.Target{Addr: addr})
	}
	return to
}

// Settled is closed when the node may serve as far as its membership goes: at
// once, but at a founder, which waits for the others.
func (m *Membership) Settled() <-chan struct{} { return m.settled }

// Run looks for the others, founds, joins, and is the steward while this node leads.
// It returns when ctx ends, or with an error where this node must not run.
func (m *Membership) Run(ctx context.Context) error {
	select {
	case <-m.store.Running():
	case <-ctx.Done():
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return m.settle(ctx) })
	group.Go(func() error { return m.look(ctx) })
	group.Go(func() error { return m.steward(ctx) })
	return group.Wait()
}

// hello is what this node says of itself.
func (m *Membership) hello() peer.Hello {
	select {
	case <-m.store.Running():
	default:
		// It must not say that it holds no state before it knows.
		return peer.Hello{NodeID: m.store.NodeID(), Boot: m.boot, Starting: true, NonVoter: m.cfg.NonVoter}
	}
	h := peer.Hello{
		NodeID: m.store.NodeID(), Boot: m.boot, Cluster: m.store.ClusterID(), Address: m.cfg.Advertise,
		Version: m.cfg.Version, Level: state.Level, HoldsState: m.store.HoldsState(), Expect: m.cfg.Expect,
		NonVoter: m.cfg.NonVoter, Applied: m.store.Applied(),
	}
	h.Leader, h.LeaderAddress = m.store.Leader()
	m.mu.Lock()
	defer m.mu.Unlock()
	h.Sees = m.sees
	return h
}

// say logs what is new about a topic, once.
func (m *Membership) say(topic, text string, args ...any) {
	m.mu.Lock()
	before := m.said[topic]
	m.said[topic] = text
	m.mu.Unlock()
	if text != "" && text != before {
		m.cfg.Logger.Warn(text, args...)
	}
}

// settle closes settled once a founder has its voters.
func (m *Membership) settle(ctx context.Context) error {
	select {
	case <-m.store.Ready():
	case <-ctx.Done():
		return nil
	}
	m.mu.Lock()
	founder := m.founder
	m.mu.Unlock()
	for founder && voters(m.store.Members()) < m.cfg.Expect {
		if !sleep(ctx, lookEvery/5) {
			return nil
		}
	}
	close(m.settled)
	return nil
}

func voters(members []raftstore.Member) (n int) {
	for _, m := range members {
		if m.Voter {
			n++
		}
	}
	return n
}

// sleep waits, and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func idTaken(id, at string) error {
	return federation.Errorf(federation.Conflict, "the node id %s is taken: the node at %s runs under it", id, at).
		WithReason("node_id_taken").
		WithHint("this data folder is a copy of that node's; empty it, and the node joins as a new one")
}
