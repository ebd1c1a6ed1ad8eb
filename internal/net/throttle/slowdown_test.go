package throttle

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiankds/meridian/federation"
)

func TestFailuresAreSlowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(nil)
		took := func(remote string) time.Duration {
			t.Helper()
			begun := time.Now()
			if !l.Failed(t.Context(), remote) {
				t.Fatalf("%s is turned away", remote)
			}
			return time.Since(begun)
		}
		for i := range Burst {
			if d := took("192.0.2.1:1000"); d != 0 {
				t.Fatalf("failure %d waited %s", i, d)
			}
		}
		for i := range 10 {
			if d := took(fmt.Sprintf("192.0.2.1:%d", 2000+i)); d != Every {
				t.Fatalf("failure %d waited %s, want %s", i, d, Every)
			}
		}
		if d := took("192.0.2.2:1000"); d != 0 {
			t.Errorf("another address waited %s", d)
		}
		if l.Slowed() != 10 {
			t.Errorf("%d were slowed", l.Slowed())
		}
		// Many at once: the rate stays, and who would wait too long is turned away.
		results := make(chan bool, 100)
		begun := time.Now()
		for range 100 {
			go func() { results <- l.Failed(t.Context(), "192.0.2.1:1") }()
		}
		answered := 0
		for range 100 {
			if <-results {
				answered++
			}
		}
		if want := int(Longest / Every); answered != want || time.Since(begun) != Longest {
			t.Errorf("%d of 100 were answered after %s, want %d after %s", answered, time.Since(begun), want, Longest)
		}
		time.Sleep(Burst*Every + Longest) // on the clock of the bubble: no time passes
		if d := took("192.0.2.1:1000"); d != 0 {
			t.Errorf("after a pause it waited %s", d)
		}
	})
}

func TestAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, refused := New(nil), federation.Errorf(federation.Unauthenticated, "no")
		forbidden := federation.Errorf(federation.Forbidden, "you may not")
		gone, leave := context.WithCancel(t.Context())
		leave()
		for range Burst + int(Longest/Every) {
			if err := l.Answer(gone, "192.0.2.1:1", refused); err != error(refused) {
				t.Fatal(err)
			}
		}
		begun := time.Now()
		e := federation.AsError(l.Answer(t.Context(), "192.0.2.1:1", refused))
		if e.Code != federation.Unavailable || e.Reason != "too_many_failures" || e.RetryAfter != Longest || e.Hint == "" {
			t.Errorf("%+v", e)
		}
		if err := l.Answer(t.Context(), "192.0.2.1:1", forbidden); err != error(forbidden) || time.Since(begun) != 0 {
			t.Errorf("who is known waited %s: %v", time.Since(begun), err)
		}
	})
}

func TestSources(t *testing.T) {
	same := [][2]string{
		{"192.0.2.1:1", "[::ffff:192.0.2.1]:2"}, {"[2001:db8::1]:1", "[2001:db8::ffff:2]:2"}, {"[fe80::1%eth0]:1", "[fe80::1%eth1]:1"},
	}
	for _, pair := range same {
		a, okA := source(pair[0])
		b, okB := source(pair[1])
		if !okA || !okB || a != b {
			t.Errorf("%v: %v %v", pair, a, b)
		}
	}
	a, _ := source("[2001:db8::1]:1")
	b, _ := source("[2001:db8:0:1::1]:1")
	if a == b {
		t.Error("two networks are one")
	}
	l := New(nil)
	for range 3 * Burst {
		if !l.Failed(t.Context(), "admin socket") || !l.Failed(t.Context(), "@") || !l.Failed(t.Context(), "") {
			t.Fatal("a socket is slowed")
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	l := New(nil)
	for i := range 5 * maxAddresses {
		l.Failed(t.Context(), fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255))
	}
	if n := len(l.younger) + len(l.older); n > 2*maxAddresses {
		t.Errorf("%d addresses are remembered", n)
	}
	// A caller who leaves does not wait on.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range Burst + 5 {
		l.Failed(ctx, "192.0.2.9:1")
	}
	if l.waiting != 0 {
		t.Errorf("%d still wait", l.waiting)
	}
}
