package cluster

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/meridiankds/meridian/internal/apitypes"
)

// TestAZoneThatMovesHasOneRow: the member that carried an instance remembers its session, and
// so does the one that carries it now. What is shown is the last one, by the zone's own count,
// also where the zone's clock was set back between; whoever is asked, the leader answers.
func TestAZoneThatMovesHasOneRow(t *testing.T) {
	t.Parallel()
	c := StartGlobals(t, verbose(t), 3)
	from, to := c.Followers()[0], c.Followers()[1]
	west := from.StartZone("west", from.KDS())
	west.WaitCurrent(from)
	shown := func(at string) func() bool {
		return func() bool {
			var z apitypes.ZoneDetail
			r, err := from.ask("GET", "/v1/zones/west", nil)
			if err != nil || r.status != http.StatusOK || json.Unmarshal(r.body, &z) != nil {
				return false // it has not joined yet
			}
			return len(z.Sessions) == 1 && z.Sessions[0].Online && z.Sessions[0].Member == at
		}
	}
	Eventually(t, "one row of the zone, at the first member", shown(from.Node.Store().NodeID()))

	west.Stop()
	west.Clock, west.globals = -time.Hour, []string{to.KDS()}
	west.Start()
	Eventually(t, "one row of the zone, at the other member", shown(to.Node.Store().NodeID()))

	var z apitypes.ZoneDetail
	from.want(t, 200, "GET", "/v1/zones/west", nil, &z)
	if leader := c.Leader().Node.Store().NodeID(); z.AnsweredBy != leader || !z.Leader {
		t.Errorf("a follower was asked: %s answered, which leads: %v; the leader is %s", z.AnsweredBy, z.Leader, leader)
	}
	var zones struct {
		Items []apitypes.ZoneState `json:"items"`
	}
	from.want(t, 200, "GET", "/v1/zones", nil, &zones)
	if len(zones.Items) != 1 || len(zones.Items[0].Sessions) != 1 {
		t.Errorf("the list of zones has %+v", zones.Items)
	}
}
