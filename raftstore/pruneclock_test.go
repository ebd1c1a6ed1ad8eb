package raftstore

import (
	"context"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
)

// running is a process with a clock of its own that prunes.
type running struct {
	clock  *pruneClock
	uptime time.Duration
}

func newRunning() *running {
	r := &running{}
	r.clock = &pruneClock{uptime: func() time.Duration { return r.uptime }}
	return r
}

func ms(d time.Duration) int64 { return d.Milliseconds() }

func TestWatermarkFollowsTimeThatPassed(t *testing.T) {
	const year = 365 * 24 * time.Hour
	start := ms(50 * year)
	for _, tc := range []struct {
		name     string
		starts   int
		run      time.Duration // of each start
		stopped  time.Duration // before each start
		ahead    time.Duration // how wrong the clock is
		min, max time.Duration // of the watermark, from the beginning
	}{
		{"a clock that is right", 1, 1000 * time.Hour, 0, 0, 1000 * time.Hour, 1000 * time.Hour},
		{"a clock ten years ahead", 1, 1000 * time.Hour, 0, 10 * year, 1002 * time.Hour, 1002 * time.Hour},
		{"the same, at once", 1, 0, 0, 10 * year, 0, 0},
		{"the same, restarted every minute for a day", 24 * 60, time.Minute, 0, 10 * year, 24 * time.Hour, 48 * time.Hour},
		{"a clock behind", 1, 100 * time.Hour, 0, -year, 0, 0},
		{"stopped for two hours", 1, 3 * time.Hour, 2 * time.Hour, 0, 5 * time.Hour, 5 * time.Hour},
		{"stopped for months", 1, 100 * time.Hour, 90 * 24 * time.Hour, 0, 102 * time.Hour, 102 * time.Hour},
	} {
		t.Run(tc.name, func(t *testing.T) {
			watermark, now := start, start
			for range tc.starts {
				now += ms(tc.stopped)
				began := now
				r := newRunning()
				for ; r.uptime <= tc.run; r.uptime += time.Minute {
					now = began + ms(r.uptime)
					w, _ := r.clock.limit(watermark, now+ms(tc.ahead))
					watermark = max(watermark, w)
				}
			}
			if got := watermark - start; got < ms(tc.min) || got > ms(tc.max) {
				t.Errorf("the watermark moved by %s, want %s to %s", time.Duration(got)*time.Millisecond, tc.min, tc.max)
			}
		})
	}
}

func TestHeldPruningIsToldOnce(t *testing.T) {
	r, told := newRunning(), 0
	look := func(ahead time.Duration) {
		if _, held := r.clock.limit(ms(time.Hour), ms(time.Hour+r.uptime+ahead)); held > 0 {
			told++
		}
		r.uptime += time.Hour
	}
	for range 50 {
		look(time.Minute) // no more than the slack
	}
	if told != 0 {
		t.Fatalf("told %d times of nothing", told)
	}
	for range 50 {
		look(100 * time.Hour)
	}
	if told != 1 {
		t.Fatalf("told %d times of one jump", told)
	}
	look(1000 * time.Hour)
	look(1000 * time.Hour)
	look(1 << 62)
	look(1 << 62)
	if told != 3 {
		t.Fatalf("told %d times of three jumps", told)
	}
}

// TestWrongClockForgetsNothing: a leader whose clock is years ahead, again at each
// start, keeps the revocations of tokens that are valid.
func TestWrongClockForgetsNothing(t *testing.T) {
	dir, seal := t.TempDir(), testSeal(t)
	ctx, o := context.Background(), Origin{By: "ann"}
	m := start(t, alone(t, dir, seal)).awaitReady()
	ids := []cptoken.RevokedID{{ID: randomUUID(), Expires: time.Now().Add(48 * time.Hour).Unix()}}
	if _, err := m.Revoke(ctx, o, cptoken.Zone, "", ids, ""); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		m.stop()
		cfg := alone(t, dir, seal)
		cfg.Now = func() time.Time { return time.Now().AddDate(5, 0, 0) }
		m = start(t, cfg).awaitReady()
		if _, err := m.Prune(ctx, o, cfg.Now()); err != nil {
			t.Fatal(err)
		}
		if !m.View().Revoked(cptoken.Zone, "", ids[0].ID) {
			t.Fatal("a revocation of a valid token is forgotten")
		}
		if w := m.fsm.current().Watermark().UnixMilli(); w > time.Now().UnixMilli() {
			t.Fatalf("the watermark is at %v", time.UnixMilli(w).UTC())
		}
		if at := m.View().Pruned(); at.IsZero() || !at.Equal(m.fsm.current().Watermark()) {
			t.Fatalf("verifiers see that it was pruned at %s", at)
		}
	}
}
