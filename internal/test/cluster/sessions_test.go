package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/test/testlog"
	"github.com/meridiankds/meridian/internal/zone/sessions"
	kdsserver "github.com/meridiankds/meridian/kds/server"
	"github.com/meridiankds/meridian/raftstore"
)

// journal is a log that a test reads.
type journal = testlog.Log

// open returns the open session of a zone, if it has one.
func (g *Global) open(zone string) (kdsserver.Session, bool) {
	for _, s := range g.Node.Sessions() {
		if s.Zone == zone && s.Online() {
			return s, true
		}
	}
	return kdsserver.Session{}, false
}

// TestAZoneLosesItsSessionAndNobodyElse takes the right to a session away in every
// way there is, and counts the sessions of the others, which must be the very same
// ones afterwards.
func TestAZoneLosesItsSessionAndNobodyElse(t *testing.T) {
	ctx, by := context.Background(), raftstore.Origin{By: "test"}
	log := &journal{}
	g := StartGlobal(t, slog.New(slog.NewTextHandler(log, nil)))
	store := g.Node.Store()
	const others = 8
	for i := range others {
		z := g.StartZone(fmt.Sprintf("other-%d", i), g.KDS())
		z.WaitCurrent(g)
	}
	// west shows a token of a key of its own, so that the key can be removed.
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	key, err := store.PrepareKey(ctx, by, cptoken.ControlPlane, "")
	must(nil, err)
	must(store.ActivateKey(ctx, by, key.ID))
	zoneKey, err := store.PrepareKey(ctx, by, cptoken.Zone, "")
	must(nil, err)
	must(store.ActivateKey(ctx, by, zoneKey.ID))
	must(store.PrepareKey(ctx, by, cptoken.ControlPlane, ""))
	must(store.PrepareKey(ctx, by, cptoken.Zone, ""))
	third := cptoken.KeyID{Kind: cptoken.ControlPlane, KID: "3"}
	thirdZone := cptoken.KeyID{Kind: cptoken.Zone, KID: "3"}
	restore := func() { must(store.ApplyZone(ctx, by, federation.Zone{Name: "west", Enabled: true})) }
	restore()
	id := func(token string) string {
		parsed, err := cptoken.Parse(token)
		must(nil, err)
		return parsed.RevocationID()
	}
	controlPlane := func(validFor time.Duration) string {
		return g.Issue(cptoken.Claims{Kind: cptoken.ControlPlane, Zone: "west"}, validFor)
	}
	life := time.Second
	brief := func() string { life *= 2; return controlPlane(life) } // until the machine is quick enough
	long := func() string { return controlPlane(time.Hour) }
	scopeCP := func() string { return g.ZoneToken("west", cptoken.ScopeCP) }

	west := g.StartZone("west", g.KDS())
	west.WaitCurrent(g)
	west.Stop()
	for _, c := range []struct {
		name, reason string
		token        func() string
		act, undo    func(token string)
	}{
		{"control plane token revoked", "revoked", long, func(token string) {
			must(store.Revoke(ctx, by, cptoken.ControlPlane, "", []cptoken.RevokedID{{ID: id(token)}}, "lost"))
		}, nil},
		{"zone token revoked", "revoked", scopeCP, func(token string) {
			must(store.Revoke(ctx, by, cptoken.Zone, "", []cptoken.RevokedID{{ID: id(token)}}, "lost"))
		}, nil},
		{"expired", "expired", brief, func(string) {}, nil},
		{"disabled", "zone_disabled", long, func(string) { must(store.ApplyZone(ctx, by, federation.Zone{Name: "west"})) }, func(string) { restore() }},
		{"deleted", "zone_deleted", long, func(string) { must(nil, store.DeleteZone(ctx, by, "west")) }, func(string) { restore() }},
		{"asked for a certificate", "auth_changed", long, func(string) {
			must(store.ApplyZone(ctx, by, federation.Zone{Name: "west", Enabled: true, Auth: federation.AuthCertificate}))
		}, func(string) { restore() }},
		{"control plane key cut off", "cut_off", long, func(string) {
			// A token says in whole seconds when it was issued.
			must(store.SetCutOff(ctx, by, cptoken.CutOff{
				CutOffID: cptoken.CutOffID{Kind: cptoken.ControlPlane, KID: "2"}, Before: time.Now().Add(2 * time.Second),
			}, "leak"))
		}, nil},
		{"control plane key removed", "key_removed", func() string {
			must(store.WithdrawCutOff(ctx, by, cptoken.CutOffID{Kind: cptoken.ControlPlane, KID: "2"}))
			return long()
		}, func(string) {
			must(store.ActivateKey(ctx, by, third))
			must(store.RemoveKey(ctx, by, key.ID, raftstore.RemoveOptions{Compromised: true}))
		}, nil},
		{"zone key removed", "key_removed", scopeCP, func(string) {
			must(store.ActivateKey(ctx, by, thirdZone))
			must(store.RemoveKey(ctx, by, zoneKey.ID, raftstore.RemoveOptions{Compromised: true}))
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer west.Stop()
			for late := true; late; {
				west.Stop()
				west.Token = c.token()
				west.Start()
				_, head := g.Node.Store().Head()
				Eventually(t, "west to have a session", func() bool {
					late = c.reason == "expired" && strings.Contains(west.Node.Link().LastError, "expired")
					_, ok := g.open("west")
					return late || ok && west.Revision().Covers(head)
				})
			}
			before := g.Node.Sessions()
			c.act(west.Token)
			Eventually(t, "west's session to end", func() bool { _, ok := g.open("west"); return !ok })
			Eventually(t, "the log to say why", func() bool {
				return log.Has(`msg="Remote CP session ended"`, "zone=west", "reason="+c.reason)
			})
			Eventually(t, "west to be told", func() bool {
				s := west.Node.Link()
				return !s.Connected && s.LastError != ""
			})
			same := 0
			for _, old := range before {
				if now, ok := g.open(old.Zone); ok && old.Zone != "west" && now.Connected.Equal(old.Connected) {
					same++
				}
			}
			if same != others {
				t.Errorf("%d of %d other sessions are the same as before", same, others)
			}
			if c.undo != nil {
				c.undo(west.Token)
				Eventually(t, "west to be admitted again", func() bool { _, ok := g.open("west"); return ok })
			}
		})
	}
}

// TestAZonesSessionsEndWithTheirToken follows a revocation and the removal of a
// key from the global to what a token opened at a zone.
func TestAZonesSessionsEndWithTheirToken(t *testing.T) {
	ctx, by := context.Background(), raftstore.Origin{By: "test"}
	g := StartGlobal(t, quiet)
	west := g.StartZone("west", g.KDS())
	west.WaitCurrent(g)
	open := func(token string) *sessions.Session {
		t.Helper()
		view := west.Node.Store().View()
		parsed, err := cptoken.Parse(token)
		if err != nil {
			t.Fatal(err)
		}
		s, err := west.Node.Sessions().Open(ctx, sessions.Opening{Grant: cptoken.GrantOf(view, parsed), Subject: "egress"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s
	}
	ended := func(s *sessions.Session, reason cptoken.Reason) {
		t.Helper()
		select {
		case <-s.Context().Done():
		case <-time.After(Patience):
			t.Fatal("the session does not end")
		}
		if got := cptoken.ReasonOf(context.Cause(s.Context())); got != reason {
			t.Errorf("the session ended with %q, want %q", got, reason)
		}
	}
	lost, kept := g.ZoneToken("west", cptoken.ScopeEgress), g.ZoneToken("west", cptoken.ScopeEgress)
	first, second, other := open(lost), open(lost), open(kept)
	revoke(t, g, lost)
	ended(first, cptoken.Revoked)
	ended(second, cptoken.Revoked)
	if other.Context().Err() != nil || west.Node.Sessions().Count() != 1 {
		t.Error("another token's session ended too")
	}
	key, err := g.Node.Store().PrepareKey(ctx, by, cptoken.Zone, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Node.Store().ActivateKey(ctx, by, key.ID); err != nil {
		t.Fatal(err)
	}
	west.WaitCurrent(g)
	if other.Context().Err() != nil {
		t.Error("a rotation ended a session")
	}
	if _, err := g.Node.Store().RemoveKey(ctx, by, cptoken.KeyID{Kind: cptoken.Zone, KID: "1"}, raftstore.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	ended(other, cptoken.KeyRemoved)
}
