package raftstore

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/raftstore/state"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// enqueueTimeout bounds how long a command waits for its turn. Once it is in the
// log it is waited for: it is committed, or the leadership is lost, within a few
// election timeouts.
const enqueueTimeout = 5 * time.Second

// propose replicates a command and returns what it came to on this node. verb
// tells apart the several changes that one request may make.
func (s *Store) propose(ctx context.Context, o Origin, verb string, cmd *storepb.Command) (outcome, error) {
	if !s.IsLeader() {
		return outcome{}, s.notLeader()
	}
	return s.replicate(ctx, o, verb, cmd)
}

// replicate is propose for a leader that is not fit for work yet.
func (s *Store) replicate(ctx context.Context, o Origin, verb string, cmd *storepb.Command) (outcome, error) {
	s.writing.RLock()
	defer s.writing.RUnlock()
	r := s.raft.Load()
	if r == nil {
		return outcome{}, s.notLeader()
	}
	if err := s.fsm.current().MayPropose(cmd); err != nil {
		return outcome{}, err
	}
	cmd.TimeMs, cmd.By, cmd.RequestId = s.cfg.Now().UnixMilli(), o.By, o.idOf(verb)
	data, err := state.EncodeCommand(cmd)
	if err != nil {
		return outcome{}, federation.Errorf(federation.Invalid, "the change cannot be written: %w", err)
	}
	if len(data) > state.MaxCommand {
		return outcome{}, federation.Errorf(federation.TooLarge,
			"the change has %d bytes, at most %d fit into one", len(data), state.MaxCommand).WithHint("send it in pieces")
	}
	if ctx.Err() != nil {
		return outcome{}, federation.Errorf(federation.Unavailable, "the request ended before it was taken up: %w", context.Cause(ctx))
	}
	begun := time.Now()
	future := r.Apply(data, enqueueTimeout)
	if err := future.Error(); err != nil {
		return outcome{}, s.replicationError(err)
	}
	if s.cfg.Committed != nil {
		s.cfg.Committed(clock.Since(begun))
	}
	out, ok := future.Response().(outcome)
	if !ok {
		return outcome{}, federation.Errorf(federation.UnknownOutcome, "this node stopped while the change was made").
			WithHint("look whether it was made, then try again")
	}
	return out, state.ResultError(out.result)
}

// idOf is the request id of one of the changes that a request makes; "" where it has none.
func (o Origin) idOf(verb string) string {
	if o.RequestID == "" {
		return ""
	}
	return o.RequestID + "/" + verb
}

// made returns what a change came to that was made before under the same request id and
// must not be made again. What it would be judged by may be another by now.
func (s *Store) made(o Origin, verb string, cmd *storepb.Command) (outcome, bool) {
	st := s.fsm.current()
	cmd.RequestId = o.idOf(verb)
	result := st.Made(cmd)
	return outcome{result, st}, result != nil
}

// notLeader refuses a write and names the node that takes it.
func (s *Store) notLeader() *federation.Error {
	e := &federation.Error{
		Code: federation.Unavailable, Reason: "not_leader", RetryAfter: s.cfg.ElectionTimeout,
		Detail: "no leader is known at present", Hint: "try again in a second",
	}
	switch id, addr := s.Leader(); {
	case id == s.node.ID:
		e.Detail = "this node has just become the leader and is not ready yet"
	case id != "":
		e.Detail = "this node is not the leader, node " + id + " at " + addr + " is"
		e.Hint = "send the request there"
	}
	return e
}

// replicationError says whether the change may have been made.
func (s *Store) replicationError(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return s.notLeader().WithCause(err)
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return federation.Errorf(federation.Unavailable, "this node is too busy to take the change: %w", err).
			WithHint("try again in a few seconds")
	}
	return federation.Errorf(federation.UnknownOutcome, "it is unknown whether the change was made: %w", err).
		WithHint("look whether it was made, then try again")
}

// changeOf is the answer to writes that have no record to show. A change that was made
// before, under the same request id, is in force where it was made, not only at the head.
func changeOf(out outcome) Change {
	rev := out.state.Revision()
	if at := out.result.GetIndex(); at >= out.state.Began() {
		rev.Index = min(rev.Index, at)
	}
	return Change{Revision: rev, Changed: out.result.GetChanged(), Replaced: out.result.GetDetail()}
}
