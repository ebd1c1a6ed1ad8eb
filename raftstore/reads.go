package raftstore

import (
	"iter"
	"strings"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// Keys returns all keys by kind, mesh and serial.
func (s *Store) Keys() []Key {
	st := s.fsm.current()
	keys := make([]Key, 0, st.keys.len)
	for _, k := range st.keys.all() {
		keys = append(keys, k.Key)
	}
	return keys
}

// Key returns one key.
func (s *Store) Key(id cptoken.KeyID) (Key, bool) {
	if k, ok := s.fsm.current().keys.get(id); ok {
		return k.Key, true
	}
	return Key{}, false
}

// Zones returns all zones by name, deleted ones too.
func (s *Store) Zones() []federation.Zone {
	st := s.fsm.current()
	zones := make([]federation.Zone, 0, st.zones.len)
	for _, z := range st.zones.all() {
		zones = append(zones, *z)
	}
	return zones
}

// Zone returns the record of a zone, also of a deleted one.
func (s *Store) Zone(name string) (federation.Zone, bool) {
	if z, ok := s.fsm.current().zones.get(name); ok {
		return *z, true
	}
	return federation.Zone{}, false
}

// Meshes returns all meshes by name.
func (s *Store) Meshes() []Mesh {
	st := s.fsm.current()
	meshes := make([]Mesh, 0, st.meshes.len)
	for _, m := range st.meshes.all() {
		meshes = append(meshes, *m)
	}
	return meshes
}

// Mesh returns the record of a mesh.
func (s *Store) Mesh(name string) (Mesh, bool) {
	if m, ok := s.fsm.current().meshes.get(name); ok {
		return *m, true
	}
	return Mesh{}, false
}

// RevocationCount returns how many ids of a kind and mesh are revoked.
func (s *Store) RevocationCount(kind cptoken.Kind, mesh string) int {
	l, _ := s.fsm.current().lists.get(listID{kind, mesh})
	return l.live
}

// Revocations returns at most limit revocations of a kind and mesh, those whose
// ids come after the given one ("": from the first) in byte order. A limit of 0
// or less means all.
func (s *Store) Revocations(kind cptoken.Kind, mesh, after string, limit int) []Revocation {
	return s.fsm.current().revocations(listID{kind, mesh}, after, limit)
}

// CutOffs returns all cut-offs by kind, mesh and kid.
func (s *Store) CutOffs() []CutOff {
	st := s.fsm.current()
	cutOffs := make([]CutOff, 0, st.cutOffs.len)
	for _, c := range st.cutOffs.all() {
		cutOffs = append(cutOffs, c.CutOff)
	}
	return cutOffs
}

// revocations merges the two trees of a list in byte order of the ids.
func (s *State) revocations(id listID, after string, limit int) []Revocation {
	list, ok := s.lists.get(id)
	if !ok {
		return nil
	}
	if limit <= 0 || limit > list.live {
		limit = list.live
	}
	found := make([]Revocation, 0, limit)
	runs := map[uint64]*run{}
	add := func(name string, e idEntry) bool {
		if e.withdrawn() || name <= after {
			return true
		}
		r, ok := runs[e.index()]
		if !ok {
			_, r = s.runAt(id, e.index(), false)
			runs[e.index()] = r
		}
		found = append(found, Revocation{
			RevokedID: cptoken.RevokedID{ID: name, Expires: e.expires},
			Reason:    r.reason, By: r.by, At: millis(r.at), Index: e.index(),
		})
		return len(found) < limit
	}
	nextOther, stop := iter.Pull2(list.others.from(after))
	defer stop()
	name, other, more := nextOther()
	for u, e := range list.uuids.from(floorUID(after)) {
		text := u.String()
		for more && strings.Compare(name, text) < 0 {
			if !add(name, other) {
				return found
			}
			name, other, more = nextOther()
		}
		if !add(text, e) {
			return found
		}
	}
	for more && add(name, other) {
		name, other, more = nextOther()
	}
	return found
}

// floorUID returns a UUID that is not greater than any whose text comes after s.
func floorUID(s string) uid {
	if u, ok := parseUID(s); ok {
		return u
	}
	return uid{}
}
