package sessions

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
)

// maxReviews bounds the reviews under way at a time: fewer than those that the API
// server is asked for at once, so that new proxies are not kept waiting.
const maxReviews = 4

// RunReviews has sessions reviewed until ctx ends. It returns nil.
//
// The wait is by the monotonic clock: a wall clock that is set back must not put a
// review off.
func (r *Registry) RunReviews(ctx context.Context) error {
	ticker := time.NewTicker(max(r.cfg.ReviewEvery/12, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			r.review(ctx)
		}
	}
}

// review reviews what is due, and returns when all of it is.
func (r *Registry) review(ctx context.Context) {
	var group errgroup.Group
	group.SetLimit(maxReviews)
	for _, s := range r.due() {
		group.Go(func() error {
			err := s.Review(ctx)
			if err != nil && ctx.Err() == nil && federation.CodeOf(err) != federation.Unavailable {
				r.end(s, err)
			}
			return nil
		})
	}
	_ = group.Wait() // none returns an error
}

// due returns the sessions whose review is due, and notes that they are reviewed now.
func (r *Registry) due() (due []*Session) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := range r.open {
		if s.Review != nil && clock.Elapsed(s.reviewed, now) >= r.cfg.ReviewEvery {
			s.reviewed = now
			due = append(due, s)
		}
	}
	return due
}

// end ends a session that a review refused.
func (r *Registry) end(s *Session, err error) {
	r.mu.Lock()
	_, open := r.open[s]
	delete(r.open, s)
	if open {
		r.ended[string(cptoken.ReasonOf(err))]++
	}
	r.mu.Unlock()
	if open {
		s.cancel(err)
		r.log(s, err)
	}
}
