package state

import (
	"bytes"
	"crypto/sha256"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// Bounds of changes that are staged in parts. A part is at most a log entry, so
// that 512 parts hold some five million ids.
const (
	maxStages     = 8
	MaxStageParts = 512
	stageLife     = time.Hour
)

func (s *State) stagePart(by string, op *storepb.StagePart) (uint64, error) {
	old, ok := s.stages.Get(op.StageId)
	if err := checkPart(old, op); err != nil {
		return 0, err
	}
	if !ok && s.stages.Len() >= maxStages {
		if err := s.dropOldestStage(); err != nil {
			return 0, err
		}
	}
	next := &storepb.Stage{Id: op.StageId, By: by, BegunMs: s.time}
	if ok {
		next.By, next.BegunMs, next.Parts = old.By, old.BegunMs, old.Parts
	}
	parts := make([]*storepb.StagePart, len(next.Parts), len(next.Parts)+1)
	copy(parts, next.Parts)
	next.Parts = append(parts, op)
	s.stages.Set(s.edit, op.StageId, next)
	return 1, nil
}

// checkPart checks a part that is to follow those of a stage, which is nil for the first.
func checkPart(old *storepb.Stage, op *storepb.StagePart) error {
	n := len(old.GetParts())
	switch {
	case (op.Revoke == nil) == (op.Withdraw == nil):
		return federation.InvalidField("part", "must hold either revocations or withdrawals")
	case op.StageId == "" || len(op.StageId) > 64:
		return federation.InvalidField("stage", "must have an id of 1 to 64 characters")
	case n > 0 && !sameList(old.Parts[0], op):
		return federation.InvalidField("part", "must concern the same list as the parts before it")
	case int(op.Part) != n:
		return federation.Errorf(federation.Conflict, "part %d arrived where part %d was due", op.Part, n)
	case n >= MaxStageParts:
		return federation.Errorf(federation.TooLarge, "a change has at most %d parts", MaxStageParts)
	}
	return nil
}

// dropOldestStage makes room if the oldest stage was left behind by its proposer.
func (s *State) dropOldestStage() error {
	var oldest *storepb.Stage
	for _, stage := range s.stages.All() {
		if oldest == nil || stage.BegunMs < oldest.BegunMs {
			oldest = stage
		}
	}
	if oldest.BegunMs > s.time-requestLife.Milliseconds() {
		return federation.Errorf(federation.Unavailable, "%d large changes are under way, no more are taken", maxStages).
			WithHint("try again in a minute")
	}
	s.stages.Del(s.edit, oldest.Id)
	return nil
}

func sameList(a, b *storepb.StagePart) bool {
	return (a.Revoke == nil) == (b.Revoke == nil) &&
		a.GetRevoke().GetKind() == b.GetRevoke().GetKind() &&
		a.GetRevoke().GetMesh() == b.GetRevoke().GetMesh() &&
		a.GetWithdraw().GetKind() == b.GetWithdraw().GetKind() &&
		a.GetWithdraw().GetMesh() == b.GetWithdraw().GetMesh()
}

// commitStage makes the parts of a stage one change at this index.
func (s *State) commitStage(index uint64, op *storepb.CommitStage) (uint64, error) {
	stage, ok := s.stages.Get(op.StageId)
	if !ok {
		return 0, federation.Errorf(federation.Conflict, "the parts of this change are not here").
			WithReason("no_stage").WithHint("send the whole request again")
	}
	digest := StageDigest(stage.Parts)
	if int(op.Parts) != len(stage.Parts) || !bytes.Equal(op.Digest, digest) {
		return 0, federation.Errorf(federation.Conflict, "the parts of this change are not those that were sent").
			WithReason("no_stage").WithHint("send the whole request again")
	}
	s.stages.Del(s.edit, op.StageId)
	if stage.Parts[0].Revoke == nil {
		withdrawals := make([]*storepb.Withdraw, len(stage.Parts))
		for i, p := range stage.Parts {
			withdrawals[i] = p.Withdraw
		}
		return s.withdraw(index, withdrawals)
	}
	revocations := make([]*storepb.Revoke, len(stage.Parts))
	for i, p := range stage.Parts {
		revocations[i] = p.Revoke
	}
	return s.revoke(index, stage.By, revocations[0].Reason, revocations)
}

func (s *State) dropStage(op *storepb.DropStage) (uint64, error) {
	if !s.stages.Del(s.edit, op.StageId) {
		return 0, nil
	}
	return 1, nil
}

// StageDigest is the SHA-256 over the ids of all parts in order, each followed by
// a newline.
func StageDigest(parts []*storepb.StagePart) []byte {
	h := sha256.New()
	for _, p := range parts {
		for _, id := range p.GetRevoke().GetIds() {
			h.Write([]byte(id.Id))
			h.Write([]byte{'\n'})
		}
		for _, id := range p.GetWithdraw().GetIds() {
			h.Write([]byte(id))
			h.Write([]byte{'\n'})
		}
	}
	return h.Sum(nil)
}
