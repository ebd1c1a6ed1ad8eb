package sessions

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/clock"
)

// Source is the zone's copy of keys and revocations.
type Source interface {
	// View returns what is known now.
	View() cptoken.View
	// Changed returns a channel that is closed at the next change of View.
	Changed() <-chan struct{}
}

// Config is what [New] needs.
type Config struct {
	Source Source
	Logger *slog.Logger     // nil: no log
	Now    func() time.Time // nil: time.Now
	// ReviewEvery is how often a session with a Review is reviewed; 0 means a minute.
	ReviewEvery time.Duration
	// MaxLines bounds the sessions that one change ends and that are logged one by
	// one; the rest is a number. 0 means 100.
	MaxLines int
}

const defaultMaxLines = 100

// Registry knows the open sessions of a zone. It is safe for concurrent use.
type Registry struct {
	cfg Config

	mu       sync.Mutex
	open     map[*Session]struct{}
	earliest time.Time      // no open session expires before it; zero: none expires
	sooner   chan struct{}  // tells Run to judge now, for one because earliest moved forward
	ended    map[string]int // by reason, since New
}

// New returns a registry without sessions. They are judged while Run runs.
func New(cfg Config) *Registry {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.ReviewEvery <= 0 {
		cfg.ReviewEvery = time.Minute
	}
	if cfg.MaxLines <= 0 {
		cfg.MaxLines = defaultMaxLines
	}
	return &Registry{cfg: cfg, open: map[*Session]struct{}{}, sooner: make(chan struct{}, 1), ended: map[string]int{}}
}

// Opening is what a session is opened with.
type Opening struct {
	// Grant is that of the verified token.
	Grant cptoken.Grant
	// Subject says for people who holds it: "egress west", "default/backend-1".
	Subject string
	// Remote is the holder's address, Protocol what it is served: both for the log.
	Remote, Protocol string
	// Review asks again who vouched for the holder, where that is somebody else than
	// the zone; nil where nobody did. An error ends the session, unless its code is
	// Unavailable.
	Review func(context.Context) error
}

// Session is something long-lived that a token opened.
type Session struct {
	Opening
	Opened time.Time

	registry *Registry
	ctx      context.Context
	cancel   context.CancelCauseFunc
	reviewed time.Time // when Review was asked last, or the session was opened
}

// Open registers a session and judges it. Its context ends with parent, with
// Close, or when the token holds no longer; the cause is then the
// cptoken.Refusal. An error is that Refusal, and nothing stays registered. The
// caller closes the session.
func (r *Registry) Open(parent context.Context, o Opening) (*Session, error) {
	s := &Session{Opening: o, Opened: r.cfg.Now(), registry: r, reviewed: time.Now()}
	s.ctx, s.cancel = context.WithCancelCause(parent)
	r.mu.Lock()
	r.open[s] = struct{}{}
	if e := o.Grant.ExpiresAt; !e.IsZero() && (r.earliest.IsZero() || clock.Earlier(e, r.earliest)) {
		r.earliest = e
		r.Judge()
	}
	r.mu.Unlock()
	// Only now: what changed before this look is seen by it, what changes after it
	// is judged with all the others.
	if err := o.Grant.Check(r.cfg.Source.View(), r.cfg.Now()); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Context is what the session is served under.
func (s *Session) Context() context.Context { return s.ctx }

// Check judges the session against what the zone knows this very moment, without
// waiting for Run to come to it: whoever is about to send something asks first.
func (s *Session) Check() error {
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	return s.Grant.Check(s.registry.cfg.Source.View(), s.registry.cfg.Now())
}

// Close ends the session for the holder's own reasons. It may be called again.
func (s *Session) Close() {
	s.registry.mu.Lock()
	delete(s.registry.open, s)
	s.registry.mu.Unlock()
	s.cancel(context.Canceled)
}

// Run judges sessions at every change and at every expiry until ctx ends. It
// returns nil.
func (r *Registry) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		changed := r.cfg.Source.Changed()
		timer.Reset(r.judge())
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-timer.C:
		case <-r.sooner:
		}
	}
}

// Judge has Run judge every session now: something changed that Source does not
// tell of. It does not wait for it.
func (r *Registry) Judge() {
	select {
	case r.sooner <- struct{}{}:
	default: // it is told already
	}
}

// judgeEvery is how often sessions are judged at least: a wall clock may jump.
const judgeEvery = time.Minute

// judge ends the sessions whose grant holds no longer, and returns how long until
// the next one expires.
func (r *Registry) judge() time.Duration {
	now, view := r.cfg.Now(), r.cfg.Source.View()
	type ending struct {
		session *Session
		err     error
	}
	var ends []ending
	r.mu.Lock()
	r.earliest = time.Time{}
	for s := range r.open {
		if err := s.Grant.Check(view, now); err != nil {
			delete(r.open, s)
			r.ended[string(cptoken.ReasonOf(err))]++
			ends = append(ends, ending{s, err})
			continue
		}
		if e := s.Grant.ExpiresAt; !e.IsZero() && (r.earliest.IsZero() || clock.Earlier(e, r.earliest)) {
			r.earliest = e
		}
	}
	wait := judgeEvery
	if !r.earliest.IsZero() {
		wait = max(min(wait, clock.Left(r.earliest, now)), 0)
	}
	r.mu.Unlock()
	for i, e := range ends {
		e.session.cancel(e.err) // all of them, before anything is written
		if i < r.cfg.MaxLines {
			defer r.log(e.session, e.err)
		}
	}
	if more := len(ends) - r.cfg.MaxLines; more > 0 {
		r.cfg.Logger.Warn("more sessions ended", "sessions", more)
	}
	return wait
}

func (r *Registry) log(s *Session, err error) {
	r.cfg.Logger.Warn("session ended", "subject", s.Subject, "protocol", s.Protocol, "remote", s.Remote,
		"kind", string(s.Grant.Key.Kind), "kid", s.Grant.Key.KID, "tokenId", s.Grant.ID,
		"reason", string(cptoken.ReasonOf(err)), "detail", err.Error())
}

// Sessions returns the open sessions, the oldest first.
func (r *Registry) Sessions() []*Session {
	r.mu.Lock()
	all := make([]*Session, 0, len(r.open))
	for s := range r.open {
		all = append(all, s)
	}
	r.mu.Unlock()
	slices.SortFunc(all, func(a, b *Session) int {
		return cmp.Or(clock.Order(a.Opened, b.Opened), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Remote, b.Remote))
	})
	return all
}

// ByKey counts the open sessions by the key that signed the token of each.
func (r *Registry) ByKey() map[cptoken.KeyID]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	counts := map[cptoken.KeyID]int{}
	for s := range r.open {
		if s.Grant.Key.KID != "" {
			counts[s.Grant.Key]++
		}
	}
	return counts
}

// Count returns the number of open sessions.
func (r *Registry) Count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.open)
}

// Ended returns how many sessions were ended because their token held no longer,
// by reason.
func (r *Registry) Ended() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]int, len(r.ended))
	for reason, n := range r.ended {
		out[reason] = n
	}
	return out
}
