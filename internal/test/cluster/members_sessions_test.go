package cluster

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/adminapi"
)

// zoneState is what a member answers of a zone.
func zoneState(t *testing.T, g *Global, zone string) (state apitypes.ZoneState, online int) {
	t.Helper()
	var list apitypes.List[apitypes.ZoneState]
	g.want(t, 200, "GET", "/v1/zones", nil, &list)
	for _, z := range list.Items {
		if z.Name != zone {
			continue
		}
		for _, s := range z.Sessions {
			if s.Online {
				online++
			}
		}
		return z, online
	}
	return state, 0
}

// awaitOnline waits until every running member tells of so many sessions of a zone.
func (c *Globals) awaitOnline(t *testing.T, zone string, sessions int) {
	t.Helper()
	for _, g := range c.Running() {
		Eventually(t, zone+" online at "+g.Name, func() bool {
			state, n := zoneState(t, g, zone)
			return n == sessions && state.Online == (sessions > 0)
		})
	}
}

// prepare prepares a key, also where a busy machine loses its leader meanwhile.
func prepare(t *testing.T, g *Global) (key apitypes.Key) {
	t.Helper()
	request := uuid.NewString()
	Eventually(t, "a key to be prepared", func() bool {
		r, err := g.ask("POST", "/v1/keys/prepare", apitypes.KeyPrepareRequest{Kind: "zone"}, "X-Request-Id", request)
		return err == nil && r.status == http.StatusCreated && json.Unmarshal(r.body, &key) == nil
	})
	return key
}

func holding(t *testing.T, g *Global, key apitypes.Key) (h apitypes.KeyHolding) {
	t.Helper()
	g.want(t, 200, "GET", "/v1/keys/zone/"+key.KID+"/holding", nil, &h)
	return h
}

func step(key apitypes.Key) apitypes.KeyStepRequest {
	return apitypes.KeyStepRequest{Kind: "zone", KID: key.KID}
}

// activate waits for the gate and has the key sign.
func activate(t *testing.T, g *Global, key apitypes.Key) {
	t.Helper()
	Eventually(t, "key "+key.KID+" to be activated", func() bool {
		r, err := g.ask("POST", "/v1/keys/activate", step(key))
		return err == nil && r.status == http.StatusOK
	})
}

// TestZonesAtEveryMember: zones that join at followers are recorded, any member
// tells of all, and a rotation waits for each of them.
func TestZonesAtEveryMember(t *testing.T) {
	t.Parallel()
	c := StartGlobals(t, verbose(t), 3)
	leader, followers := c.Leader(), c.Followers()
	west := leader.StartZone("west", followers[0].KDS())
	relay := NewRelay(t, followers[1].KDS())
	east := leader.StartZone("east", relay.Addr())
	for _, z := range []*Zone{west, east} {
		z.WaitCurrent(leader)
		c.awaitOnline(t, z.Name, 1)
	}
	if z, ok := leader.Node.Store().Zone("west"); !ok || z.FirstSeen.IsZero() {
		t.Error("the zone that joined at a follower is not recorded")
	}

	relay.Stall()
	key := prepare(t, followers[0])
	west.WaitCurrent(leader)
	Eventually(t, "west to hold the key", func() bool {
		h := holding(t, followers[0], key)
		return len(h.Held) == 1 && len(h.Members) == 0
	})
	if h := holding(t, followers[1], key); h.Open || len(h.Waiting) != 1 || h.Waiting[0] != "east" {
		t.Errorf("holding %+v", h.Holding)
	}
	followers[1].want(t, 409, "POST", "/v1/keys/activate", step(key), nil)
	relay.Resume()
	activate(t, followers[1], key)
	for _, g := range c.Members {
		Eventually(t, g.Name+" to sign with the new key", func() bool {
			parsed, err := cptoken.Parse(g.ZoneToken("west", cptoken.ScopeEgress))
			return err == nil && parsed.KID == key.KID
		})
	}
	east.WaitCurrent(leader)
	west.Expect("a token of the new key", followers[0].ZoneToken("west", cptoken.ScopeEgress), "egress", Accepted)
}

// TestANewLeaderKnowsNothing: a gate that was closed for a zone stays closed under
// the next leader, which has not heard of that zone from anybody yet.
func TestANewLeaderKnowsNothing(t *testing.T) {
	t.Parallel()
	c := StartGlobals(t, verbose(t), 3)
	leader, followers := c.Leader(), c.Followers()
	relay := NewRelay(t, followers[0].KDS())
	west := leader.StartZone("west", relay.Addr())
	west.WaitCurrent(leader)
	c.awaitOnline(t, "west", 1)
	relay.Stall()
	key := prepare(t, leader)
	to := followers[1].Node.Store().NodeID()
	leader.want(t, 200, "POST", "/v1/cluster/transfer-leader", apitypes.TransferLeaderRequest{To: to}, nil)
	Eventually(t, "the leadership to move", func() bool { return followers[1].Node.Store().IsLeader() })
	// From its first moment on, and after everybody has reported.
	for begun := time.Now(); time.Since(begun) < 2*time.Second; {
		r, err := followers[1].ask("POST", "/v1/keys/activate", step(key))
		if err != nil || r.status == http.StatusOK {
			t.Fatalf("the new leader activated a key that west lacks: %v %s", err, r.body)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if h := holding(t, followers[1], key); len(h.Waiting) != 1 {
		t.Errorf("holding %+v", h.Holding)
	}
	relay.Resume()
	activate(t, followers[1], key)
}

// TestASilentMember: it blocks until its lease ends, and then counts as offline.
func TestASilentMember(t *testing.T) {
	t.Parallel()
	c := StartGlobals(t, verbose(t), 3)
	leader, silent := c.Leader(), c.Followers()[0]
	west := leader.StartZone("west", silent.KDS())
	west.WaitCurrent(leader)
	c.awaitOnline(t, "west", 1)
	c.Net.Cut(silent.Name, true)
	key := prepare(t, leader)
	leader.want(t, 409, "POST", "/v1/keys/activate", step(key), nil)
	var h apitypes.KeyHolding
	Eventually(t, "all others to have the key", func() bool {
		h = holding(t, leader, key)
		return len(h.Members) == 1
	})
	if h.Open || h.Members[0] != silent.Node.Store().NodeID() || len(h.Waiting) != 1 {
		t.Errorf("holding %+v", h.Holding)
	}
	activate(t, leader, key) // after the lease
	if h = holding(t, leader, key); len(h.Silent) != 1 || len(h.Offline) != 1 || h.Offline[0] != "west" {
		t.Errorf("after the lease: %+v", h.Holding)
	}
	c.Net.Cut(silent.Name, false)
	west.WaitCurrent(leader)
	west.Expect("a token of the new key", leader.ZoneToken("west", cptoken.ScopeEgress), "egress", Accepted)
}

// TestAZoneHopsAndHasTwoControlPlanes: whichever member they are at, the zone is
// there once for each.
func TestAZoneHopsAndHasTwoControlPlanes(t *testing.T) {
	t.Parallel()
	c := StartGlobals(t, verbose(t), 3)
	leader, followers := c.Leader(), c.Followers()
	relay := NewRelay(t, followers[0].KDS())
	first := leader.StartZone("west", relay.Addr())
	first.WaitCurrent(leader)
	c.awaitOnline(t, "west", 1)
	for _, g := range []*Global{leader, followers[1], followers[0]} {
		relay.Retarget(g.KDS())
		Eventually(t, "west to be online at "+g.Name+" alone", func() bool {
			state, online := zoneState(t, leader, "west")
			for _, s := range state.Sessions {
				if s.Online && s.Member != g.Node.Store().NodeID() {
					return false
				}
			}
			return online == 1
		})
	}
	second := leader.StartZone("west", leader.KDS())
	second.WaitCurrent(leader)
	c.awaitOnline(t, "west", 2)

	relay.Stall()
	key := prepare(t, leader)
	second.WaitCurrent(leader)
	Eventually(t, "members to have the key", func() bool { return len(holding(t, leader, key).Members) == 0 })
	leader.want(t, 409, "POST", "/v1/keys/activate", step(key), nil) // one of the two lacks it
	relay.Resume()
	activate(t, leader, key)
}

// TestAMemberThatLags: a zone that comes to a member which knows less than the zone
// waits for it, and does not go back.
func TestAMemberThatLags(t *testing.T) {
	t.Parallel()
	c := StartGlobals(t, verbose(t), 3)
	leader, lags := c.Leader(), c.Followers()[0]
	relay := NewRelay(t, leader.KDS())
	west := leader.StartZone("west", relay.Addr())
	west.WaitCurrent(leader)
	Eventually(t, "the zone to be known at the member", func() bool { _, ok := lags.Node.Store().Zone("west"); return ok })
	token := leader.ZoneToken("west", cptoken.ScopeEgress)
	c.Net.Cut(lags.Name, true)
	rev := revoke(t, leader, token)
	west.WaitFor(rev)
	relay.Retarget(lags.KDS())
	Eventually(t, "the zone to be at the member that lags", func() bool {
		for _, s := range lags.Node.Sessions() {
			if s.Zone == "west" && s.Disconnected.IsZero() {
				return true
			}
		}
		return false
	})
	if _, at := lags.Node.Store().Head(); at.Covers(rev) {
		t.Fatal("the member does not lag: the test proves nothing")
	}
	west.Expect("a revoked token at a member that lags", token, "egress", Refused("revoked"))
	if !west.Revision().Covers(rev) {
		t.Error("the zone went back")
	}
	c.Net.Cut(lags.Name, false)
	next := revoke(t, c.Leader(), leader.ZoneToken("west", cptoken.ScopeEgress))
	west.WaitFor(next)
}

// TestForwardingKeepsTheCaller: who asked at a follower is who the leader records,
// under the same request id, wherever the request is repeated.
func TestForwardingKeepsTheCaller(t *testing.T) {
	t.Parallel()
	c := StartGlobals(t, verbose(t), 3)
	leader, followers := c.Leader(), c.Followers()
	as := func(name string, groups ...string) string {
		return "Bearer " + leader.Issue(cptoken.Claims{Kind: cptoken.User, Name: name, Groups: groups}, time.Hour)
	}
	ann, rob := as("ann", "admin"), as("rob")
	id, request := uuid.NewString(), uuid.NewString()
	body := apitypes.RevokeRequest{Kind: "zone", IDs: []string{id}, Reason: "lost"}
	var results [2]apitypes.RevokeResult
	for i, g := range followers {
		r := g.want(t, 200, "POST", "/v1/revocations", body, &results[i], "Authorization", ann, "X-Request-Id", request)
		if r.header.Get("X-Request-Id") != request {
			t.Errorf("request id %q, sent %q", r.header.Get("X-Request-Id"), request)
		}
		if !g.Node.Store().View().Revoked(cptoken.Zone, "", id) {
			t.Error("who wrote through a member does not read it there")
		}
	}
	if results[0].Revision != results[1].Revision || results[0].Revoked != 1 || results[1].Revoked != 1 {
		t.Errorf("one request, two effects: %+v", results)
	}
	for _, r := range leader.Node.Store().Revocations(cptoken.Zone, "", "", 10) {
		if r.ID == id && (r.By != "ann" || r.Reason != "lost") {
			t.Errorf("recorded as %+v", r)
		}
	}
	followers[0].want(t, 403, "POST", "/v1/revocations", body, nil, "Authorization", rob)
	bad := followers[0].want(t, 400, "POST", "/v1/revocations", map[string]string{"nonsense": "x"}, nil, "Authorization", ann)
	if !strings.Contains(string(bad.body), "nonsense") {
		t.Errorf("the leader's error does not come back: %s", bad.body)
	}
	// A mesh that was just made through one member has its key at another.
	followers[0].want(t, 201, "PUT", "/meshes/demo", map[string]string{}, nil)
	followers[1].want(t, 200, "POST", "/tokens/dataplane", apitypes.DataplaneTokenRequest{Mesh: "demo"}, nil)
}

// TestWithoutALeader: no writes, everything else; also at a member that never led, which
// still shows where all zones were.
func TestWithoutALeader(t *testing.T) {
	t.Parallel()
	c := StartGlobals(t, verbose(t), 3)
	leader, last := c.Leader(), c.Followers()[0]
	west := last.StartZone("west", last.KDS())
	west.WaitCurrent(leader)
	east := leader.StartZone("east", leader.KDS())
	east.WaitCurrent(leader)
	c.awaitOnline(t, "east", 1)
	c.awaitOnline(t, "west", 1)
	Eventually(t, "the member to have the leader's picture", func() bool {
		for _, z := range last.Node.Fleet().Zones() {
			if z.Name == "east" && z.Online {
				return true
			}
		}
		return false
	})
	for _, g := range c.Members {
		if g != last {
			g.Kill()
		}
	}
	Eventually(t, "the lead to be lost", func() bool { id, _ := last.Node.Store().Leader(); return id == "" })
	for _, zone := range []string{"east", "west"} {
		if state, online := zoneState(t, last, zone); online != 1 || !state.Online {
			t.Errorf("%s in the last picture: %+v", zone, state)
		}
	}
	var r reply
	Eventually(t, "writes to be refused", func() bool {
		r = last.want(t, 503, "POST", "/v1/revocations", apitypes.RevokeRequest{Kind: "zone", IDs: []string{"a"}}, nil)
		return strings.Contains(string(r.body), "no_leader")
	})
	if r.header.Get("Retry-After") == "" {
		t.Error("a refusal without Retry-After")
	}
	for _, path := range []string{"/zones", "/v1/zones", "/v1/keys", "/v1/cluster"} {
		if r := last.want(t, 200, "GET", path, nil, nil); r.header.Get(adminapi.StaleHeader) == "" {
			t.Errorf("%s is not marked stale", path)
		}
	}
	last.want(t, 200, "POST", "/tokens/zone", apitypes.ZoneTokenRequest{Zone: "west"}, nil)
	west.Stop()
	west.Start()
	Eventually(t, "the zone to come back without a leader", func() bool { return west.Node.Link().Connected })
	token := last.ZoneToken("west", cptoken.ScopeEgress)
	west.Expect("a token issued without a leader", token, "egress", Accepted)
}

// TestAKeyThatAMemberDoesNotKnowYet: before a member that lags refuses a token for its
// key, it asks the leader how far the state is, and waits until it is there itself.
func TestAKeyThatAMemberDoesNotKnowYet(t *testing.T) {
	t.Parallel()
	c := StartGlobals(t, verbose(t), 3)
	c.settled(t)
	lags := c.Followers()[0]
	// The log reaches the member late; it still hears the leader, and can ask.
	for _, g := range without(c.Members, lags) {
		c.Net.Shape(g.Name, lags.Name, Lane{Delay: 120 * time.Millisecond})
	}
	proven := 0
	for try := 0; try < 20 && proven < 3; try++ {
		time.Sleep(time.Second) // the member asks once a second at most
		leader := c.Leader()
		var key apitypes.Key
		r, err := leader.ask("POST", "/v1/keys/prepare", apitypes.KeyPrepareRequest{Kind: "user"})
		if err != nil || r.status != http.StatusCreated || json.Unmarshal(r.body, &key) != nil || leader == lags {
			continue // on a busy machine a leader may be lost
		}
		r, err = leader.ask("POST", "/v1/keys/activate", apitypes.KeyStepRequest{Kind: "user", KID: key.KID, Force: true})
		if err != nil || r.status != http.StatusOK {
			continue
		}
		token := leader.Issue(cptoken.Claims{Kind: cptoken.User, Name: "ann"}, time.Hour)
		_, known := lags.Node.Store().Key(cptoken.KeyID{Kind: cptoken.User, KID: key.KID})
		r, err = lags.ask("GET", "/who-am-i", nil, "Authorization", "Bearer "+token)
		if id, _ := lags.Node.Store().Leader(); id == "" {
			continue
		}
		if err != nil || r.status != 200 {
			t.Errorf("a token of a key that the member knows: %v, asked: %v %d %s", known, err, r.status, r.body)
		}
		if !known {
			proven++
		}
	}
	if proven == 0 {
		t.Error("the member never lagged: the test proves nothing")
	}
}
