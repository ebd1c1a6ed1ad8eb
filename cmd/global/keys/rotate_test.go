package keys

import (
	"testing"

	"github.com/meridiankds/meridian/internal/apitypes"
)

func TestNamesAreCounted(t *testing.T) {
	var many []string
	for range 1000 {
		many = append(many, "zone")
	}
	h := apitypes.Holding{Waiting: many, Members: []string{"n1"}}
	want := "zones zone, zone, zone, zone, zone, zone, zone, zone, zone, zone and 990 more; members n1"
	if got := describe(h); got != want {
		t.Errorf("got %q", got)
	}
	if got := describe(apitypes.Holding{}); got != "the global" {
		t.Errorf("nobody: %q", got)
	}
}
