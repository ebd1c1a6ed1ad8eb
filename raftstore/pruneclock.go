package raftstore

import (
	"sync"
	"time"

	"github.com/meridiankds/meridian/internal/clock"
)

// pruneSlack is how much further than its own time of running a process may move
// the watermark. It is far below cptoken.PruneAfter, so that one process with a wrong
// clock makes nobody forget a revocation whose token is still valid.
const pruneSlack = 2 * time.Hour

// pruneClock bounds how fast the watermark advances. It never goes back, and zones
// follow it, so that one wrong reading of a clock would delete revocations of tokens
// that are good for years. What a process measures without the wall clock is the time
// that it has been running; beyond that it may catch up by pruneSlack, and by no more
// than it has been running either, so that restarts gain nothing.
type pruneClock struct {
	uptime func() time.Duration // monotonic

	mu     sync.Mutex
	looked bool
	since  time.Duration // uptime at the first look
	base   int64         // watermark at the first look, Unix milliseconds
	warned time.Duration
}

func newPruneClock() *pruneClock {
	began := time.Now()
	return &pruneClock{uptime: func() time.Duration { return clock.Since(began) }}
}

// limit returns the watermark to propose where the state has one and the wall clock
// wants another, both in Unix milliseconds. held is how far the wall clock is ahead
// of it, 0 where that was told before.
func (c *pruneClock) limit(watermark, wanted int64) (limited int64, held time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.uptime()
	if !c.looked {
		c.looked, c.since, c.base = true, now, watermark
	}
	ran := now - c.since
	allowed := c.base + (ran + min(ran, pruneSlack)).Milliseconds()
	if wanted <= allowed {
		return wanted, 0
	}
	held = time.Duration(min(wanted-allowed, int64(maxHeld/time.Millisecond))) * time.Millisecond
	if held < c.warned+pruneSlack && held != maxHeld || c.warned == maxHeld {
		return allowed, 0
	}
	c.warned = held
	return allowed, held
}

// maxHeld keeps a clock that is far off from overflowing a duration.
const maxHeld = 100 * 365 * 24 * time.Hour
