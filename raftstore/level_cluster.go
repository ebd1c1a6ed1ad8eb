package raftstore

import (
	"context"

	"github.com/meridiankds/meridian/raftstore/storepb"
)

// FeatureLevel is the level that the cluster is at, 0 before this node knows it. It is
// at most [Level], and what the state holds is of it.
func (s *Store) FeatureLevel() uint32 {
	st := s.fsm.current()
	if !st.Founded() {
		return 0
	}
	return st.FeatureLevel()
}

// RaiseLevel has the cluster go over to a feature level. Who calls it has made sure
// that every member knows it: one that does not stops. On the leader only.
func (s *Store) RaiseLevel(ctx context.Context, o Origin, level uint32) error {
	cmd := &storepb.Command{Op: &storepb.Command_SetLevel{SetLevel: &storepb.SetLevel{Level: level}}}
	if _, err := s.propose(ctx, o, "set-level", cmd); err != nil {
		return err
	}
	return s.ensureSecret(ctx)
}
