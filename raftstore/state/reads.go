package state

import (
	"iter"
	"strings"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/raftstore/ptree"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// Cluster is the cluster's id, "" before it is founded.
func (s *State) Cluster() string { return s.cluster }

// FeatureLevel is the level that the cluster is at.
func (s *State) FeatureLevel() uint32 { return s.level }

// History is the present history.
func (s *State) History() federation.History { return s.history }

// Began is the index at which the present history began, 0 where that is not known.
func (s *State) Began() uint64 { return s.began }

// Applied is the index of the last command: Raft's, and after the restore of a backup
// with a longer log a constant more.
func (s *State) Applied() uint64 { return s.applied }

// RaftApplied is the index of the last command as Raft counts.
func (s *State) RaftApplied() uint64 { return s.applied - s.offset }

// Watermark is the time before whose day everything was pruned that had expired.
func (s *State) Watermark() time.Time { return millis(s.watermark) }

// Keys returns all keys by kind, mesh and serial.
func (s *State) Keys() []Key {
	return each(&s.keys, func(k *KeyRecord) Key { return k.Key })
}

// each returns the entries of a tree as of makes them, in their order.
func each[K, V, T any](t *ptree.Tree[K, V], of func(V) T) []T {
	all := make([]T, 0, t.Len())
	for _, v := range t.All() {
		all = append(all, of(v))
	}
	return all
}

// Key returns one key.
func (s *State) Key(id cptoken.KeyID) (Key, bool) {
	if k, ok := s.keys.Get(id); ok {
		return k.Key, true
	}
	return Key{}, false
}

// Records returns all keys with what is sealed, by kind, mesh and serial.
func (s *State) Records() []*KeyRecord {
	return each(&s.keys, func(k *KeyRecord) *KeyRecord { return k })
}

// Record returns one key with what is sealed.
func (s *State) Record(id cptoken.KeyID) (*KeyRecord, bool) { return s.keys.Get(id) }

// Sealed is the sealed private part; nil for a registered key.
func (k *KeyRecord) Sealed() *storepb.Sealed { return k.sealed }

// KeysVersion is comparable and, among the states of one process, differs wherever a
// key does.
func (s *State) KeysVersion() any { return s.keys.Version() }

// SealCheck is the known text under the seal key under which the cluster seals, nil
// before it is founded.
func (s *State) SealCheck() *storepb.SealCheck { return s.sealCheck }

// NextSerial is the serial after the highest that a kind and mesh ever had.
func (s *State) NextSerial(kind cptoken.Kind, mesh string) uint64 {
	highest, _ := s.serials.Get(listID{kind, mesh})
	return highest + 1
}

// Zones returns all zones by name, deleted ones too.
func (s *State) Zones() []federation.Zone {
	return each(&s.zones, func(z *federation.Zone) federation.Zone { return *z })
}

// Zone returns the record of a zone, also of a deleted one.
func (s *State) Zone(name string) (federation.Zone, bool) {
	if z, ok := s.zones.Get(name); ok {
		return *z, true
	}
	return federation.Zone{}, false
}

// Meshes returns all meshes by name.
func (s *State) Meshes() []Mesh {
	return each(&s.meshes, func(m *Mesh) Mesh { return *m })
}

// Mesh returns the record of a mesh.
func (s *State) Mesh(name string) (Mesh, bool) {
	if m, ok := s.meshes.Get(name); ok {
		return *m, true
	}
	return Mesh{}, false
}

// RevocationCount returns how many ids of a kind and mesh are revoked.
func (s *State) RevocationCount(kind cptoken.Kind, mesh string) int {
	l, _ := s.lists.Get(listID{kind, mesh})
	return l.live
}

// CutOffs returns all cut-offs by kind, mesh and kid.
func (s *State) CutOffs() []CutOff {
	return each(&s.cutOffs, func(c *cutOffRecord) CutOff { return c.CutOff })
}

// Size counts keys, zones, deleted ones too, and revoked ids.
func (s *State) Size() (keys, zones, revocations int) {
	for _, list := range s.lists.All() {
		revocations += list.live
	}
	return s.keys.Len(), s.zones.Len(), revocations
}

// Stages are the ids of changes whose parts wait for their commit.
func (s *State) Stages() []string {
	return each(&s.stages, func(p *storepb.Stage) string { return p.Id })
}

// Revocations returns at most limit revocations of a kind and mesh, those whose ids
// come after the given one ("": from the first) in byte order, and all where limit is 0
// or less. It merges the two trees of a list.
func (s *State) Revocations(kind cptoken.Kind, mesh, after string, limit int) []Revocation {
	id := listID{kind, mesh}
	list, ok := s.lists.Get(id)
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
	nextOther, stop := iter.Pull2(list.others.From(after))
	defer stop()
	name, other, more := nextOther()
	for u, e := range list.uuids.From(floorUID(after)) {
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
func floorUID(s string) cptoken.UUID {
	u, _ := cptoken.ParseUUID(s) // zero where it is none
	return u
}

// SealKeyID is the id of the seal key under which new keys are sealed.
func (s *State) SealKeyID() string { return s.sealCheck.GetSealed().GetSealKeyId() }

// KeysOf returns the keys of a kind and mesh by serial.
func (s *State) KeysOf(kind cptoken.Kind, mesh string) (found []Key) {
	for _, k := range s.keysOf(kind, mesh) {
		found = append(found, k.Key)
	}
	return found
}

// maxLag bounds the changes that Lag counts.
const maxLag = 100_000

// Lag tells how many changes a zone at a revision lacks, at most maxLag, and when the
// oldest of them was made. ok is false where the revision is of another history or
// ahead of this state.
func (s *State) Lag(rev federation.Revision) (changes int, since time.Time, ok bool) {
	if !rev.IsZero() && rev.History != s.history || rev.Index > s.revision {
		return 0, time.Time{}, false
	}
	for _, e := range s.log.From(logKey{index: rev.Index + 1}) {
		if !atZones(e.kind()) {
			continue
		}
		if changes++; changes == 1 {
			since = s.madeAt(e)
		}
		if changes == maxLag {
			break
		}
	}
	return changes, since, true
}

// madeAt is when the change of a log entry was made.
func (s *State) madeAt(e logEntry) time.Time {
	switch e.what {
	case keyChanged:
		k, _ := s.keys.Get(e.id)
		return clock.Last(k.Prepared, k.Active, k.Retiring)
	case cutOffSet:
		c, _ := s.cutOffs.Get(cptoken.CutOffID(e.id))
		return c.At
	}
	if e.run != nil {
		return millis(e.run.at)
	}
	return millis(e.at)
}
