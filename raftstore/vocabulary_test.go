package raftstore

import (
	"context"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/state"
)

// TestTheLeaderProposesWhatTheClusterKnows: what would stop a member of an older level
// does not get into the log.
func TestTheLeaderProposesWhatTheClusterKnows(t *testing.T) {
	m := founded(t, state.LevelTrust-1)
	ctx := t.Context()
	before := m.fsm.current().Applied()
	err := m.Expel(ctx, Origin{By: "ann"}, Expelled{ID: "n1"})
	wantCode(t, err, federation.Conflict, "level")
	_, err = m.Revoke(ctx, Origin{By: "ann"}, "workload", "", []cptoken.RevokedID{{ID: "x"}}, "")
	wantCode(t, err, federation.Invalid, "")
	if now := m.fsm.current().Applied(); now != before || m.fsm.failed.Load() != nil {
		t.Errorf("applied %d, want %d; failed: %v", now, before, m.fsm.failed.Load())
	}
}

// founded is a lone member whose cluster is founded at an older level.
func founded(t *testing.T, level uint32) *member {
	t.Helper()
	s, err := Open(alone(t, t.TempDir(), testSeal(t)))
	if err != nil {
		t.Fatal(err)
	}
	m := &member{Store: s, t: t, done: make(chan struct{})}
	m.foundAt.Store(level)
	ctx, cancel := context.WithCancel(t.Context())
	m.cancel = cancel
	go func() { defer close(m.done); m.err = s.Run(ctx) }()
	t.Cleanup(m.stop)
	return m.awaitReady()
}
