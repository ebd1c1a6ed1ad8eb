package keysync

import (
	"context"
	"errors"
	"os"
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
// closed when that changes next. A set that was taken and is at or before the revision
// may be acknowledged.
func (s *Store) Persisted() (cptoken.Persistence, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cptoken.Persistence{Revision: s.state.head.revision, Err: s.unwritten(), Lost: s.lost}, s.persisted
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
	s.disk.Lock()
	defer s.disk.Unlock()
	for {
		if err := s.recover(); err != nil {
			return err
		}
		q, ok := s.nextQueued()
		if !ok {
			return nil
		}
		staged := s.pending.bytes()
		st, err := s.write(q.part)
		if err != nil {
			s.refused(q.part, staged)
		}
		s.settle(st, err)
		if err != nil {
			return err
		}
	}
}

// recover makes the file usable again after a failure, and proves it by writing: the
// contact, which is due anyway. s.disk is held.
func (s *Store) recover() error {
	s.mu.Lock()
	behind, closed := s.behind, s.closed
	s.mu.Unlock()
	if closed {
		return federation.Errorf(federation.Unavailable, "the zone's file of keys is closed")
	}
	if behind == nil && s.file.usable() {
		return nil
	}
	s.began()
	err := s.prove()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing = time.Time{}
	if err != nil {
		s.fallBehind(err)
		return err
	}
	if s.behind != nil {
		s.log.Info("the zone's file of keys can be written again", "file", s.path, "revision", s.state.head.revision.String())
		s.behind, s.ahead, s.incoming = nil, false, nil // probe stays until a set is written
		s.lost++
		s.announce()
	}
	return nil
}

func (s *Store) prove() error {
	s.drop()
	if !s.file.usable() {
		if err := s.reopen(); err != nil {
			return err
		}
	}
	if err := s.probeSpace(); err != nil {
		return s.applyError(err)
	}
	if err := s.writeContact(s.contact.Load()); err != nil {
		return s.applyError(err)
	}
	return nil
}

// probeSuffix names the file with which a disk proves that it has room.
const probeSuffix = ".probe"

// probeSpace writes as much as could not be written, and removes it. A disk that has
// room for a few bytes only would else have the zone ready between any two attempts,
// and the global send the same set for ever.
func (s *Store) probeSpace() (err error) {
	s.mu.Lock()
	left := s.probe
	s.mu.Unlock()
	if left == 0 {
		return nil
	}
	f, err := os.OpenFile(s.path+probeSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	for zeros := make([]byte, 64<<10); left > 0; left -= int64(len(zeros)) {
		if _, err := f.Write(zeros[:min(left, int64(len(zeros)))]); err != nil {
			return err
		}
	}
	return f.Sync()
}

// refused notes how much the disk did not take: about the pages that the part and what
// was staged before it touch. Where the same set fails again, it was more.
func (s *Store) refused(p cptoken.Part, staged int64) {
	n := staged + int64(len(appendChanges(nil, p.Changes)))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.probe = min(max(2*n, 2*s.probe, 64<<10), maxStaged)
}

// nextQueued takes the next part out of the queue.
func (s *Store) nextQueued() (q queued, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 || s.closed {
		return q, false
	}
	q = s.queue[0]
	s.queue = s.queue[1:]
	s.writing = time.Now()
	return q, true
}

// began notes that the disk is being written to.
func (s *Store) began() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing = time.Now()
}

// settle notes what became of a part that was written. s.disk is held.
func (s *Store) settle(st *state, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing = time.Time{}
	if err != nil {
		s.fallBehind(err)
		return
	}
	if st == nil {
		s.announce() // there is room for another part
		return
	}
	s.state, s.probe = *st, 0
	s.narrow = s.remaining()
	if len(s.queue) == 0 && s.incoming == nil && s.behind == nil {
		s.ahead = false
	}
	s.publish()
	s.announce()
}

// remaining is what the sets refuse that are not durable yet. s.mu is held.
func (s *Store) remaining() *narrowing {
	at := s.state.head.revision
	switch {
	case s.kept == nil:
	case at.Covers(s.kept.to):
		s.kept = nil
	case at.History.Compare(s.kept.to.History) > 0 && len(s.kept.keys) > 0:
		// A new history says for itself which keys there are, and withdraws nothing.
		s.kept = &narrowing{revoked: s.kept.revoked, keys: map[cptoken.KeyID]bool{}, cutOffs: s.kept.cutOffs, to: s.kept.to}
	}
	n := s.kept
	for _, q := range s.queue {
		n = n.on(q.narrow)
	}
	return n
}

// fallBehind drops what is to be written: the zone goes on with what it refuses, and has
// the rest sent again when it can write. s.mu is held.
func (s *Store) fallBehind(err error) {
	if err == nil {
		err = federation.Errorf(federation.Unavailable, "the disk of the zone's file of keys is too slow").WithReason(ReasonUnwritten)
	}
	if s.behind == nil {
		s.log.Error(cannotWrite, "file", s.path, "revision", s.state.head.revision.String(), "error", err)
	}
	s.behind, s.queue, s.kept = err, nil, s.narrow
	s.announce()
}

// announce tells who waits for Persisted. s.mu is held.
func (s *Store) announce() {
	close(s.persisted)
	s.persisted = make(chan struct{})
}
