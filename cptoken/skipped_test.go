package cptoken

import "testing"

// TestLacks: who skipped a kind, a mesh or a key lacks what is of it, and nothing else.
func TestLacks(t *testing.T) {
	id := KeyID{Kind: Dataplane, Mesh: "shop", KID: "2"}
	for name, lacks := range map[string]bool{
		SkippedKind("dataplane"): true, SkippedMesh("shop"): true, SkippedKey(id): true, KnownRemoved(id): true, SkippedMore: true,
		SkippedKind("zone"): false, SkippedMesh("other"): false, SkippedMesh(""): false, SkippedChange("shop"): false,
		SkippedKey(KeyID{Kind: Dataplane, Mesh: "shop", KID: "1"}): false,
	} {
		if got := Lacks([]string{"change:1", name}, id); got != lacks {
			t.Errorf("%s: %t", name, got)
		}
	}
	if Lacks([]string{SkippedMesh("")}, KeyID{Kind: Zone, KID: "1"}) {
		t.Error("a key of no mesh is of a mesh that has no name")
	}
}
