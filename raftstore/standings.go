package raftstore

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/disk"
	"github.com/meridiankds/meridian/raftstore/state"
)

// memoryEvery is how late what a member remembers may be on the disk.
const memoryEvery = 100 * time.Millisecond

// ReasonDiverged marks the error of a node that stops because its log and the others'
// differ where it has applied entries.
const ReasonDiverged = "diverged"

// memory is what this member remembers durably of itself and of the others, so that a disk
// that was put back is noticed before it votes.
type memory struct {
	last  uint64        // of Raft's files when the node was opened
	was   disk.Standing // its own, as it was then
	guard *disk.AppliedGuard

	mu      sync.Mutex
	present disk.Memory
	changed bool
}

// recall reads what this member remembers.
func (s *Store) recall() error {
	m, err := disk.LoadMemory(s.cfg.Dir)
	if err != nil {
		s.log.Warn("what this node remembers of the others cannot be read, and is begun anew", "error", err)
	}
	if s.memory.last, err = disk.LastIndex(s.cfg.Dir); err != nil {
		return disk.Unreadable(filepath.Join(s.cfg.Dir, disk.LogFile), err)
	}
	if m.Own.Node != s.node.ID {
		m.Own = disk.Standing{} // a copy of another node's
	}
	s.memory.present, s.memory.was = m, m.Own
	s.memory.guard = disk.NewAppliedGuard(min(m.Own.Raft, s.memory.last), s.contained)
	s.fsm.applied = func(index uint64) {
		s.memory.guard.Applied(index)
		s.memory.mu.Lock()
		s.memory.changed = true
		s.memory.mu.Unlock()
	}
	return nil
}

// contained refuses a snapshot of the present history whose state did not go through what
// this member applied, and notes of which cluster a snapshot is whose members this one is
// among: an operator may have restored another cluster's backup while it was away.
func (s *Store) contained(snapshot io.Reader, conf raft.Configuration) error {
	var head bytes.Buffer
	cluster, err := state.ClusterInSnapshot(io.TeeReader(snapshot, &head))
	if err != nil {
		return err // who restores it says what is wrong
	}
	if slices.ContainsFunc(conf.Servers, func(m raft.Server) bool { return m.ID == raft.ServerID(s.node.ID) }) {
		s.fsm.among.Store(&cluster)
	}
	snapshot = io.MultiReader(&head, snapshot)
	own := s.Furthest()
	if own.Lineage == nil {
		return nil
	}
	switch place, err := state.PlaceInSnapshot(snapshot, own.History, own.Index, own.Lineage); {
	case err != nil:
		return err // who restores it says what is wrong
	case place == state.Ahead || place == state.Absent:
		return disk.ErrReplaces
	}
	return nil
}

// Standing is how far this member has applied the log.
func (s *Store) Standing() disk.Standing {
	st := s.fsm.current()
	own := disk.Standing{
		Node: s.node.ID, History: st.History(), Index: st.Applied(), Raft: st.RaftApplied(),
		Lineage: st.Lineage(), Position: s.positionOf(st),
	}
	for _, m := range s.Members() {
		if m.Voter {
			own.Voters++
			own.Voter = own.Voter || m.ID == s.node.ID
		}
	}
	return own
}

// Furthest is what this member had when it was opened, or has by now.
func (s *Store) Furthest() disk.Standing {
	if now := s.Standing(); now.Raft >= s.memory.was.Raft {
		return now
	}
	return s.memory.was
}

// Recorded is what this member had applied when it was last stopped, by its own record,
// and LastIndex what its log had when it was opened. Where the log has less, a disk was
// put back.
func (s *Store) Recorded() disk.Standing { return s.memory.was }

// Bypassed reports whether a member is in an older history than this one although it applied
// the entry at which this one's began. Raft takes two logs for the same where their leaders
// happened to have the same terms, and lineages of two histories cannot be compared.
func (s *Store) Bypassed(o disk.Standing) bool {
	st := s.fsm.current()
	began, offset := st.Began(), st.Applied()-st.RaftApplied()
	return began > offset && !o.History.IsZero() && o.History.Compare(st.History()) < 0 && o.Raft >= began-offset
}

// LastIndex is the last index of Raft's log: of now, or of when the node was opened.
func (s *Store) LastIndex() uint64 {
	if r := s.raft.Load(); r != nil {
		return r.LastIndex()
	}
	return s.memory.last
}

// Remember keeps the furthest standing that another member reported.
func (s *Store) Remember(o disk.Standing) {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	if o.Node == s.node.ID || o.Raft == 0 || o.Raft <= s.memory.present.Others[o.Node].Raft {
		return
	}
	s.memory.present.Others[o.Node] = o
	s.memory.changed = true
}

// Remembered is the furthest standing that a member reported, ever.
func (s *Store) Remembered(node string) (disk.Standing, bool) {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	o, ok := s.memory.present.Others[node]
	return o, ok
}

// RememberShown keeps the positions that were shown and that may be of what is lost.
func (s *Store) RememberShown(shown []disk.Shown) {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	s.memory.present.Shown, s.memory.changed = shown, true
}

// RememberedShown are those that were kept last, before the start too.
func (s *Store) RememberedShown() []disk.Shown {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	return s.memory.present.Shown
}

// keepMemory writes what this member remembers, while it runs and once more when it ends.
func (s *Store) keepMemory(ctx context.Context) error {
	ticker := time.NewTicker(memoryEvery)
	defer ticker.Stop()
	for {
		s.writeMemory()
		select {
		case <-ticker.C:
		case <-ctx.Done():
			s.writeMemory()
			return nil
		}
	}
}

func (s *Store) writeMemory() {
	own := s.Furthest()
	known := map[string]bool{}
	for _, m := range s.Members() {
		known[m.ID] = true
	}
	s.memory.mu.Lock()
	if !s.memory.changed {
		s.memory.mu.Unlock()
		return
	}
	s.memory.changed = false
	s.memory.present.Own = own
	next := disk.Memory{Own: own, Others: map[string]disk.Standing{}, Places: map[string]string{}, Shown: s.memory.present.Shown}
	for id, o := range s.memory.present.Others {
		if known[id] || len(known) == 0 {
			next.Others[id] = o
		}
	}
	for id, at := range s.memory.present.Places {
		if known[id] || len(known) == 0 {
			next.Places[id] = at
		}
	}
	s.memory.mu.Unlock()
	if err := next.Write(s.cfg.Dir); err != nil {
		s.log.Warn("what this node remembers of the others could not be written", "error", err)
	}
}

// awaitContradiction ends a node whose applied entries a leader's log would replace.
func (s *Store) awaitContradiction(ctx context.Context) error {
	select {
	case <-s.memory.guard.Refused():
		own := s.Furthest()
		return federation.Errorf(federation.Conflict, "this node has applied index %d of history %s, and the leader's log has something else there: %w",
			own.Raft, own.History.ID, s.memory.guard.Err()).WithReason(ReasonDiverged).
			WithHint("acknowledged changes may be in this node's directory alone: save it, see docs/backup.md, \"After a disk went back\"; then empty it, and the node joins as a new one")
	case <-ctx.Done():
		return nil
	}
}

// Less refuses to run a voter whose log has less than it had: its vote could elect a leader
// that lacks what was acknowledged. seen is the furthest that anybody saw.
func (s *Store) Less(seen disk.Standing, by string) error {
	last := s.LastIndex()
	if seen.Raft <= last || !seen.Voter {
		return nil
	}
	return federation.Errorf(federation.Conflict, "this node's log ends at index %d, and %s saw it at %d: its disk was put back to an earlier state",
		last, by, seen.Raft).WithReason("went_back").
		WithHint("take it out (global cluster remove %s), empty its data directory, and it joins as a new node; where a majority of the members went back, run global cluster recover on the member that has most (docs/backup.md, \"After a disk went back\")", s.node.ID)
}
