// Package clock has every comparison of times that this module makes. Whether a clock
// can be believed, and which mistake is the safe one, is decided here once for each
// kind of question; raftstore/DESIGN.md gives the rule and the reasons, PLACES.md lists
// who asks what, and internal/test/arch fails for a comparison that is not made here or
// not listed there.
//
// Times come in three sorts. A reading is what time.Now returned in this process: it
// has a monotonic part, and a step of the wall clock between two readings changes
// nothing. A wall time is what an operator, a token, a certificate, a file or another
// machine says; compared with a reading it is as right as this machine's clock. A record
// is a wall time that is compared with another record and with no clock at all.
package clock

import "time"

// Ended reports whether an end has been reached. It compares with the wall clock where
// end is a wall time, and is unaffected by steps where end is a reading plus a duration.
// What has no end, the zero time, has not ended. The moment of the end belongs to
// what follows it: a doubt about it refuses.
func Ended(end, now time.Time) bool { return !end.IsZero() && !now.Before(end) }

// Begun reports whether a start has been reached, where the clock of whoever wrote it
// may be ahead of this one by skew.
func Begun(start, now time.Time, skew time.Duration) bool { return !start.After(now.Add(skew)) }

// Left is the time until an end, negative after it. It says how long to wait, or how
// much to grant, and never whether something is over: see [Ended].
func Left(end, now time.Time) time.Duration { return end.Sub(now) }

// Elapsed is the time between two readings of this process. It is never negative, and
// no step of the wall clock changes it.
func Elapsed(since, now time.Time) time.Duration { return max(now.Sub(since), 0) }

// Since is the time since a reading of this process.
func Since(reading time.Time) time.Duration { return Elapsed(reading, time.Now()) }

// Age is how long ago a time was that was recorded here, in this process or by an
// earlier one. It is the larger one of what the wall clock and the monotonic clock say:
// the former may be set back, the latter stands still while a machine is suspended, and
// an age that is too large only refuses. ok is false where it cannot be told: nothing
// was recorded, or by a clock that was ahead, so that the record lies in the future.
func Age(recorded, now time.Time) (age time.Duration, ok bool) {
	if recorded.IsZero() {
		return 0, false
	}
	return largerAge(now.Sub(recorded), now.Round(0).Sub(recorded.Round(0)), recorded == recorded.Round(0))
}

// largerAge is Age by both clocks; a time that was read from a file has no monotonic part.
func largerAge(elapsed, wall time.Duration, read bool) (age time.Duration, ok bool) {
	if read && wall < 0 {
		return 0, false
	}
	return max(elapsed, wall), true
}

// Order compares two records as cmp.Compare does.
func Order(a, b time.Time) int { return a.Compare(b) }

// Earlier reports whether the record a lies before the record b.
func Earlier(a, b time.Time) bool { return a.Before(b) }

// Span is the time from one record to another, negative where to is the earlier one.
func Span(from, to time.Time) time.Duration { return to.Sub(from) }

// First is the earliest of some records, without the zero time where there is another.
func First(records ...time.Time) (first time.Time) {
	for _, t := range records {
		if first.IsZero() || !t.IsZero() && t.Before(first) {
			first = t
		}
	}
	return first
}

// Last is the latest of some records.
func Last(records ...time.Time) (last time.Time) {
	for _, t := range records {
		if t.After(last) {
			last = t
		}
	}
	return last
}

// Running reports whether a lease, a pause or the like still runs. What never began, the
// zero time, does not run: a doubt about it withholds what it would have granted.
func Running(until, now time.Time) bool { return now.Before(until) }

// WholeSeconds is the number of whole seconds between two records, however far they are
// apart: a duration ends at 292 years, and a date may lie in the year 9999.
func WholeSeconds(from, to time.Time) int64 { return to.Unix() - from.Unix() }
