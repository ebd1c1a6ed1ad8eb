package loss

import (
	"bytes"
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
	"github.com/meridiankds/meridian/raftstore/disk"
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
	RememberShown(shown []disk.Shown)
	RememberedShown() []disk.Shown

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
	maxShown = 256
	// maxShownBy is how many of them one zone or member may have shown: who has the token of
	// a zone can make up as many as it likes, and must not take the place of others.
	maxShownBy = 8
	shownLife  = 24 * time.Hour
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
	doubts []fleet.Doubt   // in the order of their revisions
	said   map[string]bool // of keys
}

// New returns a Watch that has been shown nothing.
func New(cfg Config) *Watch {
	return &Watch{cfg: cfg, shown: map[string]noted{}, wake: make(chan struct{}, 1), said: map[string]bool{}}
}

// Note notes a position that is not in this member's past.
func (w *Watch) Note(s fleet.Shown) {
	if len(s.Position) == 0 || len(s.Position) > cptoken.MaxPosition {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_, known := w.shown[string(s.Position)]
	if !known {
		w.makeRoom(s.By)
	}
	w.shown[string(s.Position)] = noted{s, w.cfg.Now()}
	if !known {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// makeRoom forgets a position where there are too many, of all or of one that shows them:
// first what nothing proves, then what was shown longest ago. w.mu is held.
func (w *Watch) makeRoom(by string) {
	all := w.all()
	if own := slices.DeleteFunc(slices.Clone(all), func(n noted) bool { return n.By != by }); len(own) >= maxShownBy {
		all = own
	} else if len(all) < maxShown {
		return
	}
	proved := func(n noted) int {
		if w.cfg.Store.Place(n.Position).Unproved {
			return 0
		}
		return 1
	}
	least := slices.MinFunc(all, func(a, b noted) int { return cmp.Or(proved(a)-proved(b), clock.Order(a.at, b.at)) })
	delete(w.shown, string(least.Position))
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

// Doubts are the positions that leave a loss in doubt, as far as this member can judge:
// who leads can.
func (w *Watch) Doubts() []fleet.Doubt {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.doubts)
}

// Waiting counts the positions that are not in this member's past.
func (w *Watch) Waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.shown)
}

// Run judges what is shown, and acts where this member leads, until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	for _, s := range w.cfg.Store.RememberedShown() {
		w.Note(fleet.Shown(s))
	}
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

// judge looks at every position again: it is known by now, or proves a loss, or leaves one
// in doubt.
func (w *Watch) judge(ctx context.Context) {
	w.mu.Lock()
	all := w.all()
	w.mu.Unlock()
	var doubts []fleet.Doubt
	for _, s := range all {
		place := w.cfg.Store.Place(s.Position)
		doubt := fleet.Doubt{By: s.By, Revision: place.Revision}
		switch {
		case clock.Elapsed(s.at, w.cfg.Now()) > shownLife:
			w.forget(s.Position)
			continue
		case place.NewerHistory:
			doubt.Why = fleet.DoubtNewer
		case place.Lost && !w.cfg.Store.IsLeader():
			continue // the leader proves it
		case place.Lost && w.prove(ctx, s.Shown):
			continue
		case place.Lost:
			doubt.Why = fleet.DoubtWaits
		case place.More:
			doubt.Why = fleet.DoubtMore
		case place.Unproved && !w.cfg.Store.IsLeader():
			continue // it may lack the secret
		case place.Unproved:
			doubt.Why = fleet.DoubtUnproved
		default:
			w.forget(s.Position)
			continue
		}
		doubts = addDoubt(doubts, doubt)
	}
	w.sayDoubts(doubts)
	w.remember()
}

// remember keeps what is left over a restart of this member.
func (w *Watch) remember() {
	var left []disk.Shown
	for _, s := range w.Pending() {
		left = append(left, disk.Shown(s))
	}
	slices.SortFunc(left, func(a, b disk.Shown) int { return bytes.Compare(a.Position, b.Position) })
	if !slices.EqualFunc(left, w.cfg.Store.RememberedShown(), func(a, b disk.Shown) bool { return a.By == b.By && bytes.Equal(a.Position, b.Position) }) {
		w.cfg.Store.RememberShown(left)
	}
}

func (w *Watch) forget(position []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.shown, string(position))
}

// addDoubt adds a doubt: of those that are alike the furthest stands for all, since every zone
// may show one.
func addDoubt(doubts []fleet.Doubt, d fleet.Doubt) []fleet.Doubt {
	i := slices.IndexFunc(doubts, alike(d))
	if i < 0 {
		return append(doubts, d)
	}
	was := doubts[i]
	if c := cmp.Or(d.Revision.History.Compare(was.Revision.History), cmp.Compare(d.Revision.Index, was.Revision.Index)); c > 0 || c == 0 && d.By < was.By {
		doubts[i] = d
	}
	return doubts
}

// alike reports whether a doubt is of the reason and history of d; where nothing proves it, of
// the same zone or member, which may make up as many histories as it likes.
func alike(d fleet.Doubt) func(fleet.Doubt) bool {
	return func(o fleet.Doubt) bool {
		if d.Why == fleet.DoubtUnproved {
			return o.Why == d.Why && o.By == d.By
		}
		return o.Why == d.Why && o.Revision.History == d.Revision.History
	}
}

// sayDoubts raises the alarm of each doubt, once.
func (w *Watch) sayDoubts(doubts []fleet.Doubt) {
	slices.SortFunc(doubts, func(a, b fleet.Doubt) int {
		return cmp.Or(a.Revision.History.Compare(b.Revision.History), cmp.Compare(a.Why, b.Why), cmp.Compare(a.By, b.By))
	})
	w.mu.Lock()
	before := w.doubts
	w.doubts = doubts
	w.mu.Unlock()
	for _, d := range doubts {
		if !slices.ContainsFunc(before, alike(d)) {
			what := "somebody holds what this cluster does not have"
			if d.Why == fleet.DoubtNewer {
				what = "a newer history is known elsewhere, and nobody here knows it"
			}
			w.cfg.Logger.Error(what, "why", d.Why, "shown_by", d.By, "shown", d.Revision.String(), "means", d.Means(), "hint", d.Hint())
		}
	}
}

// prove has the cluster begin a new history, and reports false where it did so within the
// hour.
func (w *Watch) prove(ctx context.Context, s fleet.Shown) bool {
	if !w.cfg.Store.MayProve() {
		return false
	}
	w.proveNow(ctx, s)
	return true
}

func (w *Watch) proveNow(ctx context.Context, s fleet.Shown) {
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
