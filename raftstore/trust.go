package raftstore

import "slices"

// WatchTrust returns a channel that is closed at the next change of who is trusted with
// a connection: of the cluster's seal key. Get it before judging, so that no change falls
// between.
func (s *Store) WatchTrust() <-chan struct{} { return s.fsm.trust.next() }

// FormerSealKey reports whether the cluster sealed under the key of this id before it
// went over to another one.
func (s *Store) FormerSealKey(id string) bool {
	return slices.Contains(s.fsm.current().SealCheck().GetFormerIds(), id)
}
