package preauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiankds/meridian/federation"
)

// TestAQueueIsFair: a thousand who wait under one name, or under a thousand names of
// one network, hold up others for one turn.
func TestAQueueIsFair(t *testing.T) {
	for name, unit := range map[string]func(i int) string{
		"one address": func(int) string { return "bad" },
		"one network": func(i int) string { return fmt.Sprint("bad", i) },
	} {
		synctest.Test(t, func(t *testing.T) {
			q := NewQueue(1, 1000)
			hold, err := q.Enter(t.Context(), Named("first"))
			if err != nil {
				t.Fatal(err)
			}
			var served []string
			wait := func(key Key) {
				go func() {
					leave, err := q.Enter(t.Context(), key)
					if err != nil {
						t.Error(err)
						return
					}
					served = append(served, key.Wide)
					leave()
				}()
				synctest.Wait()
			}
			for i := range 500 {
				wait(Key{"bad", unit(i)})
			}
			wait(Key{"good", "a"})
			wait(Key{"good", "b"})
			hold()
			synctest.Wait()
			if len(served) != 502 || !slices.Equal(served[:5], []string{"bad", "good", "bad", "good", "bad"}) {
				t.Errorf("%s: %d were served, first %v", name, len(served), served[:5])
			}
			if len(q.line.wides) != 0 || q.free != 1 || q.line.waiting != 0 || q.Waits() != 502 {
				t.Errorf("%s: %d wait for %d places, %d waited", name, q.line.waiting, q.free, q.Waits())
			}
		})
	}
}

func TestAQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(1, 3)
		hold, err := q.Enter(t.Context(), Named("first"))
		if err != nil {
			t.Fatal(err)
		}
		results := map[string][]error{}
		enter := func(ctx context.Context, name string) {
			go func() {
				leave, err := q.Enter(ctx, Named(name))
				results[name] = append(results[name], err)
				if err == nil {
					leave()
				}
			}()
			synctest.Wait()
		}
		for range 5 {
			enter(t.Context(), "bad")
		}
		if n := len(results["bad"]); n != 2 || federation.CodeOf(results["bad"][0]) != federation.Unavailable {
			t.Fatalf("%d of the busiest were turned away: %v", n, results["bad"])
		}
		enter(t.Context(), "good") // has the place of one of them
		if len(results["bad"]) != 3 || len(results["good"]) != 0 {
			t.Fatalf("%v", results)
		}
		gone, leave := context.WithCancelCause(t.Context())
		enter(gone, "other")
		cause := errors.New("gone")
		leave(cause)
		synctest.Wait()
		if r := results["other"]; len(r) != 1 || !errors.Is(r[0], cause) {
			t.Errorf("who left got %v", r)
		}
		hold()
		synctest.Wait()
		if r := results["good"]; len(r) != 1 || r[0] != nil {
			t.Errorf("the other one got %v", r)
		}
		time.Sleep(time.Second)
		if q.free != 1 || q.line.waiting != 0 {
			t.Errorf("%d places, %d wait", q.free, q.line.waiting)
		}
	})
}
