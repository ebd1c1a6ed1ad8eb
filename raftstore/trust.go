package raftstore

import (
	"context"
	"slices"

	"github.com/meridiankds/meridian/raftstore/state"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// WatchTrust returns a channel that is closed at the next change of who is trusted with
// a connection: of the cluster's seal key, of who is expelled. Get it before judging, so that no change falls
// between.
func (s *Store) WatchTrust() <-chan struct{} { return s.fsm.trust.next() }

// FormerSealKey reports whether the cluster sealed under the key of this id before it
// went over to another one.
func (s *Store) FormerSealKey(id string) bool {
	st := s.fsm.current()
	return slices.Contains(st.SealCheck().GetFormerIds(), id) || s.replaying(st) && s.distrust.FormerSealKey(id)
}

// replaying reports whether the state may lack what this node's own log says of whom it
// must not trust: it is applied once a leader says how far it counts.
func (s *Store) replaying(st *state.State) bool {
	select {
	case <-s.ready:
		return false
	default:
		return st.RaftApplied() < s.distrust.Until
	}
}

// Expel refuses a node, or a certificate's key, on every port from now on.
func (s *Store) Expel(ctx context.Context, o Origin, e state.Expelled) error {
	_, err := s.propose(ctx, o, "expel", &storepb.Command{Op: &storepb.Command_Expel{Expel: &storepb.Expel{
		Id: e.ID, Subject: e.Subject, Reason: e.Reason,
	}}})
	return err
}

// Readmit takes an expulsion back.
func (s *Store) Readmit(ctx context.Context, o Origin, id string) error {
	_, err := s.propose(ctx, o, "readmit", &storepb.Command{Op: &storepb.Command_Readmit{Readmit: &storepb.Readmit{Id: id}}})
	return err
}

// IsExpelled reports whether the node, or the certificate's key, was expelled.
func (s *Store) IsExpelled(id string) bool {
	st := s.fsm.current()
	return st.IsExpelled(id) || s.replaying(st) && s.distrust.Expelled(id)
}

// Expelled returns who is expelled, by id.
func (s *Store) Expelled() []state.Expelled { return s.fsm.current().Expelled() }
