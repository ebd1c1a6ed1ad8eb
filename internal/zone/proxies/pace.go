package proxies

import (
	"context"
	"sync"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
)

// The pace at which one proxy may open streams. A client that opens a stream again as
// soon as one ends, as grpc-go does, is slowed to one in every, each waiting for longest
// at most; its log lines are slowed with it.
const (
	paceBurst   = 2 * MaxPerName
	paceEvery   = time.Second
	paceLongest = 5 * time.Second
	// maxPaced bounds the proxies that are remembered, maxHeldUp the streams of one that
	// wait.
	maxPaced  = 4096
	maxHeldUp = MaxPerName
)

// paced is who is slowed: a proxy, and the token of which it is one of many proxies. One
// that says another one's name does not slow it.
type paced struct {
	ID
	by string
}

// pacer slows who opens streams in a loop. It is safe for concurrent use.
type pacer struct {
	mu    sync.Mutex
	turns map[paced]*turn
}

// turn is when a proxy has paid off what it opened, and how many of it wait.
type turn struct {
	free   time.Time
	heldUp int
}

// wait returns when the proxy may open one more stream. The error refuses it, after the
// same wait: a refusal at once would only be a faster loop.
func (p *pacer) wait(ctx context.Context, id paced) error {
	delay, late, ok := p.reserve(id, time.Now())
	if !ok {
		return tooFast(id)
	}
	if delay <= 0 {
		return nil
	}
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.turns[id].heldUp--
	}()
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if late {
		return tooFast(id)
	}
	return nil
}

func tooFast(id paced) error {
	e := federation.Errorf(federation.Unavailable, "%s %.80q opens streams faster than one a second", id.Type, id.NodeID()).WithReason("too_fast")
	e.RetryAfter = paceLongest
	return e.WithHint("look at why its streams end; a client should wait before it connects again")
}

func (p *pacer) reserve(id paced, now time.Time) (delay time.Duration, late, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.turns[id]
	if t == nil {
		p.prune(now)
		t = &turn{}
		if p.turns == nil {
			p.turns = map[paced]*turn{}
		}
		p.turns[id] = t
	}
	t.free = clock.Last(t.free, now)
	delay = clock.Left(t.free.Add(paceEvery), now) - paceBurst*paceEvery
	if delay > 0 && t.heldUp >= maxHeldUp {
		return 0, true, false
	}
	if late = delay > paceLongest; late {
		delay = paceLongest // its turn is not taken
	} else {
		t.free = t.free.Add(paceEvery)
	}
	if delay > 0 {
		t.heldUp++
	}
	return delay, late, true
}

// prune forgets who has paid off everything, where too many are remembered. The lock is
// held.
func (p *pacer) prune(now time.Time) {
	if len(p.turns) < maxPaced {
		return
	}
	for id, t := range p.turns {
		if t.heldUp == 0 && !clock.Running(t.free, now) {
			delete(p.turns, id)
		}
	}
}
