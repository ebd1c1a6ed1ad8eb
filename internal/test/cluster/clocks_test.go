package cluster

import (
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// TestClocksApart: the clocks of one member and of one zone are an hour off, either way.
// What is revoked is refused everywhere, also at them and through them; whose clocks are
// right refuse no token that others with right clocks issued; and rotations go on.
func TestClocksApart(t *testing.T) {
	t.Parallel()
	for name, off := range map[string]time.Duration{"ahead": time.Hour, "behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := NewGlobals(t, verbose(t), 3)
			wrong := c.Members[1]
			wrong.Clock = off
			for _, g := range c.Members {
				g.Launch()
			}
			for _, g := range c.Members {
				g.AwaitReady()
			}
			c.AwaitVoters(3)
			right := c.Members[0]
			// The zone is refused by a clock that calls its token expired or early, and goes on.
			west := right.StartZone("west", wrong.KDS(), right.KDS())
			east := right.StartZone("east", right.KDS())
			east.Stop()
			east.Clock = off
			east.Start()
			west.WaitCurrent(c.Leader())
			east.WaitCurrent(c.Leader())

			// The one with the wrong clock leads, and stamps what follows.
			Eventually(t, "the member with the wrong clock to lead", func() bool {
				leader := c.Leader()
				if leader == wrong {
					return true
				}
				r, err := leader.ask("POST", "/v1/cluster/transfer-leader", apitypes.TransferLeaderRequest{To: wrong.Node.Store().NodeID()})
				return err == nil && r.status == 200 && c.Leader() == wrong
			})
			good, lost := right.ZoneToken("west", cptoken.ScopeEgress), right.ZoneToken("west", cptoken.ScopeEgress)
			lostEast := right.ZoneToken("east", cptoken.ScopeEgress)
			for _, token := range []string{lost, lostEast} {
				c.eventually(t, operation{name: "a revocation", ask: func(g *Global, request string) (reply, error) {
					return g.ask("POST", "/v1/revocations", apitypes.RevokeRequest{Token: token}, "X-Request-Id", request)
				}})
			}
			west.WaitCurrent(c.Leader())
			east.WaitCurrent(c.Leader())
			west.Expect("a good token", good, "egress", Accepted)
			west.Expect("a revoked token", lost, "egress", Refused("revoked"))
			if v := east.Authenticate(lostEast, "egress"); v == Accepted {
				t.Errorf("a zone whose clock is %s off accepts a revoked token", off)
			}

			c.awaitOnline(t, "west", 1)
			key := prepare(t, c.Leader())
			activate(t, c.Leader(), key)
			c.settled(t)
			west.WaitCurrent(c.Leader())
			west.Expect("a token of the new key", right.ZoneToken("west", cptoken.ScopeEgress), "egress", Accepted)
			west.Expect("a good token after the rotation", good, "egress", Accepted)

			// The next leader has the right time again: nothing that was revoked is pruned.
			wrong.Kill()
			rest := *c
			rest.Members = without(c.Members, wrong)
			west.globals = []string{right.KDS()}
			west.Stop()
			west.Start()
			rest.revokeAnywhere(t, 0)
			west.WaitCurrent(rest.Leader())
			west.Expect("a revoked token under the next leader", lost, "egress", Refused("revoked"))
			west.Expect("a good token under the next leader", good, "egress", Accepted)
		})
	}
}
