package raftstore

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/state"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// fsm is the state behind Raft. Raft calls Apply, Snapshot and Restore from one
// goroutine; everybody else reads what was published.
type fsm struct {
	state     *state.State
	published atomic.Pointer[state.State]
	watch     broadcast // a change that zones see
	progress  broadcast // any command
	admission broadcast // a change that may concern who holds a session
	picture   broadcast // a change of what lists show
	trust     broadcast // a change of who is trusted with a connection

	applied func(raftIndex uint64) // told of each entry and snapshot that was applied

	// home is the cluster that this node's directory is of, "" for a new one, and among the
	// one of the last snapshot whose members this node is among.
	home  string
	among atomic.Pointer[string]

	started atomic.Bool // Raft has restored what the directory had
	failed  atomic.Pointer[federation.Error]
	failure chan struct{} // closed when failed is set
}

func newFSM() *fsm {
	f := &fsm{state: state.NewState(), watch: newBroadcast(), progress: newBroadcast(), admission: newBroadcast(), picture: newBroadcast(), trust: newBroadcast(), applied: func(uint64) {}, failure: make(chan struct{})}
	f.published.Store(f.state.Capture())
	return f
}

func (f *fsm) current() *state.State { return f.published.Load() }

// outcome is what Apply answers to the proposer: the result, and the state right
// after it.
type outcome struct {
	result *storepb.Result
	state  *state.State
}

// errHalted is the answer to everything after a command that could not be applied.
var errHalted = errors.New("the replicated state is halted")

// Apply applies one entry of Raft's log. A command that is damaged or unknown
// halts the node: to skip it would let this node differ from the others.
func (f *fsm) Apply(l *raft.Log) any {
	if f.failed.Load() != nil {
		return errHalted
	}
	result, err := f.apply(l.Index, l.Data)
	if err == nil {
		f.publish()
		f.applied(l.Index)
		return outcome{result, f.current()}
	}
	f.fail(commandError(l.Index, err))
	return errHalted
}

// apply guards against a defect in the state: a panic halts the node in an
// orderly way, with the last good state still served.
func (f *fsm) apply(index uint64, entry []byte) (result *storepb.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("defect while applying: %v", p)
		}
	}()
	if at := f.state.RaftApplied(); index <= at {
		return nil, fmt.Errorf("the state went past it, to entry %d: no command led there, and the snapshot that it was read from says so", at)
	}
	return f.state.Apply(index, entry)
}

func commandError(index uint64, err error) *federation.Error {
	e := federation.Errorf(federation.Internal, "entry %d of the replicated log cannot be applied: %w", index, err)
	if errors.Is(err, state.ErrNewer) {
		return e.WithHint("start this node with the newer version of the program; nothing is lost")
	}
	return e.WithHint("move this node's data folder away and let it join again as a new member, or restore a backup")
}

func (f *fsm) fail(err *federation.Error) {
	if f.failed.CompareAndSwap(nil, err) {
		close(f.failure)
	}
}

// publish lets readers see the state, then wakes those who wait for it.
func (f *fsm) publish() {
	before := f.published.Swap(f.state.Capture())
	if before.Revision() != f.state.Revision() {
		f.watch.wake()
	}
	if state.AdmissionChanged(before, f.state) {
		f.admission.wake()
	}
	if state.ReadViewChanged(before, f.state) {
		f.picture.wake()
	}
	if state.TrustChanged(before, f.state) {
		f.trust.wake()
	}
	f.progress.wake()
}

// Snapshot captures the state; it is written while more is applied.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if f.failed.Load() != nil {
		return nil, errHalted
	}
	return fsmSnapshot{f.current()}, nil
}

// Restore replaces the state by that of a snapshot.
func (f *fsm) Restore(in io.ReadCloser) error {
	if f.failed.Load() != nil {
		return errHalted
	}
	next, err := state.ReadSnapshot(in)
	if err != nil {
		e := federation.Errorf(federation.Internal, "a snapshot cannot be restored: %w", err).
			WithHint("no command could have led to it: find out who can write to the data directory of the member that sent it, or of this one; this member, with an emptied directory, joins again")
		if errors.Is(err, state.ErrNewer) {
			e = e.WithHint("start this node with the newer version of the program; nothing is lost")
		}
		f.fail(e)
		return err
	}
	if err := f.mayBecome(next); err != nil {
		f.fail(err)
		return err
	}
	f.state = next
	f.publish()
	f.applied(next.RaftApplied())
	return nil
}

// mayBecome refuses a snapshot of another cluster. A restore may have changed the cluster's
// id while this member was away: the members are the same ones then, this node among them,
// and the history is newer. What a start finds in its own directory is its own.
func (f *fsm) mayBecome(next *state.State) *federation.Error {
	cluster := f.state.Cluster()
	if cluster == "" && !f.started.Load() {
		return nil
	}
	if cluster == "" {
		cluster = f.home
	}
	among := f.among.Load()
	if cluster == "" || cluster == next.Cluster() || among != nil && *among == next.Cluster() && next.History().Compare(f.state.History()) > 0 {
		return nil
	}
	return federation.Errorf(federation.Conflict, "the leader sent a snapshot of cluster %.64s, and this node belongs to cluster %s", next.Cluster(), cluster).
		WithReason("another_cluster").WithHint("check the addresses that this node was started with (--join) and its certificates; if a backup of that cluster was restored over this one meanwhile, empty this node's directory, and it joins again")
}

type fsmSnapshot struct{ state *state.State }

func (s fsmSnapshot) Persist(sink raft.SnapshotSink) error { return s.state.WriteSnapshot(sink) }

func (fsmSnapshot) Release() {}

// broadcast wakes everybody who waits.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{}
}

func newBroadcast() broadcast { return broadcast{ch: make(chan struct{})} }

func (b *broadcast) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ch
}

func (b *broadcast) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.ch)
	b.ch = make(chan struct{})
}
