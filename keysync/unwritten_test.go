package keysync

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
)

// testDisk is what a test does to the disk of a Store.
type testDisk struct {
	mu   sync.Mutex
	err  error
	hang chan struct{} // nil: it does not
}

func (d *testDisk) fault(string) error {
	d.mu.Lock()
	err, hang := d.err, d.hang
	d.mu.Unlock()
	if hang != nil {
		<-hang
	}
	return err
}

func (d *testDisk) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

func (d *testDisk) stop() (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	hang := make(chan struct{})
	d.hang = hang
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.hang = nil
		close(hang)
	}
}

// running has a Store written by Run until the test ends, or stop is called.
func running(t *testing.T, s *Store) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func take(t *testing.T, s *Store, parts ...cptoken.Part) {
	t.Helper()
	for _, p := range parts {
		if err := s.Take(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
}

// persisted waits until a condition on what is durable holds.
func persisted(t *testing.T, s *Store, what string, ok func(cptoken.Persistence) bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		p, changed := s.Persisted()
		if ok(p) {
			return
		}
		select {
		case <-changed:
		case <-time.After(50 * time.Millisecond): // how long the disk is waited for is not announced
		case <-deadline:
			t.Fatalf("never: %s; now %+v", what, p)
		}
	}
}

// TestNarrowingDoesNotWaitForTheDisk: on a disk that fails, and on one that hangs, a
// zone refuses at once what it is told to refuse, widens nothing, says that it cannot
// write, and is whole again when the disk is back, also after a restart.
func TestNarrowingDoesNotWaitForTheDisk(t *testing.T) {
	for _, how := range []string{"fails", "hangs"} {
		for _, restart := range []bool{false, true} {
			t.Run(how+map[bool]string{true: ", and the zone restarts"}[restart], func(t *testing.T) { narrowsAtOnce(t, how, restart) })
		}
	}
}

func narrowsAtOnce(t *testing.T, how string, restart bool) {
	opts := testOptions(t)
	opts.WriteTimeout = 500 * time.Millisecond // also for what is under way at the end
	s, err := Open(filepath.Join(t.TempDir(), "zone.db"), opts)
	if err != nil {
		t.Fatal(err)
	}
	var disk testDisk
	s.fault = disk.fault
	stop := running(t, s)
	defer func() { stop() }()
	one, two, three := zoneKey("1"), zoneKey("2"), zoneKey("3")
	take(t, s, full(history1, 10,
		keyed(1, testKey(t, cptoken.Zone, "", "1", 0, cptoken.Active)), keyed(2, testKey(t, cptoken.Zone, "", "2", 1, cptoken.Active)),
		revoked(3, "withdrawn later")))
	persisted(t, s, "the full state", func(p cptoken.Persistence) bool { return p.Revision == rev(history1, 10) && p.Err == nil })

	release := func() { disk.fail(nil) }
	if how == "hangs" {
		release = disk.stop()
	} else {
		disk.fail(errors.New("no space left on device"))
	}
	news := []cptoken.Part{
		delta(history1, 10, 11, revoked(11, "a")),
		delta(history1, 11, 12, removed(12, one), cutOffAt(12, 200)),
		delta(history1, 12, 13, keyed(13, testKey(t, cptoken.Zone, "", "3", 2, cptoken.Active)), withdrawn(13, "withdrawn later")),
	}
	news = append(news, split(delta(history1, 13, 14, revoked(14, "in parts"), revoked(14, "more of it")), 2)...)
	narrowed := func() {
		t.Helper()
		wantRevoked(t, s, true, "a", "in parts", "more of it", "withdrawn later")
		v := s.View()
		if v.Key(one) != nil || v.Key(two) == nil || v.Key(three) != nil || len(v.Keys()) != 1 || v.CutOff(cptoken.Zone, "", "2").Unix() != 200 {
			t.Errorf("keys %v, cut-off %v", v.Keys(), v.CutOff(cptoken.Zone, "", "2"))
		}
		if _, at := s.Position(); at != rev(history1, 10) {
			t.Errorf("at %s, which is not durable", at)
		}
	}
	take(t, s, news...)
	narrowed()
	persisted(t, s, "it cannot write", func(p cptoken.Persistence) bool { return p.Err != nil && p.Revision == rev(history1, 10) })
	narrowed()
	if s.Unwritten() == nil {
		t.Error("it does not say so")
	}
	take(t, s, delta(history1, 14, 15, revoked(15, "while it cannot write")))
	wantRevoked(t, s, true, "while it cannot write")

	again := delta(history1, 10, 15, append(whole(news), revoked(15, "while it cannot write"))...)
	if restart {
		// The process is gone with what it had in memory; the disk is back.
		release()
		stop()
		s = reopened(t, s)
		stop = running(t, s)
	} else {
		release()
		persisted(t, s, "it can write", func(p cptoken.Persistence) bool { return p.Err == nil })
		wantRevoked(t, s, true, "a", "in parts", "while it cannot write")
	}
	take(t, s, again) // from where it stands, and at most from there
	persisted(t, s, "all of it", func(p cptoken.Persistence) bool { return p.Revision == rev(history1, 15) && p.Err == nil })
	stop()
	s = reopened(t, s)
	stop = running(t, s)
	wantRevoked(t, s, true, "a", "in parts", "more of it", "while it cannot write")
	wantRevoked(t, s, false, "withdrawn later")
	if v := s.View(); v.Key(one) != nil || v.Key(two) == nil || v.Key(three) == nil || len(v.ahead.tables) != 0 {
		t.Errorf("keys %v, narrowed still: %v", v.Keys(), v.ahead)
	}
}

// whole are the changes of parts in one.
func whole(parts []cptoken.Part) (out []cptoken.Change) {
	for _, p := range parts {
		out = append(out, p.Changes...)
	}
	return out
}

// TestSlowDiskBoundsMemory: a disk that hangs for long makes the zone give up what is to
// be written, not what it refuses.
func TestSlowDiskBoundsMemory(t *testing.T) {
	opts := testOptions(t)
	opts.WriteTimeout = 20 * time.Millisecond
	s, err := Open(filepath.Join(t.TempDir(), "zone.db"), opts)
	if err != nil {
		t.Fatal(err)
	}
	var disk testDisk
	s.fault = disk.fault
	defer s.Close()
	defer running(t, s)()
	take(t, s, full(history1, 10, keyed(1, testKey(t, cptoken.Zone, "", "1", 0, cptoken.Active))))
	persisted(t, s, "the full state", func(p cptoken.Persistence) bool { return p.Revision == rev(history1, 10) })
	release := disk.stop()
	const sets = 3 * maxQueued
	for i := range uint64(sets) {
		take(t, s, delta(history1, 10+i, 11+i, revoked(11+i, uuidOf(int(i)))))
	}
	s.mu.Lock()
	kept := len(s.queue)
	s.mu.Unlock()
	if kept > maxQueued {
		t.Errorf("%d parts wait in memory", kept)
	}
	for i := range sets {
		wantRevoked(t, s, true, uuidOf(i))
	}
	release()
	persisted(t, s, "it can write", func(p cptoken.Persistence) bool { return p.Err == nil && p.Lost == 1 })
	_, at := s.Position()
	var all []cptoken.Change
	for i := range uint64(sets) {
		all = append(all, revoked(11+i, uuidOf(int(i))))
	}
	take(t, s, delta(history1, at.Index, 10+sets, all...))
	persisted(t, s, "all of it", func(p cptoken.Persistence) bool { return p.Revision == rev(history1, 10+sets) })
	if v := s.View(); v.Revocations() != sets || len(v.ahead.tables) != 0 {
		t.Errorf("%d revocations, narrowed still: %v", v.Revocations(), v.ahead)
	}
}

// TestAFlakyDiskNeedsNoRoom: a disk that fails now and then, and not for want of room, asks
// for none; and one that does proves no more than a commit may take. The zone would be kept
// from being ready by a volume that is large enough.
func TestAFlakyDiskNeedsNoRoom(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		most int64
	}{
		"input and output": {&os.PathError{Op: "write", Path: "zone.db", Err: syscall.EIO}, 0},
		"no room":          {&os.PathError{Op: "write", Path: "zone.db", Err: syscall.ENOSPC}, 1 << 20},
		"not said":         {errors.New("file resize error"), 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			s := openNew(t)
			mustApply(t, s, placed(full(history1, 5, keyed(1, testKey(t, cptoken.Zone, "", "1", 0, cptoken.Active)))))
			s.fault = func(what string) error {
				if what == "write" {
					return test.err
				}
				return nil
			}
			for range 12 {
				take(t, s, placed(delta(history1, 5, 6, revoked(6, "a"))))
				if err := s.flush(); err == nil {
					t.Fatal("it was written")
				}
				if err := s.flush(); err != nil {
					t.Fatal(err)
				}
			}
			if s.probe > test.most || test.most > 0 && s.probe == 0 {
				t.Errorf("the disk must have room for %d bytes, at most %d", s.probe, test.most)
			}
		})
	}
}

// TestRealDisks does to a real file system what the tests above inject: one that is
// full, and one that is read-only.
func TestRealDisks(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("skipped: mounting a tmpfs takes root")
	}
	for _, how := range []string{"full", "read-only"} {
		t.Run(how, func(t *testing.T) {
			dir := t.TempDir()
			if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", dir).CombinedOutput(); err != nil {
				t.Skipf("skipped: this machine mounts no tmpfs: %v: %s", err, out)
			}
			t.Cleanup(func() {
				if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
					t.Errorf("umount: %v: %s", err, out)
				}
			})
			realDisk(t, dir, how)
		})
	}
}

func realDisk(t *testing.T, dir, how string) {
	s, err := Open(filepath.Join(dir, "zone.db"), testOptions(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	defer running(t, s)()
	take(t, s, full(history1, 10, keyed(1, testKey(t, cptoken.Zone, "", "1", 0, cptoken.Active))))
	persisted(t, s, "the full state", func(p cptoken.Persistence) bool { return p.Revision == rev(history1, 10) })
	var back func()
	if how == "full" {
		filler := filepath.Join(dir, "filler")
		if err := os.WriteFile(filler, make([]byte, 2<<20), 0o600); err == nil {
			t.Fatal("a file system of 1 MiB took 2")
		}
		back = func() { _ = os.Remove(filler) }
	} else {
		remount := func(mode string) {
			if out, err := exec.Command("mount", "-o", "remount,"+mode, dir).CombinedOutput(); err != nil {
				t.Skipf("skipped: this machine remounts no tmpfs while a file is open for writing: %v: %s", err, out)
			}
		}
		remount("ro")
		back = func() { remount("rw") }
	}
	// Many ids, so that the file must grow.
	set := delta(history1, 10, 11)
	for i := range 20 {
		ids := make([]string, 1000)
		for j := range ids {
			ids[j] = uuidOf(1000*i + j)
		}
		set.Changes = append(set.Changes, revoked(11, ids...))
	}
	take(t, s, set)
	wantRevoked(t, s, true, uuidOf(0), uuidOf(19_999))
	persisted(t, s, "it cannot write", func(p cptoken.Persistence) bool { return p.Err != nil && p.Revision == rev(history1, 10) })
	back()
	persisted(t, s, "it can write", func(p cptoken.Persistence) bool { return p.Err == nil })
	wantRevoked(t, s, true, uuidOf(0), uuidOf(19_999))
	take(t, s, set)
	persisted(t, s, "all of it", func(p cptoken.Persistence) bool { return p.Revision == rev(history1, 11) })
}
