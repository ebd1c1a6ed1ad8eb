package raftstore

import "github.com/meridiankds/meridian/cptoken"

// WatchAdmission returns a channel that is closed at the next change that may
// concern whether an open session of a zone's control plane may go on: to a zone's
// record, to a control plane or zone key, or to what is revoked or cut off of
// these kinds. Get it before judging, so that no change falls between.
//
// Revocations of the control plane kind do not move the revision that [Store.Watch]
// tells of, since zones need not know them.
func (s *Store) WatchAdmission() <-chan struct{} { return s.fsm.admission.next() }

// admissionChanged compares two states by the roots of their trees: what a change
// does not touch is shared, so this costs the same whatever the state's size.
func admissionChanged(before, after *State) bool {
	if before.zones.root != after.zones.root || before.keys.root != after.keys.root || before.cutOffs.root != after.cutOffs.root {
		return true
	}
	if before.lists.root == after.lists.root {
		return false
	}
	for _, kind := range [...]cptoken.Kind{cptoken.ControlPlane, cptoken.Zone} {
		old, now := before.list(listID{kind, ""}), after.list(listID{kind, ""})
		if old.uuids.root != now.uuids.root || old.others.root != now.others.root {
			return true
		}
	}
	return false
}
