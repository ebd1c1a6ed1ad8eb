package cluster

import (
	"bytes"
	"fmt"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/google/uuid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// watched is what was seen of a zone. The zone is stopped and started with mu held.
type watched struct {
	mu    sync.Mutex
	held  map[string]bool // ids that it refused
	shown time.Time
	last  federation.Revision
}

// watch holds each zone to what may never happen to it, while everything happens.
func (s *schedule) watch(z *Zone) {
	w := s.disks.watched[z]
	for {
		select {
		case <-s.stop:
			return
		case <-time.After(10 * time.Millisecond):
		}
		w.mu.Lock()
		s.hold(z, w)
		w.mu.Unlock()
	}
}

// hold looks at a zone once.
func (s *schedule) hold(z *Zone, w *watched) {
	if time.Since(w.shown) > 100*time.Millisecond {
		s.show(z)
		w.shown = time.Now()
	}
	view := z.Node.Store().View()
	s.mu.Lock()
	acknowledged := map[string]string{}
	for id, rev := range s.once {
		acknowledged[id] = rev
	}
	s.mu.Unlock()
	if rev := view.Revision(); rev.History == w.last.History && rev.Index < w.last.Index || rev.History.Compare(w.last.History) < 0 {
		s.t.Errorf("zone %s went back from %s to %s", z.Name, w.last, rev)
	} else {
		w.last = rev
	}
	if w.held == nil {
		w.held = map[string]bool{}
	}
	for id, at := range acknowledged {
		revoked := view.Revoked(cptoken.Zone, "", id)
		rev, err := federation.ParseRevision(at)
		if !revoked && at != "" && err == nil && rev.History == w.last.History && w.last.Index >= rev.Index {
			s.t.Errorf("zone %s stands at %s and accepts %s, which was acknowledged as revoked at %s", z.Name, w.last, id, at)
		}
		if w.held[id] && !revoked {
			s.t.Errorf("zone %s accepts %s again, which nobody withdrew", z.Name, id)
		}
		w.held[id] = w.held[id] || revoked
	}
}

// zoneTokens issues what the zones are shown while everything happens. Of dataplane tokens
// no key is rotated here, so that a good one is good throughout.
func (s *schedule) zoneTokens() {
	g := s.c.Leader()
	s.good, s.stolen, s.foreign = map[string]string{}, map[string]string{}, map[string]string{}
	good := g.Issue(cptoken.Claims{Kind: cptoken.Dataplane, Mesh: "default", Name: "backend-1"}, time.Hour)
	for i, z := range s.zones {
		s.good[z.Name] = good
		s.stolen[z.Name] = g.ZoneToken(z.Name, cptoken.ScopeEgress)
		s.foreign[z.Name] = g.ZoneToken(s.zones[(i+1)%len(s.zones)].Name, cptoken.ScopeEgress)
		s.c.eventually(s.t, operation{name: "a revocation", ask: func(g *Global, request string) (reply, error) {
			return g.ask("POST", "/v1/revocations", apitypes.RevokeRequest{Token: s.stolen[z.Name]}, "X-Request-Id", request)
		}})
		z.WaitCurrent(s.c.Leader())
	}
}

// show presents tokens to a zone: a good one is never refused, whatever the zone hears of
// the global, and a revoked one, another zone's and another kind's are never accepted.
func (s *schedule) show(z *Zone) {
	if v := z.Present(map[string]any{"token": s.good[z.Name], "proxyType": "dataplane", "mesh": "default", "name": "backend-1"}); v != Accepted {
		s.t.Errorf("zone %s says %+v of a good token", z.Name, v)
	}
	for what, token := range map[string]string{"a revoked token": s.stolen[z.Name], "another zone's token": s.foreign[z.Name], "a dataplane token": s.good[z.Name]} {
		if v := z.Authenticate(token, "egress"); v == Accepted {
			s.t.Errorf("zone %s accepts %s as egress", z.Name, what)
		}
	}
}

// heal makes the networks whole and waits until everybody has everything.
func (s *schedule) heal() {
	s.c.Net.Heal()
	s.messages.End()
	for i, r := range s.kds {
		r.Resume()
		r.Retarget(s.c.Members[i].KDS())
	}
	s.c.settled(s.t)
	Eventually(s.t, "every zone to be admitted again", func() bool {
		_, _, _, made := s.write(s.c.Leader(), "PUT", "/zones/"+s.zones[0].Name, map[string]any{"type": "Zone", "name": s.zones[0].Name, "enabled": true}, uuid.NewString())
		return made
	})
	s.c.settled(s.t)
	for _, z := range s.zones {
		z.WaitCurrent(s.c.Leader())
	}
	for _, g := range s.c.Members { // a key that zones know as removed is replaced
		Eventually(s.t, g.Name+" to sign", func() bool {
			_, err := g.Node.Store().Signer(cptoken.Zone, "")
			return err == nil
		})
	}
}

// check holds the history against the model, and members and zones against each other.
func (s *schedule) check() {
	leader := s.c.Leader()
	for _, id := range s.everyID() {
		s.record(0, idOp{kind: "read", id: id}, func() (bool, bool, bool) {
			return leader.Node.Store().View().Revoked(cptoken.Zone, "", id), true, true
		})
	}
	s.t.Logf("%d operations, %d of unknown outcome (of %d more it was learnt), %d faults, %d restores", s.done.Load(), s.unknown.Load(), s.learnt.Load(), s.faults.Load(), s.restored.Load())
	s.t.Logf("of unknown outcome at a leader that was cut off: %d; a zone was given to a member that lagged: %d times", s.untold.Load(), s.lagged.Load())
	s.t.Logf("disks that went back: %d of members, %d of zones, %d times all members'", s.disks.ofMembers, s.disks.ofZones, s.disks.ofAll)
	s.t.Logf("messages: %s", s.messages.Counts())
	if losses := leader.Node.Store().Losses(); len(losses) > 0 {
		s.t.Errorf("losses that nothing explains: %+v; replay with -schedule.seed %d", losses, s.seed)
	}
	result := porcupine.CheckOperationsTimeout(idModel, s.perID(), time.Minute)
	if result != porcupine.Ok {
		s.t.Errorf("the history is not linearizable: %s; replay with -schedule.seed %d", result, s.seed)
	}
	var want bytes.Buffer
	for i, g := range s.c.Members {
		var state bytes.Buffer
		for _, k := range g.Node.Store().Keys() {
			fmt.Fprintln(&state, k.ID, k.State, k.Index)
		}
		for _, id := range s.everyID() {
			if g.Node.Store().View().Revoked(cptoken.Zone, "", id) != leader.Node.Store().View().Revoked(cptoken.Zone, "", id) {
				s.t.Errorf("%s differs from the leader about %s", g.Name, id)
			}
		}
		if i == 0 {
			want = state
		} else if state.String() != want.String() {
			s.t.Errorf("%s has other keys than %s:\n%s\n%s", g.Name, s.c.Members[0].Name, state.String(), want.String())
		}
	}
	for _, z := range s.zones {
		view := z.Node.Store().View()
		for _, id := range s.everyID() {
			global, zone := leader.Node.Store().View().Revoked(cptoken.Zone, "", id), view.Revoked(cptoken.Zone, "", id)
			if global && !zone {
				s.t.Errorf("zone %s accepts %s, which is revoked", z.Name, id)
			}
			if zone && !global && s.restored.Load() == 0 {
				s.t.Errorf("zone %s refuses %s, which is not revoked", z.Name, id)
			}
		}
		for _, g := range s.c.Members {
			token := g.ZoneToken(z.Name, cptoken.ScopeEgress)
			if s.restored.Load() == 0 {
				z.Expect("a token issued at "+g.Name, token, "egress", Accepted)
			} else if v := z.Authenticate(token, "egress"); v != Accepted && v.Reason != "unknown_key" {
				// A key that was removed after the backup stays refused at the zone.
				s.t.Errorf("zone %s says %+v of a token issued at %s", z.Name, v, g.Name)
			}
		}
	}
	for _, z := range s.zones {
		z.Stop()
		s.secrets.searchFolder(s.t, z.Dir)
	}
	for _, g := range s.c.Members {
		g.Stop()
		s.secrets.searchFolder(s.t, g.Dir)
	}
}
