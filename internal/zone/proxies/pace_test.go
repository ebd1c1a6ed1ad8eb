package proxies

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiankds/meridian/federation"
)

// TestALoopIsSlowed to one stream a second, and nobody else is.
func TestALoopIsSlowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pacer
		id, begun := paced{ID: ID{"dataplane", "default", "a"}}, time.Now()
		for i := range paceBurst {
			if err := p.wait(t.Context(), id); err != nil || time.Since(begun) != 0 {
				t.Fatalf("stream %d: %v after %s", i, err, time.Since(begun))
			}
		}
		for range 10 {
			if err := p.wait(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begun); took != 10*paceEvery {
			t.Errorf("ten more took %s", took)
		}
		before := time.Now()
		if err := p.wait(t.Context(), paced{id.ID, "another token"}); err != nil || time.Since(before) != 0 {
			t.Errorf("another proxy: %v after %s", err, time.Since(before))
		}
		refused := make(chan error, 100)
		for range 100 {
			go func() { refused <- p.wait(t.Context(), id) }()
		}
		held := 0
		for range 100 {
			if e := federation.AsError(<-refused); e != nil && e.Reason == "too_fast" {
				held++
			}
		}
		if held < 90 || time.Since(before) > paceLongest {
			t.Errorf("%d of 100 at once were refused, after %s", held, time.Since(before))
		}
		for i := range 2 * maxPaced {
			_ = p.wait(t.Context(), paced{ID: ID{"dataplane", "default", time.Duration(i).String()}})
			time.Sleep(2 * time.Second) // on the clock of the bubble
		}
		if len(p.turns) > maxPaced {
			t.Errorf("%d proxies are remembered", len(p.turns))
		}
	})
}
