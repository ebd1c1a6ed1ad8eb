package state

import (
	"iter"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// ReadView is the state at one moment as lists show it: names, keys and revoked ids,
// consistent with each other. It does not change any more and costs nothing to take.
// Two ReadViews are equal (==) where nothing at all was applied between them.
type ReadView struct{ s *State }

// ReadView returns what lists show of s, which must be a capture.
func (s *State) ReadView() ReadView { return ReadView{s} }

// ReadViewChanged compares two states by the roots of their trees, which costs the
// same whatever the state's size.
func ReadViewChanged(before, after *State) bool {
	return before.Revision() != after.Revision() || before.meshes.Version() != after.meshes.Version() || before.lists.Version() != after.lists.Version()
}

// Head returns the cluster's id and the revision of the view.
func (v ReadView) Head() (cluster string, rev federation.Revision) {
	return v.s.cluster, v.s.Revision()
}

// Meshes returns the names of all meshes, in order.
func (v ReadView) Meshes() []string {
	return each(&v.s.meshes, func(m *Mesh) string { return m.Name })
}

// Keys returns the public keys of a kind that are not removed, registered ones too,
// by mesh and serial.
func (v ReadView) Keys(kind cptoken.Kind) []*cptoken.PublicKey {
	var keys []*cptoken.PublicKey
	for _, k := range v.s.keys.All() {
		if k.ID.Kind == kind && k.Public != nil {
			keys = append(keys, k.Public)
		}
	}
	return keys
}

// Revoked returns the revoked ids of a kind and mesh, those revoked first coming
// first; an id is valid until the next one is yielded. The version is comparable
// and, among the ReadViews of one process, differs wherever the ids do.
func (v ReadView) Revoked(kind cptoken.Kind, mesh string) (version any, ids iter.Seq[[]byte]) {
	id := listID{kind, mesh}
	list, ok := v.s.lists.Get(id)
	if !ok || list.live == 0 {
		return nil, func(func([]byte) bool) {}
	}
	return [2]any{list.uuids.Version(), list.others.Version()}, func(yield func([]byte) bool) {
		more := true
		for _, e := range v.s.log.All() {
			if !more {
				return
			}
			if e.what == idsRevoked && e.run.listID == id {
				e.run.eachText(&list, func(text []byte, _ idEntry) bool {
					more = yield(text)
					return more
				})
			}
		}
	}
}

// AdmissionChanged compares two states by the roots of their trees: what a change
// does not touch is shared, so this costs the same whatever the state's size.
func AdmissionChanged(before, after *State) bool {
	if before.zones.Version() != after.zones.Version() || before.keys.Version() != after.keys.Version() || before.cutOffs.Version() != after.cutOffs.Version() {
		return true
	}
	if before.lists.Version() == after.lists.Version() {
		return false
	}
	for _, kind := range [...]cptoken.Kind{cptoken.ControlPlane, cptoken.Zone} {
		old, now := before.list(listID{kind, ""}), after.list(listID{kind, ""})
		if old.uuids.Version() != now.uuids.Version() || old.others.Version() != now.others.Version() {
			return true
		}
	}
	return false
}
