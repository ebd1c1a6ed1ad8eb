package raftstore

import (
	"context"
	"time"

	"github.com/hashicorp/raft"
)

// readyInterval is how often a follower looks whether it has caught up. Raft tells
// nobody when the commit index moves.
const readyInterval = 20 * time.Millisecond

// awaitReady closes Ready once this node has what the cluster had committed when it
// looked. A leader is ready when its leadership has begun, or cannot for want of a
// seal key.
func (s *Store) awaitReady(ctx context.Context, p *process) error {
	ticker := time.NewTicker(readyInterval)
	defer ticker.Stop()
	for {
		_, leading := s.lead.peek()
		progress := s.fsm.progress.next()
		if s.IsLeader() || s.withheld.Load() || s.caughtUp(p) {
			break
		}
		select {
		case <-leading:
		case <-progress:
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
	st := s.fsm.current()
	s.brokenIn(st)
	// Before the first write is acknowledged, so that a log that is lost later is
	// missed.
	if _, err := s.keepSealCheck(s.node, st); err != nil {
		return err
	}
	close(s.ready)
	return nil
}

// caughtUp reports whether a follower that hears a leader has applied everything
// that it knows to be committed.
func (s *Store) caughtUp(p *process) bool {
	if _, id := p.raft.LeaderWithID(); id == "" || p.raft.State() != raft.Follower {
		return false
	}
	commit := p.raft.CommitIndex()
	if commit == 0 || commit < p.raft.LastIndex() || p.raft.AppliedIndex() < commit {
		return false
	}
	st := s.fsm.current()
	return st.Founded() && st.RaftApplied() >= p.lastCommand(commit)
}

// lastCommand returns the index of the last command up to an index, 0 where the log
// has none. What Raft calls applied is only handed over; the state knows the index
// of the last command that it has really taken in.
func (p *process) lastCommand(index uint64) uint64 {
	for ; index > 0; index-- {
		var l raft.Log
		if err := p.logs.GetLog(index, &l); err != nil {
			return 0 // in a snapshot, which Raft restores before it goes on
		}
		if l.Type == raft.LogCommand {
			return index
		}
	}
	return 0
}
