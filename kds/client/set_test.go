package client

import (
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/test/kdstest"
)

// TestSetReader holds what a zone accepts of a member, part by part.
func TestSetReader(t *testing.T) {
	at := kdstest.Revision(5, 10)
	delta := func(from, to int) cptoken.Part {
		return cptoken.Part{Cluster: kdstest.Cluster, From: kdstest.Revision(5, from), To: kdstest.Revision(5, to), Last: true}
	}
	full := func(h, to int) cptoken.Part {
		return cptoken.Part{Cluster: kdstest.Cluster, To: kdstest.Revision(h, to), Full: true, Last: true}
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
		{"a delta that overlaps", at, []cptoken.Part{delta(9, 12)}, true},
		{"a delta for who knows nothing", federation.Revision{}, []cptoken.Part{delta(10, 12)}, false},
		{"a delta of a newer history", at, []cptoken.Part{{Cluster: kdstest.Cluster, From: kdstest.Revision(6, 1), To: kdstest.Revision(6, 2), Last: true}}, false},
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
				if err = s.next(p, kdstest.Cluster, c.rev); err != nil {
					break
				}
			}
			if (err == nil) != c.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestAConnectionMakesUpForFailures: as much as it lasted, and one that was lost at once for none.
func TestAConnectionMakesUpForFailures(t *testing.T) {
	for lasted, want := range map[time.Duration]int{0: 12, time.Millisecond: 12, 5 * time.Second: 10, stableAfter / 2: 6, stableAfter - time.Second: 1, stableAfter: 0, time.Hour: 0} {
		if got := remembered(12, lasted); got != want {
			t.Errorf("after %v: %d, want %d", lasted, got, want)
		}
	}
	if got := remembered(1, time.Millisecond); got != 1 {
		t.Errorf("one failure before a connection of a moment counts as %d", got)
	}
}

func TestBackoff(t *testing.T) {
	c := New(Config{Addresses: []string{"a", "b"}, BackoffMin: 100 * time.Millisecond, BackoffMax: time.Second})
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
