package kds

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// TestSetReader holds what a zone accepts of a member, part by part.
func TestSetReader(t *testing.T) {
	at := revision(5, 10)
	delta := func(from, to int) cptoken.Part {
		return cptoken.Part{Cluster: testCluster, From: revision(5, from), To: revision(5, to), Last: true}
	}
	full := func(h, to int) cptoken.Part {
		return cptoken.Part{Cluster: testCluster, To: revision(h, to), Full: true, Last: true}
	}
	part := func(p cptoken.Part, n uint32, last bool) cptoken.Part {
		p.Number, p.Last = n, last
		return p
	}
	other := full(5, 20)
	other.Cluster = "another"
	for _, c := range []struct {
		name  string
		rev   federation.Revision
		parts []cptoken.Part
		ok    bool
	}{
		{"a delta that leads on", at, []cptoken.Part{delta(10, 11)}, true},
		{"nothing new", at, []cptoken.Part{delta(10, 10)}, true},
		{"full state of this history", at, []cptoken.Part{full(5, 10)}, true},
		{"full state of a newer history", at, []cptoken.Part{full(6, 1)}, true},
		{"full state for who knows nothing", federation.Revision{}, []cptoken.Part{full(1, 1)}, true},
		{"three parts", at, []cptoken.Part{part(delta(10, 12), 0, false), part(delta(10, 12), 1, false), part(delta(10, 12), 2, true)}, true},
		{"another cluster", at, []cptoken.Part{other}, false},
		{"older history", at, []cptoken.Part{full(4, 99)}, false},
		{"back in this history", at, []cptoken.Part{full(5, 9)}, false},
		{"a delta back", at, []cptoken.Part{delta(8, 9)}, false},
		{"a delta with a gap", at, []cptoken.Part{delta(11, 12)}, false},
		{"a delta that overlaps", at, []cptoken.Part{delta(9, 12)}, false},
		{"a delta for who knows nothing", federation.Revision{}, []cptoken.Part{delta(10, 12)}, false},
		{"a delta of a newer history", at, []cptoken.Part{{Cluster: testCluster, From: revision(6, 1), To: revision(6, 2), Last: true}}, false},
		{"begins in the middle", at, []cptoken.Part{part(delta(10, 12), 1, true)}, false},
		{"leaves one out", at, []cptoken.Part{part(delta(10, 12), 0, false), part(delta(10, 12), 2, true)}, false},
		{"repeats one", at, []cptoken.Part{part(delta(10, 12), 0, false), part(delta(10, 12), 0, false)}, false},
		{"mixes two sets", at, []cptoken.Part{part(delta(10, 12), 0, false), part(delta(10, 13), 1, true)}, false},
		{"turns full", at, []cptoken.Part{part(delta(10, 12), 0, false), part(full(5, 12), 1, true)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s setReader
			var err error
			for _, p := range c.parts {
				if err = s.next(p, testCluster, c.rev); err != nil {
					break
				}
			}
			if (err == nil) != c.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestOlderHistoryRefused: a member that offers an older history changes nothing
// at the zone, which says why and goes on trying.
func TestOlderHistoryRefused(t *testing.T) {
	// The zone knows history 5; this member claims 5 when it subscribes, so that
	// it is not found ahead, and then sends 4.
	m := start(t, nil)
	liar := &lyingSource{fakeSource: m.source}
	m.stop()
	m = start(t, func(c *ServerConfig) { c.Source = liar })
	sink := newSink()
	sink.cluster, sink.rev = testCluster, revision(5, 10)
	z := join(t, "west", func(c *ClientConfig) { c.Sink = sink }, m.addr)
	eventually(t, "the refusal", func() bool { return strings.Contains(z.Status().LastError, "older history") })
	eventually(t, "the refusal at the global", func() bool {
		s := m.Sessions()
		return len(s) == 1 && strings.Contains(s[0].Nack, "older history")
	})
	if !sink.holds(revision(5, 10)) || len(sink.applied()) != 0 {
		t.Error("the zone went back")
	}
}

// lyingSource says one head and sends another.
type lyingSource struct{ *fakeSource }

func (s *lyingSource) Head() (string, federation.Revision) { return testCluster, revision(5, 11) }

func (s *lyingSource) Since(federation.Revision) (cptoken.Delta, error) {
	return cptoken.Delta{Cluster: testCluster, From: revision(4, 10), To: revision(4, 11),
		Changes: func(func(cptoken.Change) bool) {}}, nil
}

func newTestBatches(s Source, change func(*Limits)) *batches {
	limits := DefaultLimits()
	if change != nil {
		change(&limits)
	}
	return newBatches(s, &limits, MaxPart, new(counters))
}

func TestBatchesAreShared(t *testing.T) {
	s := newSource()
	b := newTestBatches(s, nil)
	head := s.add("x")
	var wg sync.WaitGroup
	got := make([]*batch, 50)
	for i := range got {
		wg.Go(func() {
			batch, release, err := b.next(context.Background(), federation.Revision{}, head, roomResuming)
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
	if n := s.sinceCalls(); n != 1 {
		t.Errorf("the source was asked %d times", n)
	}
}

// TestFullStateIsUsedAgain: zones that join while changes go on share a full
// state, as long as it is not far behind.
func TestFullStateIsUsedAgain(t *testing.T) {
	s := newSource()
	b := newTestBatches(s, func(l *Limits) { l.FullLag = 2 })
	take := func(from federation.Revision) *batch {
		t.Helper()
		_, head := s.Head()
		x, release, err := b.next(context.Background(), from, head, roomResuming)
		if err != nil {
			t.Fatal(err)
		}
		release()
		return x
	}
	first := take(federation.Revision{})
	s.add("a")
	s.add("b")
	if take(federation.Revision{}) != first {
		t.Error("a full state two changes old was made anew")
	}
	if take(revision(0, 7)) != first {
		t.Error("a zone of an older history got a full state of its own")
	}
	s.add("c")
	if x := take(federation.Revision{}); x == first || x.to != revision(1, 4) {
		t.Error("a full state three changes old was used again")
	}
	// Who was further than the stored one is not sent back.
	s.add("d")
	s.floor = 100
	if x := take(revision(1, 5)); x.to.Index < 5 || !x.full {
		t.Errorf("a zone at 5 is sent the full state at %s", x.to)
	}
}

func TestBatchesAreBounded(t *testing.T) {
	s := newSource()
	b := newTestBatches(s, func(l *Limits) { l.CacheBatches = 4; l.CacheBytes = 1 << 20 })
	held, release, err := b.next(context.Background(), revision(1, 1), revision(1, 1), roomResuming)
	if err != nil {
		t.Fatal(err)
	}
	from := revision(1, 1)
	for i := range 20 {
		head := s.add(fmt.Sprint(i))
		_, done, err := b.next(context.Background(), from, head, roomResuming)
		if err != nil {
			t.Fatal(err)
		}
		done()
		from = head
	}
	if n := len(b.entries); n > 4 {
		t.Errorf("%d batches are kept", n)
	}
	if held.to != revision(1, 1) {
		t.Error("a batch in use changed")
	}
	release()

	b = newTestBatches(s, func(l *Limits) { l.CacheBytes = 1 })
	_, release, err = b.next(context.Background(), from, from, roomResuming)
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
	s := newSource()
	b := newTestBatches(s, nil)
	s.err = errTest
	if _, _, err := b.next(context.Background(), federation.Revision{}, revision(1, 1), roomResuming); err != errTest {
		t.Fatalf("got %v", err)
	}
	s.err = nil
	if _, release, err := b.next(context.Background(), federation.Revision{}, revision(1, 1), roomResuming); err != nil {
		t.Error(err)
	} else {
		release()
	}
}

func TestBackoff(t *testing.T) {
	c := NewClient(ClientConfig{Addresses: []string{"a", "b"}, BackoffMin: 100 * time.Millisecond, BackoffMax: time.Second})
	for _, r := range []float64{0, 0.999999} {
		c.random = func() float64 { return r }
		full := []time.Duration{100, 100, 200, 200, 400, 400, 800, 800, 1000, 1000, 1000}
		for failures, want := range full {
			want *= time.Millisecond
			got := c.backoff(failures)
			if got < want/2 || got > want || (r == 0) != (got == want/2) {
				t.Errorf("after %d failures with %v: %v, want within the upper half of %v", failures, r, got, want)
			}
		}
		if got := c.backoff(1 << 40); got > time.Second {
			t.Errorf("after very many failures: %v", got)
		}
	}
}

func TestPrintable(t *testing.T) {
	if got := printable("a\n\x1b[31mb\u202ec\xff é"); got != "a??[31mb?c? é" {
		t.Errorf("got %q", got)
	}
}

func TestReasonsAreBounded(t *testing.T) {
	var c counters
	for i := range 10 * maxReasons {
		c.refuse(fmt.Sprint("reason-", i))
	}
	if n := len(c.snapshot().Refused); n > maxReasons+1 {
		t.Errorf("%d reasons are counted apart", n)
	}
}

func TestDefaultLimitsFillIn(t *testing.T) {
	got := Limits{Types: 3}.withDefaults()
	want := DefaultLimits()
	want.Types = 3
	if got != want {
		t.Errorf("got %+v", got)
	}
}
