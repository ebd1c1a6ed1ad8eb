package disk

import (
	"errors"
	"io"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/meridiankds/meridian/federation"
)

// ErrReplaces marks what would replace entries that this member applied: what was
// acknowledged, another log lacks.
var ErrReplaces = errors.New("it would replace what this member has applied")

// AppliedGuard refuses to have what this member applied replaced by another log, as Raft
// would without asking: it takes a leader's word, and forgets its own commit index at a
// restart. It tells of the first refusal, and the member stops.
type AppliedGuard struct {
	applied atomic.Uint64
	// Contains reports whether a snapshot's state went through what this member applied.
	// conf are the members that it was sent with.
	Contains func(snapshot io.Reader, conf raft.Configuration) error

	once    sync.Once
	refused chan struct{}
	err     error
}

// NewAppliedGuard guards what was applied up to an index of Raft's.
func NewAppliedGuard(applied uint64, contains func(io.Reader, raft.Configuration) error) *AppliedGuard {
	g := &AppliedGuard{Contains: contains, refused: make(chan struct{})}
	g.applied.Store(applied)
	return g
}

// Applied notes that an index was applied.
func (g *AppliedGuard) Applied(index uint64) {
	for {
		old := g.applied.Load()
		if index <= old || g.applied.CompareAndSwap(old, index) {
			return
		}
	}
}

// Refused is closed at the first refusal, Err says what was refused then.
func (g *AppliedGuard) Refused() <-chan struct{} { return g.refused }

// Err is why.
func (g *AppliedGuard) Err() error { return g.err }

func (g *AppliedGuard) refuse(what string) error {
	err := federation.Errorf(federation.Conflict, "%s: %w", what, ErrReplaces).WithReason("diverged")
	g.once.Do(func() {
		g.err = err
		close(g.refused)
	})
	return err
}

// GuardLog returns the log store with its suffix guarded.
func (g *AppliedGuard) GuardLog(log raft.LogStore) raft.LogStore { return guardedSuffix{log, g} }

type guardedSuffix struct {
	raft.LogStore
	guard *AppliedGuard
}

// DeleteRange implements raft.LogStore. Raft deletes a prefix to compact, which leaves a
// trail, and a suffix where a leader's log has something else.
func (s guardedSuffix) DeleteRange(from, to uint64) error {
	last, err := s.LogStore.LastIndex()
	if err != nil {
		return err
	}
	if to >= last && from <= s.guard.applied.Load() {
		return s.guard.refuse("the leader's log differs from entry " + strconv.FormatUint(from, 10) + " on")
	}
	return s.LogStore.DeleteRange(from, to)
}

// GuardSnapshots returns the store with snapshots that another member sends held against
// what was applied.
func (g *AppliedGuard) GuardSnapshots(store raft.SnapshotStore) raft.SnapshotStore {
	return guardedSnapshots{store, g}
}

type guardedSnapshots struct {
	raft.SnapshotStore
	guard *AppliedGuard
}

// Create implements raft.SnapshotStore. The state is read while it is written, and judged
// before the snapshot counts.
func (s guardedSnapshots) Create(version raft.SnapshotVersion, index, term uint64, conf raft.Configuration, confIndex uint64, trans raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.SnapshotStore.Create(version, index, term, conf, confIndex, trans)
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	judged := make(chan error, 1)
	go func() { // ends when the sink is closed or cancelled
		err := s.guard.Contains(r, conf)
		_, _ = io.Copy(io.Discard, r)
		judged <- err
	}()
	return &guardedSink{SnapshotSink: sink, guard: s.guard, copy: w, judged: judged}, nil
}

type guardedSink struct {
	raft.SnapshotSink
	guard  *AppliedGuard
	copy   *io.PipeWriter
	judged chan error
	done   bool
}

// Write implements io.Writer.
func (s *guardedSink) Write(p []byte) (int, error) {
	n, err := s.SnapshotSink.Write(p)
	_, _ = s.copy.Write(p[:n])
	return n, err
}

// Close implements io.Closer.
func (s *guardedSink) Close() error {
	if s.done {
		return s.SnapshotSink.Close()
	}
	s.done = true
	_ = s.copy.Close()
	if err := <-s.judged; errors.Is(err, ErrReplaces) {
		return errors.Join(s.guard.refuse("the leader's snapshot: "+err.Error()), s.SnapshotSink.Cancel())
	}
	return s.SnapshotSink.Close()
}

// Cancel implements raft.SnapshotSink.
func (s *guardedSink) Cancel() error {
	if !s.done {
		s.done = true
		_ = s.copy.CloseWithError(io.ErrUnexpectedEOF)
		<-s.judged
	}
	return s.SnapshotSink.Cancel()
}
