package raftstore

import (
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// Keys returns all keys by kind, mesh and serial.
func (s *Store) Keys() []Key { return s.fsm.current().Keys() }

// Key returns one key.
func (s *Store) Key(id cptoken.KeyID) (Key, bool) { return s.fsm.current().Key(id) }

// Zones returns all zones by name, deleted ones too.
func (s *Store) Zones() []federation.Zone { return s.fsm.current().Zones() }

// Zone returns the record of a zone, also of a deleted one.
func (s *Store) Zone(name string) (federation.Zone, bool) { return s.fsm.current().Zone(name) }

// Meshes returns all meshes by name.
func (s *Store) Meshes() []Mesh { return s.fsm.current().Meshes() }

// Mesh returns the record of a mesh.
func (s *Store) Mesh(name string) (Mesh, bool) { return s.fsm.current().Mesh(name) }

// RevocationCount returns how many ids of a kind and mesh are revoked.
func (s *Store) RevocationCount(kind cptoken.Kind, mesh string) int {
	return s.fsm.current().RevocationCount(kind, mesh)
}

// Revocations returns at most limit revocations of a kind and mesh, those whose
// ids come after the given one ("": from the first) in byte order. A limit of 0
// or less means all.
func (s *Store) Revocations(kind cptoken.Kind, mesh, after string, limit int) []Revocation {
	return s.fsm.current().Revocations(kind, mesh, after, limit)
}

// CutOffs returns all cut-offs by kind, mesh and kid.
func (s *Store) CutOffs() []CutOff { return s.fsm.current().CutOffs() }

// Lag tells how far a zone at a revision is behind this node: how many changes it
// lacks (a run of ids that one command revoked is one; no more than 100,000 are
// counted) and when the oldest of them was made, by its proposer's clock. ok is
// false where the two cannot be compared, because the revision is of another
// history or ahead of this node.
func (s *Store) Lag(rev federation.Revision) (changes int, since time.Time, ok bool) {
	return s.fsm.current().Lag(rev)
}

// Requests returns what is remembered of changes whose request id begins with prefix,
// in the order in which they were applied. On the leader, after [Store.ReadIndex], it
// has all that were applied before: one that is not there was not made, and is not made
// later unless the request is still on its way. Refusals are remembered from feature
// level 2 on.
func (s *Store) Requests(prefix string) []Request { return s.fsm.current().Requests(prefix) }
