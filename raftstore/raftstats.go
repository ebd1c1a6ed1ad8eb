package raftstore

import (
	"strconv"
	"time"
)

// RaftStats is what Raft says of itself on this node.
type RaftStats struct {
	// State is leader, follower, candidate or shutdown, in Raft's own spelling.
	State string
	Term  uint64
	// The indices of its log: the last entry, the last that a majority has, the last
	// that is in a snapshot.
	LastLog, Commit, Snapshot uint64
	// Pending is how many committed entries wait to be applied, Peers how many other
	// voters there are.
	Pending, Peers uint64
	// Contact is how long ago the leader was heard; 0 on the leader itself.
	Contact time.Duration
}

// RaftStats asks Raft. ok is false while it does not run.
func (s *Store) RaftStats() (stats RaftStats, ok bool) {
	r := s.raft.Load()
	if r == nil {
		return RaftStats{}, false
	}
	told := r.Stats() // texts by name
	number := func(name string) uint64 {
		n, err := strconv.ParseUint(told[name], 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	stats = RaftStats{
		State: told["state"], Term: number("term"), LastLog: number("last_log_index"), Commit: number("commit_index"),
		Snapshot: number("last_snapshot_index"), Pending: number("fsm_pending"), Peers: number("num_peers"),
	}
	if d, err := time.ParseDuration(told["last_contact"]); err == nil { // "never" and "0" are none
		stats.Contact = d
	}
	return stats, true
}
