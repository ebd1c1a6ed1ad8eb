package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	globalnode "github.com/meridiankds/meridian/internal/global/node"
)

// sameCluster wants every running member in one cluster, with the same state.
func (c *Globals) sameCluster(t *testing.T, cluster string) {
	t.Helper()
	leader := c.Leader().Node.Store()
	_, rev := leader.Head()
	for _, g := range c.Running() {
		if got := g.Node.Store().ClusterID(); got != cluster {
			t.Errorf("%s is of cluster %q, want %q", g.Name, got, cluster)
		}
		Eventually(t, g.Name+" to have everything", func() bool { _, at := g.Node.Store().Head(); return at.Covers(rev) })
	}
}

func TestThreeFoundAClusterAndRestart(t *testing.T) {
	t.Parallel()
	c := StartGlobals(t, verbose(t), 3)
	cluster := c.Leader().Node.Store().ClusterID()
	c.sameCluster(t, cluster)
	for _, g := range c.Members {
		g.Stop()
	}
	for _, g := range c.Members {
		g.Launch()
	}
	for _, g := range c.Members {
		g.AwaitReady()
	}
	c.AwaitVoters(3)
	c.sameCluster(t, cluster)
}

// TestNobodyFoundsWhileOneIsSilent: a silent address may hold state.
func TestNobodyFoundsWhileOneIsSilent(t *testing.T) {
	t.Parallel()
	c := NewGlobals(t, verbose(t), 3)
	late := c.Members[2]
	c.Members[0].Launch()
	c.Members[1].Launch()
	extra := c.Add() // with it there are three nodes, and still one address is silent
	extra.Launch()
	time.Sleep(3 * time.Second) // what must not happen has no condition to wait for
	for _, g := range c.Running() {
		if g.Node.Store().HoldsState() {
			t.Fatalf("%s founded", g.Name)
		}
	}
	late.Launch()
	for _, g := range c.Members {
		g.AwaitReady()
	}
	c.AwaitVoters(4)
	c.sameCluster(t, c.Leader().Node.Store().ClusterID())
}

func TestScaleUp(t *testing.T) {
	t.Parallel()
	c := StartGlobals(t, verbose(t), 3)
	cluster := c.Leader().Node.Store().ClusterID()
	c.revokeAnywhere(t, 0)
	for n := 4; n <= 5; n++ {
		c.Add().Start()
		c.AwaitVoters(n)
	}
	c.sameCluster(t, cluster)
	for _, g := range c.Members[:2] {
		g.Kill()
	}
	c.revokeOn(t, c.Members[2:])
	c.sameCluster(t, cluster)
}

// revokeOn makes one acknowledged write at one of the members.
func (c *Globals) revokeOn(t *testing.T, among []*Global) string {
	t.Helper()
	rest := *c
	rest.Members = among
	return rest.revokeAnywhere(t, 0)
}

func TestAnEmptiedFolderJoinsAsANewMember(t *testing.T) {
	t.Parallel()
	c := StartGlobals(t, verbose(t), 3)
	cluster := c.Leader().Node.Store().ClusterID()
	id := c.revokeAnywhere(t, 0)
	emptied := c.Followers()[0]
	former := emptied.Node.Store().NodeID()
	emptied.Stop()
	emptied.Empty()
	emptied.Start()
	if emptied.Node.Store().NodeID() == former {
		t.Fatal("it has the same id: the test proves nothing")
	}
	// The node that it was may be at another address by now: it goes when it is said so.
	c.AwaitVoters(4)
	c.remove(t, former)
	c.AwaitVoters(3)
	c.sameCluster(t, cluster)
	if !emptied.Node.Store().View().Revoked(cptoken.Zone, "", id) {
		t.Error("the new member lacks a revocation")
	}
}

// TestEmptiedFoldersFoundNoSecondCluster: two of three come back empty. They may
// neither found a cluster nor vote for anything in the old one.
func TestEmptiedFoldersFoundNoSecondCluster(t *testing.T) {
	t.Parallel()
	c := StartGlobals(t, verbose(t), 3)
	cluster := c.Leader().Node.Store().ClusterID()
	id := c.revokeAnywhere(t, 0)
	for _, g := range c.Members {
		g.Stop()
	}
	c.Members[0].Empty()
	c.Members[1].Empty()
	for _, g := range c.Members {
		g.Launch()
	}
	time.Sleep(3 * time.Second) // what must not happen has no condition to wait for
	for _, g := range c.Members[:2] {
		if s := g.Node.Store(); s.HoldsState() || s.ClusterID() != "" {
			t.Errorf("%s, emptied, holds state of cluster %q", g.Name, s.ClusterID())
		}
	}
	last := c.Members[2].Node.Store()
	if last.IsLeader() {
		t.Error("one member of three leads")
	}
	if last.ClusterID() != cluster && last.ClusterID() != "" || !last.View().Revoked(cptoken.Zone, "", id) && last.ClusterID() != "" {
		t.Error("the last member lost what it had")
	}
}

// TestEverybodyMoves: all members come back at other addresses at once, with the
// new ones in --join.
func TestEverybodyMoves(t *testing.T) {
	t.Parallel()
	c := StartGlobals(t, verbose(t), 3)
	cluster := c.Leader().Node.Store().ClusterID()
	for _, g := range c.Members {
		g.Stop()
	}
	c.join = nil
	for i, g := range c.Members {
		g.Name = peerName(i + 10)
		c.join = append(c.join, g.Name)
	}
	for _, g := range c.Members {
		g.Launch()
	}
	for _, g := range c.Members {
		g.AwaitReady()
	}
	c.sameCluster(t, cluster)
	Eventually(t, "the configuration to have the new addresses", func() bool {
		for _, m := range c.Leader().Node.Store().Members() {
			if !slices.Contains(c.join, m.Address) {
				return false
			}
		}
		return true
	})
	c.revokeAnywhere(t, 0)
}

// remove takes a node out, as an operator does. One that is no member is none afterwards.
func (c *Globals) remove(t *testing.T, id string) {
	t.Helper()
	isMember := func() bool { return c.Leader().Node.Store().MemberNames()[id] != "" }
	Eventually(t, "the removal of "+id, func() bool {
		if isMember() {
			_, _ = c.Leader().ask("POST", "/v1/cluster/remove", apitypes.RemoveMemberRequest{ID: id})
		}
		return !isMember()
	})
}

// start has stopped members run at other addresses.
func (c *Globals) startAt(names map[*Global]string) {
	for g, name := range names {
		g.Name = name
	}
	for g := range names {
		g.Launch()
	}
	for g := range names {
		g.AwaitReady()
	}
}

// TestAnAddressSaysNothingAboutWhoIsThere: two members swap their addresses, and one is
// started where another one was that is down. Each stays the member that it is, and who is
// down still votes when it comes back.
func TestAnAddressSaysNothingAboutWhoIsThere(t *testing.T) {
	t.Parallel()
	c := StartGlobals(t, verbose(t), 3)
	before := c.Leader().Node.Store().MemberNames()
	want := func(what string) {
		t.Helper()
		Eventually(t, "every member to know where each is after "+what, func() bool {
			for _, g := range c.Running() {
				where := map[string]string{}
				for _, m := range g.Node.Store().Members() {
					where[m.ID] = m.Address
				}
				if len(where) != len(before) {
					t.Fatalf("%s knows of %d members after %s", g.Name, len(where), what)
				}
				for _, other := range c.Running() {
					if where[other.Node.Store().NodeID()] != other.Name {
						return false
					}
				}
			}
			return true
		})
		for _, m := range c.Leader().Node.Store().Members() {
			if before[m.ID] == "" || !m.Voter {
				t.Errorf("after %s there is %+v", what, m)
			}
		}
		c.revokeOn(t, c.Running())
	}

	one, two := c.Followers()[0], c.Followers()[1]
	one.Stop()
	two.Stop()
	c.startAt(map[*Global]string{one: two.Name, two: one.Name})
	want("two swapped their addresses")

	lead := c.Leader()
	one, two = c.Followers()[0], c.Followers()[1]
	vacant := one.Name
	one.Stop()
	two.Stop()
	c.startAt(map[*Global]string{two: vacant})
	want("one was started where another one was")
	two.Stop()
	c.startAt(map[*Global]string{one: peerName(20)})
	want("the one that was away came back elsewhere")
	lead.Stop()
	c.startAt(map[*Global]string{lead: vacant, two: peerName(21)})
	want("the leader moved where it was")
}

// TestANodeIDThatIsTaken: a copy of a member's directory does not run beside the member, also
// where it knows of others only; nor does the member once the copy has taken its place.
func TestANodeIDThatIsTaken(t *testing.T) {
	t.Parallel()
	c := StartGlobals(t, verbose(t), 3)
	original := c.Followers()[0]
	twin := c.Add()
	wantTaken := func(g *Global, join ...string) {
		t.Helper()
		c.Configure = func(cfg *globalnode.Config) { cfg.Join = join }
		g.Launch()
		c.Configure = nil
		ctx, cancel := context.WithTimeout(context.Background(), Patience)
		defer cancel()
		if e := federation.AsError(g.Ended(ctx)); e == nil || e.Reason != "node_id_taken" {
			t.Fatalf("%s ended with %v", g.Name, g.run.err)
		}
		g.once.Do(func() {}) // it has ended, and was meant to
	}
	var others []string
	for _, g := range c.Running() {
		if g != original {
			others = append(others, g.Name)
		}
	}
	original.Stop()
	copyFolder(t, original.Dir, twin.Dir)
	original.Start()
	wantTaken(twin, c.join...)
	wantTaken(twin, others...)
	c.AwaitVoters(3)
	c.revokeOn(t, c.Members[:3])

	original.Stop()
	twin.Empty()
	copyFolder(t, original.Dir, twin.Dir)
	twin.Start()
	wantTaken(original, others...)
	c.AwaitVoters(3)
	c.revokeOn(t, c.Running())
}

func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	for _, name := range []string{"node.json", "raft.db"} {
		data, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(to, "snapshots"), os.DirFS(filepath.Join(from, "snapshots"))); err != nil {
		t.Fatal(err)
	}
}

// TestLeaderKilledDuringWrites: whatever was acknowledged is there afterwards.
func TestLeaderKilledDuringWrites(t *testing.T) {
	t.Parallel()
	c := StartGlobals(t, verbose(t), 3)
	var mu sync.Mutex
	var acknowledged []string
	var writers sync.WaitGroup
	stop := make(chan struct{})
	killed := c.Leader()
	rest := *c
	rest.Members = slices.DeleteFunc(slices.Clone(c.Members), func(g *Global) bool { return g == killed })
	for i := range 4 {
		writers.Go(func() {
			for try := i; ; try++ {
				select {
				case <-stop:
					return
				default:
				}
				if id := rest.revokeAnywhere(t, try); id != "" {
					mu.Lock()
					acknowledged = append(acknowledged, id)
					mu.Unlock()
				}
			}
		})
	}
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(acknowledged) }
	Eventually(t, "writes before", func() bool { return count() >= 20 })
	c.Net.Cut(killed.Name, true)
	before := count()
	Eventually(t, "writes after", func() bool { return count() >= before+20 })
	close(stop)
	writers.Wait()
	killed.Stop()
	killed.Start()
	c.AwaitVoters(3)
	c.sameCluster(t, c.Leader().Node.Store().ClusterID())
	for _, g := range c.Members {
		view := g.Node.Store().View()
		for _, id := range acknowledged {
			if !view.Revoked(cptoken.Zone, "", id) {
				t.Errorf("%s lacks %s, which was acknowledged", g.Name, id)
			}
		}
	}
}

func TestClusterStatusTransferAndRemove(t *testing.T) {
	t.Parallel()
	c := StartGlobals(t, verbose(t), 3)
	leader, follower := c.Leader(), c.Followers()[0]
	var status apitypes.Cluster
	Eventually(t, "all members to be live", func() bool {
		follower.want(t, 200, "GET", "/v1/cluster", nil, &status)
		live := 0
		for _, m := range status.Members {
			if m.Live && m.Voter && m.Version == "test" && m.Name+":5683" == m.Address {
				live++
			}
		}
		return live == 3
	})
	if status.Leader != leader.Node.Store().NodeID() || status.AnsweredBy != status.Leader || status.Voters != 3 || status.Warning+status.Advice != "" {
		t.Errorf("status %+v", status)
	}
	to := follower.Node.Store().NodeID()
	follower.want(t, 200, "POST", "/v1/cluster/transfer-leader", apitypes.TransferLeaderRequest{To: follower.Name}, nil)
	Eventually(t, "the leadership to move", func() bool { return follower.Node.Store().IsLeader() })

	follower.want(t, 409, "POST", "/v1/cluster/remove", apitypes.RemoveMemberRequest{ID: to}, nil)
	follower.want(t, 404, "POST", "/v1/cluster/remove", apitypes.RemoveMemberRequest{ID: "nobody"}, nil)
	Eventually(t, "the former leader to be removed", func() bool {
		r, err := follower.ask("POST", "/v1/cluster/remove", apitypes.RemoveMemberRequest{ID: leader.Node.Store().NodeID()})
		return err == nil && r.status == 200
	})
	// What was removed ends, and does not come back with its folder.
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	for range 2 {
		if e := federation.AsError(leader.Ended(ctx)); e == nil || e.Reason != "removed" {
			t.Fatalf("the removed member ended with %v", e)
		}
		leader.once.Do(func() {}) // it has ended, and was meant to
		leader.Launch()
	}
	if e := federation.AsError(leader.Ended(ctx)); e == nil || e.Reason != "removed" {
		t.Fatalf("the removed member ended with %v", e)
	}
	leader.once.Do(func() {})
	if n := len(follower.Node.Store().Members()); n != 2 {
		t.Errorf("%d members, want 2", n)
	}
	follower.want(t, 200, "GET", "/v1/cluster", nil, &status)
	if status.Advice == "" {
		t.Error("no advice on two voters")
	}
}

// TestRollingRestart: while one member after the other is restarted, no write fails
// that one retry does not cure.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	c := StartGlobals(t, verbose(t), 3)
	stop, done := make(chan struct{}), make(chan struct{})
	var up sync.RWMutex // which members a load balancer would send requests to
	serving := slices.Clone(c.Members)
	var acknowledged atomic.Int64
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			request, body := uuid.NewString(), apitypes.RevokeRequest{Kind: "zone", IDs: []string{uuid.NewString()}}
			var said string
			ok := false
			for try := range 2 {
				up.RLock()
				g := serving[(i+try)%len(serving)]
				r, err := g.ask("POST", "/v1/revocations", body, "X-Request-Id", request)
				up.RUnlock()
				if ok = err == nil && r.status == 200; ok {
					break
				}
				said = fmt.Sprintf("%s at %s: %v %d %s", said, g.Name, err, r.status, r.body)
				time.Sleep(time.Second) // as Retry-After says
			}
			if !ok {
				t.Errorf("a write failed twice: %s", said)
				continue
			}
			acknowledged.Add(1)
		}
	}()
	for _, g := range c.Members {
		up.Lock()
		serving = slices.DeleteFunc(slices.Clone(c.Members), func(other *Global) bool { return other == g })
		up.Unlock()
		g.Stop()
		g.Start()
		up.Lock()
		serving = slices.Clone(c.Members)
		up.Unlock()
		c.AwaitVoters(3)
		before := acknowledged.Load()
		Eventually(t, "writes after a restart", func() bool { return acknowledged.Load() >= before+20 })
	}
	close(stop)
	<-done
}

// TestFailoverTime measures how long after the loss of its leader a cluster takes
// writes again. Bounds are for the bench; here it only has to come to an end.
func TestFailoverTime(t *testing.T) {
	c := NewGlobals(t, verbose(t), 3)
	c.Configure = func(cfg *globalnode.Config) { cfg.ElectionTimeout = globalnode.DefaultElectionTimeout }
	c.Launch(3)
	var took []time.Duration
	for range 5 {
		leader := c.Leader()
		rest := c.Followers()
		begun := time.Now()
		leader.Kill()
		c.revokeOn(t, rest)
		took = append(took, time.Since(begun).Round(time.Millisecond))
		leader.Start()
		c.AwaitVoters(3)
	}
	t.Logf("writes again after %v", took)
}
