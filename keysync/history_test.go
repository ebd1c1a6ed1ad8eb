package keysync

import (
	"slices"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
)

// A restore of the global: the new history's state lacks what happened after the
// backup, and still has what was undone after it.
func TestNewerHistoryKeepsWhatWasRevoked(t *testing.T) {
	s := openNew(t)
	key1 := testKey(t, cptoken.Zone, "", "1", 0, cptoken.Retiring)
	key2 := testKey(t, cptoken.Zone, "", "2", 1, cptoken.Active)
	mustApply(t, s,
		full(history1, 10, keyed(1, key1), keyed(2, key2), revoked(3, "old"), cutOffAt(4, 100)),
		delta(history1, 10, 20, revoked(11, "new"), removed(12, key1.ID), revokedUntil(13, "until", 500), cutOffAt(14, 200)))

	restored := full(history2, 8, keyed(1, key1), keyed(2, key2), revoked(3, "old"), cutOffAt(4, 100),
		withdrawn(5, "new"), cutOffWithdrawn(6)) // of before the backup
	mustApply(t, s, restored)
	check := func(s *Store) {
		t.Helper()
		wantRevoked(t, s, true, "old", "new", "until")
		v := s.View()
		if v.Key(key1.ID) != nil {
			t.Error("a removed key came back with a restore")
		}
		if v.Key(key2.ID) == nil {
			t.Error("a key of the new state is missing")
		}
		if at := v.CutOff(cptoken.Zone, "", "2").Unix(); at != 200 {
			t.Errorf("cut-off at %d, want 200", at)
		}
	}
	check(s)
	s = reopened(t, s)
	check(s)
	if _, at := s.Position(); at != rev(history2, 8) {
		t.Errorf("at %s", at)
	}
	// What an older history says no longer counts.
	wantReason(t, s.Apply(t.Context(), delta(history1, 20, 30, withdrawn(21, "new"))), ReasonOlderHistory)
	// Full state of the same history keeps it as well, also with the key named.
	mustApply(t, s, full(history2, 9, keyed(1, key1), keyed(2, key2), revoked(3, "old"), withdrawn(5, "new")))
	wantRevoked(t, s, true, "old", "new", "until")
	// A change of the removed key's state is no withdrawal of its removal.
	mustApply(t, s, delta(history2, 9, 10, keyed(10, key1.WithState(cptoken.Retiring))))
	if s.View().Key(key1.ID) != nil {
		t.Error("a removed key came back with a change of its state")
	}
	// And again in a history newer still.
	history3 := history2
	history3.ID, history3.Created = "00000000000000c3", 3000
	mustApply(t, s, full(history3, 5, keyed(1, key1), keyed(2, key2)))
	wantRevoked(t, s, true, "new", "until", "old")
	if s.View().Key(key1.ID) != nil {
		t.Error("a removed key came back with the second restore")
	}
}

func TestExplicitWithdrawalInTheNewHistory(t *testing.T) {
	key := testKey(t, cptoken.Zone, "", "1", 0, cptoken.Active)
	begin := func(t *testing.T) *Store {
		s := openNew(t)
		mustApply(t, s, full(history1, 20, revoked(11, "a", "b"), keyed(1, key), cutOffAt(9, 200)),
			delta(history1, 20, 21, removed(21, key.ID)),
			full(history2, 10, keyed(1, key)))
		wantRevoked(t, s, true, "a", "b")
		return s
	}
	t.Run("delta", func(t *testing.T) {
		s := begin(t)
		mustApply(t, s, delta(history2, 10, 12, withdrawn(11, "a"), cutOffWithdrawn(12)))
		wantRevoked(t, s, false, "a")
		wantRevoked(t, s, true, "b")
		if s.View().CutOffs() != 0 {
			t.Error("the cut-off was not withdrawn")
		}
		s = reopened(t, s)
		wantRevoked(t, s, false, "a")
		wantRevoked(t, s, true, "b")
	})
	t.Run("full state of the same history", func(t *testing.T) {
		s := begin(t)
		mustApply(t, s, full(history2, 12, withdrawn(11, "a"), cutOffWithdrawn(12)))
		wantRevoked(t, s, false, "a")
		wantRevoked(t, s, true, "b")
		if s.View().CutOffs() != 0 {
			t.Error("the cut-off was not withdrawn")
		}
	})
	t.Run("a cut-off moved back", func(t *testing.T) {
		for name, set := range map[string]cptoken.Part{
			"delta": delta(history2, 10, 12, cutOffAt(12, 150)),
			"full":  full(history2, 12, cutOffAt(12, 150)),
		} {
			s := begin(t)
			mustApply(t, s, set)
			if at := s.View().CutOff(cptoken.Zone, "", "1").Unix(); at != 150 {
				t.Errorf("%s: cut-off at %d, want 150", name, at)
			}
		}
	})
	t.Run("key", func(t *testing.T) {
		s := begin(t)
		mustApply(t, s, delta(history2, 10, 11, keyed(11, key)))
		if s.View().Key(key.ID) != nil {
			t.Fatal("the key came back without its removal being undone")
		}
		// The new history removes it itself; from there on its own log counts.
		mustApply(t, s, delta(history2, 11, 12, removed(12, key.ID)), delta(history2, 12, 13, keyed(13, key)))
		if s.View().Key(key.ID) == nil {
			t.Error("the key is refused though it was made again")
		}
		s = reopened(t, s)
		if s.View().Key(key.ID) == nil {
			t.Error("the key is gone after a restart")
		}
	})
	t.Run("another key of the same serial", func(t *testing.T) {
		s := begin(t)
		other := testKey(t, cptoken.Zone, "", "1", 1, cptoken.Active)
		mustApply(t, s, delta(history2, 10, 11, keyed(11, other)))
		if got := s.View().Key(key.ID); got == nil || got.Fingerprint() != other.Fingerprint() {
			t.Error("a new key is refused because a former one of its serial was removed")
		}
		// Both removed now: neither comes back with another restore.
		mustApply(t, s, delta(history2, 11, 12, removed(12, key.ID)))
		history3 := history2
		history3.Created++
		for _, k := range []*cptoken.PublicKey{key, other} {
			mustApply(t, s, full(history3, 5, keyed(1, k)))
			if s.View().Key(key.ID) != nil {
				t.Error("a removed key came back")
			}
			history3.Created++
		}
	})
}

// A key that was never here and is known to be removed is refused by its name.
func TestTombstoneOfAKeyNeverSeen(t *testing.T) {
	s := openNew(t)
	key := testKey(t, cptoken.Zone, "", "4", 0, cptoken.Active)
	mustApply(t, s, full(history1, 10), delta(history1, 10, 11, removed(11, key.ID)), full(history2, 5, keyed(1, key)))
	if s.View().Key(key.ID) != nil {
		t.Error("a removed key came back")
	}
}

// A zone that was away for longer than tombstones live learns of a removal from
// the key's absence alone, and must remember it against a later restore.
func TestKeyMissingFromFullStateIsRemoved(t *testing.T) {
	s := openNew(t)
	key := testKey(t, cptoken.Zone, "", "1", 0, cptoken.Active)
	mustApply(t, s, full(history1, 10, keyed(1, key)), full(history1, 90), full(history2, 5, keyed(1, key)))
	if s.View().Key(key.ID) != nil {
		t.Error("a removed key came back")
	}
	// A newer history that lacks a key has merely lost it.
	lost := testKey(t, cptoken.Zone, "", "2", 1, cptoken.Active)
	history3 := history2
	history3.Created++
	mustApply(t, s, delta(history2, 5, 6, keyed(6, lost)), full(history3, 3))
	if s.View().Key(lost.ID) != nil {
		t.Error("a key that the global does not name is still here")
	}
	mustApply(t, s, delta(history3, 3, 4, keyed(4, lost)))
	if s.View().Key(lost.ID) == nil {
		t.Error("a key that was lost and made again is refused")
	}
}

// Of two cut-offs for the same tokens, the one of the newer history is worth no
// less for being its own.
func TestCutOffsAcrossHistories(t *testing.T) {
	for name, test := range map[string]struct{ old, restored, want int64 }{
		"restored one is earlier": {200, 100, 200},
		"restored one is later":   {100, 200, 200},
	} {
		t.Run(name, func(t *testing.T) {
			s := openNew(t)
			mustApply(t, s, full(history1, 10, cutOffAt(4, test.old)), full(history2, 9, cutOffAt(4, test.restored)))
			for _, s := range []*Store{s, reopened(t, s)} {
				if got := s.View().CutOff(cptoken.Zone, "", "1").Unix(); got != test.want {
					t.Errorf("cut-off at %d, want %d", got, test.want)
				}
			}
		})
	}
}

// What was withdrawn in the new history before this zone came over is withdrawn here too,
// once the global says where its history began. What the backup brought along is not.
func TestWithdrawnBeforeTheZoneCameOver(t *testing.T) {
	key := testKey(t, cptoken.Zone, "", "1", 0, cptoken.Active)
	restored := func(began uint64) cptoken.Part {
		p := full(history2, 40, keyed(1, key), withdrawn(5, "of the backup"), withdrawn(32, "since"), cutOffWithdrawn(33))
		p.Began = began
		return p
	}
	for name, test := range map[string]struct {
		began uint64
		kept  bool
	}{
		"a global that says where its history began": {30, false},
		"a global that does not":                     {0, true},
		"a history that began with the withdrawal":   {33, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := openNew(t)
			mustApply(t, s, full(history1, 20, keyed(1, key), revoked(11, "of the backup", "since", "other"), cutOffAt(12, 200)), restored(test.began))
			for _, s := range []*Store{s, reopened(t, s)} {
				wantRevoked(t, s, true, "of the backup", "other")
				wantRevoked(t, s, test.kept, "since")
				if kept := s.View().CutOffs() != 0; kept != test.kept {
					t.Errorf("the cut-off is kept: %v, want %v", kept, test.kept)
				}
			}
		})
	}
	t.Run("in parts", func(t *testing.T) {
		s := openNew(t)
		mustApply(t, s, full(history1, 20, revoked(11, "since")))
		first, last := restored(30), restored(30)
		first.Changes, first.Last = first.Changes[:3], false
		last.Changes, last.Number = last.Changes[3:], 1
		other := last
		other.Began = 29
		mustApply(t, s, first)
		wantReason(t, s.Apply(t.Context(), other), ReasonBrokenSet)
		mustApply(t, s, first, last)
		wantRevoked(t, s, false, "since")
	})
}

// What a copy refuses beyond the global's list is named, until it is withdrawn, or the list
// has it.
func TestKeptBeyondTheListIsNamed(t *testing.T) {
	s := openNew(t)
	mustApply(t, s, full(history1, 10, revoked(3, "old", "a", "b", "c"), cutOffAt(4, 200)))
	check := func(want ...string) {
		t.Helper()
		for range 2 {
			_, names := s.Skipped()
			acked, lacks := cptoken.SplitKept(names)
			if kept := s.View().Kept(); !slices.Equal(kept, want) || !slices.Equal(acked, want) || len(lacks) > 0 {
				t.Errorf("the copy names %q, and acknowledges %q, want %q", kept, names, want)
			}
			s = reopened(t, s)
		}
	}
	check()
	mustApply(t, s, full(history2, 20, revoked(3, "old")))
	check("3 revoked ids and 1 cut-offs", "zone-token a", "zone-token b", "zone-token c")
	mustApply(t, s, delta(history2, 20, 21, withdrawn(21, "b")))
	check("2 revoked ids and 1 cut-offs", "zone-token a", "zone-token c")
	mustApply(t, s, delta(history2, 21, 22, revoked(22, "a", "new")))
	check("1 revoked ids and 1 cut-offs", "zone-token c")
	mustApply(t, s, delta(history2, 22, 23, cutOffWithdrawn(23)))
	check("1 revoked ids and 0 cut-offs", "zone-token c")
	mustApply(t, s, delta(history2, 23, 24, withdrawn(24, "c")))
	check()
	wantRevoked(t, s, true, "old", "a", "new")
	wantRevoked(t, s, false, "b", "c")

	many := make([]string, 100)
	for i := range many {
		many[i] = uuidOf(i)
	}
	mustApply(t, s, delta(history2, 24, 25, revoked(25, many...)))
	history3 := history2
	history3.ID, history3.Created = "00000000000000c3", 3000
	mustApply(t, s, full(history3, 5))
	if kept := s.View().Kept(); len(kept) != 1+maxKept || kept[0] != "103 revoked ids and 0 cut-offs" {
		t.Errorf("of many it names %q", kept)
	}
}

// TestWhatIsKeptCostsOthersNothing: in a large log a change to an id that is not kept does not
// have all of it written once more, and one to an id that is named does.
func TestWhatIsKeptCostsOthersNothing(t *testing.T) {
	s := openNew(t)
	mustApply(t, s, full(history1, 10, revoked(3, "kept")))
	set := full(history2, 20)
	for i := range smallLog/1000 + 1 {
		ids := make([]string, 1000)
		for j := range ids {
			ids[j] = uuidOf(1000*i + j)
		}
		set.Changes = append(set.Changes, revoked(3, ids...))
	}
	mustApply(t, s, set)
	before := s.state.head.entries
	mustApply(t, s, delta(history2, 20, 21, withdrawn(21, uuidOf(5)), revoked(21, uuidOf(6))))
	if after := s.state.head.entries; after <= before {
		t.Errorf("the log was written again: %d entries became %d", before, after)
	}
	mustApply(t, s, delta(history2, 21, 22, withdrawn(22, "kept")))
	if kept := s.View().Kept(); len(kept) != 0 {
		t.Errorf("what was withdrawn is named: %q", kept)
	}
}

// TestNamesThatGatesReadComeFirst: who reads acknowledgements stops after so many names.
func TestNamesThatGatesReadComeFirst(t *testing.T) {
	s := openNew(t)
	mustApply(t, s, full(history1, 10, revoked(3, "kept")))
	mustApply(t, s, full(history2, 20, skipped(20, "kind:strange", nil)))
	_, names := s.Skipped()
	_, lacks := cptoken.SplitKept(names)
	if len(lacks) == 0 || len(lacks) == len(names) || !slices.Equal(names[:len(lacks)], lacks) {
		t.Errorf("the names are %q", names)
	}
}
