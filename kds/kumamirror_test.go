package kds

import (
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/kds/kdspb"
)

// Where two secrets are one list, as under a name of old and one of now, an id is
// revoked that stands in either.
func TestKumaListsOfOneNameAreJoined(t *testing.T) {
	m := newKumaMirror()
	name := kumaListName(cptoken.Zone, "")
	m.takeSecret(typeGlobalSecret, &kdspb.KumaResource_Meta{Name: name}, []byte("a"))
	m.takeSecret(typeGlobalSecret, &kdspb.KumaResource_Meta{Name: name + "-4x8f", Labels: map[string]string{labelDisplay: name}}, []byte("b"))
	for range 20 { // a map's order is another each time
		if ids := m.desired(newKumaHeld(), true).lists[kumaListID{cptoken.Zone, ""}]; !ids["a"] || !ids["b"] {
			t.Fatalf("revoked are %v, want a and b", ids)
		}
	}
}
