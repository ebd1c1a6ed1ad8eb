package runlog

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
)

// MaxFor bounds for how long a level may be set while a server runs.
const MaxFor = 30 * 24 * time.Hour

// Level is what a log writes: the level of the settings, or one that was set while the
// server runs, for a time or until the next reload. It is a [slog.Leveler], and safe for
// concurrent use.
type Level struct {
	configured slog.LevelVar
	set        atomic.Pointer[setLevel]
	now        func() time.Time
}

// setLevel is a level that was set while the server runs.
type setLevel struct {
	level slog.Level
	until time.Time // a reading and a duration; zero: no end
}

// Level implements [slog.Leveler]. A level that was set for a time ends here, by the
// monotonic clock: nothing has to run for it.
func (l *Level) Level() slog.Level {
	level, _, _ := l.State()
	return level
}

// State returns the level in force, that of the settings, and until when the former holds
// where it was set for a time.
func (l *Level) State() (level, configured slog.Level, until time.Time) {
	configured = l.configured.Level()
	s := l.set.Load()
	if s == nil || clock.Ended(s.until, l.now()) {
		return configured, configured, time.Time{}
	}
	return s.level, configured, s.until
}

// Set sets the level while the server runs, until the next [Level.Configure], or no longer
// than d where that is not 0.
func (l *Level) Set(level slog.Level, d time.Duration) {
	s := &setLevel{level: level}
	if d > 0 {
		s.until = l.now().Add(d)
	}
	l.set.Store(s)
}

// Reset goes back to the level of the settings.
func (l *Level) Reset() { l.set.Store(nil) }

// Configure takes the level of the settings, which replaces one that was set.
func (l *Level) Configure(level slog.Level) {
	l.configured.Set(level)
	l.set.Store(nil)
}

// ParseLevel reads a level; field names where it stood in an error.
func ParseLevel(field, text string) (slog.Level, error) {
	var l slog.Level
	switch strings.ToLower(text) {
	case "debug", "info", "warn", "error":
		return l, l.UnmarshalText([]byte(text))
	}
	return l, federation.Errorf(federation.Invalid, "%s %.20q is not a level", field, text).WithHint("use debug, info, warn or error")
}

// Name is a level as it is written.
func Name(l slog.Level) string { return strings.ToLower(l.String()) }
