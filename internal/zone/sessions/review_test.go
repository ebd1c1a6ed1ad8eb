package sessions

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// TestReviewsEndSessions has a session's voucher be away, which ends nothing, and
// then refuse, which ends it; a session without one goes on.
func TestReviewsEndSessions(t *testing.T) {
	source := &fixedSource{changed: make(chan struct{})}
	r := New(Config{Source: source, ReviewEvery: 10 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.RunReviews(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	var asked atomic.Int64
	var refuse atomic.Bool
	gone := federation.Errorf(federation.Unauthenticated, "the pod is gone").WithReason("not_authenticated")
	open := func(review func(context.Context) error) *Session {
		s, err := r.Open(t.Context(), Opening{Grant: cptoken.ForeignGrant("a", time.Time{}, time.Time{}), Subject: "a", Review: review})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s
	}
	vouched := open(func(context.Context) error {
		asked.Add(1)
		if refuse.Load() {
			return gone
		}
		return federation.Errorf(federation.Unavailable, "the API server is away")
	})
	other := open(nil)
	for asked.Load() < 3 {
		time.Sleep(time.Millisecond)
	}
	if err := vouched.Check(); err != nil {
		t.Fatalf("ended while nobody could be asked: %v", err)
	}
	refuse.Store(true)
	select {
	case <-vouched.Context().Done():
	case <-time.After(time.Minute):
		t.Fatal("the session goes on")
	}
	if cause := context.Cause(vouched.Context()); !errors.Is(cause, gone) {
		t.Errorf("ended by %v", cause)
	}
	if r.Ended()["not_authenticated"] != 1 || r.Count() != 1 || other.Check() != nil {
		t.Errorf("ended %v, open %d, the other: %v", r.Ended(), r.Count(), other.Check())
	}
}

// fixedSource never changes.
type fixedSource struct{ changed chan struct{} }

func (s *fixedSource) View() cptoken.View       { return nil }
func (s *fixedSource) Changed() <-chan struct{} { return s.changed }
