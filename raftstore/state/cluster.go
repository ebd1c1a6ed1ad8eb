package state

import (
	"crypto/sha256"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// PruneBase is from where the watermark advances: itself, or the beginning of the
// history where nothing was pruned yet.
func (s *State) PruneBase() int64 {
	if s.watermark > 0 {
		return s.watermark
	}
	return s.history.Created
}

// found is the first change of a cluster. Its keys sign at once, because there is
// no zone yet that could lack them.
func (s *State) found(index uint64, by string, op *storepb.Found) (uint64, error) {
	if s.Founded() {
		return 0, federation.Errorf(federation.Conflict, "the cluster is founded already").WithReason("founded")
	}
	if op.ClusterId == "" || len(op.ClusterId) > maxClusterID {
		return 0, federation.InvalidField("clusterId", "must have 1 to 64 characters")
	}
	history, err := ParseHistory(op.History)
	if err != nil {
		return 0, err
	}
	if err := checkSealCheck(op.SealCheck); err != nil {
		return 0, err
	}
	s.cluster, s.sealCheck = op.ClusterId, s.supersede(op.SealCheck)
	s.enter(history, index)
	if op.Secret != nil {
		if _, err := s.addSecret(op.Secret); err != nil {
			return 0, err
		}
	}
	for _, mesh := range op.Meshes {
		if err := s.validName("meshes", mesh); err != nil {
			return 0, err
		}
		s.addMesh(mesh)
	}
	for _, p := range op.Keys {
		k, err := s.newSigningKey(index, by, p)
		if err != nil {
			return 0, err
		}
		if s.Active(k.ID.Kind, k.ID.Mesh) != nil {
			return 0, federation.InvalidField("keys", "two keys of one kind and mesh cannot both sign")
		}
		k.State, k.Active = cptoken.Active, millis(s.time)
		s.putKey(index, k)
	}
	return 1, nil
}

// ParseHistory checks a history that a command names.
func ParseHistory(h *storepb.History) (federation.History, error) {
	id := h.GetId()
	if len(id) != 16 || strings.Trim(id, "0123456789abcdef") != "" || h.GetCreatedMs() <= 0 {
		return federation.History{}, federation.InvalidField("history", "must have an id of 16 hexadecimal digits and a time")
	}
	return federation.History{ID: id, Created: h.CreatedMs}, nil
}

func checkSealCheck(c *storepb.SealCheck) error {
	if c.GetSealed() == nil || proto.Size(c) > maxSealed {
		return federation.InvalidField("sealCheck", "must be present and have at most %d bytes", maxSealed)
	}
	return nil
}

// beginHistory cuts with the past after a restore or a lost majority: every zone
// takes full state next.
func (s *State) beginHistory(index uint64, op *storepb.BeginHistory) (uint64, error) {
	next, err := s.newerHistory(op.History)
	if err != nil {
		return 0, err
	}
	s.enter(next, index)
	return 1, nil
}

// Recovered returns the state in a new history, after its majority was lost, with an alarm of what
// is known to be lost, or nil. Serials are skipped, because the lost members may have used the next ones.
func (s *State) Recovered(history *storepb.History, lost *storepb.Loss) (*State, error) {
	next := s.Capture()
	next.share()
	if lost != nil && len(s.losses) < maxLosses { // as if it were proved long ago: the next proof does not wait
		lost.AtMs, next.proved, next.losses = s.time, max(s.proved, 1), append(s.losses[:len(s.losses):len(s.losses)], lost)
	}
	if _, err := next.beginHistory(next.applied, &storepb.BeginHistory{History: history}); err != nil {
		return nil, err
	}
	next.skipSerials()
	next.extend(s.lineage, sha256.Sum256([]byte("recovered "+history.Id)), &storepb.Result{Index: next.applied})
	return next, nil
}

// enter begins a history at an index, whose lineages are the first that are known of it:
// positions of former histories prove nothing. Before levelOutcomes nobody may write where
// that was: an older member would refuse the snapshot.
func (s *State) enter(next federation.History, index uint64) {
	s.history, s.began, s.revision = next, 0, index
	s.lines = s.lines.none()
	if s.level >= LevelOutcomes {
		s.began = index
	}
}

// setLevel raises the feature level. It is never lowered.
func (s *State) setLevel(index uint64, op *storepb.SetLevel) (uint64, error) {
	switch {
	case op.Level == s.level:
		return 0, nil
	case op.Level < s.level:
		return 0, federation.Errorf(federation.Conflict, "the feature level is %d and cannot be lowered", s.level)
	}
	s.level = op.Level
	s.tellExpelled(index)
	return 1, nil
}

// prune forgets what expired more than 24 hours before the watermark, tombstones
// that are older than 30 days, and stages that nobody finished.
func (s *State) prune(op *storepb.Prune) (uint64, error) {
	if op.WatermarkMs > s.time {
		return 0, federation.InvalidField("watermark", "must not lie in the future")
	}
	s.watermark = max(s.watermark, op.WatermarkMs)
	s.forgetLines()
	n := s.pruneExpired() + s.pruneTombstones()
	s.share()
	for id, stage := range s.stages.All() {
		if stage.BegunMs < s.watermark-stageLife.Milliseconds() {
			s.stages.Del(s.edit, id)
			n++
		}
	}
	if s.staged.id != "" && s.staged.begun < s.watermark-stageLife.Milliseconds() {
		s.staged = stagedRestore{parts: s.staged.none()}
		n++
	}
	return n, nil
}

// forgotten reports whether a revocation's expiry lies so far back that no clock
// can take the token for valid.
func (s *State) forgotten(e idEntry) bool {
	return !e.withdrawn() && e.expires > 0 &&
		e.expires*1000 < s.watermark-cptoken.PruneAfter.Milliseconds()
}

func (s *State) pruneExpired() (n uint64) {
	s.share()
	for id, list := range s.lists.All() {
		var names []string
		taken := took{}
		for u, e := range list.uuids.All() {
			if s.forgotten(e) {
				names = append(names, u.String())
				taken.from(e)
			}
		}
		for name, e := range list.others.All() {
			if s.forgotten(e) {
				names = append(names, name)
				taken.from(e)
			}
		}
		if len(names) == 0 {
			continue
		}
		for _, name := range names {
			list.del(s.edit, name)
			list.live--
		}
		s.settle(id, &list, taken)
		s.lists.Set(s.edit, id, list)
		n += uint64(len(names))
	}
	return n
}

// pruneTombstones drops old tombstones and raises the floor to the newest index
// of them: who stands below it is no longer told everything.
func (s *State) pruneTombstones() (n uint64) {
	oldest := s.watermark - tombstoneLife.Milliseconds()
	s.share()
	for at, e := range s.log.All() {
		if !e.tombstone() || e.at >= oldest {
			continue
		}
		s.log.Del(s.edit, at)
		s.floor = max(s.floor, at.index)
		n++
		switch e.what {
		case keyRemoved:
			s.removed.Del(s.edit, e.id)
		case idsWithdrawn:
			list := s.list(e.run.listID)
			e.run.each(&list, func(id string, _ idEntry) bool {
				list.del(s.edit, id)
				return true
			})
			s.lists.Set(s.edit, e.run.listID, list)
		}
	}
	return n
}

// reseal replaces the sealed form of keys. Zones see nothing of it.
func (s *State) reseal(op *storepb.Reseal) (uint64, error) {
	for _, item := range op.Items {
		id := cptoken.KeyID{Kind: cptoken.Kind(item.GetId().GetKind()), Mesh: item.GetId().GetMesh(), KID: item.GetId().GetKid()}
		k, ok := s.keys.Get(id)
		if !ok || k.sealed == nil {
			return 0, federation.Errorf(federation.Conflict, "key %s does not exist or is not sealed", KeyName(id))
		}
		if item.Sealed == nil || proto.Size(item.Sealed) > maxSealed {
			return 0, federation.InvalidField("sealed", "must hold the sealed key material, at most %d bytes", maxSealed)
		}
		next := *k
		next.sealed = item.Sealed
		s.keys.Set(s.edit, id, &next)
	}
	for _, c := range op.Secrets {
		if err := s.resealSecret(c); err != nil {
			return 0, err
		}
	}
	if op.SealCheck != nil {
		if err := checkSealCheck(op.SealCheck); err != nil {
			return 0, err
		}
		s.sealCheck = s.supersede(op.SealCheck)
	}
	for _, dropped := range op.DropSealKeyIds {
		for _, c := range s.secrets {
			if c.Sealed.SealKeyId == dropped {
				return 0, federation.Errorf(federation.Conflict, "the cluster secret is still sealed under seal key %.16s", dropped)
			}
		}
		for id, k := range s.keys.All() {
			if k.sealed.GetSealKeyId() == dropped {
				return 0, federation.Errorf(federation.Conflict, "key %s is still sealed under seal key %.16s", KeyName(id), dropped)
			}
		}
	}
	return uint64(len(op.Items) + len(op.Secrets)), nil
}
