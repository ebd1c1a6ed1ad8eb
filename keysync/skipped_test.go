package keysync

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/test/kdstest"
)

func wantSkipped(t *testing.T, s *Store, names ...string) {
	t.Helper()
	if got := s.View().Skipped(); !slices.Equal(got, names) {
		t.Errorf("skipped %q, want %q", got, names)
	}
}

// TestSkippedIsRemembered: what is not understood is named, also after a restart, and a
// key that it concerns is trusted no longer, until something of it is understood.
func TestSkippedIsRemembered(t *testing.T) {
	s := openNew(t)
	one, two := zoneKey("1"), zoneKey("2")
	mustApply(t, s,
		full(history1, 10, keyed(1, testKey(t, cptoken.Zone, "", "1", 0, cptoken.Active)), keyed(2, testKey(t, cptoken.Zone, "", "2", 1, cptoken.Active))),
		delta(history1, 10, 11, skipped(11, cptoken.SkippedKey(one), &one), skipped(11, cptoken.SkippedKind("job"), nil), revoked(11, "a")))
	for range 2 {
		wantSkipped(t, s, "key:zone/1", "kind:job")
		wantRevoked(t, s, true, "a")
		if v := s.View(); v.Key(one) != nil || v.Key(two) == nil {
			t.Errorf("keys %v, want the second one only", v.Keys())
		}
		if !cptoken.Lacks(s.View().Skipped(), one) || cptoken.Lacks(s.View().Skipped(), two) {
			t.Error("the first key, and it alone, is lacking")
		}
		s = reopened(t, s)
	}
	mustApply(t, s, delta(history1, 11, 12, keyed(12, testKey(t, cptoken.Zone, "", "1", 0, cptoken.Retiring))))
	wantSkipped(t, s, "kind:job")
	if s.View().Key(one) == nil {
		t.Error("the key is understood again, and not held")
	}
	mustApply(t, s, delta(history1, 12, 13, skipped(13, cptoken.SkippedKey(one), &one)), delta(history1, 13, 14, removed(14, one)))
	wantSkipped(t, s, "kind:job")
	mustApply(t, s, full(history1, 20, skipped(15, cptoken.SkippedKey(two), &two)))
	s = reopened(t, s)
	wantSkipped(t, s, "key:zone/2")
	for id := range s.state.tombs {
		if id.key == two {
			t.Error("a key that is not understood counts as removed")
		}
	}
}

// TestSkippedIsBounded: a global cannot make the file grow with names.
func TestSkippedIsBounded(t *testing.T) {
	s := openNew(t)
	var all []cptoken.Change
	for i := range 2 * cptoken.MaxSkipped {
		all = append(all, skipped(1, cptoken.SkippedKind(uuidOf(i)), nil))
	}
	mustApply(t, s, full(history1, 10, all...))
	s = reopened(t, s)
	if got := s.View().Skipped(); len(got) > cptoken.MaxSkipped+1 || !slices.Contains(got, cptoken.SkippedMore) || !cptoken.Lacks(got, zoneKey("1")) {
		t.Errorf("%d names, of which the last is %q", len(got), got[len(got)-1])
	}
}

// TestFileOfANewerVocabulary: a file with kinds and algorithms that this version does
// not know is no damage. What is known is in use, what is not is named and stays in the
// file, and a full state at the same revision is taken to hold what can be held.
func TestFileOfANewerVocabulary(t *testing.T) {
	s := openNew(t)
	known := keyed(1, testKey(t, cptoken.Zone, "", "1", 0, cptoken.Active))
	mustApply(t, s, full(history1, 10, known, revoked(2, "a")))
	newer := appendKey(nil, testKey(t, cptoken.Zone, "", "9", 1, cptoken.Active))
	newer = append(appendString(nil, "XS1"), newer[len(appendString(nil, "RS256")):]...)
	next := s.state.clone()
	next.head.live = tallies{cptoken.Zone: 1, "job": 1}
	next.head.entries++
	next.head.vocabulary++
	err := s.file.update(func(tx *bbolt.Tx) error {
		w := txn{tx, &next.head}
		var log logWriter
		log.add(entry{op: opRevoked, kind: "job", id: []byte("j")})
		log.flush()
		for _, err := range []error{
			w.put(bucketKeys, keyOfKey(zoneKey("9")), newer),
			w.put(bucketKeys, keyOfKey(cptoken.KeyID{Kind: "job", KID: "1"}), newer),
			w.put(bucketCutOffs, keyOfCutOff(cptoken.CutOffID{Kind: "job"}), valueOfCutOff(cutOff{before: 5})),
			w.appendLog(log.records), w.writeHead(),
		} {
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		s = reopened(t, s)
		wantSkipped(t, s, "key:zone/9", "kind:job")
		wantRevoked(t, s, true, "a")
		if v := s.View(); v.Key(zoneKey("1")) == nil || v.Key(zoneKey("9")) != nil || v.Vocabulary() == cptoken.Vocabulary {
			t.Errorf("keys %v of vocabulary %d", v.Keys(), v.Vocabulary())
		}
		mustApply(t, s, delta(history1, uint64(10+i), uint64(11+i), revoked(uint64(11+i), uuidOf(i))))
	}
	mustApply(t, s, full(history1, 12, known, revoked(2, "a"), revoked(11, uuidOf(0)), revoked(12, uuidOf(1))))
	s = reopened(t, s)
	wantSkipped(t, s)
	wantRevoked(t, s, true, "a", uuidOf(0), uuidOf(1))
	if v := s.View(); v.Vocabulary() != cptoken.Vocabulary || v.Revocations() != 3 {
		t.Errorf("%d revocations of vocabulary %d", v.Revocations(), v.Vocabulary())
	}
}

// TestEveryFieldIsWritten fills all that a file holds, writes, reads and compares: a
// field that is forgotten on one side is found, also one that is added later.
func TestEveryFieldIsWritten(t *testing.T) {
	s := openNew(t)
	changes := kdstest.EveryChange(t)
	s.Heard("global-1", time.Unix(1_700_000_000, 0))
	first := full(history1, 50, append(changes, cutOffAt(40, 200), revokedUntil(41, "until", 1_900_000_000))...)
	last := full(history2, 60, append([]cptoken.Change{skipped(60, "kind:job", nil)}, changes[:1]...)...)
	first.Watermark, last.Watermark = time.UnixMilli(1_700_000_000_001), time.UnixMilli(1_700_000_000_002)
	first.Position, last.Position = []byte("first"), []byte("last")
	for _, p := range []cptoken.Part{first, last} {
		mustApply(t, s, p)
		before, ids := s.state, entriesOf(t, s)
		s = reopened(t, s)
		after := s.state
		for _, name := range []string{"head", "keys", "cutOffs", "tombs", "skipped"} {
			a, b := fieldOf(before, name), fieldOf(after, name)
			if !reflect.DeepEqual(a, b) {
				t.Errorf("%s was read as\n%+v\nand written as\n%+v", name, b, a)
			}
		}
		for _, c := range p.Changes {
			if c.Key != nil && !reflect.DeepEqual(after.keys[c.Key.ID], c.Key) {
				t.Errorf("key %+v was read as %+v", c.Key, after.keys[c.Key.ID])
			}
			if c.Revoked == nil {
				continue
			}
			for _, id := range c.Revoked.IDs {
				want := entry{op: opRevoked, kind: c.Revoked.Kind, mesh: c.Revoked.Mesh, expires: id.Expires}
				if got := ids[id.ID]; !reflect.DeepEqual(got, want) {
					t.Errorf("id %s is in the log as %+v, want %+v", id.ID, got, want)
				}
			}
		}
	}
	// The last file went through a restore, so that nothing of it is empty.
	head := reflect.ValueOf(s.state.head)
	for i := range head.NumField() {
		if head.Field(i).IsZero() {
			t.Errorf("the head's %s is empty: the test proves nothing of it", head.Type().Field(i).Name)
		}
	}
	whole := reflect.ValueOf(s.state)
	for i := range whole.NumField() {
		// revoked is made of the log, unread of keys that only a newer version writes.
		if name := whole.Type().Field(i).Name; name != "unread" && name != "revoked" && (whole.Field(i).IsZero() || whole.Field(i).Kind() == reflect.Map && whole.Field(i).Len() == 0) {
			t.Errorf("the state's %s is empty: the test proves nothing of it", name)
		}
	}
}

func fieldOf(s state, name string) any {
	switch name {
	case "head":
		return s.head
	case "keys":
		return s.keys
	case "cutOffs":
		return s.cutOffs
	case "tombs":
		return s.tombs
	}
	return s.skipped
}

// entriesOf returns the log's revocations by id.
func entriesOf(t *testing.T, s *Store) map[string]entry {
	t.Helper()
	out := map[string]entry{}
	err := s.file.db.View(func(tx *bbolt.Tx) error {
		return eachEntry(tx, func(e entry) error {
			if e.op == opRevoked && !e.carried {
				id := string(e.id)
				e.id = nil
				out[id] = e
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
