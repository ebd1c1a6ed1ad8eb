package state

import (
	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

func (s *State) applyZone(op *storepb.ApplyZone) (uint64, error) {
	next, err := s.zoneFrom(op)
	if err != nil {
		return 0, err
	}
	next.Created, next.Modified = millis(s.time), millis(s.time)
	if old, ok := s.zones.Get(op.Name); ok {
		next.FirstSeen = old.FirstSeen
		if !old.Deleted {
			next.Created = old.Created
		}
	}
	s.zones.Set(s.edit, op.Name, next)
	return 1, nil
}

func (s *State) deleteZone(op *storepb.DeleteZone) (uint64, error) {
	z, ok := s.zones.Get(op.Name)
	if !ok || z.Deleted {
		return 0, federation.Errorf(federation.NotFound, "zone %.80s does not exist", op.Name)
	}
	next := *z
	next.Deleted, next.Modified = true, millis(s.time)
	s.zones.Set(s.edit, op.Name, &next)
	return 1, nil
}

// seeZone makes a record for a zone that has none. A deleted zone stays refused.
func (s *State) seeZone(op *storepb.SeeZone) (uint64, error) {
	if err := s.validName("name", op.Name); err != nil {
		return 0, err
	}
	now := millis(s.time)
	z, ok := s.zones.Get(op.Name)
	switch {
	case !ok:
		z = &federation.Zone{Name: op.Name, Enabled: true, Created: now, Modified: now}
	case z.Deleted:
		return 0, z.Admit()
	case !z.FirstSeen.IsZero():
		return 0, nil
	}
	next := *z
	next.FirstSeen = now
	s.zones.Set(s.edit, op.Name, &next)
	return 1, nil
}

// applyMesh makes a mesh with a prepared dataplane key. The key is activated by
// a command of its own, after its gate: zones that are online do not have it yet.
func (s *State) applyMesh(index uint64, by string, op *storepb.ApplyMesh) (uint64, error) {
	if err := s.validName("name", op.Name); err != nil {
		return 0, err
	}
	if _, ok := s.meshes.Get(op.Name); ok {
		return 0, nil
	}
	if op.Key.GetKind() != string(cptoken.Dataplane) || op.Key.GetMesh() != op.Name {
		return 0, federation.InvalidField("key", "must be a dataplane key of mesh %s", op.Name)
	}
	s.addMesh(op.Name)
	k, err := s.newSigningKey(index, by, op.Key)
	if err != nil {
		return 0, err
	}
	s.putKey(index, k)
	return 1, nil
}

func (s *State) addMesh(name string) {
	now := millis(s.time)
	s.meshes.Set(s.edit, name, &Mesh{Name: name, Created: now, Modified: now})
}

// deleteMesh removes a mesh and all its keys. Its serials stay used, and its
// revocations stay until they expire.
func (s *State) deleteMesh(index uint64, op *storepb.DeleteMesh) (uint64, error) {
	if !s.meshes.Del(s.edit, op.Name) {
		return 0, federation.Errorf(federation.NotFound, "mesh %.80s does not exist", op.Name)
	}
	for _, k := range s.keysOf(cptoken.Dataplane, op.Name) {
		s.dropKey(index, k)
	}
	return 1, nil
}
