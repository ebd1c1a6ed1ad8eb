package cluster

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// issue asks a member for a token of zone west.
func (g *Global) issue(t *testing.T) (token string, status int, detail string) {
	t.Helper()
	r := g.led(t, "/tokens/zone", apitypes.ZoneTokenRequest{Zone: "west", Scope: []string{"egress"}, ValidFor: "1h"})
	return strings.TrimSpace(string(r.body)), r.status, string(r.body)
}

// led asks a member for a change until it finds a leader, as clients do.
func (g *Global) led(t *testing.T, path string, in any) (r reply) {
	t.Helper()
	request := uuid.NewString()
	Eventually(t, g.Name+" to find the leader", func() bool {
		var err error
		r, err = g.ask("POST", path, in, "X-Request-Id", request)
		var problem struct {
			Reason string `json:"reason"`
		}
		return err == nil && (r.status < 500 || json.Unmarshal(r.body, &problem) != nil || !apiclient.Leaderless(problem.Reason))
	})
	return r
}

// cutOffNow refuses every zone token that was issued by now, at the leader or elsewhere.
func (c *Globals) cutOffNow(t *testing.T, at *Global) time.Time {
	t.Helper()
	r := at.led(t, "/v1/cut-offs", apitypes.CutOffRequest{Kind: "zone-token", Before: apitypes.CutOffNow})
	var got apitypes.CutOffResult
	if err := json.Unmarshal(r.body, &got); err != nil || r.status != 200 {
		t.Fatalf("a cut-off: %v %d %s", err, r.status, r.body)
	}
	return *got.Before
}

// TestAMemberWhoseClockIsOff: of three members one is minutes or an hour off. It is
// shown, in the status, a metric and the log of each member; it has another one issue; a cut-off of
// now leaves nothing out that anybody has issued; and cut off from the others, it issues
// nothing.
func TestAMemberWhoseClockIsOff(t *testing.T) {
	t.Parallel()
	for name, off := range map[string]time.Duration{
		"four minutes ahead": 4 * time.Minute, "an hour ahead": time.Hour, "an hour behind": -time.Hour,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lines := &journal{}
			c := NewGlobals(t, slog.New(slog.NewTextHandler(lines, nil)), 3)
			wrong := c.Members[1]
			wrong.Clock = off
			c.Launch(3)
			id := wrong.Node.Store().NodeID()
			t.Cleanup(func() {
				if t.Failed() {
					t.Log(lines)
				}
			})
			right := c.Members[0]
			Eventually(t, "the status to name it", func() bool {
				r, err := right.ask("GET", "/v1/cluster", nil)
				var status apitypes.Cluster
				if err != nil || r.status != 200 || json.Unmarshal(r.body, &status) != nil {
					return false
				}
				wrongs := 0
				for _, m := range status.Members {
					if m.Clock != nil && m.Clock.Off && m.ID == id {
						wrongs++
					}
				}
				return wrongs == 1 && strings.Contains(status.Warning, "the clock of member "+id)
			})
			Eventually(t, "the logs of all to name it", func() bool {
				for _, g := range c.Members {
					if !lines.Has("a member's clock is off", "member="+g.Name, "member="+id) {
						return false
					}
				}
				return true
			})
			for _, g := range c.Members {
				Eventually(t, "the metrics to name it", func() bool {
					return strings.Contains(scrape(t, g.Node.Endpoints().Diagnostics), `member_clock_ahead_seconds{member="`+id+`"} `)
				})
			}

			Eventually(t, "the member to know it", func() bool {
				return strings.Contains(scrape(t, wrong.Node.Endpoints().Diagnostics), "clock_off 1")
			})
			west := right.StartZone("west", right.KDS())
			west.WaitCurrent(c.Leader())
			// Whoever leads, and whatever its clock says.
			Eventually(t, "the member to lead", func() bool {
				if c.Leader() == wrong {
					return true
				}
				_, err := c.Leader().ask("POST", "/v1/cluster/transfer-leader", apitypes.TransferLeaderRequest{To: id})
				return err == nil && c.Leader() == wrong
			})
			var old []string
			for _, g := range c.Members {
				token, status, said := g.issue(t)
				if status != 200 {
					t.Fatalf("%s does not issue: %s", g.Name, said)
				}
				issued, err := cptoken.Parse(token)
				if err != nil {
					t.Fatal(err)
				}
				if apart := time.Since(issued.Claims.IssuedAt).Abs(); apart > time.Minute {
					t.Errorf("%s issues a token of %s, %s from now", g.Name, issued.Claims.IssuedAt, apart)
				}
				west.Expect("a token of "+g.Name, token, "egress", Accepted)
				old = append(old, token)
			}
			if before := c.cutOffNow(t, right); time.Since(before).Abs() > time.Minute {
				t.Errorf("now is %s", before)
			}
			west.WaitCurrent(c.Leader())
			for i, g := range c.Members {
				west.Expect("a token of "+g.Name+" after the cut-off", old[i], "egress", Refused("cut_off"))
				token, status, said := g.issue(t)
				if status != 200 {
					t.Fatalf("%s does not issue after the cut-off: %s", g.Name, said)
				}
				west.Expect("a new token of "+g.Name, token, "egress", Accepted)
			}

			c.Net.Cut(wrong.Name, true)
			if _, status, said := wrong.issue(t); status != 503 || !strings.Contains(said, "clock_off") || !strings.Contains(said, id) {
				t.Errorf("cut off from the others it answers %d %s", status, said)
			}
		})
	}
}

// TestClocksThatAgreeMayDiffer: one member is 20 seconds ahead, which is no fault. A
// cut-off of now is one of its now, and until then the others have it issue.
func TestClocksThatAgreeMayDiffer(t *testing.T) {
	t.Parallel()
	c := NewGlobals(t, verbose(t), 3)
	const ahead = 20 * time.Second
	c.Members[1].Clock = ahead
	c.Launch(3)
	Eventually(t, "the members to know each other's clocks", func() bool {
		for _, g := range c.Members {
			if !strings.Contains(scrape(t, g.Node.Endpoints().Diagnostics), `member_clock_ahead_seconds{member="`+c.Members[1].Node.Store().NodeID()+`"} `) {
				return false
			}
		}
		return true
	})
	west := c.Members[0].StartZone("west", c.Members[0].KDS())
	west.WaitCurrent(c.Leader())
	old, status, said := c.Members[1].issue(t)
	if status != 200 {
		t.Fatal(said)
	}
	west.Expect("its token", old, "egress", Accepted)
	before := c.cutOffNow(t, c.Members[2])
	if until := time.Until(before); until < 10*time.Second || until > ahead+2*time.Second {
		t.Errorf("now is %s from now, and the latest clock %s", until, ahead)
	}
	west.WaitCurrent(c.Leader())
	west.Expect("its token after the cut-off", old, "egress", Refused("cut_off"))
	for _, g := range c.Members {
		token, status, said := g.issue(t)
		if status != 200 {
			t.Fatalf("%s does not issue: %s", g.Name, said)
		}
		west.Expect("a new token of "+g.Name, token, "egress", Accepted)
	}
}
