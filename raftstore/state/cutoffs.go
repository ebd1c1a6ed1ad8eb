package state

import (
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// maxSkew is how far in the future a cut-off may lie: further, and tokens that
// are issued now would be refused.
const maxSkew = 5 * time.Minute

// cutOffRecord is a cut-off and its place in the log. It is immutable.
type cutOffRecord struct {
	CutOff
	logged logKey
}

func (s *State) cutOffID(ref *storepb.KeyRef, mustExist bool) (cptoken.CutOffID, error) {
	kind, err := s.Scope(ref.GetKind(), ref.GetMesh(), mustExist)
	if err != nil {
		return cptoken.CutOffID{}, err
	}
	if len(ref.GetKid()) > cptoken.MaxIDLen {
		return cptoken.CutOffID{}, federation.InvalidField("kid", "must have at most %d bytes", cptoken.MaxIDLen)
	}
	return cptoken.CutOffID{Kind: kind, Mesh: ref.Mesh, KID: ref.Kid}, validateText("kid", ref.Kid)
}

// setCutOff sets a cut-off or moves it forward. It never moves back: that would
// accept again what was refused.
func (s *State) setCutOff(index uint64, by string, op *storepb.SetCutOff) (uint64, error) {
	id, err := s.cutOffID(op.Id, true)
	if err != nil {
		return 0, err
	}
	if err := s.checkCutOffTime(op.BeforeS); err != nil {
		return 0, err
	}
	if len(op.Reason) > federation.MaxReason {
		return 0, federation.InvalidField("reason", "must have at most %d bytes", federation.MaxReason)
	}
	old, ok := s.cutOffs.Get(id)
	if ok && old.Before.Unix() >= op.BeforeS {
		return 0, nil
	}
	if ok {
		s.log.Del(s.edit, old.logged)
	} else {
		s.dropCutOffTombstone(id, index)
	}
	c := &cutOffRecord{CutOff: CutOff{
		CutOff: cptoken.CutOff{CutOffID: id, Before: time.Unix(op.BeforeS, 0).UTC()},
		Reason: op.Reason, By: by, At: millis(s.time), Index: index,
	}}
	c.logged = s.append(index, logEntry{what: cutOffSet, id: cptoken.KeyID(id)})
	s.cutOffs.Set(s.edit, id, c)
	return 1, nil
}

func (s *State) withdrawCutOff(index uint64, op *storepb.WithdrawCutOff) (uint64, error) {
	id, err := s.cutOffID(op.Id, false)
	if err != nil {
		return 0, err
	}
	old, ok := s.cutOffs.Get(id)
	switch {
	case ok:
		s.log.Del(s.edit, old.logged)
		s.cutOffs.Del(s.edit, id)
	case s.level < LevelWithdrawals, s.checkMesh(id.Kind, id.Mesh) != nil,
		s.dropCutOffTombstone(id, s.began): // else a zone may keep one that a lost past had set
		return 0, nil
	}
	s.append(index, logEntry{what: cutOffWithdrawn, id: cptoken.KeyID(id), at: s.time})
	return 1, nil
}

// dropCutOffTombstone forgets that a cut-off was withdrawn at this index or before, as it is
// set again, and reports whether it was withdrawn later. Cut-offs are few, and so are their tombstones.
func (s *State) dropCutOffTombstone(id cptoken.CutOffID, until uint64) (later bool) {
	for at, e := range s.log.All() {
		if e.what != cutOffWithdrawn || cptoken.CutOffID(e.id) != id {
			continue
		} else if at.index <= until {
			s.log.Del(s.edit, at)
		}
		return at.index > until
	}
	return false
}
