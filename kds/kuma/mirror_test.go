package kuma

import (
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/kds/kdspb"
)

// Where two secrets are one list, as under a name of old and one of now, an id is
// revoked that stands in either.
func TestKumaListsOfOneNameAreJoined(t *testing.T) {
	m := NewMirror()
	name := ListName(cptoken.Zone, "")
	m.takeSecret(TypeGlobalSecret, &kdspb.KumaResource_Meta{Name: name}, []byte("a"))
	m.takeSecret(TypeGlobalSecret, &kdspb.KumaResource_Meta{Name: name + "-4x8f", Labels: map[string]string{LabelDisplay: name}}, []byte("b"))
	for range 20 { // a map's order is another each time
		if ids := m.Desired(NewHeld(), true).lists[ListID{cptoken.Zone, ""}]; !ids["a"] || !ids["b"] {
			t.Fatalf("revoked are %v, want a and b", ids)
		}
	}
}
