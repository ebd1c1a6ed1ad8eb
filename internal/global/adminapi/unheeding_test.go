package adminapi

import (
	"slices"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/fleet"
	"github.com/meridiankds/meridian/kds/kuma"
)

// kumaSession is one of a zone that runs a version of Kuma's control plane.
func (e *env) kumaSession(zone, version string, authenticated bool) fleet.Session {
	s := e.session(zone, 0)
	s.Version, s.Meridian, s.Authenticated = version, false, authenticated
	return s
}

// TestZonesThatDoNotHeedAreNamed in the answers to whoever refuses tokens, and where zones
// are looked at.
func TestZonesThatDoNotHeedAreNamed(t *testing.T) {
	e := newEnv(t)
	for _, name := range []string{"west", "old", "new"} {
		e.want(201, "PUT", "/zones/"+name, `{}`, nil)
	}
	e.report(e.session("west", 0), e.kumaSession("old", "2.8.8", true), e.kumaSession("new", "2.14.3", false))
	names := func(zones []apitypes.UnheedingZone, what string) (out []string) {
		for _, z := range zones {
			if z.What != what {
				t.Errorf("%+v, want %s", z, what)
			}
			out = append(out, z.Zone+" "+z.Version)
		}
		return out
	}
	for _, tt := range []struct {
		body string
		want []string
	}{
		{`{"kind":"zone","ids":["a"]}`, []string{"old 2.8.8"}},
		{`{"kind":"dataplane","mesh":"default","ids":["a"]}`, nil}, // both places are sent
		{`{"kind":"user","ids":["a"]}`, nil},
	} {
		var result apitypes.RevokeResult
		e.want(200, "POST", "/v1/revocations", tt.body, &result)
		if got := names(result.Unheeding, kuma.ZoneRevocations); !slices.Equal(got, tt.want) {
			t.Errorf("%s: not heeded by %q, want %q", tt.body, got, tt.want)
		}
	}
	var bulk apitypes.RevokeResult
	e.want(200, "POST", "/v1/revocations/bulk?kind=zone", "b,c", &bulk, "Content-Type", "text/plain")
	if got := names(bulk.Unheeding, kuma.ZoneRevocations); !slices.Equal(got, []string{"old 2.8.8"}) {
		t.Errorf("many: not heeded by %q", got)
	}
	before := time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
	for kind, want := range map[string][]string{
		`"kind":"zone"`: {"new 2.14.3", "old 2.8.8"}, `"kind":"dataplane","mesh":"default"`: {"new 2.14.3", "old 2.8.8"}, `"kind":"user"`: nil,
	} {
		var result apitypes.CutOffResult
		e.want(200, "POST", "/v1/cut-offs", `{`+kind+`,"before":"`+before+`"}`, &result)
		if got := names(result.Unheeding, kuma.CutOffs); !slices.Equal(got, want) {
			t.Errorf("a cut-off of %s: not heeded by %q, want %q", kind, got, want)
		}
	}
	for zone, want := range map[string][]string{"west": nil, "old": kuma.Unheeded("2.8.8"), "new": kuma.Unheeded("2.14.3")} {
		var detail apitypes.ZoneDetail
		e.want(200, "GET", "/v1/zones/"+zone, nil, &detail)
		if got := detail.Sessions[0].Unheeded; !slices.Equal(got, want) {
			t.Errorf("zone %s does not heed %q, want %q", zone, got, want)
		}
	}
}

// TestZonesThatKeepAKeyAreNamed: for a dataplane key every zone of Kuma's, proven,
// unproven or offline; and nobody waits for them.
func TestZonesThatKeepAKeyAreNamed(t *testing.T) {
	e := newEnv(t, func(c *Config) { c.ImportWait = time.Hour })
	for _, name := range []string{"west", "proven", "unproven", "gone"} {
		e.want(201, "PUT", "/zones/"+name, `{}`, nil)
	}
	gone := e.kumaSession("gone", "2.14.3", true)
	gone.Disconnected = time.Now()
	all := []fleet.Session{e.session("west", 0), e.kumaSession("proven", "2.8.8", true), e.kumaSession("unproven", "2.14.3", false), gone}
	e.report(all...)
	e.want(201, "POST", "/v1/keys/prepare", `{"kind":"dataplane","mesh":"default"}`, nil)
	e.want(201, "POST", "/v1/keys/prepare", `{"kind":"zone"}`, nil)
	all[0] = e.session("west", 0)
	all[1], all[2] = e.kumaSession("proven", "2.8.8", true), e.kumaSession("unproven", "2.14.3", false)
	e.report(all...)
	keepers := []string{"gone", "proven", "unproven"}
	var h apitypes.KeyHolding
	e.want(200, "GET", "/v1/keys/dataplane/2/holding?mesh=default", nil, &h)
	if !slices.Equal(h.Kuma, keepers) || !slices.Equal(h.Waiting, []string{"proven"}) || h.Open {
		t.Errorf("who holds the dataplane key: %+v", h.Holding)
	}
	h = apitypes.KeyHolding{}
	e.want(200, "GET", "/v1/keys/zone/2/holding", nil, &h)
	if h.Kuma != nil || len(h.Waiting) != 0 {
		t.Errorf("who holds the zone key: %+v", h.Holding)
	}
	var change apitypes.KeyChange
	e.want(200, "POST", "/v1/keys/activate", `{"kind":"dataplane","mesh":"default","kid":"2","force":true}`, &change)
	done := make(chan struct{})
	go func() { // the zone takes the removal as soon as it is made
		defer close(done)
		for {
			changed := e.store.Watch()
			if k, ok := e.store.Key(cptoken.KeyID{Kind: cptoken.Dataplane, Mesh: "default", KID: "1"}); !ok || k.State == cptoken.Removed {
				break
			}
			<-changed
		}
		e.report(e.session("west", 0), all[1], all[2], gone)
	}()
	e.want(200, "POST", "/v1/keys/remove", `{"kind":"dataplane","mesh":"default","kid":"1","compromised":true}`, &change)
	<-done
	if change.Holding == nil || !slices.Equal(change.Holding.Kuma, keepers) || !slices.Contains(change.Holding.Held, "west") {
		t.Errorf("who dropped it: %+v", change.Holding)
	}
}
