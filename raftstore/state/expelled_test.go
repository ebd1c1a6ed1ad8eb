package state

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// TestExpelled: who is expelled is so until readmitted, also in a snapshot, and a state
// that is restored does not forget it.
func TestExpelled(t *testing.T) {
	s := newCoreState(t)
	s.share()
	key := "sha256:" + strings.Repeat("0a", 32)
	for _, id := range []string{"n1", key} {
		if n, err := s.expel(1, "ann", &storepb.Expel{Id: id, Subject: "a", Reason: "b"}); n != 1 || err != nil {
			t.Fatalf("%s: %d %v", id, n, err)
		}
		if n, err := s.expel(1, "bob", &storepb.Expel{Id: id}); n != 0 || err != nil {
			t.Errorf("%s again: %d %v", id, n, err)
		}
	}
	for _, bad := range []string{"", "N 1", "sha256:", "sha256:" + strings.Repeat("0A", 32), strings.Repeat("n", 200)} {
		if _, err := s.expel(1, "ann", &storepb.Expel{Id: bad}); federation.CodeOf(err) != federation.Invalid {
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
	if n, err := s.readmit(2, &storepb.Readmit{Id: key}); n != 1 || err != nil || s.IsExpelled(key) || !s.IsExpelled("n1") {
		t.Errorf("readmitted: %d %v, %+v", n, err, s.Expelled())
	}
	if _, err := s.readmit(2, &storepb.Readmit{Id: key}); federation.CodeOf(err) != federation.NotFound {
		t.Errorf("readmitted twice: %v", err)
	}
	var file bytes.Buffer
	if err := s.WriteSnapshot(&file); err != nil {
		t.Fatal(err)
	}
	back, err := ReadSnapshot(&file)
	if err != nil {
		t.Fatal(err)
	}
	if !back.IsExpelled("n1") || back.IsExpelled(key) {
		t.Errorf("from a snapshot: %+v", back.Expelled())
	}
}

// told returns which certificates the changes after a revision name as expelled, and
// which as readmitted.
func told(t *testing.T, s *State, after federation.Revision) (expelled, readmitted []string) {
	t.Helper()
	d, err := s.Since(after)
	if err != nil {
		t.Fatal(err)
	}
	for c := range d.Changes {
		for _, run := range []*cptoken.RevokedRun{c.Revoked, c.Withdrawn} {
			if run == nil || run.Kind != cptoken.Certificate {
				continue
			}
			for _, id := range run.IDs {
				if run == c.Revoked {
					expelled = append(expelled, id.ID)
				} else {
					readmitted = append(readmitted, id.ID)
				}
			}
		}
	}
	return expelled, readmitted
}

// TestZonesAreToldOfExpelledCertificates: as of revoked ids, from the level on at which
// every member knows that they are, and by every state that is restored.
func TestZonesAreToldOfExpelledCertificates(t *testing.T) {
	c := newCore(t)
	key := func(n int) string { return fmt.Sprintf("sha256:%064x", n) }
	expel := func(id string) *storepb.Command {
		return &storepb.Command{Op: &storepb.Command_Expel{Expel: &storepb.Expel{Id: id}}}
	}
	want := func(after federation.Revision, expelled, readmitted []string) {
		t.Helper()
		gotExpelled, gotReadmitted := told(t, c.s, after)
		if !slices.Equal(gotExpelled, expelled) || !slices.Equal(gotReadmitted, readmitted) {
			t.Errorf("zones are told of %v and %v, want %v and %v", gotExpelled, gotReadmitted, expelled, readmitted)
		}
	}
	c.s.level = LevelCertificates - 1
	before := c.s.Revision()
	low := expel(key(1))
	low.Level = c.s.level
	if r := c.apply(low); r.Code != "" {
		t.Fatalf("%+v", r)
	}
	want(before, nil, nil)
	raise := &storepb.Command{Op: &storepb.Command_SetLevel{SetLevel: &storepb.SetLevel{Level: LevelCertificates}}}
	raise.Level = c.s.level
	if r := c.apply(raise); r.Code != "" {
		t.Fatalf("%+v", r)
	}
	want(before, []string{key(1)}, nil)

	c.ok(expel(key(2)))
	c.ok(expel("node-9"))
	want(before, []string{key(1), key(2)}, nil)
	middle := c.s.Revision()
	c.ok(&storepb.Command{Op: &storepb.Command_Readmit{Readmit: &storepb.Readmit{Id: key(1)}}})
	want(middle, nil, []string{key(1)})
	want(federation.Revision{}, []string{key(2)}, []string{key(1)})

	var file bytes.Buffer
	if err := c.s.WriteSnapshot(&file); err != nil {
		t.Fatal(err)
	}
	back, err := ReadSnapshot(bytes.NewReader(file.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if expelled, readmitted := told(t, back, middle); len(expelled) != 0 || !slices.Equal(readmitted, []string{key(1)}) {
		t.Errorf("after a snapshot: %v and %v", expelled, readmitted)
	}

	// A backup of before: who was expelled meanwhile stays so, and zones are told.
	c.ok(expel(key(3)))
	c.now += 1000
	c.ok(&storepb.Command{Op: &storepb.Command_RestorePart{RestorePart: &storepb.RestorePart{RestoreId: "r", Data: file.Bytes()}}})
	sum := sha256.Sum256(file.Bytes())
	c.ok(&storepb.Command{Op: &storepb.Command_CommitRestore{CommitRestore: &storepb.CommitRestore{
		RestoreId: "r", Parts: 1, Sha256: sum[:], Force: true,
		History: &storepb.History{Id: historyID(9), CreatedMs: c.s.History().Created + 1},
	}}})
	want(federation.Revision{}, []string{key(2), key(3)}, []string{key(1)})

	// What is listed and what is expelled are held against each other.
	c.s.share()
	c.s.expelled.Del(c.s.edit, key(2))
	if err := c.s.checkListed(); err == nil {
		t.Error("zones are told of a certificate that nobody expelled")
	}
	c.s.expelled.Set(c.s.edit, key(4), &storepb.Expelled{Id: key(4)})
	if err := c.s.checkListed(); err == nil {
		t.Error("zones are not told of a certificate that was expelled")
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
	// s is sealed under a, and b and c are former ones.
	for _, tt := range []struct {
		name, cluster, id string
		has               []string
		want, former      string
	}{
		{"a backup of before the last rotation", "", "b", nil, "a", "b c"},
		{"a backup of now", "", "a", []string{"b"}, "a", "b c"},
		{"a backup of after a rotation that the cluster lost", "", "d", []string{"a"}, "d", "a b c"},
		{"another cluster's", "other", "b", nil, "b", "c"},
	} {
		restored := NewState()
		restored.share()
		restored.cluster, restored.sealCheck = tt.cluster, under(tt.id)
		restored.sealCheck.FormerIds = tt.has
		restored.keepTrust(s)
		if got := strings.Join(restored.sealCheck.FormerIds, " "); got != tt.former || restored.SealKeyID() != tt.want {
			t.Errorf("%s: under %s, former %q, want %s and %q", tt.name, restored.SealKeyID(), got, tt.want, tt.former)
		}
	}
}
