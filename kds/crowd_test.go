package kds

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiankds/meridian/federation"
)

// TestPinnedDeltasAreBounded: whoever resumes from many revisions and does not
// read is not encoded a delta for each; those that go on with the rest are.
func TestPinnedDeltasAreBounded(t *testing.T) {
	s := newSource()
	var revs []federation.Revision
	for i := range 200 {
		revs = append(revs, s.add(fmt.Sprint("id-", i)))
	}
	_, head := s.Head()
	b := newTestBatches(s, func(l *Limits) { l.CacheBytes = 16 << 10 })
	var releases []func()
	deltas, full := 0, map[*batch]bool{}
	for _, from := range revs[:199] {
		x, release, err := b.next(context.Background(), from, head, roomResuming)
		if err != nil {
			t.Fatal(err)
		}
		releases = append(releases, release)
		if x.full {
			full[x] = true
		} else {
			deltas++
		}
	}
	if len(full) != 1 || deltas == 0 || deltas > 150 {
		t.Errorf("%d deltas and %d full states, want a few and one", deltas, len(full))
	}
	largest := 0
	for _, e := range b.entries {
		largest = max(largest, e.batch.size)
	}
	if limit := 16<<10 + largest; b.pinned > limit {
		t.Errorf("%d bytes of deltas are pinned, want at most %d", b.pinned, limit)
	}
	from, next := head, s.add("one more")
	x, release, err := b.next(context.Background(), from, next, roomGoingOn)
	if err != nil || x.full {
		t.Errorf("a stream that goes on got %+v, %v, want the delta", x, err)
	}
	release()
	for _, release := range releases {
		release()
	}
	if b.pinned != 0 {
		t.Errorf("%d bytes stay pinned", b.pinned)
	}
	x, release, err = b.next(context.Background(), revs[0], next, roomResuming)
	if err != nil || x.full {
		t.Errorf("with room again: %+v, %v, want a delta", x, err)
	}
	release()
}

// TestCrowdedMakersHinderNobody: streams with room do not take over the refusal
// of one that had none.
func TestCrowdedMakersHinderNobody(t *testing.T) {
	s := newSource()
	first := s.add("a")
	second := s.add("b")
	b := newTestBatches(s, func(l *Limits) { l.CacheBytes = 1 })
	_, hold, err := b.next(context.Background(), first, second, roomResuming)
	if err != nil {
		t.Fatal(err)
	}
	defer hold()
	third := s.add("c")
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			room := roomResuming
			if i%2 == 0 {
				room = 1 << 20
			}
			x, release, err := b.next(context.Background(), second, third, room)
			if err != nil || x.full && room != roomResuming {
				t.Errorf("room %d: %+v %v", room, x, err)
				return
			}
			release()
		})
	}
	all.Wait()
}

// TestAcknowledgementsAreToldTogether: one is told at once, a thousand in a few
// pieces, and the last is always told.
func TestAcknowledgementsAreToldTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := DefaultLimits()
		r := newRegistry(&limits)
		told := func(c <-chan struct{}) bool {
			select {
			case <-c:
				return true
			default:
				return false
			}
		}
		c := r.watch()
		r.touch()
		if !told(c) {
			t.Fatal("a single change waits")
		}
		reports := 0
		for range 1000 { // over 100 ms
			c = r.watch()
			r.touch()
			time.Sleep(100 * time.Microsecond)
			synctest.Wait()
			if told(c) {
				reports++
			}
		}
		if reports < 5 || reports > 15 {
			t.Errorf("told %d times in 100 ms, want about 10", reports)
		}
		c = r.watch()
		r.touch()
		time.Sleep(tellEvery)
		synctest.Wait()
		if !told(c) {
			t.Error("the last change is not told")
		}
	})
}

func TestBusyConnectionsAreStillLogged(t *testing.T) {
	var c connection
	for i := range maxSaid {
		if first, certain := c.firstTime(fmt.Sprint(i)); !first || !certain {
			t.Fatalf("admission %d: %v %v", i, first, certain)
		}
	}
	if first, certain := c.firstTime("0"); first || !certain {
		t.Error("an admission that was logged is taken for another")
	}
	if _, certain := c.firstTime("another"); certain {
		t.Error("an admission that may be new is taken for one that was logged")
	}

	m := start(t, nil)
	conn := dialRaw(t, m.addr)
	const zones = maxSaid + 5
	for i := range zones {
		if err := callOnce(t, conn, methodHealthCheck, as(fmt.Sprint("zone-", i))...); err != nil {
			t.Fatal(err)
		}
	}
	for i := range zones {
		if !strings.Contains(m.log.String(), fmt.Sprint("zone=zone-", i, " ")) {
			t.Errorf("zone-%d is not in the log", i)
		}
	}
}
