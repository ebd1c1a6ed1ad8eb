package preauth

import (
	"net/netip"
	"time"

	"github.com/meridiankds/meridian/internal/clock"
)

// stage is how far an unauthenticated caller has come.
type stage uint8

const (
	stageAccepted  stage = iota // nothing that the server had to work on
	stageHandshake              // the server has answered the handshake
	stageRequest                // a request has begun
	stageBody                   // its body is arriving
)

// recently is how long a caller that has just advanced is spared, if another of its
// source has not.
const recently = time.Second

// patiently is the same for a handshake that the server has answered, where a newcomer of the
// same network wants the place. Thousands that come at once, from machines or behind a balancer
// that have as much to do as the server, would else cut each other after the work was done.
// It is half of the deadline by default: who says nothing more on purpose holds a place for as
// long.
const patiently = DefaultDeadline / 2

// provedFor is how long an address counts as one that has lately proved itself.
const provedFor = 10 * time.Minute

// maxProved bounds the addresses that are remembered as proved, twice.
const maxProved = 8192

// entry is one connection, or one request on a connection, that has proved nothing.
type entry struct {
	unit   *unit
	parent *entry // the connection of a request; nil for connections
	open   int    // requests on the connection
	bytes  int64
	raw    int64 // of a connection: what came over the network since it was settled
	beside int64 // of a connection: what is charged for streams that no handler has
	stage  stage
	begun  time.Time // of a request; when a connection came, or was settled
	moved  time.Time // when it last advanced
	// queued: it waits for a place of the server's, no processor time was spent on it.
	// working: the server works on it. Neither can be hurried by its caller.
	queued, working bool
	gone            bool
	evict           func()
	request         *Request // whose entry it is; nil for connections
	port            *port    // for the figures
}

// unit is one IPv4 address or IPv6 /64 and what it holds.
type unit struct {
	source  Source
	wide    *wide
	bytes   int64
	conns   int
	entries map[*entry]struct{}
}

// wide is one IPv4 address or IPv6 /48 and what it holds.
type wide struct {
	prefix netip.Prefix
	at     int // in the ledger's list
	bytes  int64
	units  map[netip.Prefix]*unit
}

// ledger decides who may hold what. It is a pure value: time is handed in, nothing is
// closed or started by it, and it takes no lock.
type ledger struct {
	limit int64 // bytes in all
	floor int64 // bytes that each unit may hold while few units do
	base  int64 // bytes of a connection that has said nothing

	bytes  int64
	conns  int
	floors int64 // what units hold up to floor each
	wides  map[netip.Prefix]*wide
	list   []*wide // the same, since going through a map is slow

	// proved holds units that have lately proved themselves. What is not in the younger
	// map may be in the older one, and is forgotten after that.
	proved, provedBefore map[netip.Prefix]time.Time
}

func newLedger(limit, floor, base int64) *ledger {
	return &ledger{limit: limit, floor: floor, base: base, wides: map[netip.Prefix]*wide{}, proved: map[netip.Prefix]time.Time{}}
}

// verdict is what becomes of a newcomer.
type verdict int

const (
	admitted verdict = iota
	wait             // nobody can make room: the newcomer stays in the accept queue
	refused          // its source holds much, and keeps others waiting
)

// enter admits a connection that came at a time, having evicted whoever has to give it room.
func (l *ledger) enter(s Source, p *port, came, now time.Time, evict func()) (e *entry, evicted []*entry, v verdict) {
	for l.bytes+l.base > l.limit {
		victim := l.victim(s, l.base, nil, now)
		if victim == nil {
			if l.hogs(s, now) {
				return nil, evicted, refused
			}
			return nil, evicted, wait
		}
		evicted = append(evicted, l.leave(victim)...)
	}
	u := l.unitOf(s)
	e = &entry{unit: u, begun: came, moved: now, evict: evict, port: p}
	u.entries[e] = struct{}{}
	u.conns++
	l.conns++
	l.charge(e, l.base)
	return e, evicted, admitted
}

// read charges a connection n bytes that came over the network. Until a request begins
// they may be headers, and before that a hello of TLS: both occupy more than they are long.
func (l *ledger) read(e *entry, n int64, hello bool, now time.Time) (evicted []*entry) {
	e.raw += n
	switch {
	case e.open > 0:
		n *= bodyFactor
	case hello:
		n += max(min(e.raw-helloRoom, n), 0) * (helloFactor - 1)
	default:
		n *= headerFactor
	}
	return l.grow(e, n, now)
}

// request adds a request on a connection, whose headers are complete by now. Its cost is
// charged by grow.
func (l *ledger) request(conn *entry, now time.Time, evict func()) *entry {
	if conn.open == 0 && !conn.gone {
		l.charge(conn, l.base+conn.raw+conn.beside-conn.bytes)
	}
	e := &entry{unit: conn.unit, parent: conn, stage: stageRequest, begun: now, moved: now, evict: evict, port: conn.port}
	conn.open++
	l.advance(conn, stageRequest, now)
	e.unit.entries[e] = struct{}{}
	return e
}

// grow charges n more bytes to e. Whoever holds most gives up the room, if need be e
// itself: what has been read cannot wait.
func (l *ledger) grow(e *entry, n int64, now time.Time) (evicted []*entry) {
	if e.gone {
		return nil
	}
	l.charge(e, n)
	for l.bytes > l.limit {
		victim := l.victim(e.unit.source, 0, e, now)
		if victim == nil {
			victim = e
		}
		evicted = append(evicted, l.leave(victim)...)
	}
	return evicted
}

// occupy charges a connection n more bytes for its streams; less than none gives back.
func (l *ledger) occupy(e *entry, n int64, now time.Time) (evicted []*entry) {
	if e.gone {
		return nil
	}
	if e.beside += n; n > 0 {
		return l.grow(e, n, now)
	}
	l.charge(e, n)
	return nil
}

// shift moves up to n bytes from a connection to one of its requests: they were charged
// when they came over the network, and now the request has them.
func (l *ledger) shift(e *entry, n int64) {
	if e.gone || e.parent == nil {
		return
	}
	n = max(min(n*bodyFactor, e.parent.bytes-l.base-e.parent.beside), 0)
	e.parent.bytes -= n
	e.bytes += n
}

// settle takes back what a connection was charged beyond its base. It is called when
// no request of it is open.
func (l *ledger) settle(e *entry, now time.Time) {
	if least := l.base + e.beside; !e.gone && e.bytes > least {
		l.charge(e, least-e.bytes)
	}
	e.raw = 0
	e.begun, e.moved = now, now
}

// advance notes that e has come further.
func (l *ledger) advance(e *entry, to stage, now time.Time) {
	if to > e.stage {
		e.stage = to
	}
	e.moved = now
}

// leave takes e out, and with a connection its requests.
func (l *ledger) leave(e *entry) (left []*entry) {
	if e.gone {
		return nil
	}
	if e.parent == nil && e.open > 0 {
		for child := range e.unit.entries {
			if child.parent == e {
				l.remove(child)
				left = append(left, child)
			}
		}
	}
	l.remove(e)
	return append(left, e)
}

func (l *ledger) remove(e *entry) {
	u := e.unit
	l.charge(e, -e.bytes)
	e.gone = true
	delete(u.entries, e)
	if e.parent != nil {
		e.parent.open--
	} else {
		u.conns--
		l.conns--
	}
	if len(u.entries) == 0 {
		l.forget(u)
	}
}

// forget drops a unit that holds nothing.
func (l *ledger) forget(u *unit) {
	w := u.wide
	delete(w.units, u.source.Unit)
	if len(w.units) > 0 {
		return
	}
	delete(l.wides, w.prefix)
	last := len(l.list) - 1
	l.list[w.at] = l.list[last]
	l.list[w.at].at = w.at
	l.list = l.list[:last]
}

// charge changes what e holds, and every sum that contains it.
func (l *ledger) charge(e *entry, n int64) {
	u := e.unit
	before := min(u.bytes, l.floor)
	e.bytes += n
	u.bytes += n
	u.wide.bytes += n
	l.bytes += n
	e.port.bytes += n
	l.floors += min(u.bytes, l.floor) - before
}

// unasked returns the connections of a port on which no request has begun.
func (l *ledger) unasked(p *port) (found []*entry) {
	for _, w := range l.list {
		for _, u := range w.units {
			for e := range u.entries {
				if e.parent == nil && e.stage < stageRequest && e.port == p {
					found = append(found, e)
				}
			}
		}
	}
	return found
}

func (l *ledger) unitOf(s Source) *unit {
	w := l.wides[s.Wide]
	if w == nil {
		w = &wide{prefix: s.Wide, at: len(l.list), units: map[netip.Prefix]*unit{}}
		l.wides[s.Wide], l.list = w, append(l.list, w)
	}
	u := w.units[s.Unit]
	if u == nil {
		u = &unit{source: s, wide: w, entries: map[*entry]struct{}{}}
		w.units[s.Unit] = u
	}
	return u
}

// move charges a connection to another source: that of the caller behind a balancer.
func (l *ledger) move(e *entry, s Source) {
	if e.gone || e.unit.source == s {
		return
	}
	bytes, old := e.bytes, e.unit
	l.charge(e, -bytes)
	delete(old.entries, e)
	old.conns--
	if len(old.entries) == 0 {
		l.forget(old)
	}
	e.unit = l.unitOf(s)
	e.unit.entries[e] = struct{}{}
	e.unit.conns++
	l.charge(e, bytes)
}

// prove remembers that somebody at the source has proved who they are.
func (l *ledger) prove(s Source, now time.Time) {
	if _, known := l.proved[s.Unit]; !known && len(l.proved) >= maxProved {
		l.provedBefore, l.proved = l.proved, map[netip.Prefix]time.Time{}
	}
	l.proved[s.Unit] = now.Add(provedFor)
}

func (l *ledger) lately(u netip.Prefix, now time.Time) bool {
	until, known := l.proved[u]
	if !known {
		until = l.provedBefore[u]
	}
	return clock.Running(until, now)
}
