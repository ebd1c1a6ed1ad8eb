package state

import (
	"bytes"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// TestExpelled: who is expelled is so until readmitted, also in a snapshot, and a state
// that is restored does not forget it.
func TestExpelled(t *testing.T) {
	s := NewState()
	s.share()
	key := "sha256:" + strings.Repeat("0a", 32)
	for _, id := range []string{"n1", key} {
		if n, err := s.expel("ann", &storepb.Expel{Id: id, Subject: "a", Reason: "b"}); n != 1 || err != nil {
			t.Fatalf("%s: %d %v", id, n, err)
		}
		if n, err := s.expel("bob", &storepb.Expel{Id: id}); n != 0 || err != nil {
			t.Errorf("%s again: %d %v", id, n, err)
		}
	}
	for _, bad := range []string{"", "N 1", "sha256:", "sha256:" + strings.Repeat("0A", 32), strings.Repeat("n", 200)} {
		if _, err := s.expel("ann", &storepb.Expel{Id: bad}); federation.CodeOf(err) != federation.Invalid {
			t.Errorf("id %q: %v", bad, err)
		}
	}
	list := s.Expelled()
	if len(list) != 2 || list[0].ID != "n1" || list[0].By != "ann" || list[0].Reason != "b" || !s.IsExpelled(key) || s.IsExpelled("n2") {
		t.Errorf("expelled: %+v", list)
	}
	fresh := NewState()
	fresh.share()
	fresh.sealCheck = &storepb.SealCheck{}
	fresh.keepTrust(s)
	if !fresh.IsExpelled(key) || !TrustChanged(NewState(), fresh) {
		t.Error("a state that is restored forgets who is expelled")
	}
	if n, err := s.readmit(&storepb.Readmit{Id: key}); n != 1 || err != nil || s.IsExpelled(key) || !s.IsExpelled("n1") {
		t.Errorf("readmitted: %d %v, %+v", n, err, s.Expelled())
	}
	if _, err := s.readmit(&storepb.Readmit{Id: key}); federation.CodeOf(err) != federation.NotFound {
		t.Errorf("readmitted twice: %v", err)
	}
	var file bytes.Buffer
	if err := s.WriteSnapshot(&file); err != nil {
		t.Fatal(err)
	}
	back, err := ReadSnapshot(&file)
	if err != nil || !back.IsExpelled("n1") || back.IsExpelled(key) {
		t.Errorf("from a snapshot: %v %+v", err, back.Expelled())
	}
}

// TestFormerSealKeys: a seal key that another one took the place of is a former one, until
// it is the cluster's again.
func TestFormerSealKeys(t *testing.T) {
	s := NewState()
	under := func(id string) *storepb.SealCheck {
		return &storepb.SealCheck{Sealed: &storepb.Sealed{SealKeyId: id}, FormerIds: []string{"invented"}}
	}
	for _, step := range []struct{ id, former string }{{"a", ""}, {"b", "a"}, {"c", "a b"}, {"c", "a b"}, {"a", "b c"}} {
		s.sealCheck = s.supersede(under(step.id))
		if got := strings.Join(s.sealCheck.FormerIds, " "); got != step.former {
			t.Errorf("under %s: former %q, want %q", step.id, got, step.former)
		}
	}
	restored := NewState()
	restored.share()
	restored.sealCheck = under("b")
	restored.sealCheck.FormerIds = nil
	restored.keepTrust(s)
	if got := strings.Join(restored.sealCheck.FormerIds, " "); got != "c" {
		t.Errorf("restored under b: former %q, want c: that of the present cluster is not former there", got)
	}
}
