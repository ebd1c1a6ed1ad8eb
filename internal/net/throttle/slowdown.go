// Package throttle makes who fails to prove who they are wait: many failures from one
// address slow that address's failures. It is asked only after a credential was found
// bad, so a good one passes unhindered, also from an address that others share.
package throttle

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/meridiankds/meridian/federation"
)

// The bounds. An address may fail Burst times at once; after that its failures are
// answered at one in Every, each waiting its turn for Longest at most.
const (
	Burst   = 20
	Every   = 500 * time.Millisecond
	Longest = 5 * time.Second
	// maxWaiting bounds the failures of all addresses that wait at a time.
	maxWaiting = 1024
	// maxAddresses bounds the addresses that are remembered, twice.
	maxAddresses = 8192
)

// Limiter remembers failures by address. Its methods are safe for concurrent use.
type Limiter struct {
	now func() time.Time

	mu      sync.Mutex
	waiting int
	slowed  uint64
	// What is not in the younger map may be in the older one, and is forgotten after
	// that.
	younger, older map[netip.Prefix]*rate.Limiter
}

// New returns a limiter. now is the clock; nil is time.Now.
func New(now func() time.Time) *Limiter {
	if now == nil {
		now = time.Now
	}
	return &Limiter{now: now, younger: map[netip.Prefix]*rate.Limiter{}}
}

// Failed notes a failure from an address, as net/http writes it, and returns when it
// may be answered. It returns false, at once, where too many wait already: the caller
// is then to be told to come back later. Addresses that are none, as those of Unix
// sockets, are never slowed.
func (l *Limiter) Failed(ctx context.Context, remote string) bool {
	from, ok := source(remote)
	if !ok {
		return true
	}
	delay, ok := l.reserve(from)
	if !ok || delay <= 0 {
		return ok
	}
	defer func() {
		l.mu.Lock()
		l.waiting--
		l.mu.Unlock()
	}()
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return true
}

// Answer is Failed for whoever answers with err: it returns err, or what is to be
// answered in its place, which tells nothing about the credential. Errors that are not
// of the code Unauthenticated are returned at once.
func (l *Limiter) Answer(ctx context.Context, remote string, err error) error {
	if federation.CodeOf(err) != federation.Unauthenticated || l.Failed(ctx, remote) {
		return err
	}
	e := federation.Errorf(federation.Unavailable, "too many requests from this address failed to prove who they are").WithReason("too_many_failures")
	e.RetryAfter = Longest
	return e.WithHint("a request with a good credential is answered at once, from this address too")
}

// Slowed is how many failures had to wait or were turned away.
func (l *Limiter) Slowed() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.slowed
}

// reserve takes the next turn of an address and returns how far off it is.
func (l *Limiter) reserve(from netip.Prefix) (delay time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	turns, known := l.younger[from]
	if !known {
		if turns = l.older[from]; turns == nil {
			turns = rate.NewLimiter(rate.Every(Every), Burst)
		}
		if len(l.younger) >= maxAddresses {
			l.older, l.younger = l.younger, map[netip.Prefix]*rate.Limiter{}
		}
		l.younger[from] = turns
	}
	turn := turns.ReserveN(now, 1)
	delay = turn.DelayFrom(now)
	if delay > 0 {
		l.slowed++
	}
	if delay > Longest || delay > 0 && l.waiting >= maxWaiting {
		turn.CancelAt(now)
		return 0, false
	}
	if delay > 0 {
		l.waiting++
	}
	return delay, true
}

// source is whom failures are counted against: an IPv4 address, or the network of
// an IPv6 one, since whoever has one address there has all.
func source(remote string) (netip.Prefix, bool) {
	addr, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}, false
	}
	ip, bits := addr.Addr().Unmap().WithZone(""), 32
	if ip.Is6() {
		bits = 64
	}
	from, err := ip.Prefix(bits)
	return from, err == nil
}
