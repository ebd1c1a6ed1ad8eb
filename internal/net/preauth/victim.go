package preauth

import (
	"net/netip"
	"time"

	"github.com/meridiankds/meridian/internal/clock"
)

// victim picks who gives room to a caller of source s: of the address, /64 and /48 that
// hold most, the least advanced. Addresses that have lately proved themselves come
// last, and nobody gives way to a source that holds more than itself. growing is the
// entry that needs the room, nil for a newcomer, which needs so many bytes. nil: nobody
// can be evicted.
//
// Evicted is first who is waited for: its caller stalls. Only then, and only for a
// source that holds less, who waits for a place of the server's: no processor time was
// spent on it. What the server is working on is never evicted for others.
func (l *ledger) victim(s Source, need int64, growing *entry, now time.Time) *entry {
	mine, trusted := l.heldBy(s)+need, l.lately(s.Unit, now)
	stalls := func(e, growing *entry) bool {
		// A newcomer waits rather than that a handshake is cut whose processor time was
		// just spent: thousands that come at once would else cut each other for ever.
		if growing == nil && e.stage >= stageHandshake && clock.Elapsed(e.moved, now) < spared(e, s, trusted) {
			return false
		}
		return stalls(e, growing)
	}
	for _, proved := range []bool{false, true} {
		first := trusted && !proved // whoever it is, they come before s
		q := query{now: now, proved: proved, shielded: l.floors < l.limit/2, growing: growing}
		if e := l.search(q, func(w *wide, own bool) bool { return own || first || w.bytes >= mine }, s, stalls); e != nil {
			return e
		}
		if e := l.search(q, func(w *wide, own bool) bool { return !own && (first || w.bytes > mine) }, s, waits); e != nil {
			return e
		}
	}
	return nil
}

// spared is for how long after it last advanced a handshake is not cut for a newcomer of s.
func spared(e *entry, s Source, trusted bool) time.Duration {
	switch {
	case e.unit.wide.prefix == s.Wide && e.stage == stageHandshake:
		return patiently
	case trusted:
		return 0
	}
	return recently
}

// query is what a search is about.
type query struct {
	now      time.Time
	proved   bool // looked at are units that have lately proved themselves, else the others
	shielded bool // one connection of each unit is left to it
	growing  *entry
}

// stalls reports whether the server waits for the caller.
func stalls(e, growing *entry) bool { return e == growing || !e.queued && !e.working }

// waits reports whether the caller waits for a place.
func waits(e, _ *entry) bool { return e.queued }

// search finds the least advanced entry that is eligible, of the wide source that holds
// most of those that have one.
func (l *ledger) search(q query, may func(w *wide, own bool) bool, s Source, eligible func(e, growing *entry) bool) (found *entry) {
	var most int64 = -1
	for _, w := range l.list {
		if w.bytes <= most || !may(w, w.prefix == s.Wide) {
			continue
		}
		if e := l.leastIn(w, q, eligible); e != nil {
			found, most = e, w.bytes
		}
	}
	return found
}

// leastIn is the least advanced entry of the unit of w that holds most.
func (l *ledger) leastIn(w *wide, q query, eligible func(e, growing *entry) bool) (found *entry) {
	var most int64 = -1
	for _, u := range w.units {
		if u.bytes <= most || l.lately(u.source.Unit, q.now) != q.proved || q.shielded && u.conns <= 1 && u.bytes <= l.floor {
			continue
		}
		if e := l.least(u, q, eligible); e != nil {
			found, most = e, u.bytes
		}
	}
	return found
}

// least is the least advanced entry of a unit. A connection with open requests is
// judged by these.
func (l *ledger) least(u *unit, q query, eligible func(e, growing *entry) bool) (found *entry) {
	for e := range u.entries {
		if e.open > 0 || !eligible(e, q.growing) {
			continue
		}
		if q.shielded && e.parent == nil && u.conns <= 1 && e.bytes <= l.floor {
			continue // the floor: one connection with its first request
		}
		if found == nil || lessAdvanced(e, found, q.now) {
			found = e
		}
	}
	return found
}

// lessAdvanced orders entries of one unit: who has not advanced lately first, then who
// has come less far, then who has been here longest.
func lessAdvanced(a, b *entry, now time.Time) bool {
	movesA, movesB := clock.Elapsed(a.moved, now) < recently, clock.Elapsed(b.moved, now) < recently
	switch {
	case movesA != movesB:
		return movesB
	case a.stage != b.stage:
		return a.stage < b.stage
	}
	return clock.Earlier(a.begun, b.begun)
}

// heldBy is what the wide source of s holds.
func (l *ledger) heldBy(s Source) int64 {
	if w := l.wides[s.Wide]; w != nil {
		return w.bytes
	}
	return 0
}

// hogs reports whether s holds a quarter of everything while others are here, or have
// lately been: it is refused rather than left in line, where it would hold up who comes
// behind it.
func (l *ledger) hogs(s Source, now time.Time) bool {
	return l.heldBy(s) >= l.limit/4 && !l.alone(s, now)
}

// alone reports whether nobody but s is here, or has lately been.
func (l *ledger) alone(s Source, now time.Time) bool {
	if len(l.wides) > 1 || len(l.wides) == 1 && l.wides[s.Wide] == nil {
		return false
	}
	for _, known := range []map[netip.Prefix]time.Time{l.proved, l.provedBefore} {
		for unit, until := range known {
			if unit != s.Unit && clock.Running(until, now) && !s.Wide.Contains(unit.Addr()) {
				return false
			}
		}
	}
	return true
}
