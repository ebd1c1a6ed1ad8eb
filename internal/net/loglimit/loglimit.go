// Package loglimit keeps strangers from filling the log. What a caller who has
// proved nothing can have written is limited to some lines a second of each kind;
// the next line of that kind says how many were left out before it.
package loglimit

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// PerSecond is a limit that an operator can still read along with.
const PerSecond = 20

// Limiter decides which lines are written. Its methods are safe for concurrent
// use.
type Limiter struct {
	most int
	now  func() time.Time

	mu    sync.Mutex
	kinds map[string]*kind
}

// kind is what is known of the lines of one kind.
type kind struct {
	room       *rate.Limiter
	suppressed uint64
}

// New returns a limiter of so many lines a second of each kind, as many at once. now is the clock;
// nil is time.Now.
func New(perSecond int, now func() time.Time) *Limiter {
	if now == nil {
		now = time.Now
	}
	return &Limiter{most: perSecond, now: now, kinds: map[string]*kind{}}
}

// Allow reports whether a line may be written, and how many of its kind were not
// since the last one. Kinds are a program's own words: each is kept for good.
func (l *Limiter) Allow(name string) (suppressed uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.kinds[name]
	if k == nil {
		k = &kind{room: rate.NewLimiter(rate.Limit(l.most), l.most)}
		l.kinds[name] = k
	}
	if !k.room.AllowN(l.now(), 1) {
		k.suppressed++
		return 0, false
	}
	suppressed, k.suppressed = k.suppressed, 0
	return suppressed, true
}

// Log writes a line if its kind, which is its message, has room.
func (l *Limiter) Log(ctx context.Context, log *slog.Logger, level slog.Level, msg string, attrs ...slog.Attr) {
	if !log.Enabled(ctx, level) {
		return
	}
	suppressed, ok := l.Allow(msg)
	if !ok {
		return
	}
	if suppressed > 0 {
		attrs = append(attrs, slog.Uint64("suppressed", suppressed))
	}
	log.LogAttrs(ctx, level, msg, attrs...)
}
