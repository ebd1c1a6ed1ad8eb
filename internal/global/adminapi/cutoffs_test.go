package adminapi

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// TestCutOffsHaveWholeSeconds: a cut-off in the middle of a second takes with it what
// was issued earlier in that second, and what is issued after it is good.
func TestCutOffsHaveWholeSeconds(t *testing.T) {
	e := newEnv(t)
	before := e.token("user", `{"name":"ann"}`)
	now := time.Now().UTC()
	var got apitypes.CutOffResult
	e.want(200, "POST", "/v1/cut-offs", `{"kind":"user-token","before":"`+now.Format(time.RFC3339Nano)+`"}`, &got)
	if got.Before.Before(now) || got.Before.Sub(now) >= time.Second || got.Before.Nanosecond() != 0 {
		t.Errorf("the cut-off of %s is %s", now, got.Before)
	}
	after := e.token("user", `{"name":"ann"}`)
	if _, err := e.verify(cptoken.User, before); cptoken.ReasonOf(err) != cptoken.IssuedBeforeCutOff {
		t.Errorf("issued before it: %v", err)
	}
	if _, err := e.verify(cptoken.User, after); err != nil {
		t.Errorf("issued after it: %v", err)
	}
}

// TestMemberBehindACutOffIssuesNothing sets a member's clock back behind a cut-off: a
// token that it issued would never be accepted.
func TestMemberBehindACutOffIssuesNothing(t *testing.T) {
	var back atomic.Int64
	e := newEnv(t, func(c *Config) { c.Now = func() time.Time { return time.Now().Add(-time.Duration(back.Load())) } })
	e.want(200, "POST", "/v1/cut-offs", `{"kind":"zone-token","before":"`+time.Now().UTC().Format(time.RFC3339Nano)+`"}`, nil)
	e.token("zone", `{"zone":"west"}`)
	back.Store(int64(time.Hour))
	got := e.refused(503, "POST", "/tokens/zone", `{"zone":"west"}`)
	if !strings.Contains(got.Detail, e.store.NodeID()) || !strings.Contains(got.Detail, "clock") {
		t.Errorf("the refusal does not name the member and its clock: %+v", got)
	}
	e.token("user", `{"name":"ann"}`) // another kind
}
