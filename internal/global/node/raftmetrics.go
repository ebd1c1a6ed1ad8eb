package node

import (
	"strings"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/metrics"
	"github.com/meridiankds/meridian/raftstore"
)

// committed measures how long changes take to be replicated.
func (n *Node) committed() func(time.Duration) {
	h := n.metrics.Histogram("raft_commit_seconds", "Time until a change that this member proposed was replicated and applied here.")
	return func(took time.Duration) { h.Observe(took.Seconds()) }
}

// measureRaft shows what Raft says of itself; nothing while it does not run.
func (n *Node) measureRaft() {
	for name, about := range map[string]struct {
		help string
		read func(raftstore.RaftStats) float64
	}{
		"raft_term":                   {"Raft's term: it grows with every election.", func(s raftstore.RaftStats) float64 { return float64(s.Term) }},
		"raft_last_log_index":         {"Last entry in this member's log.", func(s raftstore.RaftStats) float64 { return float64(s.LastLog) }},
		"raft_commit_index":           {"Last entry that a majority has, as this member knows.", func(s raftstore.RaftStats) float64 { return float64(s.Commit) }},
		"raft_snapshot_index":         {"Last entry in this member's newest snapshot.", func(s raftstore.RaftStats) float64 { return float64(s.Snapshot) }},
		"raft_pending_entries":        {"Committed entries that wait to be applied.", func(s raftstore.RaftStats) float64 { return float64(s.Pending) }},
		"raft_peers":                  {"Other members with a vote.", func(s raftstore.RaftStats) float64 { return float64(s.Peers) }},
		"raft_leader_contact_seconds": {"How long ago the leader was heard; 0 on the leader.", func(s raftstore.RaftStats) float64 { return s.Contact.Seconds() }},
	} {
		n.metrics.Gauge(name, about.help, nil, func() []metrics.Sample {
			stats, ok := n.store.RaftStats()
			if !ok {
				return nil
			}
			return metrics.One(about.read(stats))
		})
	}
	n.metrics.Gauge("raft_state", "1 for the state that this member is in: leader, follower or candidate.", []string{"state"}, func() []metrics.Sample {
		stats, ok := n.store.RaftStats()
		if !ok {
			return nil
		}
		return metrics.ByLabel(map[string]int{strings.ToLower(stats.State): 1})
	})
}

// keyAges tells since when each key is in its state.
func (n *Node) keyAges() (samples []metrics.Sample) {
	for _, k := range n.store.Keys() {
		since := k.Prepared
		switch k.State {
		case cptoken.Active:
			since = k.Active
		case cptoken.Retiring:
			since = k.Retiring
		case cptoken.Removed:
			continue
		}
		if !since.IsZero() {
			samples = append(samples, metrics.Sample{Labels: []string{string(k.ID.Kind), k.ID.Mesh, k.ID.KID, string(k.State)}, Value: float64(since.Unix())})
		}
	}
	return samples
}
