package state

import (
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

func TestStages(t *testing.T) {
	c := newCore(t)
	part := func(stage string, n uint32, kind cptoken.Kind) *storepb.StagePart {
		return &storepb.StagePart{StageId: stage, Part: n, Revoke: cmdRevoke(kind, "", 0, randomUUID()).GetRevoke()}
	}
	send := func(p *storepb.StagePart) *storepb.Command {
		return &storepb.Command{Op: &storepb.Command_StagePart{StagePart: p}}
	}
	first := part("s", 0, cptoken.Zone)
	c.ok(send(first))
	c.refused(federation.Conflict, "", send(part("s", 2, cptoken.Zone)))
	c.refused(federation.Conflict, "", send(part("s", 0, cptoken.Zone)))
	c.refused(federation.Invalid, "", send(part("s", 1, cptoken.User)))
	c.refused(federation.Invalid, "", send(&storepb.StagePart{StageId: "t"}))
	commit := func(stage string, parts uint32, digest []byte) *storepb.Command {
		return &storepb.Command{Op: &storepb.Command_CommitStage{CommitStage: &storepb.CommitStage{StageId: stage, Parts: parts, Digest: digest}}}
	}
	digest := StageDigest([]*storepb.StagePart{first})
	c.refused(federation.Conflict, "no_stage", commit("t", 1, digest))
	c.refused(federation.Conflict, "no_stage", commit("s", 2, digest))
	c.refused(federation.Conflict, "no_stage", commit("s", 1, nil))
	c.ok(commit("s", 1, digest))
	c.refused(federation.Conflict, "no_stage", commit("s", 1, digest))

	for i := range maxStages {
		c.ok(send(part(string(rune('a'+i)), 0, cptoken.Zone)))
	}
	c.refused(federation.Unavailable, "", send(part("z", 0, cptoken.Zone)))
	c.now += requestLife.Milliseconds() + 1
	c.ok(send(part("z", 0, cptoken.Zone))) // the oldest was given up by its proposer
	c.now += stageLife.Milliseconds() + 1
	c.ok(cmdPrune(c.now))
	if c.s.stages.Len() != 0 {
		t.Errorf("%d stages are left", c.s.stages.Len())
	}
}
