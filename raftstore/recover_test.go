package raftstore

import (
	"context"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/test/raftfake"
	"github.com/meridiankds/meridian/raftstore/disk"
)

// TestRecover: of three members one is left. It goes on alone with everything that it
// had, in a new history, and gives no serial out that the others may have used.
func TestRecover(t *testing.T) {
	for _, withSnapshot := range []bool{false, true} {
		c := startCluster(t)
		ctx := context.Background()
		var change Change
		var id string
		leader := c.write(c.members, func(m *member) (err error) {
			id = randomUUID()
			change, err = m.Revoke(ctx, Origin{By: "ann"}, cptoken.Zone, "", []cptoken.RevokedID{{ID: id}}, "why")
			return err
		})
		c.agree(c.members, change.Revision)
		left := 0
		for c.members[left] == leader {
			left++
		}
		if withSnapshot {
			if err := c.members[left].raft.Load().Snapshot().Error(); err != nil {
				t.Fatal(err)
			}
		}
		_, err := Recover(c.dirs[left], RecoverOptions{})
		wantCode(t, err, federation.Conflict, "in_use")
		for _, m := range c.members {
			m.stop()
		}
		before := contents(t, c.dirs[left])
		dry, err := Recover(c.dirs[left], RecoverOptions{DryRun: true})
		if err != nil || len(dry.Members) != 3 || dry.NodeID != c.members[left].NodeID() || dry.Before != change.Revision || dry.Revocations != 1 {
			t.Fatalf("dry run: %+v: %v", dry, err)
		}
		if !equalFiles(before, contents(t, c.dirs[left])) {
			t.Fatal("a dry run changed the folder")
		}
		done, err := Recover(c.dirs[left], RecoverOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if done.Revision.History.Compare(change.Revision.History) <= 0 || done.ClusterID != leader.ClusterID() {
			t.Errorf("recovered %+v", done)
		}
		if _, err := Recover(c.dirs[left], RecoverOptions{}); federation.AsError(err).Reason != "alone" {
			t.Errorf("a second time: %v", err)
		}

		cfg := c.config(left)
		cfg.Bootstrap = false
		m := start(t, cfg).awaitReady()
		if _, rev := m.Head(); rev != done.Revision {
			t.Errorf("at %s, want %s", rev, done.Revision)
		}
		if !m.View().Revoked(cptoken.Zone, "", id) {
			t.Error("a revocation is lost")
		}
		if d, err := m.Since(change.Revision); err != nil || !d.Full {
			t.Errorf("a zone of the old history gets %+v: %v", d, err)
		}
		key, err := m.PrepareKey(ctx, Origin{By: "ann"}, cptoken.Zone, "")
		if err != nil || key.Serial != 1+100+1 {
			t.Errorf("serial %d: %v", key.Serial, err)
		}
		if got := voters(m.raft.Load()); got != 1 {
			t.Errorf("%d voters", got)
		}
		m.stop()
		start(t, c.config(left)).awaitReady().stop()
	}
}

// TestARecoveryNamesWhatIsLost: the member that is left remembers that another one had more.
func TestARecoveryNamesWhatIsLost(t *testing.T) {
	c := startCluster(t)
	revoke := func(among []*member) (change Change) {
		c.write(among, func(m *member) (err error) {
			change, err = m.Revoke(context.Background(), Origin{By: "ann"}, cptoken.Zone, "", []cptoken.RevokedID{{ID: randomUUID()}}, "why")
			return err
		})
		return change
	}
	before := revoke(c.members)
	c.agree(c.members, before.Revision)
	c.members[0].stop()
	rest := c.members[1:]
	lost := revoke(rest)
	c.agree(rest, lost.Revision)
	more := rest[0].Standing()
	for _, m := range rest {
		m.stop()
	}
	memory, err := disk.LoadMemory(c.dirs[0])
	if err != nil {
		t.Fatal(err)
	}
	if r, err := Recover(c.dirs[0], RecoverOptions{DryRun: true}); err != nil || r.Lacks.Raft != 0 {
		t.Fatalf("nothing is known to be lost: %+v: %v", r.Lacks, err)
	}
	memory.Others[more.Node] = more
	if err := memory.Write(c.dirs[0]); err != nil {
		t.Fatal(err)
	}
	if r, err := Recover(c.dirs[0], RecoverOptions{}); err != nil || r.Lacks.Node != more.Node || r.Lacks.Raft != more.Raft {
		t.Fatalf("lacks %+v: %v", r.Lacks, err)
	}
	cfg := c.config(0)
	cfg.Bootstrap = false
	m := start(t, cfg).awaitReady()
	losses := m.Losses()
	if len(losses) != 1 || losses[0].ShownBy != "member "+more.Node || losses[0].Shown != lost.Revision || losses[0].Had != before.Revision {
		t.Errorf("losses %+v, want one of %s", losses, lost.Revision)
	}
	if n, _, err := m.ConfirmLoss(context.Background(), Origin{By: "ann"}, false, nil); err != nil || n != 1 || !m.MayProve() {
		t.Errorf("%d losses were confirmed: %v", n, err)
	}
}

// TestRecoverRefuses what is nothing to recover, and changes nothing.
func TestRecoverRefuses(t *testing.T) {
	seal := testSeal(t)
	empty := t.TempDir()
	_, err := Recover(empty+"/none", RecoverOptions{})
	wantCode(t, err, federation.Invalid, "")

	waiting := t.TempDir()
	layer, err := raftfake.NewNetwork().Listen("waiting")
	if err != nil {
		t.Fatal(err)
	}
	m := start(t, Config{Dir: waiting, Layer: layer, Seal: seal, ElectionTimeout: 20 * time.Millisecond})
	m.stop()
	before := contents(t, waiting)
	_, err = Recover(waiting, RecoverOptions{})
	wantCode(t, err, federation.Invalid, "")
	if !equalFiles(before, contents(t, waiting)) {
		t.Error("the folder of a node that waits was changed")
	}

	lone := t.TempDir()
	start(t, alone(t, lone, seal)).awaitReady().stop()
	before = contents(t, lone)
	_, err = Recover(lone, RecoverOptions{})
	wantCode(t, err, federation.Conflict, "alone")
	if !equalFiles(before, contents(t, lone)) {
		t.Error("the folder of a lone node was changed")
	}
}

// TestRecoverWithoutAVote: what is left is a member that had none.
func TestRecoverWithoutAVote(t *testing.T) {
	c := startCluster(t)
	var id string
	leader := c.write(c.members, func(m *member) error {
		for _, other := range c.members {
			if other != m {
				id = other.NodeID()
			}
		}
		return m.DemoteMember(id)
	})
	rev := Change{}
	c.write(c.members, func(m *member) (err error) {
		rev, err = m.Revoke(context.Background(), Origin{By: "ann"}, cptoken.Zone, "", []cptoken.RevokedID{{ID: randomUUID()}}, "why")
		return err
	})
	c.agree(c.members, rev.Revision)
	if err := leader.TransferLead(id); federation.AsError(err).Reason != "no_vote" || federation.AsError(err).Hint == "" {
		t.Errorf("handing the leadership to a member without a vote: %v", err)
	}
	left := 0
	for i, m := range c.members {
		if m.NodeID() == id {
			left = i
		}
		m.stop()
	}
	done, err := Recover(c.dirs[left], RecoverOptions{})
	if err != nil || len(done.Members) != 3 || done.Before != rev.Revision {
		t.Fatalf("recovered %+v: %v", done, err)
	}
	cfg := c.config(left)
	cfg.Bootstrap = false
	m := start(t, cfg).awaitReady()
	if got := voters(m.raft.Load()); got != 1 {
		t.Errorf("%d voters", got)
	}
	m.stop()
}
