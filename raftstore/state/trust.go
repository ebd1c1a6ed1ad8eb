package state

import (
	"slices"

	"github.com/meridiankds/meridian/raftstore/storepb"
)

// maxFormer bounds how many former seal keys are remembered, as many as a node's file
// may have.
const maxFormer = 64

// supersede returns a seal check in the place of the present one, whose seal key proves
// nothing from then on. What the command itself says of former keys counts for nothing.
// Below LevelTrust none are remembered: an older member could not read them.
func (s *State) supersede(check *storepb.SealCheck) *storepb.SealCheck {
	if s.level < LevelTrust {
		return withFormer(check, nil)
	}
	return withFormer(check, append(slices.Clone(s.sealCheck.GetFormerIds()), s.SealKeyID()))
}

// withFormer returns the check with these keys as former ones, but for its own.
func withFormer(check *storepb.SealCheck, former []string) *storepb.SealCheck {
	own := check.GetSealed().GetSealKeyId()
	var ids []string
	for _, id := range former {
		if id != "" && id != own && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return &storepb.SealCheck{Sealed: check.GetSealed(), FormerIds: ids[max(0, len(ids)-maxFormer):]}
}

// keepTrust has a state that goes back in time trust nobody whom the replaced one did
// not trust any more. A seal key that the same cluster replaced since does not come back:
// its keys are sealed under it until the next rotation, and it proves nothing.
func (s *State) keepTrust(replaced *State) {
	former := slices.Concat(s.sealCheck.GetFormerIds(), replaced.sealCheck.GetFormerIds())
	if replaced.level >= LevelWithdrawals && s.cluster == replaced.cluster && slices.Contains(replaced.sealCheck.GetFormerIds(), s.SealKeyID()) {
		s.sealCheck = replaced.sealCheck
	}
	s.sealCheck = withFormer(s.sealCheck, former)
	for id, e := range replaced.expelled.All() {
		s.expelled.Set(s.edit, id, e)
	}
}

// TrustChanged compares two states by who is trusted with a connection.
func TrustChanged(before, after *State) bool {
	return before.sealCheck != after.sealCheck || before.expelled.Version() != after.expelled.Version()
}
