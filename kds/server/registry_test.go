package server

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiankds/meridian/internal/test/kdstest"
	"github.com/meridiankds/meridian/kds"
)

// TestAcknowledgementsAreToldTogether: one is told at once, a thousand in a few
// pieces, and the last is always told.
func TestAcknowledgementsAreToldTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := kds.DefaultLimits()
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

// TestAZoneForgetsItsOwn: a zone with very many control planes, or with much to remember
// of each, has nothing of another zone forgotten.
func TestAZoneForgetsItsOwn(t *testing.T) {
	limits := kds.DefaultLimits()
	for name, tc := range map[string]struct {
		sessions int
		nack     string
	}{
		"many":  {2 * limits.ClosedSessions, ""},
		"large": {limits.ClosedSessions / 2, strings.Repeat("n", limits.ClosedBytes/1000)},
	} {
		r := newRegistry(&limits)
		r.remember(sessionKey{"east", ""}, Session{Zone: "east", Meridian: true})
		for i := range tc.sessions {
			instance := fmt.Sprint(i)
			r.remember(sessionKey{"west", instance}, Session{Zone: "west", Instance: instance, Nack: tc.nack, Meridian: true})
		}
		if _, ok := r.closed[sessionKey{"east", ""}]; !ok {
			t.Errorf("%s: another zone's session was forgotten", name)
		}
		if len(r.closed) != len(r.order) || len(r.order) > limits.ClosedSessions || r.total > limits.ClosedBytes {
			t.Errorf("%s: %d sessions, %d in order, %d bytes", name, len(r.closed), len(r.order), r.total)
		}
		for key := range r.closed {
			r.forget(key)
		}
		if r.total != 0 || len(r.bytes) != 0 {
			t.Errorf("%s: %d bytes are left, of %d zones", name, r.total, len(r.bytes))
		}
	}
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

func BenchmarkRecheck(b *testing.B) {
	auth := &kdstest.JudgingAuth{}
	s := New(Config{Source: kdstest.NewSource(), Authenticator: auth, Logger: (&kdstest.Log{}).Logger(), Member: "m"})
	for i := range 8000 {
		c := &call{conn: &connection{}, kicked: make(chan struct{})}
		c.creds.Zone = "zone-" + strings.Repeat("x", i%40)
		c.admission = kds.Admission{Zone: c.creds.Zone, TokenSerial: uint64(i)}
		if err := s.registry.enter(c); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		s.Recheck(context.Background())
	}
}
