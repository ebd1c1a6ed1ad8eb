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

// TestListsOfMeshesComeInTwoPlaces: as the secret of the mesh, and since 2.10 as a global
// secret. What stands in either is revoked, and a list that goes from one place stays in
// force from the other.
func TestListsOfMeshesComeInTwoPlaces(t *testing.T) {
	m := NewMirror()
	name := ListName(cptoken.Dataplane, "z_1")
	of := ListID{cptoken.Dataplane, "default"}
	m.takeSecret(TypeSecret, &kdspb.KumaResource_Meta{Name: ListName(cptoken.Dataplane, "default"), Mesh: "default"}, []byte("a,c"))
	m.takeSecret(TypeGlobalSecret, &kdspb.KumaResource_Meta{Name: ListName(cptoken.Dataplane, "default")}, []byte("b,c"))
	m.takeSecret(TypeGlobalSecret, &kdspb.KumaResource_Meta{Name: "x-7f", Labels: map[string]string{LabelDisplay: ListName(cptoken.Dataplane, "prod-2")}}, []byte("d"))
	m.takeSecret(TypeGlobalSecret, &kdspb.KumaResource_Meta{Name: name, Mesh: "default"}, []byte("e"))                           // no global secret has a mesh
	m.takeSecret(TypeGlobalSecret, &kdspb.KumaResource_Meta{Name: ListName(cptoken.Dataplane, "")}, []byte("e"))                 // of no mesh
	m.takeSecret(TypeSecret, &kdspb.KumaResource_Meta{Name: ListName(cptoken.Dataplane, "other"), Mesh: "default"}, []byte("e")) // of another mesh
	lists := m.Desired(NewHeld(), true).lists
	if len(lists) != 2 || len(lists[of]) != 3 || !lists[ListID{cptoken.Dataplane, "prod-2"}]["d"] {
		t.Fatalf("lists %v", lists)
	}
	delete(m.lists, TypeSecret+"/"+ListName(cptoken.Dataplane, "default")+".default")
	if ids := m.Desired(NewHeld(), true).lists[of]; len(ids) != 2 || !ids["b"] || !ids["c"] {
		t.Errorf("after one place is gone: %v", ids)
	}
}
