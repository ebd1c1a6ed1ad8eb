package server

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/test/kdstest"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/wire"
)

func newTestBatches(s kds.Source, change func(*kds.Limits)) *batches {
	limits := kds.DefaultLimits()
	if change != nil {
		change(&limits)
	}
	return newBatches(s, &limits, kds.MaxPart, new(counters))
}

func TestBatchesAreShared(t *testing.T) {
	s := kdstest.NewSource()
	b := newTestBatches(s, nil)
	head := s.Add("x")
	var wg sync.WaitGroup
	got := make([]*wire.Batch, 50)
	for i := range got {
		wg.Go(func() {
			batch, release, err := b.next(context.Background(), wanted{from: federation.Revision{}, head: head, room: roomResuming, whole: false})
			if err != nil {
				t.Error(err)
				return
			}
			got[i] = batch
			release()
		})
	}
	wg.Wait()
	for _, x := range got {
		if x != got[0] {
			t.Fatal("two streams got batches of their own")
		}
	}
	if n := s.SinceCalls(); n != 1 {
		t.Errorf("the source was asked %d times", n)
	}
}

// TestFullStateIsUsedAgain: zones that join while changes go on share a full
// state, as long as it is not far behind.
func TestFullStateIsUsedAgain(t *testing.T) {
	s := kdstest.NewSource()
	b := newTestBatches(s, func(l *kds.Limits) { l.FullLag = 2 })
	take := func(from federation.Revision) *wire.Batch {
		t.Helper()
		_, head := s.Head()
		x, release, err := b.next(context.Background(), wanted{from: from, head: head, room: roomResuming, whole: false})
		if err != nil {
			t.Fatal(err)
		}
		release()
		return x
	}
	first := take(federation.Revision{})
	s.Add("a")
	s.Add("b")
	if take(federation.Revision{}) != first {
		t.Error("a full state two changes old was made anew")
	}
	if take(kdstest.Revision(0, 7)) != first {
		t.Error("a zone of an older history got a full state of its own")
	}
	s.Add("c")
	if x := take(federation.Revision{}); x == first || x.To != kdstest.Revision(1, 4) {
		t.Error("a full state three changes old was used again")
	}
	// Who was further than the stored one is not sent back.
	s.Add("d")
	s.Floor = 100
	if x := take(kdstest.Revision(1, 5)); x.To.Index < 5 || !x.Full {
		t.Errorf("a zone at 5 is sent the full state at %s", x.To)
	}
}

func TestBatchesAreBounded(t *testing.T) {
	s := kdstest.NewSource()
	b := newTestBatches(s, func(l *kds.Limits) { l.CacheBatches = 4; l.CacheBytes = 1 << 20 })
	held, release, err := b.next(context.Background(), wanted{from: kdstest.Revision(1, 1), head: kdstest.Revision(1, 1), room: roomResuming, whole: false})
	if err != nil {
		t.Fatal(err)
	}
	from := kdstest.Revision(1, 1)
	for i := range 20 {
		head := s.Add(fmt.Sprint(i))
		_, done, err := b.next(context.Background(), wanted{from: from, head: head, room: roomResuming, whole: false})
		if err != nil {
			t.Fatal(err)
		}
		done()
		from = head
	}
	if n := len(b.entries); n > 4 {
		t.Errorf("%d batches are kept", n)
	}
	if held.To != kdstest.Revision(1, 1) {
		t.Error("a batch in use changed")
	}
	release()

	b = newTestBatches(s, func(l *kds.Limits) { l.CacheBytes = 1 })
	_, release, err = b.next(context.Background(), wanted{from: from, head: from, room: roomResuming, whole: false})
	if err != nil {
		t.Fatal(err)
	}
	if len(b.entries) != 1 {
		t.Error("a batch in use was forgotten")
	}
	release()
	if len(b.entries) != 0 || b.bytes != 0 {
		t.Errorf("%d batches of %d bytes are kept, want none", len(b.entries), b.bytes)
	}
}

func TestBatchErrorsAreNotKept(t *testing.T) {
	s := kdstest.NewSource()
	b := newTestBatches(s, nil)
	s.Err = kdstest.ErrTest
	if _, _, err := b.next(context.Background(), wanted{from: federation.Revision{}, head: kdstest.Revision(1, 1), room: roomResuming, whole: false}); err != kdstest.ErrTest {
		t.Fatalf("got %v", err)
	}
	s.Err = nil
	if _, release, err := b.next(context.Background(), wanted{from: federation.Revision{}, head: kdstest.Revision(1, 1), room: roomResuming, whole: false}); err != nil {
		t.Error(err)
	} else {
		release()
	}
}

// TestPinnedDeltasAreBounded: whoever resumes from many revisions and does not
// read is not encoded a delta for each; those that go on with the rest are.
func TestPinnedDeltasAreBounded(t *testing.T) {
	s := kdstest.NewSource()
	var revs []federation.Revision
	for i := range 200 {
		revs = append(revs, s.Add(fmt.Sprint("id-", i)))
	}
	_, head := s.Head()
	b := newTestBatches(s, func(l *kds.Limits) { l.CacheBytes = 16 << 10 })
	var releases []func()
	deltas, full := 0, map[*wire.Batch]bool{}
	for _, from := range revs[:199] {
		x, release, err := b.next(context.Background(), wanted{from: from, head: head, room: roomResuming, whole: false})
		if err != nil {
			t.Fatal(err)
		}
		releases = append(releases, release)
		if x.Full {
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
		largest = max(largest, e.batch.Size)
	}
	if limit := 16<<10 + largest; b.pinned > limit {
		t.Errorf("%d bytes of deltas are pinned, want at most %d", b.pinned, limit)
	}
	from, next := head, s.Add("one more")
	x, release, err := b.next(context.Background(), wanted{from: from, head: next, room: roomGoingOn, whole: false})
	if err != nil || x.Full {
		t.Errorf("a stream that goes on got %+v, %v, want the delta", x, err)
	}
	release()
	for _, release := range releases {
		release()
	}
	if b.pinned != 0 {
		t.Errorf("%d bytes stay pinned", b.pinned)
	}
	x, release, err = b.next(context.Background(), wanted{from: revs[0], head: next, room: roomResuming, whole: false})
	if err != nil || x.Full {
		t.Errorf("with room again: %+v, %v, want a delta", x, err)
	}
	release()
}

// TestCrowdedMakersHinderNobody: streams with room do not take over the refusal
// of one that had none.
func TestCrowdedMakersHinderNobody(t *testing.T) {
	s := kdstest.NewSource()
	first := s.Add("a")
	second := s.Add("b")
	b := newTestBatches(s, func(l *kds.Limits) { l.CacheBytes = 1 })
	_, hold, err := b.next(context.Background(), wanted{from: first, head: second, room: roomResuming, whole: false})
	if err != nil {
		t.Fatal(err)
	}
	defer hold()
	third := s.Add("c")
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			room := roomResuming
			if i%2 == 0 {
				room = 1 << 20
			}
			x, release, err := b.next(context.Background(), wanted{from: second, head: third, room: room, whole: false})
			if err != nil || x.Full && room != roomResuming {
				t.Errorf("room %d: %+v %v", room, x, err)
				return
			}
			release()
		})
	}
	all.Wait()
}
