package adminapi

import (
	"testing"
	"time"

	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/kds"
)

// TestCopiesOfKeySetsAreNamed: who holds a key, a step in its life and a zone tell which
// key sets others fetched, of this kind and mesh alone, at zones that are offline too.
func TestCopiesOfKeySetsAreNamed(t *testing.T) {
	e := newEnv(t)
	at := time.Now().Add(-time.Hour).Truncate(time.Second).UTC()
	west, east, gone := e.session("west", 0), e.session("east", 0), e.session("gone", 0)
	west.KeySets = kds.FormatKeySets([]kds.KeySetUse{{Set: "dataplane/default", Count: 1, Last: at}, {Set: "zone", Count: 7, Last: at}})
	east.KeySets = kds.FormatKeySets([]kds.KeySetUse{{Set: "dataplane/other", Count: 1, Last: at}})
	gone.KeySets, gone.Disconnected = kds.FormatKeySets([]kds.KeySetUse{{Set: "zone", Count: 1, Last: at}}), time.Now()
	again := e.session("gone", 0)
	again.Instance, again.KeySets = "gone-b", kds.FormatKeySets([]kds.KeySetUse{{Set: "zone", Count: 1, Last: at.Add(time.Minute)}})
	for _, name := range []string{"west", "east", "gone"} {
		e.want(201, "PUT", "/zones/"+name, `{}`, nil)
	}
	e.report(west, east, gone, again)

	want := func(what string, h *apitypes.Holding, copies ...apitypes.KeySetCopy) {
		t.Helper()
		if h == nil || len(h.Copies) != len(copies) {
			t.Fatalf("%s: %+v, want copies %+v", what, h, copies)
		}
		for i := range copies {
			if h.Copies[i] != copies[i] {
				t.Errorf("%s: copy %d is %+v, want %+v", what, i, h.Copies[i], copies[i])
			}
		}
	}
	zones := []apitypes.KeySetCopy{{Zone: "gone", Last: at.Add(time.Minute)}, {Zone: "west", Last: at}}
	e.want(201, "POST", "/v1/keys/prepare", `{"kind":"zone"}`, nil)
	e.want(201, "POST", "/v1/keys/prepare", `{"kind":"dataplane","mesh":"default"}`, nil)
	e.want(201, "POST", "/v1/keys/prepare", `{"kind":"user"}`, nil)
	var h apitypes.KeyHolding
	e.want(200, "GET", "/v1/keys/zone/2/holding", nil, &h)
	want("holding of a zone key", &h.Holding, zones...)
	h = apitypes.KeyHolding{}
	e.want(200, "GET", "/v1/keys/dataplane/2/holding?mesh=default", nil, &h)
	want("holding of a dataplane key", &h.Holding, zones[1])
	h = apitypes.KeyHolding{}
	e.want(200, "GET", "/v1/keys/user/2/holding", nil, &h)
	want("holding of a user key", &h.Holding)
	for _, step := range []struct{ path, body string }{
		{"/v1/keys/activate", `{"kind":"zone","kid":"2","force":true}`},
		{"/v1/keys/remove", `{"kind":"zone","kid":"1","compromised":true}`},
	} {
		var change apitypes.KeyChange
		e.want(200, "POST", step.path, step.body, &change)
		want(step.path, change.Holding, zones...)
	}
	var zone apitypes.ZoneDetail
	e.want(200, "GET", "/v1/zones/west", nil, &zone)
	if sets := zone.Sessions[0].KeySets; len(sets) != 2 || sets[1] != (apitypes.KeySetUse{Set: "zone", Count: 7, Last: at}) {
		t.Errorf("zone west shows %+v", sets)
	}
}
