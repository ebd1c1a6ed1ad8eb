package cluster

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore"
)

var quiet = slog.New(slog.DiscardHandler)

// revoke revokes the token and returns the revision that holds it.
func revoke(t *testing.T, g *Global, token string) federation.Revision {
	t.Helper()
	parsed, err := cptoken.Parse(token)
	if err != nil {
		t.Fatal(err)
	}
	store := g.Node.Store()
	ids := []cptoken.RevokedID{{ID: parsed.RevocationID(), Expires: parsed.Claims.ExpiresAt.Unix()}}
	change, err := store.Revoke(context.Background(), raftstore.Origin{By: "test"}, cptoken.Zone, "", ids, "")
	if err != nil {
		t.Fatalf("revoking: %v", err)
	}
	return change.Revision
}

func TestGlobalAndTwoZones(t *testing.T) {
	g := StartGlobal(t, quiet)
	west, east := g.StartZone("west", g.KDS()), g.StartZone("east", g.KDS())
	west.WaitCurrent(g)
	east.WaitCurrent(g)

	egress := g.ZoneToken("west", cptoken.ScopeEgress)
	west.Expect("its own token", egress, "egress", Accepted)
	east.Expect("west's token", egress, "egress", Refused("wrong_zone"))
	west.Expect("an egress token", egress, "ingress", Refused("out_of_scope"))
	west.Expect("a user token", g.Issue(cptoken.Claims{Kind: cptoken.User, Name: "jo"}, time.Hour), "egress", Refused("wrong_kind"))
	west.Expect("a control plane token", west.Token, "egress", Refused("unsupported_algorithm"))

	lost := g.ZoneToken("west", cptoken.ScopeEgress)
	west.Expect("a token before its revocation", lost, "egress", Accepted)
	west.WaitFor(revoke(t, g, lost))
	west.Expect("a revoked token", lost, "egress", Refused("revoked"))
	west.Expect("another token", egress, "egress", Accepted)

	// The global goes away; the zones do not care, not even across a restart.
	held := west.Revision()
	g.Stop()
	west.Expect("a valid token without a global", egress, "egress", Accepted)
	west.Expect("a revoked token without a global", lost, "egress", Refused("revoked"))
	west.Stop()
	west.Start()
	if got := west.Revision(); got != held {
		t.Errorf("west came back with %s, had %s", got, held)
	}
	west.Expect("a valid token after a restart", egress, "egress", Accepted)
	west.Expect("a revoked token after a restart", lost, "egress", Refused("revoked"))
}

func TestRotationAndRemoval(t *testing.T) {
	g := StartGlobal(t, quiet)
	west := g.StartZone("west", g.KDS())
	west.WaitCurrent(g)
	store, ctx, by := g.Node.Store(), context.Background(), raftstore.Origin{By: "test"}

	old := g.ZoneToken("west", cptoken.ScopeEgress)
	key, err := store.PrepareKey(ctx, by, cptoken.Zone, "")
	if err != nil {
		t.Fatal(err)
	}
	west.WaitCurrent(g)
	if view := west.Node.Store().View(); view.Key(key.ID) == nil || view.Key(key.ID).State != cptoken.Prepared {
		t.Fatal("west does not hold the prepared key")
	}
	if parsed, err := cptoken.Parse(g.ZoneToken("west", cptoken.ScopeEgress)); err != nil || parsed.KID != "1" {
		t.Errorf("a prepared key signs: kid %q, %v", parsed.KID, err)
	}
	if _, err := store.ActivateKey(ctx, by, key.ID); err != nil {
		t.Fatal(err)
	}
	fresh := g.ZoneToken("west", cptoken.ScopeEgress)
	west.WaitCurrent(g)
	west.Expect("a token of the former key", old, "egress", Accepted)
	west.Expect("a token of the new key", fresh, "egress", Accepted)

	if _, err := store.RemoveKey(ctx, by, cptoken.KeyID{Kind: cptoken.Zone, KID: "1"}, raftstore.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	west.WaitCurrent(g)
	west.Expect("a token of the removed key", old, "egress", Refused("unknown_key"))
	west.Expect("a token of the new key", fresh, "egress", Accepted)
}

func TestAZoneThatKnowsNothingRefuses(t *testing.T) {
	g := StartGlobal(t, quiet)
	relay := NewRelay(t, g.KDS())
	relay.Stall()
	west := g.StartZone("west", relay.Addr())
	token := g.ZoneToken("west", cptoken.ScopeEgress)
	west.Expect("any token", token, "egress", Refused("no_keys"))
	relay.Resume()
	west.WaitCurrent(g)
	west.Expect("the same token", token, "egress", Accepted)
}

// TestAcknowledgedRevocationOutlivesTheGlobal kills the global between the
// acknowledgement of a revocation and its delivery.
func TestAcknowledgedRevocationOutlivesTheGlobal(t *testing.T) {
	g := StartGlobal(t, quiet)
	relay := NewRelay(t, g.KDS())
	west := g.StartZone("west", relay.Addr())
	west.WaitCurrent(g)
	token := g.ZoneToken("west", cptoken.ScopeEgress)

	relay.Stall()
	rev := revoke(t, g, token)
	west.Expect("a revoked token before its delivery", token, "egress", Accepted)
	g.Stop()
	relay.Cut()
	if west.Revision().Covers(rev) {
		t.Fatal("the revocation was delivered: the test proves nothing")
	}

	g.Start()
	relay.Retarget(g.KDS())
	relay.Resume()
	west.WaitFor(rev)
	west.Expect("a revoked token", token, "egress", Refused("revoked"))
}

func TestOneZonesTokenSpeaksForNoOther(t *testing.T) {
	g := StartGlobal(t, quiet)
	east := g.StartZone("east", g.KDS())
	east.WaitCurrent(g)
	east.Stop()
	before := east.Revision()
	for name, token := range map[string]string{
		"west's control plane token": g.Issue(cptoken.Claims{Kind: cptoken.ControlPlane, Zone: "west"}, time.Hour),
		"an egress token of east":    g.ZoneToken("east", cptoken.ScopeEgress),
		"a scope cp token of west":   g.ZoneToken("west", cptoken.ScopeCP),
		"a user token":               g.Issue(cptoken.Claims{Kind: cptoken.User, Name: "admin", Groups: []string{"admin"}}, time.Hour),
		"no token":                   "",
	} {
		east.Token = token
		east.Start()
		Eventually(t, name+" to be refused", func() bool { return east.Node.Link().LastError != "" })
		if east.Node.Link().Connected {
			t.Errorf("%s: connected as east", name)
		}
		revoke(t, g, g.ZoneToken("east", cptoken.ScopeEgress))
		if east.Revision() != before {
			t.Errorf("%s: east received changes", name)
		}
		east.Stop()
	}
	east.Token = g.ZoneToken("east", cptoken.ScopeCP)
	east.Start()
	east.WaitCurrent(g)
}
