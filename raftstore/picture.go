package raftstore

import (
	"iter"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// Picture is the state at one moment as lists show it: names, keys and revoked ids,
// consistent with each other. It does not change any more and costs nothing to take.
// Two Pictures are equal (==) where nothing at all was applied between them.
type Picture struct{ s *State }

// Picture returns the state of now.
func (s *Store) Picture() Picture { return Picture{s.fsm.current()} }

// WatchPicture returns a channel that is closed at the next change of what a
// Picture tells, which is more than zones of Meridian see: meshes, and ids that
// were pruned. Get it before the Picture, so that no change falls between.
func (s *Store) WatchPicture() <-chan struct{} { return s.fsm.picture.next() }

// pictureChanged compares two states by the roots of their trees, which costs the
// same whatever the state's size.
func pictureChanged(before, after *State) bool {
	return before.rev() != after.rev() || before.meshes.root != after.meshes.root || before.lists.root != after.lists.root
}

// Head returns the cluster's id and the revision of the picture.
func (p Picture) Head() (cluster string, rev federation.Revision) { return p.s.cluster, p.s.rev() }

// Meshes returns the names of all meshes, in order.
func (p Picture) Meshes() []string {
	names := make([]string, 0, p.s.meshes.len)
	for name := range p.s.meshes.all() {
		names = append(names, name)
	}
	return names
}

// Keys returns the public keys of a kind that are not removed, registered ones too,
// by mesh and serial.
func (p Picture) Keys(kind cptoken.Kind) []*cptoken.PublicKey {
	var keys []*cptoken.PublicKey
	for _, k := range p.s.keys.all() {
		if k.ID.Kind == kind && k.Public != nil {
			keys = append(keys, k.Public)
		}
	}
	return keys
}

// Revoked returns the revoked ids of a kind and mesh, those revoked first coming
// first; an id is valid until the next one is yielded. The version is comparable
// and, among the Pictures of one process, differs wherever the ids do.
func (p Picture) Revoked(kind cptoken.Kind, mesh string) (version any, ids iter.Seq[[]byte]) {
	id := listID{kind, mesh}
	list, ok := p.s.lists.get(id)
	if !ok || list.live == 0 {
		return nil, func(func([]byte) bool) {}
	}
	return [2]any{list.uuids.root, list.others.root}, func(yield func([]byte) bool) {
		more := true
		for _, e := range p.s.log.all() {
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
