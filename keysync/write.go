package keysync

import (
	"context"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
)

// DefaultWriteTimeout is how long a write may take before the zone says that it cannot
// write: longer than a busy disk needs.
const DefaultWriteTimeout = time.Second

// Waits between attempts to write, after one failed.
const (
	rewriteMin = 100 * time.Millisecond
	rewriteMax = 5 * time.Second
)

// Persisted tells how far the copy is durable, and why not further; the channel is
// closed when that changes next. A set may be acknowledged once that very set is durable:
// its revision tells nothing, because a merging set leads to one that is durable already.
func (s *Store) Persisted() (cptoken.Persistence, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cptoken.Persistence{Revision: s.state.head.revision, Err: s.unwritten(), Lost: s.lost, Taken: s.sets, Durable: s.durable}, s.persisted
}

// Unwritten returns why the zone cannot make durable what it takes, or nil. It goes on
// refusing what it has learned to refuse, and says to nobody that it holds it.
func (s *Store) Unwritten() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unwritten()
}

func (s *Store) unwritten() error {
	if s.behind != nil {
		e := federation.AsError(s.behind)
		return federation.Errorf(federation.Unavailable, "%w", e).WithReason(ReasonUnwritten).WithHint("%s", e.Hint)
	}
	if at := s.writing; !at.IsZero() && clock.Since(at) > s.opts.WriteTimeout {
		return federation.Errorf(federation.Unavailable, "the disk of the zone's file of keys does not answer").
			WithReason(ReasonUnwritten).
			WithHint("look at the disk of %s: the zone refuses what was revoked meanwhile, and is whole again when it can write", s.path)
	}
	return nil
}

// Run writes what is taken until ctx ends; then it returns nil. What could not be
// written is tried again, and then has to be sent again, so that a zone whose disk is
// full or away for long keeps no more in memory than what it refuses.
func (s *Store) Run(ctx context.Context) error {
	wait := rewriteMin
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-retry.C:
		}
		// A disk that hangs holds this for as long as it likes, and must not hold the end
		// of the process.
		done := make(chan error, 1)
		go func() { done <- s.flush() }()
		select {
		case err := <-done:
			wait = nextWait(err, wait, retry)
			continue
		case <-ctx.Done():
			return s.finish(done)
		case <-time.After(s.opts.WriteTimeout):
			s.stalled()
		}
		select {
		case err := <-done:
			wait = nextWait(err, wait, retry)
		case <-ctx.Done():
			return s.finish(done)
		}
	}
}

// nextWait has a failed write tried again after a while, which it returns the next of.
func nextWait(err error, wait time.Duration, retry *time.Timer) time.Duration {
	if err == nil {
		return rewriteMin
	}
	retry.Reset(wait)
	return min(2*wait, rewriteMax)
}

// stalled tells that the disk does not answer.
func (s *Store) stalled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.unwritten(); err != nil && s.behind == nil {
		s.log.Error(cannotWrite, "file", s.path, "revision", s.state.head.revision.String(), "error", err)
	}
	s.announce()
}

const cannotWrite = "the zone cannot write: it refuses what it is told to refuse, acknowledges nothing and is not ready"

// finish waits for the last write for as long as is reasonable.
func (s *Store) finish(done <-chan error) error {
	select {
	case <-done:
		return nil
	case <-time.After(s.opts.WriteTimeout):
		return federation.Errorf(federation.Unavailable, "the disk of the zone's file of keys does not answer; what was not written will be sent again").
			WithReason(ReasonUnwritten)
	}
}

// flush writes what is queued, after a failure only once writing works again. The error
// is why something is left.
func (s *Store) flush() error {
	if !s.due() {
		return nil
	}
	s.began() // also who waits for another that has the disk waits for the disk
	s.disk.Lock()
	defer s.disk.Unlock()
	defer s.ended()
	for {
		if err := s.recover(); err != nil {
			return err
		}
		q, ok := s.nextQueued()
		if !ok {
			return s.flushContact()
		}
		staged := s.pending.bytes()
		st, err := s.write(q.part)
		if err != nil {
			s.refused(q.part, staged, err)
		}
		s.settle(q.set, st, err)
		if err != nil {
			return err
		}
	}
}

// due reports whether there is something to write.
func (s *Store) due() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.behind != nil || len(s.queue) > 0 || s.contactDue()
}

// contactDue reports whether the contact in the file is old. s.mu is held.
func (s *Store) contactDue() bool {
	return clock.Span(s.state.head.contactTime(), s.contact.Load().at).Abs() >= contactInterval
}

// flushContact writes the contact once in a while. s.disk is held.
func (s *Store) flushContact() error {
	s.mu.Lock()
	due := s.contactDue() && !s.closed
	s.mu.Unlock()
	if !due {
		return nil
	}
	s.began()
	err := s.writeContact(s.contact.Load())
	if err != nil {
		err = s.applyError(err)
		s.mu.Lock()
		s.fallBehind(err)
		s.mu.Unlock()
	}
	return err
}

// nextQueued returns the next part of the queue.
func (s *Store) nextQueued() (q queued, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 || s.closed {
		return q, false
	}
	s.writing = time.Now()
	return s.queue[0], true
}

// began notes that the disk is waited for.
func (s *Store) began() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writing.IsZero() {
		s.writing = time.Now()
	}
}

// ended notes that it is not any more.
func (s *Store) ended() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing = time.Time{}
}

// settle notes what became of something that was written: a part, with the number of the
// set that it completed, if any. s.disk is held.
func (s *Store) settle(set uint64, st *state, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing = time.Time{}
	if err != nil {
		s.fallBehind(err)
		return
	}
	if s.behind == nil && len(s.queue) > 0 {
		s.queue = s.queue[1:]
	}
	if st == nil {
		s.announce() // there is room for another part
		return
	}
	s.state, s.probe, s.durable = *st, 0, set
	if len(s.queue) == 0 && s.behind == nil {
		s.leads = false
		if s.ahead != nil && st.head.revision.Covers(s.ahead.head.revision) {
			s.ahead, s.owed = nil, federation.Revision{}
		}
	}
	s.publish()
	s.announce()
}

// announce tells who waits for Persisted. s.mu is held.
func (s *Store) announce() {
	close(s.persisted)
	s.persisted = make(chan struct{})
}
