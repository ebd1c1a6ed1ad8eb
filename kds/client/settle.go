package client

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/clock"
)

// unwrittenAfter is how long a set may wait for the zone's disk before the member is
// told that it does, so that it goes on sending: what narrows must not wait behind it.
const unwrittenAfter = 250 * time.Millisecond

// errSendAgain ends a link whose zone can write again: what it could not write in
// between has to be sent once more.
var errSendAgain = errors.New("the zone can write again, and has what it missed sent once more")

// flight is a set that was taken and is not acknowledged.
type flight struct {
	nonce string
	set   uint64 // cptoken.Persistence.Taken after it
	taken time.Time
	at    time.Time // the same by the zone's clock
	told  bool      // the member knows that it is not durable
}

// settler knows the sets of a stream that are not acknowledged.
type settler struct {
	added chan struct{} // there is one more; has room for one word
	lost  uint64        // how often the Sink had given up sets before this stream

	mu      sync.Mutex
	flights []flight
}

func (s *settler) add(f flight) {
	s.mu.Lock()
	s.flights = append(s.flights, f)
	s.mu.Unlock()
	select {
	case s.added <- struct{}{}:
	default:
	}
}

// empty reports whether every set is acknowledged.
func (s *settler) empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.flights) == 0
}

// durable takes out the sets up to this one and returns the last.
func (s *settler) durable(set uint64) (last flight, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.flights) > 0 && s.flights[0].set <= set {
		last, ok = s.flights[0], true
		s.flights = s.flights[1:]
	}
	return last, ok
}

// overdue returns the nonce of the last set of which the member is to be told that it is
// not durable, or else how long until one is.
func (s *settler) overdue(now bool) (nonce string, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait = time.Hour
	for i := range s.flights {
		f := &s.flights[i]
		if f.told {
			continue
		}
		if left := unwrittenAfter - clock.Since(f.taken); left > 0 && !now {
			return nonce, min(wait, left)
		}
		f.told, nonce = true, f.nonce
	}
	return nonce, wait
}

// settle acknowledges what is durable, and tells the member of what is not.
func (l *link) settle(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for first := true; ; {
		persisted, changed := l.client.cfg.Sink.Persisted()
		if persisted.Lost != l.settler.lost {
			l.cancel(errSendAgain) // and acknowledge nothing: what was given up never becomes durable
			return
		}
		if set, ok := l.settler.durable(persisted.Durable); ok {
			if l.acks.add(set.nonce, first) != nil {
				return // the stream is over, and says why to who receives
			}
			first = false
			l.client.current()
			l.begun.Store(true)
			l.client.applied(l, set.at)
		}
		nonce, wait := l.settler.overdue(persisted.Err != nil)
		if nonce != "" && l.acks.unwritten(nonce, whyUnwritten(persisted)) != nil {
			return
		}
		timer.Reset(wait)
		select {
		case <-changed:
		case <-l.settler.added:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

func whyUnwritten(p cptoken.Persistence) string {
	if p.Err == nil {
		return "it is being written"
	}
	return p.Err.Error()
}

// notHeld names what the zone does not understand of what it took.
func (c *Client) notHeld() []string {
	_, names := c.cfg.Sink.Skipped()
	return names
}
