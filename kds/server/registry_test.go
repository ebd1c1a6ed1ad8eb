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
