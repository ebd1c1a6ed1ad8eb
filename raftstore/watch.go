package raftstore

// Picture returns the state of now.
func (s *Store) Picture() Picture {
	st := s.fsm.current()
	return Picture{st.ReadView(), s.brokenIn(st)}
}

// WatchApplied returns a channel that is closed when the next command is applied.
func (s *Store) WatchApplied() <-chan struct{} { return s.fsm.progress.next() }

// WatchPicture returns a channel that is closed at the next change of what a
// Picture tells, which is more than zones of Meridian see: meshes, and ids that
// were pruned. Get it before the Picture, so that no change falls between.
func (s *Store) WatchPicture() <-chan struct{} { return s.fsm.picture.next() }

// WatchAdmission returns a channel that is closed at the next change that may
// concern whether an open session of a zone's control plane may go on: to a zone's
// record, to a control plane or zone key, or to what is revoked or cut off of
// these kinds. Get it before judging, so that no change falls between.
//
// Revocations of the control plane kind do not move the revision that [Store.Watch]
// tells of, since zones need not know them.
func (s *Store) WatchAdmission() <-chan struct{} { return s.fsm.admission.next() }
