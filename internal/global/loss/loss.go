package loss

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/global/fleet"
	"github.com/meridiankds/meridian/raftstore"
)

// Store is what the watch needs of the replicated state; *raftstore.Store is one.
type Store interface {
	IsLeader() bool
	FeatureLevel() uint32
	Head() (cluster string, rev federation.Revision)
	Place(position []byte) raftstore.Shown
	MayProve() bool
	ProveLoss(ctx context.Context, shownBy string, position []byte) (raftstore.Change, error)
	Losses() []raftstore.Loss

	HistoryBegan() uint64
	Keys() []raftstore.Key
	BlockKey(ctx context.Context, o raftstore.Origin, id cptoken.KeyID) (raftstore.Change, error)
	PrepareKey(ctx context.Context, o raftstore.Origin, kind cptoken.Kind, mesh string) (raftstore.Key, error)
	ActivateKey(ctx context.Context, o raftstore.Origin, id cptoken.KeyID) (raftstore.Key, error)
	RemoveKey(ctx context.Context, o raftstore.Origin, id cptoken.KeyID, opts raftstore.RemoveOptions) (raftstore.Key, error)
}

// Fleet knows what zones hold; *fleet.Fleet does.
type Fleet interface {
	Sessions() []fleet.Session
	Changed() <-chan struct{}
	Gate(need federation.Revision, members []string, key cptoken.KeyID) fleet.Holding
}

// Config is what a Watch is made from.
type Config struct {
	Store   Store
	Fleet   Fleet
	Members func() []string
	// Proved is told of each loss that this member proved.
	Proved func(raftstore.Loss)
	Logger *slog.Logger
	Now    func() time.Time
}

// Bounds of what is remembered of positions that are not in the past.
const (
	maxShown  = 256
	shownLife = 24 * time.Hour
	// lookEvery is how often the leader looks again where something waits: for the hour
	// between two proofs to pass, or a gate to open.
	lookEvery = time.Second
)

// noted is a position and when it was shown last.
type noted struct {
	fleet.Shown
	at time.Time
}

// Watch is one member's part in it. It is safe for concurrent use.
type Watch struct {
	cfg Config

	mu     sync.Mutex
	shown  map[string]noted // by position
	wake   chan struct{}
	newer  map[federation.History]string // histories that nobody here knows, and who showed them
	limits bool                          // it was said that a proof waits for the hour to pass
	said   map[string]bool               // of keys
}

// New returns a Watch that has been shown nothing.
func New(cfg Config) *Watch {
	return &Watch{cfg: cfg, shown: map[string]noted{}, wake: make(chan struct{}, 1), newer: map[federation.History]string{}, said: map[string]bool{}}
}

// Note notes a position that is not in this member's past.
func (w *Watch) Note(s fleet.Shown) {
	if len(s.Position) == 0 || len(s.Position) > cptoken.MaxPosition {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_, known := w.shown[string(s.Position)]
	if !known && len(w.shown) >= maxShown {
		oldest := slices.MinFunc(w.all(), func(a, b noted) int { return clock.Order(a.at, b.at) })
		delete(w.shown, string(oldest.Position))
	}
	w.shown[string(s.Position)] = noted{s, w.cfg.Now()}
	if !known {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// all is what was shown. w.mu is held.
func (w *Watch) all() []noted {
	var all []noted
	for _, s := range w.shown {
		all = append(all, s)
	}
	return all
}

// Pending is what a member that does not lead passes on to the leader.
func (w *Watch) Pending() []fleet.Shown {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []fleet.Shown
	for _, s := range w.all() {
		out = append(out, s.Shown)
	}
	slices.SortFunc(out, func(a, b fleet.Shown) int { return cmp.Compare(a.By, b.By) })
	return out
}

// NewerHistories are those that were shown and that nobody here knows, with who showed
// each, in order.
func (w *Watch) NewerHistories() (histories []federation.History, by []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for h := range w.newer {
		histories = append(histories, h)
	}
	slices.SortFunc(histories, federation.History.Compare)
	for _, h := range histories {
		by = append(by, w.newer[h])
	}
	return histories, by
}

// Waiting counts the positions that are not in this member's past.
func (w *Watch) Waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.shown)
}

// Run judges what is shown, and acts where this member leads, until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		changed := w.cfg.Fleet.Changed()
		w.judge(ctx)
		if w.cfg.Store.IsLeader() {
			w.replaceKeys(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		case <-changed:
		case <-ticker.C:
		}
		select { // sessions change thousands of times a second
		case <-ctx.Done():
			return nil
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// judge looks at every position again: it is known by now, or proves a loss.
func (w *Watch) judge(ctx context.Context) {
	w.mu.Lock()
	all := w.all()
	w.mu.Unlock()
	newer := map[federation.History]string{}
	for _, s := range all {
		switch place := w.cfg.Store.Place(s.Position); {
		case place.Standing != cptoken.Ahead || clock.Elapsed(s.at, w.cfg.Now()) > shownLife:
			w.forget(s.Position)
		case place.NewerHistory:
			newer[place.Revision.History] = s.By
		case w.cfg.Store.IsLeader():
			w.prove(ctx, s.Shown)
		}
	}
	w.sayNewer(newer)
}

func (w *Watch) forget(position []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.shown, string(position))
}

// sayNewer raises the alarm of each history that is shown and not known, once.
func (w *Watch) sayNewer(newer map[federation.History]string) {
	w.mu.Lock()
	before := w.newer
	w.newer = newer
	w.mu.Unlock()
	for h, by := range newer {
		if _, said := before[h]; !said {
			w.cfg.Logger.Error("a newer history is known elsewhere, and nobody here knows it: two clusters share this name, or disks went back behind a new history",
				"history", h.ID, "shown_by", by, "hint", "find out which; then: global cluster confirm-loss --adopt")
		}
	}
}

// prove has the cluster begin a new history, unless it did so within the hour.
func (w *Watch) prove(ctx context.Context, s fleet.Shown) {
	if !w.cfg.Store.MayProve() {
		if !w.limits {
			w.limits = true
			w.cfg.Logger.Error("acknowledged changes were lost once more within an hour: nothing is done until it has passed, or an operator says so",
				"shown_by", s.By, "hint", "find out why disks go back, or whether two clusters share this name; then: global cluster confirm-loss")
		}
		return
	}
	w.limits = false
	_, err := w.cfg.Store.ProveLoss(ctx, s.By, s.Position)
	switch reason := federation.AsError(err); {
	case err == nil:
	case reason.Reason == "no_loss":
		return // it is known by now, which the next look finds
	default:
		if ctx.Err() == nil {
			w.cfg.Logger.Warn("a proof of loss could not be replicated yet", "shown_by", s.By, "error", err)
		}
		return
	}
	losses := w.cfg.Store.Losses()
	if len(losses) == 0 {
		return
	}
	last := losses[len(losses)-1]
	w.cfg.Logger.Error("acknowledged changes were lost: this cluster's disks went back to an earlier state. A new history begins, in which zones keep what they refuse",
		"shown_by", last.ShownBy, "shown", last.Shown.String(), "had", last.Had.String(), "began", last.Began.String(),
		"hint", "see docs/backup.md, \"After a disk went back\"; once done: global cluster confirm-loss")
	if w.cfg.Proved != nil {
		w.cfg.Proved(last)
	}
}
