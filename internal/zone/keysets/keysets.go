// Package keysets remembers which key sets of a zone were fetched, and when: whoever
// fetched one may verify tokens with a copy of which the zone knows nothing. It is
// remembered in a small file, so that a restart does not make verifiers look gone.
package keysets

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/kds"
)

const (
	// Remembered is how long a fetch is remembered.
	Remembered = 30 * 24 * time.Hour
	// maxSets bounds the sets that are remembered; the one fetched longest ago goes.
	maxSets = 1024
	// toldEvery is how much later the same set must be fetched for the global to hear of
	// it again.
	toldEvery = 10 * time.Minute
	// writtenEvery is how often the file is written at most. A zone that is killed
	// forgets what came later.
	writtenEvery = time.Minute
	maxFile      = 1 << 20
)

// Config is what [Open] needs.
type Config struct {
	Path   string // the file
	Logger *slog.Logger
	Now    func() time.Time
}

// Log counts the fetches of key sets. It implements kds.KeySets, and its methods are
// safe for concurrent use.
type Log struct {
	cfg Config

	mu      sync.Mutex
	uses    map[string]kds.KeySetUse
	told    map[string]time.Time // the Last that was announced
	unsaved bool
	changed chan struct{}
}

// Open returns a Log with what the file remembers. A file that cannot be read is begun
// anew: it is worth a warning, and no reason not to start.
func Open(cfg Config) *Log {
	l := &Log{cfg: cfg, uses: map[string]kds.KeySetUse{}, told: map[string]time.Time{}, changed: make(chan struct{})}
	if err := l.load(); err != nil {
		cfg.Logger.Warn("which key sets were fetched before is not known", "file", cfg.Path, "error", err)
	}
	return l
}

func (l *Log) load() error {
	info, err := os.Stat(l.cfg.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && info.Size() > maxFile {
		err = errors.New("the file is too large")
	}
	if err != nil {
		return err
	}
	data, err := os.ReadFile(l.cfg.Path)
	if err != nil {
		return err
	}
	var saved []kds.KeySetUse
	if err := json.Unmarshal(data, &saved); err != nil {
		return err
	}
	for _, u := range saved {
		l.uses[u.Set] = u
	}
	l.trim()
	return nil
}

// Fetched counts a fetch of a set.
func (l *Log) Fetched(set string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.uses[set]
	u.Set, u.Count, u.Last = set, u.Count+1, l.cfg.Now().Truncate(time.Second)
	l.uses[set], l.unsaved = u, true
	l.trim()
	if told, ok := l.told[set]; !ok || clock.Span(told, u.Last).Abs() >= toldEvery {
		l.told[set] = u.Last
		close(l.changed)
		l.changed = make(chan struct{})
	}
}

// trim forgets what is over, and what is too much. l.mu is held.
func (l *Log) trim() {
	if len(l.uses) > maxSets {
		oldest := slices.MinFunc(slices.Collect(maps.Values(l.uses)), func(a, b kds.KeySetUse) int { return clock.Order(a.Last, b.Last) })
		delete(l.uses, oldest.Set)
	}
	before := l.cfg.Now().Add(-Remembered)
	maps.DeleteFunc(l.uses, func(_ string, u kds.KeySetUse) bool { return clock.Earlier(u.Last, before) })
	maps.DeleteFunc(l.told, func(set string, _ time.Time) bool { _, there := l.uses[set]; return !there })
}

// Uses implements kds.KeySets.
func (l *Log) Uses() []kds.KeySetUse {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trim()
	uses := make([]kds.KeySetUse, 0, len(l.uses))
	for _, set := range slices.Sorted(maps.Keys(l.uses)) {
		uses = append(uses, l.uses[set])
	}
	return uses
}

// Changed implements kds.KeySets.
func (l *Log) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// Run writes the file now and then, and when ctx ends. It returns nil: what cannot be
// written is logged.
func (l *Log) Run(ctx context.Context) error {
	ticker := time.NewTicker(writtenEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			l.save()
		case <-ctx.Done():
			l.save()
			return nil
		}
	}
}

func (l *Log) save() {
	l.mu.Lock()
	unsaved := l.unsaved
	l.unsaved = false
	l.mu.Unlock()
	if !unsaved {
		return
	}
	data, err := json.Marshal(l.Uses())
	if err == nil {
		err = tlsutil.WriteFile(l.cfg.Path, append(data, '\n'), 0o600)
	}
	if err != nil {
		l.cfg.Logger.Warn("which key sets were fetched cannot be written", "file", l.cfg.Path, "error", err)
		l.mu.Lock()
		l.unsaved = true
		l.mu.Unlock()
	}
}
