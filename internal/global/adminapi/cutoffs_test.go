package adminapi

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/clocks"
	"github.com/meridiankds/meridian/raftstore"
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

// picture is what member n0 knows of clocks: its own is ahead by the first, the others'
// by what follows.
func picture(own time.Duration, off bool, others ...time.Duration) clocks.Picture {
	p := clocks.Picture{
		Agreed: true, Now: time.Now().Add(own),
		Own: clocks.Clock{Member: "n0", Known: true, Ahead: own, Off: off},
	}
	p.Members = append(p.Members, p.Own)
	for i, ahead := range others {
		p.Members = append(p.Members, clocks.Clock{Member: "n" + strconv.Itoa(i+1), Known: true, Ahead: ahead, Off: ahead.Abs() > clocks.Tolerance})
	}
	return p
}

// TestNowIsTheLatestClockThatAgrees: a cut-off of now takes with it what any member has
// issued whose clock agrees, and no later one is taken.
func TestNowIsTheLatestClockThatAgrees(t *testing.T) {
	for name, tt := range map[string]struct {
		picture func() clocks.Picture
		latest  time.Duration // of the right time
	}{
		"own is the latest":       {func() clocks.Picture { return picture(20*time.Second, false, 0, 0) }, 20 * time.Second},
		"another is the latest":   {func() clocks.Picture { return picture(0, false, 25*time.Second, 0) }, 25 * time.Second},
		"one that is off is none": {func() clocks.Picture { return picture(0, false, 4*time.Minute, 2*time.Second) }, 2 * time.Second},
		"own is off, ahead":       {func() clocks.Picture { return picture(time.Hour, true, 0, 3*time.Second) }, 3 * time.Second},
		"own is off, behind":      {func() clocks.Picture { return picture(-time.Hour, true, 0, 3*time.Second) }, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, func(c *Config) { c.Cluster = &others{clocks: tt.picture} })
			for range 2 { // each cut-off moves forward
				asked := time.Now()
				var got apitypes.CutOffResult
				e.want(200, "POST", "/v1/cut-offs", `{"kind":"dataplane-token","mesh":"default","before":"now"}`, &got)
				least, most := asked.Add(tt.latest), time.Now().Add(tt.latest+time.Second)
				if got.Before.Before(least) || got.Before.After(most) {
					t.Errorf("now is %s, want %s to %s", got.Before, least, most)
				}
			}
			later := time.Now().Add(tt.latest + 20*time.Second).UTC().Format(time.RFC3339)
			got := e.refused(400, "POST", "/v1/cut-offs", `{"kind":"user-token","before":"`+later+`"}`)
			if !strings.Contains(got.InvalidParameters[0].Reason, "future") {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestAnotherMemberIssuesWhereTheClockForbids: a member whose clock is behind a cut-off,
// or off, has one issue that need not wait, with all that was asked for; a member that was
// asked so asks nobody else.
func TestAnotherMemberIssuesWhereTheClockForbids(t *testing.T) {
	var asked []string
	o := &others{issue: func(member, path string, body []byte, caller access.Caller) (string, error) {
		asked = append(asked, member+" "+path+" "+string(body)+" "+caller.Name)
		if member == "n1" {
			return "", federation.Errorf(federation.Unavailable, "gone")
		}
		return "a token", nil
	}}
	o.clocks = func() clocks.Picture { return picture(0, false, 0, 0) }
	e := newEnv(t, follow, func(c *Config) { c.Cluster = o; c.Now = func() time.Time { return o.clocks().Now } })
	whole := func(ahead time.Duration) time.Time { return time.Now().Add(ahead).Truncate(time.Second) }
	if _, err := e.store.SetCutOff(t.Context(), raftstore.Origin{By: "test"}, cptoken.CutOff{CutOffID: cptoken.CutOffID{Kind: cptoken.Zone}, Before: whole(15 * time.Second)}, ""); err != nil {
		t.Fatal(err)
	}
	const request = `{"zone":"west","scope":["ingress"],"validFor":"1h"}`
	forwarded := func(want ...string) {
		t.Helper()
		asked = nil
		if w := e.call("POST", "/tokens/zone", request); w.Code != 200 || w.Body.String() != "a token" {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		for i, member := range want {
			want[i] = member + " /tokens/zone " + request + " admin socket"
		}
		if !slices.Equal(asked, want) {
			t.Errorf("asked %q, want %q", asked, want)
		}
	}
	refused := func(h http.Handler, reason string) {
		t.Helper()
		asked = nil
		header := http.Header{}
		access.Caller{Name: "ann", Groups: []string{"admin"}, Via: access.ViaToken}.SetHeader(header)
		w := e.callAs(h, "POST", "/tokens/zone", request, "Meridian-Caller", header.Get("Meridian-Caller"))
		if w.Code != 503 || !strings.Contains(w.Body.String(), reason) || !strings.Contains(w.Body.String(), e.store.NodeID()) || len(asked) > 0 {
			t.Errorf("%d %s, asked %q", w.Code, w.Body, asked)
		}
	}
	o.clocks = func() clocks.Picture { return picture(0, false, 25*time.Second, 20*time.Second) }
	forwarded("n1", "n2") // the latest first; it is away
	refused(e.api.Handler(Peer), "clock_behind")
	o.clocks = func() clocks.Picture { return picture(0, false, 0, 0) }
	refused(e.api.Handler(Socket), "clock_behind") // nobody has reached it
	o.clocks = func() clocks.Picture { return picture(time.Hour, true, 0, 20*time.Second) }
	forwarded("n2") // n1 has not reached the cut-off
	refused(e.api.Handler(Peer), "clock_off")
	o.clocks = func() clocks.Picture { return picture(-time.Hour, true, 0, 0) }
	refused(e.api.Handler(Socket), "clock_off")
	o.clocks = func() clocks.Picture { return picture(15*time.Second, false, 0, 0) }
	asked = nil
	if w := e.call("POST", "/tokens/zone", request); w.Code != 200 || len(asked) > 0 {
		t.Errorf("it has reached the cut-off: %d %s, asked %q", w.Code, w.Body, asked)
	}
}
