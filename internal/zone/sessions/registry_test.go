package sessions

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/meridiankds/meridian/cptoken"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeSource is a zone's copy that a test changes. Its keys are those of no token:
// grants in these tests are of the control plane kind, whose key no View has.
type fakeSource struct {
	mu      sync.Mutex
	revoked map[string]bool
	before  time.Time
	changed chan struct{}
	// onView runs before View answers, outside the lock.
	onView func()
}

func newSource() *fakeSource {
	return &fakeSource{revoked: map[string]bool{}, changed: make(chan struct{})}
}

type fakeView struct {
	revoked map[string]bool
	before  time.Time
}

func (fakeView) Key(cptoken.KeyID) *cptoken.PublicKey                     { return nil }
func (v fakeView) Revoked(_ cptoken.Kind, _, id string) bool              { return v.revoked[id] }
func (v fakeView) CutOff(cptoken.Kind, string, string) (before time.Time) { return v.before }

func (fakeView) Pruned() (none time.Time) { return none }

func (s *fakeSource) View() cptoken.View {
	s.mu.Lock()
	hook := s.onView
	s.onView = nil
	s.mu.Unlock()
	if hook != nil {
		hook()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	copied := map[string]bool{}
	for id := range s.revoked {
		copied[id] = true
	}
	return fakeView{copied, s.before}
}

func (s *fakeSource) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *fakeSource) change(act func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	act()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *fakeSource) revoke(ids ...string) {
	s.change(func() {
		for _, id := range ids {
			s.revoked[id] = true
		}
	})
}

func opening(id string, expires time.Time) Opening {
	return Opening{Subject: "egress " + id, Remote: "192.0.2.1:7", Protocol: "ads",
		Grant: cptoken.Grant{Key: cptoken.KeyID{Kind: cptoken.ControlPlane, KID: "1"}, ID: id, ExpiresAt: expires, IssuedAt: time.Now()}}
}

// bench runs a registry inside a bubble of synctest.
func run(t *testing.T, test func(t *testing.T, r *Registry, source *fakeSource, log *bytes.Buffer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		source := newSource()
		r := New(Config{Source: source, Logger: slog.New(slog.NewTextHandler(&log, nil)), MaxLines: 3})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		synctest.Wait()
		test(t, r, source, &log)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func mustOpen(t *testing.T, r *Registry, o Opening) *Session {
	t.Helper()
	s, err := r.Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRevocationEndsItsSessionsOnly(t *testing.T) {
	run(t, func(t *testing.T, r *Registry, source *fakeSource, log *bytes.Buffer) {
		var others []*Session
		for i := range 50 {
			others = append(others, mustOpen(t, r, opening(fmt.Sprint("other-", i), time.Time{})))
		}
		a, b := mustOpen(t, r, opening("lost", time.Time{})), mustOpen(t, r, opening("lost", time.Time{}))
		source.revoke("lost", "unrelated")
		synctest.Wait()
		for _, s := range []*Session{a, b} {
			if cause := context.Cause(s.Context()); cptoken.ReasonOf(cause) != cptoken.Revoked {
				t.Errorf("a session of the revoked token: %v", cause)
			}
			s.Close()
			s.Close()
		}
		for _, s := range others {
			if s.Context().Err() != nil {
				t.Errorf("%s ended: %v", s.Subject, context.Cause(s.Context()))
			}
		}
		if r.Count() != 50 || len(r.Sessions()) != 50 || r.Ended()["revoked"] != 2 {
			t.Errorf("%d open, ended %v", r.Count(), r.Ended())
		}
		if !strings.Contains(log.String(), `subject="egress lost"`) || !strings.Contains(log.String(), "reason=revoked") {
			t.Errorf("log: %s", log)
		}
		for _, s := range others {
			s.Close()
		}
	})
}

func TestExpiryAndCutOff(t *testing.T) {
	run(t, func(t *testing.T, r *Registry, source *fakeSource, log *bytes.Buffer) {
		late := mustOpen(t, r, opening("late", time.Now().Add(time.Hour)))
		soon := mustOpen(t, r, opening("soon", time.Now().Add(10*time.Second)))
		never := mustOpen(t, r, opening("never", time.Time{}))
		time.Sleep(10*time.Second - time.Nanosecond)
		synctest.Wait()
		if soon.Context().Err() != nil {
			t.Error("a session ended before its token expired")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if cptoken.ReasonOf(context.Cause(soon.Context())) != cptoken.Expired {
			t.Errorf("at its expiry: %v", context.Cause(soon.Context()))
		}
		if late.Context().Err() != nil || never.Context().Err() != nil {
			t.Error("another session ended with it")
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if cptoken.ReasonOf(context.Cause(late.Context())) != cptoken.Expired {
			t.Error("the second expiry was missed")
		}
		source.change(func() { source.before = time.Now() })
		synctest.Wait()
		if cptoken.ReasonOf(context.Cause(never.Context())) != cptoken.IssuedBeforeCutOff {
			t.Error("a cut-off ended nothing")
		}
	})
}

// TestNothingSlipsThrough revokes a token between its verification and the look
// that Open takes.
func TestNothingSlipsThrough(t *testing.T) {
	run(t, func(t *testing.T, r *Registry, source *fakeSource, log *bytes.Buffer) {
		source.mu.Lock()
		source.onView = func() { source.revoke("lost") }
		source.mu.Unlock()
		if _, err := r.Open(context.Background(), opening("lost", time.Time{})); cptoken.ReasonOf(err) != cptoken.Revoked {
			t.Errorf("a token that was revoked meanwhile opened a session: %v", err)
		}
		if _, err := r.Open(context.Background(), opening("old", time.Now().Add(-time.Second))); cptoken.ReasonOf(err) != cptoken.Expired {
			t.Errorf("an expired one: %v", err)
		}
		if r.Count() != 0 {
			t.Errorf("%d sessions are left", r.Count())
		}
	})
}

func TestParentAndManyEnds(t *testing.T) {
	run(t, func(t *testing.T, r *Registry, source *fakeSource, log *bytes.Buffer) {
		parent, cancel := context.WithCancel(context.Background())
		s, err := r.Open(parent, opening("x", time.Time{}))
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if !errors.Is(context.Cause(s.Context()), context.Canceled) {
			t.Error("a session outlives its parent")
		}
		s.Close()
		for range 10 {
			mustOpen(t, r, opening("lost", time.Time{}))
		}
		source.revoke("lost")
		synctest.Wait()
		if n := strings.Count(log.String(), `msg="session ended"`); n != 3 || !strings.Contains(log.String(), "sessions=7") {
			t.Errorf("%d lines, want 3 and a number: %s", n, log)
		}
	})
}

func BenchmarkJudge(b *testing.B) {
	source := newSource()
	r := New(Config{Source: source})
	for i := range 10_000 {
		if _, err := r.Open(context.Background(), opening(fmt.Sprint(i), time.Now().Add(time.Hour))); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		r.judge()
	}
}
