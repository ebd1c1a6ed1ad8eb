package state

import "github.com/meridiankds/meridian/cptoken"

// AdmissionChanged compares two states by the roots of their trees: what a change
// does not touch is shared, so this costs the same whatever the state's size.
func AdmissionChanged(before, after *State) bool {
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
