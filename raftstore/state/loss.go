package state

import (
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

const (
	// provedEvery bounds how often a proof begins a history: two clusters under one name
	// that zones wander between must not begin one after the other.
	provedEvery = time.Hour
	// maxLosses bounds the alarms that nobody has confirmed. Beyond it the oldest goes.
	maxLosses   = 32
	maxShownBy  = 128
	maxPosition = 1 << 10
)

// proveLoss begins a new history where a position of the present one is not in its past:
// acknowledged changes were lost with the disks that had them. What the proposer saw is
// checked once more, because others may have come before. Serials jump, because the lost
// past may have used the next ones.
func (s *State) proveLoss(index uint64, op *storepb.ProveLoss) (uint64, error) {
	p := op.GetPosition()
	history, err := ParseHistory(p.GetHistory())
	if err = firstOf(err, checkShown(p, op.ShownBy)); err != nil {
		return 0, err
	}
	place := s.PlaceOf(history, p.Index, p.Lineage)
	switch {
	case p.ClusterId != s.cluster || place != Ahead && place != Absent:
		return 0, federation.Errorf(federation.Conflict, "position %d of history %s proves no loss any more", p.Index, history.ID).WithReason("no_loss")
	case !s.MayProve(s.time):
		return 0, federation.Errorf(federation.Conflict, "a history was begun by a proof of loss less than %s ago", provedEvery).
			WithReason("loss_limit").WithHint("find out why disks go back, or whether two clusters share this name; then: global cluster confirm-loss")
	}
	next, err := s.newerHistory(op.History)
	if err != nil {
		return 0, err
	}
	loss := &storepb.Loss{
		Position: p, ShownBy: op.ShownBy, AtMs: s.time, Applied: s.revision, Index: index,
		History: &storepb.History{Id: next.ID, CreatedMs: next.Created},
	}
	kept := s.losses[max(0, len(s.losses)+1-maxLosses):]
	s.losses = append(kept[:len(kept):len(kept)], loss)
	s.proved = s.time
	s.enter(next, index)
	s.skipSerials()
	return 1, nil
}

// checkShown checks the size of a position that somebody showed.
func checkShown(p *storepb.Position, by string) error {
	if len(by) > maxShownBy || len(PositionText(p)) > maxPosition || len(p.Mac) > maxShownBy {
		return federation.InvalidField("position", "is longer than any position")
	}
	return nil
}

// MayProve reports whether a proof may begin a history at a time in Unix milliseconds.
func (s *State) MayProve(now int64) bool {
	return s.proved == 0 || now-s.proved >= provedEvery.Milliseconds()
}

// confirmLoss takes the alarms away and lifts the limit of provedEvery. With a history to
// adopt it begins that one, above every one that was shown: the cluster's disks are behind
// a history that zones know.
func (s *State) confirmLoss(index uint64, op *storepb.ConfirmLoss) (uint64, error) {
	changed := uint64(len(s.losses))
	if s.proved != 0 {
		changed++
	}
	s.losses, s.proved = nil, 0
	if op.Adopt == nil {
		return changed, nil
	}
	next, err := s.newerHistory(op.Adopt)
	if err != nil {
		return 0, err
	}
	s.enter(next, index)
	s.skipSerials()
	return changed + 1, nil
}

func (s *State) newerHistory(h *storepb.History) (federation.History, error) {
	next, err := ParseHistory(h)
	if err == nil && next.Compare(s.history) <= 0 {
		err = federation.Errorf(federation.Conflict, "a new history must be newer than the present one")
	}
	return next, err
}

// Losses are the losses that were proved and that nobody has confirmed, the oldest first.
func (s *State) Losses() []*storepb.Loss { return s.losses }
