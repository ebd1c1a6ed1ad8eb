package cluster

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	globalnode "github.com/meridiankds/meridian/internal/global/node"
	"github.com/meridiankds/meridian/internal/test/raftfake"
	"github.com/meridiankds/meridian/raftstore/state"
)

// startAltered starts n members, one of which takes the revocation of one id for that of
// another one. It returns the leader and the member that differs.
func startAltered(t *testing.T, n int) (c *Globals, leader, odd *Global) {
	t.Helper()
	var victim atomic.Value
	victim.Store("")
	wrap := raftfake.Alter(t.Context(), func(self string, command []byte) []byte {
		cmd, err := state.DecodeCommand(command)
		if self != victim.Load() || err != nil || cmd.GetRevoke() == nil {
			return command
		}
		cmd.GetRevoke().Ids[0].Id = "another"
		data, err := state.EncodeCommand(cmd)
		if err != nil {
			t.Error(err)
		}
		return data
	})
	c = NewGlobals(t, quiet, n)
	c.Configure = func(cfg *globalnode.Config) { cfg.WrapTransport = wrap }
	c.Launch(n)
	c.AwaitVoters(n)
	leader, odd = c.Leader(), c.Followers()[0]
	victim.Store(odd.Node.Store().NodeID())
	ids := []cptoken.RevokedID{{ID: "one"}}
	if _, err := leader.Node.Store().Revoke(context.Background(), operator, cptoken.Zone, "", ids, ""); err != nil {
		t.Fatal(err)
	}
	return c, leader, odd
}

// TestAMemberThatDiffersIsFound within seconds, without a further change: it stops, and
// hands over its position.
func TestAMemberThatDiffersIsFound(t *testing.T) {
	c, leader, odd := startAltered(t, 3)
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if err := odd.Ended(ctx); err == nil || !strings.Contains(err.Error(), "most members have applied something else") {
		t.Fatalf("the member that differs ended with %v", err)
	}
	odd.once.Do(func() {})
	by := "member " + odd.Node.Store().NodeID()
	Eventually(t, "its position to prove the loss", func() bool {
		losses := c.Leader().Node.Store().Losses()
		return len(losses) == 1 && losses[0].ShownBy == by
	})
	if _, err := leader.Node.Store().PrepareKey(context.Background(), operator, cptoken.Zone, ""); err != nil {
		t.Errorf("the others do not go on: %v", err)
	}
}

// TestTwoMembersThatDifferAreNamed: nobody can tell which is right, so that both go on,
// gates stay shut, and both are named.
func TestTwoMembersThatDifferAreNamed(t *testing.T) {
	c, leader, odd := startAltered(t, 2)
	both := []string{leader.Node.Store().NodeID(), odd.Node.Store().NodeID()}
	slices.Sort(both)
	var status apitypes.Cluster
	Eventually(t, "both members to be named", func() bool {
		leader.want(t, http.StatusOK, http.MethodGet, "/v1/cluster", nil, &status)
		var named []string
		for _, m := range status.Members {
			if m.Diverged {
				named = append(named, m.ID)
			}
		}
		slices.Sort(named)
		return slices.Equal(named, both) && strings.Contains(status.Warning, "members have diverged")
	})
	key, err := leader.Node.Store().PrepareKey(context.Background(), operator, cptoken.Zone, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range both {
		Eventually(t, "each member to report the key", func() bool {
			applied, live := leader.Node.Fleet().Reported(id)
			return live && applied >= key.PreparedIndex
		})
	}
	_, head := leader.Node.Store().Head()
	held := leader.Node.Fleet().Gate(federation.Revision{History: head.History, Index: key.PreparedIndex}, both, key.ID)
	if held.Open || !slices.Equal(held.Members, both) {
		t.Errorf("the gate of a key is %+v, want it shut for both", held)
	}
	if len(c.Running()) != 2 {
		t.Error("one of the two stopped")
	}
}
