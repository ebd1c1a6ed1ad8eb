package cluster

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// awaitReplicas waits until the leader shows these members live and without a vote.
func (c *Globals) awaitReplicas(t *testing.T, replicas ...*Global) apitypes.Cluster {
	t.Helper()
	var status apitypes.Cluster
	Eventually(t, "the leader to show the replicas", func() bool {
		c.Leader().want(t, 200, "GET", "/v1/cluster", nil, &status)
		shown := 0
		for _, m := range status.Members {
			for _, g := range replicas {
				if m.ID == g.Node.Store().NodeID() && m.Live && m.NonVoter && !m.Voter {
					shown++
				}
			}
		}
		return shown == len(replicas)
	})
	return status
}

// answer asks again while a busy machine has no leader, under one request id.
func answer(t *testing.T, g *Global, method, path string, body any) (r reply) {
	t.Helper()
	request := uuid.NewString()
	Eventually(t, "an answer to "+path, func() (ok bool) {
		var err error
		r, err = g.ask(method, path, body, "X-Request-Id", request)
		return err == nil && r.status != http.StatusServiceUnavailable && r.status != http.StatusGatewayTimeout
	})
	return r
}

// TestReplicasCarryZones: a zone at a member without a vote gets and holds what others do,
// gates wait for it, and the member forwards writes and issues tokens.
func TestReplicasCarryZones(t *testing.T) {
	t.Parallel()
	c := StartGlobals(t, verbose(t), 3)
	first, second := c.StartReplica(), c.StartReplica()
	status := c.awaitReplicas(t, first, second)
	if status.Voters != 3 || status.Warning+status.Advice != "" {
		t.Errorf("beside replicas: %d voters, warning %q", status.Voters, status.Warning+status.Advice)
	}
	leader := c.Leader()
	relay := NewRelay(t, first.KDS())
	west, east := leader.StartZone("west", relay.Addr()), leader.StartZone("east", second.KDS())
	for _, z := range []*Zone{west, east} {
		z.WaitCurrent(leader)
		c.awaitOnline(t, z.Name, 1)
	}

	lost := first.ZoneToken("west", cptoken.ScopeEgress)
	west.Expect("a token that a replica issued", lost, "egress", Accepted)
	parsed, err := cptoken.Parse(lost)
	if err != nil {
		t.Fatal(err)
	}
	var result apitypes.RevokeResult
	r := answer(t, second, "POST", "/v1/revocations", apitypes.RevokeRequest{Kind: "zone", IDs: []string{parsed.RevocationID()}})
	if err := json.Unmarshal(r.body, &result); r.status != 200 || err != nil {
		t.Fatalf("revoking at a replica: %d %s", r.status, r.body)
	}
	rev, err := federation.ParseRevision(result.Revision)
	if err != nil {
		t.Fatal(err)
	}
	west.WaitFor(rev)
	west.Expect("a token that was revoked at a replica", lost, "egress", Refused("revoked"))

	relay.Stall()
	key := prepare(t, second)
	Eventually(t, "the key to wait for west alone", func() bool {
		h := holding(t, first, key)
		return len(h.Held) == 1 && len(h.Members) == 0 && len(h.Waiting) == 1 && h.Waiting[0] == "west"
	})
	if r := answer(t, first, "POST", "/v1/keys/activate", step(key)); r.status != 409 {
		t.Errorf("activating a key that a zone lacks: %d %s", r.status, r.body)
	}
	relay.Resume()
	activate(t, first, key)
	Eventually(t, "a replica to sign with the new key", func() bool {
		parsed, err := cptoken.Parse(first.ZoneToken("west", cptoken.ScopeEgress))
		return err == nil && parsed.KID == key.KID
	})
	west.Expect("a token of the new key", first.ZoneToken("west", cptoken.ScopeEgress), "egress", Accepted)

	// A gate names a replica that is silent like any member.
	c.Net.Cut(second.Name, true)
	key = prepare(t, leader)
	Eventually(t, "all others to have the key", func() bool {
		h := holding(t, leader, key)
		missed := append(h.Members, h.Silent...) // silent where its lease has ended by now
		return len(missed) == 1 && missed[0] == second.Node.Store().NodeID()
	})
	c.Net.Cut(second.Name, false)
	activate(t, leader, key)
}

// TestReplicasNeverLead: whoever is lost, the leadership stays among the voters, and
// replicas are no part of any majority.
func TestReplicasNeverLead(t *testing.T) {
	t.Parallel()
	c := StartGlobals(t, verbose(t), 3)
	replicas := []*Global{c.StartReplica(), c.StartReplica()}
	c.awaitReplicas(t, replicas...)
	to := replicas[0].Node.Store().NodeID()
	r := answer(t, c.Leader(), "POST", "/v1/cluster/transfer-leader", apitypes.TransferLeaderRequest{To: to})
	if r.status != 409 || !strings.Contains(string(r.body), "--non-voter") || !strings.Contains(string(r.body), "hint") {
		t.Errorf("refused with %d %s", r.status, r.body)
	}
	lost := c.Leader()
	lost.Kill()
	c.revokeOn(t, replicas) // a write at a replica reaches whoever leads by now
	second := c.Leader()
	for _, g := range replicas {
		if g == second {
			t.Fatal("a replica leads")
		}
	}

	// One voter and two replicas are three of five members, and no majority.
	second.Kill()
	Eventually(t, "everybody that is left to miss the leader", func() bool {
		for _, g := range c.Running() {
			if g.Node.Store().LeaderContact() < 2*time.Second {
				return false
			}
		}
		return true
	})
	for _, g := range c.Running() {
		if g.Node.Store().IsLeader() {
			t.Errorf("%s leads without a majority", g.Name)
		}
		if r, err := g.ask("POST", "/v1/revocations", apitypes.RevokeRequest{Kind: "zone", IDs: []string{uuid.NewString()}}); err == nil && r.status == 200 {
			t.Errorf("%s took a write without a majority", g.Name)
		}
	}
	lost.Start()
	second.Start()
	c.sameCluster(t, lost.Node.Store().ClusterID())
	c.awaitReplicas(t, replicas...)
}

// TestTheFlagIsTheRole: a replica that is started without the flag is promoted, and gives
// its vote back when it is started with it; a voter that is needed keeps its vote.
func TestTheFlagIsTheRole(t *testing.T) {
	t.Parallel()
	c := StartGlobals(t, verbose(t), 3)
	g := c.StartReplica()
	restart := func(g *Global, nonVoter bool) {
		g.Stop()
		g.NonVoter = nonVoter
		g.Start()
	}
	restart(g, true)
	c.awaitReplicas(t, g)
	restart(g, false)
	c.AwaitVoters(4)
	restart(g, true)
	c.AwaitVoters(3)
	c.awaitReplicas(t, g)

	// A leader that is restarted so cannot leave the cluster with two voters.
	needed := c.Leader()
	restart(needed, true)
	id := needed.Node.Store().NodeID()
	Eventually(t, "the operator to be told that it keeps its vote", func() bool {
		var status apitypes.Cluster
		c.Leader().want(t, 200, "GET", "/v1/cluster", nil, &status)
		return status.Voters == 3 && strings.Contains(status.Warning, id) && status.Leader != id
	})
	restart(g, false)
	c.awaitReplicas(t, needed) // the one takes the place of the other
	c.AwaitVoters(3)
	c.sameCluster(t, g.Node.Store().ClusterID())
}
