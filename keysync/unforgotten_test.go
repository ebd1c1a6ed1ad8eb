package keysync

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// placed gives a set the position that a global would send with it.
func placed(p cptoken.Part) cptoken.Part {
	p.Position = []byte(p.To.String())
	return p
}

// failing has every write of a Store fail until it is mended.
func failing(s *Store) *testDisk {
	d := &testDisk{}
	s.disk.Lock()
	s.fault = d.fault
	s.disk.Unlock()
	d.fail(errors.New("input/output error"))
	return d
}

// TestRefusesBehindTheFirstSet: a zone that has taken its first state, and not written it
// yet, refuses what comes next all the same, should that alone fail to be written.
func TestRefusesBehindTheFirstSet(t *testing.T) {
	key := testKey(t, cptoken.Zone, "", "1", 0, cptoken.Active)
	gone := testKey(t, cptoken.Zone, "", "2", 1, cptoken.Active)
	s := openNew(t)
	writes := 0
	s.fault = func(what string) error {
		if what == "write" {
			writes++
		}
		if writes > 1 {
			return errors.New("no space left on device")
		}
		return nil
	}
	take(t, s, placed(full(history1, 5, keyed(1, key), keyed(2, gone))),
		placed(delta(history1, 5, 8, revoked(6, "a"), removed(7, gone.ID), cutOffAt(8, 300))))
	if err := s.flush(); err == nil {
		t.Fatal("the second set was written")
	}
	if p, _ := s.Persisted(); p.Taken != 2 || p.Durable != 1 {
		t.Errorf("persisted: %+v", p)
	}
	v := s.View()
	if v.Key(key.ID) == nil {
		t.Fatal("the first set is not in use")
	}
	if !v.Revoked(cptoken.Zone, "", "a") || v.Key(gone.ID) != nil || v.CutOff(cptoken.Zone, "", "1").Unix() != 300 {
		t.Errorf("revoked %t, removed key %v, cut-off %s", v.Revoked(cptoken.Zone, "", "a"), v.Key(gone.ID), v.CutOff(cptoken.Zone, "", "1"))
	}
}

// TestWhatWasGivenUpStaysRefused: what a zone refuses in memory alone stays refused over a
// newer history and over a merging set that know nothing of it, taken while the disk is
// bad or after, and is durable as soon as the disk is back.
func TestWhatWasGivenUpStaysRefused(t *testing.T) {
	kept, gone := testKey(t, cptoken.Zone, "", "1", 0, cptoken.Active), testKey(t, cptoken.Zone, "", "2", 1, cptoken.Active)
	restored := placed(full(history2, 3, keyed(1, kept), keyed(2, gone)))
	merging := placed(full(history1, 5, keyed(1, kept), keyed(2, gone)))
	merging.Merging = true
	refused := func(t *testing.T, s *Store, when string) {
		t.Helper()
		v := s.View()
		if !v.Revoked(cptoken.Zone, "", "a") || v.Key(gone.ID) != nil || v.CutOff(cptoken.Zone, "", "1").Unix() != 200 {
			t.Errorf("%s: revoked %t, removed key %v, cut-off %s", when, v.Revoked(cptoken.Zone, "", "a"), v.Key(gone.ID), v.CutOff(cptoken.Zone, "", "1"))
		}
		if v.Key(kept.ID) == nil {
			t.Errorf("%s: the other key is gone", when)
		}
		if v.Revoked(cptoken.Zone, "", "withdrawn") {
			t.Errorf("%s: what was withdrawn again is refused", when)
		}
	}
	for name, set := range map[string]cptoken.Part{"newer history": restored, "merging set": merging} {
		for _, bad := range []bool{true, false} {
			t.Run(name+map[bool]string{true: ", while the disk is bad"}[bad], func(t *testing.T) {
				s := openNew(t)
				mustApply(t, s, placed(full(history1, 5, keyed(1, kept), keyed(2, gone))))
				d := failing(s)
				take(t, s, placed(delta(history1, 5, 7, revoked(6, "a", "withdrawn"), cutOffAt(7, 200))))
				if err := s.flush(); err == nil {
					t.Fatal("it was written")
				}
				take(t, s, placed(delta(history1, 7, 9, removed(8, gone.ID), withdrawn(9, "withdrawn"))))
				refused(t, s, "before")
				if bad {
					take(t, s, set)
					refused(t, s, "taken")
				}
				d.fail(nil)
				if err := s.flush(); err != nil {
					t.Fatal(err)
				}
				refused(t, s, "when the disk is back")
				s = reopened(t, s)
				refused(t, s, "when the disk is back, after a restart")
				mustApply(t, s, set)
				refused(t, s, "durable")
				s = reopened(t, s)
				refused(t, s, "after a restart")
				// Until it is explicitly undone.
				mustApply(t, s, placed(delta(set.To.History, set.To.Index, 20, withdrawn(19, "a"), cutOffWithdrawn(20))))
				wantRevoked(t, s, false, "a")
				if s.View().CutOffs() != 0 {
					t.Error("the cut-off was not withdrawn")
				}
			})
		}
	}
}

// TestContactMeetsTheDisk: a zone that only hears of its global writes nothing but that,
// and knows all the same of a disk that fails or hangs; hearing waits for nothing.
func TestContactMeetsTheDisk(t *testing.T) {
	for how, fail := range map[string]func(d *testDisk) (mend func()){
		"fails": func(d *testDisk) func() {
			d.fail(errors.New("input/output error"))
			return func() { d.fail(nil) }
		},
		"hangs": (*testDisk).stop,
	} {
		t.Run(how, func(t *testing.T) {
			opts := testOptions(t)
			opts.WriteTimeout = 500 * time.Millisecond // also for what is under way at the end
			s, err := Open(filepath.Join(t.TempDir(), "zone.db"), opts)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			var d testDisk
			s.fault = d.fault
			stop := running(t, s)
			defer stop()
			mend := fail(&d)
			defer func() { mend() }()
			s.Heard("global-1", time.Now())
			persisted(t, s, "it cannot write", func(p cptoken.Persistence) bool { return p.Err != nil })
			if s.Unwritten() == nil {
				t.Error("the zone is ready")
			}
			mend()
			mend = func() {}
			persisted(t, s, "it can write", func(p cptoken.Persistence) bool { return p.Err == nil })
		})
	}
}

// TestFileIsGone: a zone whose file is removed, replaced, or moved with its folder, cannot
// write: it acknowledges nothing, says which file it is, leaves alone what is there, and is
// whole again once the file is back.
func TestFileIsGone(t *testing.T) {
	for name, test := range map[string]struct {
		take func(t *testing.T, path string)
		back func(t *testing.T, path string)
	}{
		"moved": {
			func(t *testing.T, path string) { move(t, path, path+".away") },
			func(t *testing.T, path string) { move(t, path+".away", path) },
		},
		"replaced by a copy": {
			func(t *testing.T, path string) {
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				move(t, path, path+".away")
				if err := os.WriteFile(path, data, 0o600); err != nil {
					t.Fatal(err)
				}
			},
			func(t *testing.T, path string) { move(t, path+".away", path) },
		},
		"moved with its folder": {
			func(t *testing.T, path string) { move(t, filepath.Dir(path), filepath.Dir(path)+".away") },
			func(t *testing.T, path string) { move(t, filepath.Dir(path)+".away", filepath.Dir(path)) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "zone")
			s := openAt(t, filepath.Join(dir, "zone.db"))
			mustApply(t, s, placed(full(history1, 5, keyed(1, testKey(t, cptoken.Zone, "", "1", 0, cptoken.Active)))))
			test.take(t, s.path)
			before, _ := os.ReadFile(s.path)
			next := placed(delta(history1, 5, 6, revoked(6, "a")))
			for range 2 {
				err := s.Apply(t.Context(), next)
				wantReason(t, err, ReasonDamaged)
				if e := federation.AsError(err); e.Hint == "" || !strings.Contains(e.Detail, s.path) {
					t.Errorf("the error does not help: %v", err)
				}
				wantRevoked(t, s, true, "a")
				if p, _ := s.Persisted(); p.Err == nil || p.Durable != 1 {
					t.Errorf("persisted: %+v", p)
				}
			}
			if after, _ := os.ReadFile(s.path); string(after) != string(before) {
				t.Error("it wrote to what is there now")
			}
			test.back(t, s.path)
			if err := s.flush(); err != nil {
				t.Fatal(err)
			}
			mustApply(t, s, placed(delta(history1, 5, 7, revoked(6, "a"), revoked(7, "b"))))
			wantRevoked(t, reopened(t, s), true, "a", "b")
		})
	}
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// TestAcknowledgesTheVerySet: a merging set, and a full state for a newer vocabulary, lead
// to a revision that is durable already. They count as durable when they are.
func TestAcknowledgesTheVerySet(t *testing.T) {
	key := testKey(t, cptoken.Zone, "", "1", 0, cptoken.Active)
	merging := placed(full(history1, 10, keyed(1, key), revoked(9, "a")))
	merging.Merging = true
	older := func(s *Store) { s.state.head.vocabulary = 0 }
	for name, test := range map[string]struct {
		set    cptoken.Part
		before func(*Store)
	}{
		"merging":    {merging, func(*Store) {}},
		"vocabulary": {placed(full(history1, 10, keyed(1, key), revoked(9, "a"))), older},
	} {
		t.Run(name, func(t *testing.T) {
			s := openNew(t)
			mustApply(t, s, placed(full(history1, 10, keyed(1, key))))
			test.before(s)
			d := failing(s)
			take(t, s, test.set)
			if p, _ := s.Persisted(); p.Taken != 2 || p.Durable != 1 {
				t.Errorf("taken: %+v", p)
			}
			if err := s.flush(); err == nil {
				t.Fatal("it was written")
			}
			if p, _ := s.Persisted(); p.Durable != 1 || p.Err == nil {
				t.Errorf("after the failure: %+v", p)
			}
			d.fail(nil)
			if err := s.flush(); err != nil {
				t.Fatal(err)
			}
			if p, _ := s.Persisted(); p.Lost != 1 {
				t.Errorf("it was given up, and is not asked for again: %+v", p)
			}
			wantRevoked(t, s, true, "a")
			mustApply(t, s, test.set)
			if p, _ := s.Persisted(); p.Durable != p.Taken {
				t.Errorf("at the end: %+v", p)
			}
		})
	}
}

// TestApplyTellsWhatWasGivenUp: Apply does not take a disk that is back for a set that is
// durable.
func TestApplyTellsWhatWasGivenUp(t *testing.T) {
	s := openNew(t)
	mustApply(t, s, placed(full(history1, 5)))
	var d testDisk
	s.fault = d.fault
	release := d.stop()
	wrote := make(chan error, 1)
	s.Heard("global-1", time.Now())
	go func() { wrote <- s.flush() }() // holds the disk
	persisted(t, s, "the disk to be waited for", func(cptoken.Persistence) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return !s.writing.IsZero()
	})
	applied := make(chan error, 1)
	go func() { applied <- s.Apply(t.Context(), placed(delta(history1, 5, 6, revoked(6, "a")))) }()
	persisted(t, s, "the set to be taken", func(p cptoken.Persistence) bool { return p.Taken == 2 })
	d.fail(errors.New("input/output error"))
	release()
	if err := <-wrote; err == nil {
		t.Fatal("the contact was written")
	}
	d.fail(nil)
	if err := <-applied; err == nil {
		if _, at := s.Position(); at != rev(history1, 6) {
			t.Error("a set that was given up was applied, says Apply")
		}
	}
}

// TestAFailedCommitIsWrittenOnceMore: what reads well after a commit that failed may be in
// the memory of the system alone. It counts once every page was written again.
func TestAFailedCommitIsWrittenOnceMore(t *testing.T) {
	s := openNew(t)
	mustApply(t, s, placed(full(history1, 5, revoked(1, "a"))))
	fails := map[string]bool{"committed": true}
	s.fault = func(what string) error {
		if fails[what] {
			return errors.New("input/output error")
		}
		return nil
	}
	take(t, s, placed(delta(history1, 5, 6, revoked(6, "b"))))
	if err := s.flush(); err == nil {
		t.Fatal("the commit did not fail")
	}
	delete(fails, "committed")
	fails["rewrite"] = true
	if err := s.flush(); err == nil {
		t.Error("the file counts as durable although it could not be written again")
	}
	if p, _ := s.Persisted(); p.Err == nil || p.Revision != rev(history1, 5) {
		t.Errorf("persisted: %+v", p)
	}
	delete(fails, "rewrite")
	long := time.Now().Add(-time.Hour)
	if err := os.Chtimes(s.path, long, long); err != nil {
		t.Fatal(err)
	}
	s.disk.Lock()
	s.file.failed = true
	err := s.reopen()
	s.disk.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(s.path); err != nil || !info.ModTime().After(long) {
		t.Errorf("the file was not written again: %v", err)
	}
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	if p, _ := s.Persisted(); p.Err != nil || p.Revision != rev(history1, 6) {
		t.Errorf("persisted: %+v", p)
	}
	s = reopened(t, s)
	wantRevoked(t, s, true, "a", "b")
}

// TestMergingSetThatLedBackAndFailed: the file holds less than was published where a
// merging set led back and only its commit failed. That is no damage.
func TestMergingSetThatLedBackAndFailed(t *testing.T) {
	s := openNew(t)
	mustApply(t, s, placed(full(history1, 5, revoked(1, "a"))))
	failed := false
	s.fault = func(what string) error {
		if what == "committed" && !failed {
			failed = true
			return errors.New("input/output error")
		}
		return nil
	}
	back := placed(full(history1, 3, revoked(1, "a")))
	back.Merging = true
	take(t, s, back)
	if err := s.flush(); err == nil {
		t.Fatal("the commit did not fail")
	}
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	mustApply(t, s, placed(delta(history1, 3, 4, revoked(4, "b"))))
	wantRevoked(t, reopened(t, s), true, "a", "b")
}

// TestHeldWhileItCannotWrite: a zone under a global that sends lists needs what it holds
// to tell what is new, also while its disk takes nothing; not what a commit that failed
// may have left.
func TestHeldWhileItCannotWrite(t *testing.T) {
	s := openNew(t)
	mustApply(t, s, placed(full(history1, 5, revoked(1, "a"))))
	held := func() (ids []string, err error) {
		err = s.Held(func(*cptoken.PublicKey) {}, func(_ cptoken.Kind, _, id string) { ids = append(ids, id) })
		return ids, err
	}
	move(t, s.path, s.path+".away")
	take(t, s, placed(delta(history1, 5, 6, revoked(6, "b"))))
	if err := s.flush(); err == nil {
		t.Fatal("it was written")
	}
	if ids, err := held(); err == nil {
		t.Errorf("held, by a commit that does not count: %v", ids)
	}
	move(t, s.path+".away", s.path)
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	d := failing(s)
	take(t, s, placed(delta(history1, 6, 7, revoked(7, "c"))))
	if err := s.flush(); err == nil {
		t.Fatal("it was written")
	}
	if ids, err := held(); err != nil || len(ids) != 2 {
		t.Errorf("held %v: %v", ids, err)
	}
	d.fail(nil)
}

// TestOlderSetsDoNotUndoWhatWasGivenUp: a set that leads to less than what the zone had
// been told, and could not write, undoes nothing of it: not by an older withdrawal, nor by
// not naming it.
func TestOlderSetsDoNotUndoWhatWasGivenUp(t *testing.T) {
	kept, gone := testKey(t, cptoken.Zone, "", "1", 0, cptoken.Active), testKey(t, cptoken.Zone, "", "2", 1, cptoken.Active)
	merging := placed(full(history1, 13, keyed(1, kept), removed(11, gone.ID), withdrawn(12, "a"), cutOffWithdrawn(13)))
	merging.Merging = true
	for name, sets := range map[string][]cptoken.Part{
		"withdrawn before": {merging, placed(delta(history1, 13, 16, keyed(16, gone)))},
		"not named":        {placed(full(history1, 13, keyed(1, kept))), placed(full(history2, 3, keyed(1, kept), keyed(2, gone)))},
	} {
		t.Run(name, func(t *testing.T) {
			s := openNew(t)
			mustApply(t, s, placed(full(history1, 10, keyed(1, kept), keyed(2, gone))))
			d := failing(s)
			take(t, s, placed(delta(history1, 10, 15, revoked(14, "a"), cutOffAt(14, 200), removed(15, gone.ID))))
			if err := s.flush(); err == nil {
				t.Fatal("it was written")
			}
			d.fail(nil)
			for _, set := range sets {
				mustApply(t, s, set)
				v := s.View()
				if !v.Revoked(cptoken.Zone, "", "a") || v.Key(gone.ID) != nil || v.CutOff(cptoken.Zone, "", "1").Unix() != 200 || v.Key(kept.ID) == nil {
					t.Errorf("after the set to %s: revoked %t, removed key %v, cut-off %s", set.To, v.Revoked(cptoken.Zone, "", "a"), v.Key(gone.ID), v.CutOff(cptoken.Zone, "", "1"))
				}
			}
			s = reopened(t, s)
			wantRevoked(t, s, true, "a")
			if s.View().Key(gone.ID) != nil || s.View().CutOffs() != 1 {
				t.Error("after a restart it is trusted again")
			}
		})
	}
}

// TestNarrowedBoundsWaitForNoDisk: a registered key whose bounds are narrowed by a set that
// cannot be written vouches for nothing beyond them, and what they widen waits.
func TestNarrowedBoundsWaitForNoDisk(t *testing.T) {
	bounded := func(c cptoken.Constraints) *cptoken.PublicKey {
		k, err := cptoken.NewPublicKey(zoneKey("ci"), cptoken.AlgRS256, cptoken.Retiring, testDERs()[0], &c)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	s := openNew(t)
	mustApply(t, s, placed(full(history1, 5, keyed(5, bounded(cptoken.Constraints{
		Zones: []string{"west", "east"}, Scopes: []cptoken.Scope{cptoken.ScopeIngress}, MaxLifetime: 2 * time.Hour, AllowNoExpiry: true})))))
	d := failing(s)
	next := bounded(cptoken.Constraints{Zones: []string{"east", "north"}, MaxLifetime: time.Hour, AllowNoID: true})
	take(t, s, placed(delta(history1, 5, 7, keyed(7, next))))
	if err := s.flush(); err == nil {
		t.Fatal("it was written")
	}
	want := cptoken.Constraints{Zones: []string{"east"}, Scopes: []cptoken.Scope{cptoken.ScopeIngress}, MaxLifetime: time.Hour}
	if k := s.View().Key(next.ID); k == nil || !reflect.DeepEqual(*k.Registered, want) {
		t.Fatalf("the bounds are %+v", k.Registered)
	}
	take(t, s, placed(delta(history1, 7, 8, keyed(8, bounded(cptoken.Constraints{Zones: []string{"north"}})))))
	if k := s.View().Key(next.ID); k != nil {
		t.Errorf("the key vouches for %+v, and no zone is left", k.Registered)
	}
	d.fail(nil)
	mustApply(t, s, placed(delta(history1, 5, 9, keyed(9, next))))
	if k := s.View().Key(next.ID); k == nil || !reflect.DeepEqual(k.Registered, next.Registered) {
		t.Errorf("durable, the key is %+v", k)
	}
}

// TestWhatWasGivenUpOutlivesAnOlderFullState: what a zone wrote of sets that were given up is
// of later than where its copy stands. After a restart only the file knows, and a full state
// of before those sets, from a member that lags, undoes none of it.
func TestWhatWasGivenUpOutlivesAnOlderFullState(t *testing.T) {
	kept, gone := testKey(t, cptoken.Zone, "", "1", 0, cptoken.Active), testKey(t, cptoken.Zone, "", "2", 1, cptoken.Active)
	s := openNew(t)
	mustApply(t, s, placed(full(history1, 5, keyed(1, kept), keyed(2, gone))))
	d := failing(s)
	take(t, s, placed(delta(history1, 5, 9, revoked(7, "a"), removed(8, gone.ID), cutOffAt(9, 200))))
	if err := s.flush(); err == nil {
		t.Fatal("it was written")
	}
	d.fail(nil)
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	s = reopened(t, s)
	refused := func(when string) {
		t.Helper()
		v := s.View()
		if !v.Revoked(cptoken.Zone, "", "a") || v.Key(gone.ID) != nil || v.CutOff(cptoken.Zone, "", "1").Unix() != 200 {
			t.Errorf("%s: revoked %t, removed key %v, cut-off %s", when, v.Revoked(cptoken.Zone, "", "a"), v.Key(gone.ID), v.CutOff(cptoken.Zone, "", "1"))
		}
	}
	refused("after a restart")
	mustApply(t, s, placed(full(history1, 6, keyed(1, kept), keyed(2, gone))))
	refused("after an older full state")
	s = reopened(t, s)
	// The sets come again, and what follows undoes it.
	mustApply(t, s, placed(delta(history1, 6, 9, revoked(7, "a"), removed(8, gone.ID), cutOffAt(9, 200))))
	refused("in full")
	if lacks, kept := s.View().Skipped(), s.View().Kept(); len(lacks)+len(kept) > 0 {
		t.Errorf("not held: %v, beyond the list: %v", lacks, kept)
	}
	mustApply(t, s, placed(delta(history1, 9, 11, withdrawn(10, "a"), cutOffWithdrawn(11))))
	wantRevoked(t, s, false, "a")
	if s.View().CutOffs() != 0 {
		t.Error("the cut-off was not withdrawn")
	}
	s = reopened(t, s)
	wantRevoked(t, s, false, "a")
}
