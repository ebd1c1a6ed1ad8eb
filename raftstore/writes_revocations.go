package raftstore

import (
	"context"
	"encoding/hex"
	"io"
	"slices"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/state"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// partBytes bounds the ids of one part, so that the part with its envelope stays
// below MaxCommand.
const partBytes = state.MaxCommand - 8<<10

// Revoke adds ids to the list of a kind and mesh. However many they are, zones
// see all of them at once; where they do not fit into one log entry they are
// staged in parts first. Changed counts the ids that were not on the list, or are
// now kept longer.
func (s *Store) Revoke(ctx context.Context, o Origin, kind cptoken.Kind, mesh string, ids []cptoken.RevokedID, reason string) (Change, error) {
	if len(ids) == 0 {
		return Change{}, federation.InvalidField("ids", "must name at least one token id")
	}
	var parts []*storepb.StagePart
	size := partBytes
	for _, id := range ids {
		if size += revokedSize(id); size > partBytes {
			parts = append(parts, &storepb.StagePart{Revoke: &storepb.Revoke{Kind: string(kind), Mesh: mesh, Reason: reason}})
			size = revokedSize(id)
		}
		r := parts[len(parts)-1].Revoke
		r.Ids = append(r.Ids, &storepb.RevokedID{Id: id.ID, ExpiresS: id.Expires})
	}
	if len(parts) > 1 {
		return s.staged(ctx, o, "revoke", parts)
	}
	return s.change(ctx, o, "revoke", &storepb.Command{Op: &storepb.Command_Revoke{Revoke: parts[0].Revoke}})
}

// revokedSize is at least the bytes that an id takes in a command.
func revokedSize(id cptoken.RevokedID) int { return len(id.ID) + 18 }

// Withdraw takes ids off the list of a kind and mesh: their tokens are accepted
// again. Zones are told of ids that are not on it, too: one may keep what this cluster
// lost. Zones see all of it at once.
func (s *Store) Withdraw(ctx context.Context, o Origin, kind cptoken.Kind, mesh string, ids []string) (Change, error) {
	if len(ids) == 0 {
		return Change{}, federation.InvalidField("ids", "must name at least one token id")
	}
	var parts []*storepb.StagePart
	size := partBytes
	for _, id := range ids {
		if size += len(id) + 6; size > partBytes {
			parts = append(parts, &storepb.StagePart{Withdraw: &storepb.Withdraw{Kind: string(kind), Mesh: mesh}})
			size = len(id) + 6
		}
		w := parts[len(parts)-1].Withdraw
		w.Ids = append(w.Ids, id)
	}
	if len(parts) > 1 {
		return s.staged(ctx, o, "withdraw", parts)
	}
	return s.change(ctx, o, "withdraw", &storepb.Command{Op: &storepb.Command_Withdraw{Withdraw: parts[0].Withdraw}})
}

// staged sends the parts of a large change and commits them. Parts that are left
// behind by a failure have no effect and are dropped here or by a later Prune.
func (s *Store) staged(ctx context.Context, o Origin, verb string, parts []*storepb.StagePart) (Change, error) {
	if len(parts) > state.MaxStageParts {
		return Change{}, federation.Errorf(federation.TooLarge, "the change has %d parts, at most %d are taken", len(parts), state.MaxStageParts).
			WithHint("send it in several requests")
	}
	if !s.IsLeader() {
		return Change{}, s.notLeader()
	}
	var random [16]byte
	if _, err := io.ReadFull(s.cfg.Rand, random[:]); err != nil {
		return Change{}, federation.Errorf(federation.Internal, "no randomness: %w", err)
	}
	stage := hex.EncodeToString(random[:])
	for i, p := range parts {
		p.StageId, p.Part = stage, uint32(i)
		// Without a request id: a part is of this stage alone, never a repetition.
		if _, err := s.propose(ctx, Origin{By: o.By}, "", &storepb.Command{Op: &storepb.Command_StagePart{StagePart: p}}); err != nil {
			s.dropStage(ctx, o, stage)
			return Change{}, unfinished(err)
		}
	}
	out, err := s.propose(ctx, o, verb, &storepb.Command{Op: &storepb.Command_CommitStage{CommitStage: &storepb.CommitStage{
		StageId: stage, Parts: uint32(len(parts)), Digest: state.StageDigest(parts),
	}}})
	if err != nil {
		s.dropStage(ctx, o, stage)
		return Change{}, err
	}
	if slices.Contains(out.state.Stages(), stage) { // a repeated request id: the first one made the change
		s.dropStage(ctx, o, stage)
	}
	return changeOf(out), nil
}

// unfinished says of an error in the middle of the parts what is certain: the
// commit was not sent, so nothing was changed.
func unfinished(err error) error {
	if federation.CodeOf(err) != federation.UnknownOutcome {
		return err
	}
	return federation.Errorf(federation.Unavailable, "the change was not made: %w", err).WithReason("leader_lost").WithHint("try again in a few seconds")
}

// dropStage tidies up; whether it succeeds does not matter.
func (s *Store) dropStage(ctx context.Context, o Origin, stage string) {
	cmd := &storepb.Command{Op: &storepb.Command_DropStage{DropStage: &storepb.DropStage{StageId: stage}}}
	if _, err := s.propose(context.WithoutCancel(ctx), Origin{By: o.By}, "", cmd); err != nil {
		s.log.Debug("parts of a change are left until they are pruned", "stage", stage, "error", err)
	}
}

// SetCutOff refuses every token of an id that was issued before a time. It never
// moves an earlier cut-off back.
func (s *Store) SetCutOff(ctx context.Context, o Origin, c cptoken.CutOff, reason string) (Change, error) {
	return s.change(ctx, o, "set-cut-off", &storepb.Command{Op: &storepb.Command_SetCutOff{SetCutOff: &storepb.SetCutOff{
		Id: state.KeyRef(cptoken.KeyID(c.CutOffID)), BeforeS: c.Before.Unix(), Reason: reason,
	}}})
}

// WithdrawCutOff takes a cut-off back.
func (s *Store) WithdrawCutOff(ctx context.Context, o Origin, id cptoken.CutOffID) (Change, error) {
	return s.change(ctx, o, "withdraw-cut-off", &storepb.Command{Op: &storepb.Command_WithdrawCutOff{
		WithdrawCutOff: &storepb.WithdrawCutOff{Id: state.KeyRef(cptoken.KeyID(id))},
	}})
}

// Prune forgets revocations that expired more than cptoken.PruneAfter before the
// watermark, and tombstones older than 30 days. The watermark never goes back. It
// is not moved faster than time passes for this process, whatever now is: what is
// forgotten late costs memory, what is forgotten early lets a revoked token in.
func (s *Store) Prune(ctx context.Context, o Origin, now time.Time) (Change, error) {
	watermark, held := s.pruning.limit(s.fsm.current().PruneBase(), now.UnixMilli())
	if held > 0 {
		s.log.Warn("pruning is held back: the clock of this node is further ahead than time has passed; "+
			"check the clock, unless the cluster was stopped for so long",
			"clock", now, "held", held, "watermark", time.UnixMilli(watermark).UTC())
	}
	return s.change(ctx, o, "prune", &storepb.Command{Op: &storepb.Command_Prune{
		Prune: &storepb.Prune{WatermarkMs: watermark},
	}})
}

func (s *Store) change(ctx context.Context, o Origin, verb string, cmd *storepb.Command) (Change, error) {
	out, err := s.propose(ctx, o, verb, cmd)
	if err != nil {
		return Change{}, err
	}
	return changeOf(out), nil
}
