package preauth

import (
	"net"
	"net/netip"
	"slices"
	"time"
)

// arrival is a connection that was taken from the system's queue, and is nothing yet but a
// descriptor: nobody reads from it, and no deadline runs.
type arrival struct {
	raw     net.Conn
	source  Source
	proxied bool
	port    *port
	came    time.Time
	waited  bool // it had to, and is counted
}

// arrivals are those of one port. The system's queue is first come, first served: whoever
// has a thousand connections in it keeps others waiting until the server has dealt with
// all of them. So they are taken from it as fast as they come, and let in in turn. Those of
// addresses that have lately proved themselves have a line of their own.
type arrivals struct {
	known, others line[*arrival]
	knownTurn     bool
}

// lines are both, the one whose turn it is first.
func (a *arrivals) lines() [2]*line[*arrival] {
	if a.knownTurn {
		return [2]*line[*arrival]{&a.known, &a.others}
	}
	return [2]*line[*arrival]{&a.others, &a.known}
}

// next is whose turn it is, of an address the newest: who has waited long has probably
// given up. nil: nobody is there.
func (a *arrivals) next() (*line[*arrival], *waiter[*arrival]) {
	a.knownTurn = !a.knownTurn
	for _, l := range a.lines() {
		if u := l.turn(); u != nil {
			return l, u.newest()
		}
	}
	return nil, nil
}

// gather takes connections from the system's queue until the listener is closed.
func (l *listener) gather() {
	defer close(l.gathered)
	for {
		raw, err := l.Listener.Accept()
		if err == nil {
			l.arrive(raw)
			continue
		}
		select {
		case l.failed <- err:
		case <-l.closed:
			return
		}
	}
}

// arrive puts a connection in line. Where no more may wait, the oldest gives way of the
// network that has most waiting at a port. A network that is alone is left in the system's
// queue: nobody is behind it but itself.
func (l *listener) arrive(raw net.Conn) {
	source, ok := SourceOf(raw.RemoteAddr())
	if !ok { // a listener of IP has no others
		_ = raw.Close()
		return
	}
	b, key := l.budget, KeyOf(source)
	a := &arrival{raw: raw, source: source, port: l.port, came: b.cfg.Now()}
	a.proxied = slices.ContainsFunc(b.cfg.Proxies, func(p netip.Prefix) bool { return containsRemote(p, raw) })
	b.mu.Lock()
	for b.waiting >= b.mostWaiting && b.alone(source, key) {
		l.waits(a)
		changed := b.change()
		b.mu.Unlock()
		select {
		case <-changed:
		case <-l.closed:
			_ = raw.Close()
			return
		}
		b.mu.Lock()
	}
	var out *arrival
	if b.waiting >= b.mostWaiting {
		out = b.overflow()
	}
	into := &l.port.arrivals.others
	if a.proxied || b.ledger.lately(source.Unit, b.cfg.Now()) {
		into = &l.port.arrivals.known
	}
	into.add(key, a)
	b.waiting++
	b.mu.Unlock()
	if out != nil {
		b.refuse(out)
	}
	select {
	case l.arrived <- struct{}{}:
	default: // it is told already
	}
}

// waits counts an arrival that has to wait until somebody leaves. The lock is held.
func (l *listener) waits(a *arrival) {
	if !a.waited {
		a.waited = true
		l.port.Waits++
	}
}

// alone reports whether nobody is here, waits, or has lately been here but one source.
// The lock is held.
func (b *Budget) alone(s Source, key Key) bool {
	for _, p := range b.ports {
		for _, l := range p.arrivals.lines() {
			if l.waiting > l.of(key.Wide) {
				return false
			}
		}
	}
	return b.ledger.alone(s, b.cfg.Now())
}

// overflow takes out the oldest arrival of the network that has most at a port; of those
// that have lately proved themselves only where there are no others. The lock is held.
func (b *Budget) overflow() *arrival {
	for _, lineOf := range []func(*port) *line[*arrival]{
		func(p *port) *line[*arrival] { return &p.arrivals.others },
		func(p *port) *line[*arrival] { return &p.arrivals.known },
	} {
		var from *line[*arrival]
		var most *wideLine[*arrival]
		for _, p := range b.ports {
			l := lineOf(p)
			if w := l.busiest(); w != nil && (most == nil || w.waiting > most.waiting) {
				from, most = l, w
			}
		}
		if most != nil {
			oldest := most.busiest().oldest()
			from.remove(oldest)
			b.waiting--
			oldest.value.port.Refused++
			return oldest.value
		}
	}
	return nil
}

// dropArrivals closes what waits at a port that is closed.
func (b *Budget) dropArrivals(p *port) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		l, t := p.arrivals.next()
		if t == nil {
			return
		}
		l.remove(t)
		b.waiting--
		_ = t.value.raw.Close()
	}
}
