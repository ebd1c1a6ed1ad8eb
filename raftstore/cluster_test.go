package raftstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/test/raftfake"
	"github.com/meridiankds/meridian/raftstore/disk"
)

// TestAnEmptiedNodeDoesNotVote: a node at the address of a member, without the
// member's folder, hears nothing that is meant for the member.
func TestAnEmptiedNodeDoesNotVote(t *testing.T) {
	c := startCluster(t)
	leader := c.leader(c.members)
	at := 0
	for i, m := range c.members {
		if m != leader {
			at = i
		}
	}
	former := c.members[at].NodeID()
	c.members[at].stop()
	c.dirs[at] = t.TempDir()
	cfg := c.config(at)
	cfg.Bootstrap = false
	emptied := start(t, cfg)
	c.members[at] = emptied
	<-emptied.Running()
	time.Sleep(500 * time.Millisecond) // what must not happen has no condition to wait for
	if emptied.HoldsState() || emptied.NodeID() == former {
		t.Error("it took over the member's place")
	}
}

// cluster is three members in one process.
type cluster struct {
	t       testing.TB
	net     *raftfake.Network
	seal    *issue.SealKeys
	members []*member
	dirs    []string
}

func (c *cluster) config(i int) Config {
	c.t.Helper()
	layer, err := c.net.Listen(addr(fmt.Sprintf("node-%d", i)))
	if err != nil {
		c.t.Fatal(err)
	}
	return Config{Dir: c.dirs[i], Layer: layer, Seal: c.seal, Bootstrap: i == 0, ElectionTimeout: 400 * time.Millisecond}
}

// startCluster founds a cluster with the first member and adds two more.
func startCluster(t testing.TB) *cluster {
	t.Helper()
	c := &cluster{t: t, net: raftfake.NewNetwork(), seal: testSeal(t)}
	for i := range 3 {
		c.dirs = append(c.dirs, t.TempDir())
		c.members = append(c.members, start(t, c.config(i)))
	}
	c.members[0].awaitReady()
	for i, m := range c.members[1:] {
		c.write(c.members[:i+1], func(leader *member) error {
			return leader.configure(func(r *raft.Raft) raft.IndexFuture {
				return r.AddVoter(raft.ServerID(m.NodeID()), m.cfg.Advertise, 0, patience)
			})
		})
	}
	for _, m := range c.members {
		m.awaitReady()
	}
	return c
}

// leader waits for a member that is fit to lead, among those given.
func (c *cluster) leader(among []*member) *member {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	found := make(chan *member, len(among))
	for _, m := range among {
		go func() {
			if _, err := m.LeaderContext(ctx); err == nil {
				found <- m
			}
		}()
	}
	select {
	case m := <-found:
		return m
	case <-ctx.Done():
		c.t.Fatal("no leader")
		return nil
	}
}

// write makes one change at whoever leads, again where the leadership moved.
func (c *cluster) write(among []*member, f func(m *member) error) *member {
	c.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		m := c.leader(among)
		err := f(m)
		if err == nil {
			return m
		}
		code := federation.CodeOf(err)
		if code != federation.Unavailable && code != federation.UnknownOutcome || time.Now().After(deadline) {
			c.t.Fatalf("write: %v", err)
		}
	}
}

// agree waits until the members given have the same state, to the byte.
func (c *cluster) agree(among []*member, rev federation.Revision) {
	c.t.Helper()
	var want []byte
	for _, m := range among {
		m.until("the revision "+rev.String(), func() bool {
			_, at := m.Head()
			return at.Covers(rev)
		})
	}
	target := slices.MaxFunc(among, func(a, b *member) int { return int(a.Applied()) - int(b.Applied()) }).Applied()
	for _, m := range among {
		m.until("applied", func() bool { return m.Applied() >= target })
		got := snapshotBytes(c.t, m.fsm.current())
		if want == nil {
			want = got
		}
		if !bytes.Equal(got, want) {
			c.t.Errorf("node %s has another state than the first", m.NodeID())
		}
	}
}

func TestThreeMembers(t *testing.T) {
	c := startCluster(t)
	ctx := context.Background()
	id := randomUUID()
	var change Change
	leader := c.write(c.members, func(m *member) (err error) {
		change, err = m.Revoke(ctx, Origin{By: "ann"}, cptoken.Zone, "", []cptoken.RevokedID{{ID: id}}, "why")
		return err
	})
	c.agree(c.members, change.Revision)
	for _, m := range c.members {
		if !m.View().Revoked(cptoken.Zone, "", id) || m.ClusterID() != leader.ClusterID() {
			t.Errorf("node %s lacks the revocation", m.NodeID())
		}
		if key, err := m.Signer(cptoken.Zone, ""); err != nil || key == nil {
			t.Errorf("node %s cannot sign: %v", m.NodeID(), err)
		}
		if m == leader {
			continue
		}
		_, err := m.Revoke(ctx, Origin{}, cptoken.Zone, "", revokedIDs(1), "")
		wantCode(t, err, federation.Unavailable, "not_leader")
		if lead, at := m.Leader(); lead != leader.NodeID() || at != string(leader.cfg.Advertise) {
			t.Errorf("node %s takes %s at %s for the leader", m.NodeID(), lead, at)
		}
	}
}

func TestLeaderLost(t *testing.T) {
	c := startCluster(t)
	ctx := context.Background()
	old := c.leader(c.members)
	lead, err := old.LeaderContext(ctx)
	if err != nil {
		t.Fatal(err)
	}
	others := slices.DeleteFunc(slices.Clone(c.members), func(m *member) bool { return m == old })
	c.net.Cut(old.cfg.Advertise, true)

	// The one that was cut off learns that it no longer leads, and takes no writes.
	select {
	case <-lead.Done():
	case <-time.After(patience):
		t.Fatal("the leadership did not end")
	}
	var e *federation.Error
	if !errors.As(context.Cause(lead), &e) || e.Reason != "not_leader" {
		t.Errorf("cause %v", context.Cause(lead))
	}
	if old.IsLeader() {
		t.Error("it still leads")
	}
	_, err = old.Revoke(ctx, Origin{}, cptoken.Zone, "", revokedIDs(1), "")
	wantCode(t, err, federation.Unavailable, "not_leader")

	// The others go on, also with keys: serials are not given out twice.
	var key Key
	c.write(others, func(m *member) (err error) {
		key, err = m.PrepareKey(ctx, Origin{By: "ann"}, cptoken.Zone, "")
		return err
	})
	var change Change
	c.write(others, func(m *member) (err error) {
		change, err = m.Revoke(ctx, Origin{By: "ann"}, cptoken.Zone, "", revokedIDs(5), "why")
		return err
	})
	if key.Serial != 2 {
		t.Errorf("serial %d, want 2", key.Serial)
	}

	c.net.Cut(old.cfg.Advertise, false)
	c.agree(c.members, change.Revision)
}

// TestMemberCatchesUpBySnapshot: a member that was away while the log was cut takes
// over the leader's snapshot, whose description it checks and keeps.
func TestMemberCatchesUpBySnapshot(t *testing.T) {
	c := startCluster(t)
	ctx := context.Background()
	leader := c.leader(c.members)
	behind := c.members[slices.IndexFunc(c.members, func(m *member) bool { return m != leader })]
	at := slices.Index(c.members, behind)
	behind.stop()
	rest := slices.DeleteFunc(slices.Clone(c.members), func(m *member) bool { return m == behind })

	var change Change
	for range 5 {
		c.write(rest, func(m *member) (err error) {
			change, err = m.Revoke(ctx, Origin{By: "ann"}, cptoken.User, "", revokedIDs(50), "why")
			return err
		})
	}
	for _, m := range rest {
		r := m.raft.Load()
		conf := r.ReloadableConfig()
		conf.TrailingLogs = 1 // what leaves none looks like another log, see disk.AppliedGuard
		if err := r.ReloadConfig(conf); err != nil {
			t.Fatal(err)
		}
		m.until("caught up", func() bool { _, rev := m.Head(); return rev.Covers(change.Revision) })
		if err := r.Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
	}
	c.members[at] = start(t, c.config(at)).awaitReady()
	c.agree(c.members, change.Revision)
	entries := contents(t, c.dirs[at]+"/"+disk.SnapshotsDir)
	if len(entries) < 2 {
		t.Errorf("the member has no snapshot: %d files", len(entries))
	}

	// It starts again from what it was sent.
	c.members[at].stop()
	c.members[at] = start(t, c.config(at)).awaitReady()
	c.agree(c.members, change.Revision)
}

// TestMemberWithAnotherSealKey: a member that cannot unseal the cluster's keys
// replicates, and neither signs nor leads nor counts as holding a key.
func TestMemberWithAnotherSealKey(t *testing.T) {
	c := startCluster(t)
	layer, err := c.net.Listen("stranger")
	if err != nil {
		t.Fatal(err)
	}
	other := testSeal(t)
	s := start(t, Config{Dir: t.TempDir(), Layer: layer, Seal: other})
	c.write(c.members, func(m *member) error {
		return m.configure(func(r *raft.Raft) raft.IndexFuture {
			return r.AddVoter(raft.ServerID(s.NodeID()), "stranger", 0, patience)
		})
	})
	s.awaitReady()
	var change Change
	c.write(c.members, func(m *member) (err error) {
		change, err = m.Revoke(context.Background(), Origin{By: "ann"}, cptoken.Zone, "", []cptoken.RevokedID{{ID: "lost"}}, "")
		return err
	})
	c.agree(append([]*member{s}, c.members...), change.Revision)
	if !s.View().Revoked(cptoken.Zone, "", "lost") {
		t.Error("it does not replicate")
	}
	wantCode(t, s.CanSign(), federation.Unavailable, "sealed")
	_, err = s.Signer(cptoken.Zone, "")
	wantCode(t, err, federation.Unavailable, "sealed")
	sealing := s.Sealing()
	if len(sealing.Unopened) != 4 || len(sealing.MissingKeys) != 1 || sealing.MissingKeys[0] != c.seal.ActiveID() ||
		sealing.Held[0] != other.ActiveID() || sealing.Sealed[c.seal.ActiveID()] != 4 {
		t.Errorf("sealing %+v", sealing)
	}
	if first, _ := s.Key(cptoken.KeyID{Kind: cptoken.Zone, KID: "1"}); s.Usable() >= first.PreparedIndex {
		t.Errorf("it counts as having keys up to %d", s.Usable())
	}
	if leader := c.leader(c.members); leader.Usable() != leader.Applied() {
		t.Errorf("the leader can use keys up to %d of %d", leader.Usable(), leader.Applied())
	}

	// Told to lead, it hands the leadership on.
	leader := c.leader(c.members)
	err = leader.raft.Load().LeadershipTransferToServer(raft.ServerID(s.NodeID()), "stranger").Error()
	if err != nil {
		t.Fatal(err)
	}
	c.write(c.members, func(m *member) error {
		_, err := m.PrepareKey(context.Background(), Origin{By: "ann"}, cptoken.User, "")
		return err
	})
	if s.IsLeader() {
		t.Error("it leads")
	}
}

// configure changes the membership through a member.
func (m *member) configure(change func(r *raft.Raft) raft.IndexFuture) error {
	if err := change(m.raft.Load()).Error(); err != nil {
		return m.replicationError(err)
	}
	return nil
}

// TestNewMemberWaits: an empty folder without leave to found a cluster founds none.
func TestNewMemberWaits(t *testing.T) {
	layer, err := raftfake.NewNetwork().Listen("alone")
	if err != nil {
		t.Fatal(err)
	}
	m := start(t, Config{Dir: t.TempDir(), Layer: layer, Seal: testSeal(t), ElectionTimeout: 20 * time.Millisecond})
	timer := time.NewTimer(500 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-m.Ready():
		t.Error("it founded a cluster")
	case <-timer.C:
	}
	if m.ClusterID() != "" || m.IsLeader() {
		t.Error("it is part of a cluster")
	}
}
