package keysync

import (
	"errors"
	"os"
	"syscall"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// recover makes the file usable again after a failure, and proves it by writing: the
// contact, which is due anyway. s.disk is held.
func (s *Store) recover() error {
	for {
		s.mu.Lock()
		behind, closed, a, given := s.behind, s.closed, s.ahead, s.given
		s.mu.Unlock()
		if closed {
			return federation.Errorf(federation.Unavailable, "the zone's file of keys is closed")
		}
		if behind == nil {
			return nil
		}
		s.began()
		st, err := s.prove(a, given)
		if err != nil {
			err = s.applyError(err)
		}
		if s.recovered(st, err, a, len(given)) {
			return err
		}
	}
}

// prove writes what is to be refused whatever comes next, and else the contact, which is
// due anyway.
func (s *Store) prove(a *ahead, given [][]byte) (*state, error) {
	s.drop()
	if !s.file.usable() {
		if err := s.reopen(); err != nil {
			return nil, err
		}
	}
	if err := s.probeSpace(); err != nil {
		return nil, err
	}
	if a == nil || s.state.head.revision.IsZero() {
		return nil, s.writeContact(s.contact.Load())
	}
	return s.keepRefused(a, given)
}

// recovered notes what became of a proof, and reports whether that is all: more may have
// been taken meanwhile.
func (s *Store) recovered(st *state, err error, proved *ahead, given int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing = time.Time{}
	if err != nil {
		s.fallBehind(err)
		return true
	}
	if st != nil {
		s.state, s.given = *st, s.given[given:]
	}
	if s.ahead != proved {
		return false
	}
	s.log.Info("the zone's file of keys can be written again", "file", s.path, "revision", s.state.head.revision.String())
	s.behind, s.leads, s.incoming, s.given = nil, false, nil, nil // probe stays until a set is written
	if a := s.ahead; a != nil {
		s.owed = a.head.revision
		if s.state.head.revision.IsZero() || len(a.head.position) == 0 {
			s.ahead, s.owed = nil, federation.Revision{} // nothing is trusted, or nothing tells what comes again
		}
	}
	s.lost++
	s.durable = s.sets // no other is waited for
	s.publish()
	s.announce()
	return true
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
// was staged before it touch. Where the same set fails again, it was more, but never more
// than the whole file anew. A disk that fails for another reason than room needs none.
func (s *Store) refused(p cptoken.Part, staged int64, why error) {
	var errno syscall.Errno
	if errors.As(why, &errno) && errno != syscall.ENOSPC && errno != syscall.EDQUOT {
		return
	}
	n, size := staged+int64(len(appendChanges(nil, p.Changes))), int64(0)
	if f, err := os.Stat(s.path); err == nil {
		size = f.Size()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.probe = min(max(2*n, 2*s.probe, minProbe), 2*n+size+minProbe, maxStaged)
}

// minProbe is the least that a disk proves to have room for: it may be full to a page.
const minProbe = 64 << 10

// fallBehind drops what is to be written: the zone goes on with what it refuses, and has
// the rest sent again when it can write. s.mu is held.
func (s *Store) fallBehind(err error) {
	if err == nil {
		err = federation.Errorf(federation.Unavailable, "the disk of the zone's file of keys is too slow").WithReason(ReasonUnwritten)
	}
	if s.behind == nil {
		s.log.Error(cannotWrite, "file", s.path, "revision", s.state.head.revision.String(), "error", err)
	}
	for _, q := range s.queue {
		s.given = append(s.given, q.revokes...)
	}
	s.behind, s.queue = err, nil
	s.announce()
}
