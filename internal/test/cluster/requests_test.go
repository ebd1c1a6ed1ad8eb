package cluster

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// outcome asks a member what became of a request, until it can be told.
func (g *Global) outcome(t *testing.T, request string) (told apitypes.RequestOutcome) {
	t.Helper()
	Eventually(t, "word of request "+request, func() bool {
		r, err := g.ask("GET", "/v1/requests/"+request, nil)
		return err == nil && r.status == http.StatusOK && json.Unmarshal(r.body, &told) == nil
	})
	return told
}

// TestAnUnknownOutcomeCanBeAskedAbout takes the leader's network away in the middle of
// many writes at it. Of each whose outcome it cannot know, any member tells the truth.
func TestAnUnknownOutcomeCanBeAskedAbout(t *testing.T) {
	t.Parallel()
	c := StartGlobals(t, verbose(t), 3)
	unknown := 0
	for round := 0; round < 6 && (unknown == 0 || round < 2); round++ {
		leader, other := c.Leader(), c.Followers()[0]
		var mu sync.Mutex
		ids := map[string]string{} // by request
		var writers sync.WaitGroup
		begun := make(chan struct{}, 64)
		for range 8 {
			writers.Go(func() {
				for range 20 {
					id, request := uuid.NewString(), uuid.NewString()
					r, err := leader.ask("POST", "/v1/revocations", apitypes.RevokeRequest{Kind: "zone", IDs: []string{id}}, "X-Request-Id", request)
					select {
					case begun <- struct{}{}:
					default:
					}
					switch {
					case err != nil:
						t.Errorf("a write at the leader: %v", err)
						return
					case r.status == http.StatusGatewayTimeout:
						if !strings.Contains(string(r.body), "global get request "+request) {
							t.Errorf("an unknown outcome that does not say how to ask: %s", r.body)
						}
						mu.Lock()
						ids[request] = id
						mu.Unlock()
						return
					case r.status != http.StatusOK:
						return
					}
				}
			})
		}
		<-begun
		c.Net.Cut(leader.Name, true)
		writers.Wait()
		for request, id := range ids {
			unknown++
			told := other.outcome(t, request)
			if made := other.Node.Store().View().Revoked(cptoken.Zone, "", id); made != (told.Outcome == apitypes.OutcomeApplied) {
				t.Errorf("request %s is said to be %s, and it was made: %v", request, told.Outcome, made)
			}
		}
		c.Net.Cut(leader.Name, false)
		Eventually(t, "the former leader to follow", func() bool {
			return leader.Node.Store().LeaderContact() < time.Second && !leader.Node.Store().IsLeader()
		})
	}
	if unknown == 0 {
		t.Error("no outcome was ever unknown: the test proves nothing")
	}
	t.Logf("%d outcomes were unknown", unknown)

	// Without a leader nobody guesses.
	last := c.Leader()
	for _, g := range c.Followers() {
		g.Kill()
	}
	Eventually(t, "the lead to be lost", func() bool { return !last.Node.Store().IsLeader() })
	r := last.want(t, http.StatusServiceUnavailable, "GET", "/v1/requests/"+uuid.NewString(), nil, nil)
	if r.header.Get("Retry-After") == "" {
		t.Error("a refusal without Retry-After")
	}
}
