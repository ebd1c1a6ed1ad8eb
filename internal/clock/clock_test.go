package clock

import (
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"
)

// An age is never too small: a clock that was set back, or a machine that slept, makes one
// of the two clocks fall short, and the other one counts.
func TestAgesAreNeverTooSmall(t *testing.T) {
	for _, tt := range []struct {
		elapsed, wall time.Duration
		read          bool
		age           time.Duration
		ok            bool
	}{
		{time.Minute, time.Minute, false, time.Minute, true},
		{time.Minute, -time.Hour, false, time.Minute, true},        // set back
		{time.Minute, 25 * time.Hour, false, 25 * time.Hour, true}, // slept, or set forward
		{time.Hour, time.Hour, true, time.Hour, true},
		{-time.Hour, -time.Hour, true, 0, false}, // the record lies ahead
		{0, 0, true, 0, true},
	} {
		if age, ok := largerAge(tt.elapsed, tt.wall, tt.read); age != tt.age || ok != tt.ok {
			t.Errorf("%+v: %s, %v", tt, age, ok)
		}
	}
	if _, ok := Age(time.Time{}, time.Now()); ok {
		t.Error("what was never recorded has an age")
	}
	now := time.Now()
	if _, ok := Age(now.Round(0).Add(time.Hour), now); ok {
		t.Error("a record that lies ahead has an age")
	}
	if age, ok := Age(now.Round(0).Add(-time.Hour), now); !ok || age != time.Hour {
		t.Errorf("a record of an hour ago: %s, %v", age, ok)
	}
}

// TestAnAgeCountsBothClocks: between two readings the wall clock may be set back, or the
// monotonic clock stand still.
func TestAnAgeCountsBothClocks(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct{ elapsed, wall time.Duration }{{time.Hour, time.Minute}, {time.Minute, time.Hour}, {time.Hour, -time.Hour}} {
		recorded := now.Add(-tt.wall)
		// The second word of a reading is the monotonic clock's.
		*(*int64)(unsafe.Add(unsafe.Pointer(&recorded), 8)) += int64(tt.wall - tt.elapsed)
		if now.Sub(recorded) != tt.elapsed || now.Round(0).Sub(recorded.Round(0)) != tt.wall {
			t.Skipf("skipped: this Go lays out its readings in another way: %s, %s", now.Sub(recorded), now.Round(0).Sub(recorded.Round(0)))
		}
		if age, ok := Age(recorded, now); !ok || age != max(tt.elapsed, tt.wall) {
			t.Errorf("%+v: an age of %s, %t", tt, age, ok)
		}
	}
}

// Where two functions ask about one moment, none of them leaves it to nobody; and the zero
// time is on the safe side of each.
func TestEachQuestionHasASafeSide(t *testing.T) {
	at := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
	random := rand.New(rand.NewPCG(3, 5))
	for range 1000 {
		now := at.Add(time.Duration(random.IntN(7) - 3))
		if Ended(at, now) == Running(at, now) {
			t.Errorf("at %s something both runs and has ended", now)
		}
		if Begun(at, now, 0) != Ended(at, now) {
			t.Errorf("at %s what ends and what begins then overlap", now)
		}
		if First(at, now).After(Last(at, now)) || Earlier(at, now) != (Order(at, now) < 0) || Span(at, now) != Left(now, at) {
			t.Errorf("%s", now)
		}
	}
	if Ended(time.Time{}, at) || Running(time.Time{}, at) || !Begun(time.Time{}, at, 0) {
		t.Error("the zero time ends, or runs, or does not begin")
	}
	if !First(time.Time{}, at).Equal(at) || Elapsed(at, at.Add(-time.Hour)) != 0 || !Begun(at, at.Add(-time.Minute), time.Minute) {
		t.Error("a bound is wrong")
	}
	if s := WholeSeconds(at, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)); s < 251e9 {
		t.Errorf("%d seconds to the year 9999", s)
	}
}
