package audit

import (
	"errors"
	"time"
)

// gatherFor is how long a sync waits at most for lines that are written and will have
// to be durable in a moment: as long as two processors take for a dozen signatures. A
// sync costs as much processor time as a fifth of one. A token that is made alone waits
// for nobody, and a few that are made at once only for each other.
const gatherFor = 5 * time.Millisecond

// gather waits until all lines that have been appended are wanted on the disk.
func (l *Log) gather(s *series, seq uint64) {
	l.mu.Lock()
	if s.expected == 0 || seq <= s.synced || seq <= s.lost {
		l.mu.Unlock()
		return
	}
	if s.settled == nil {
		s.settled = make(chan struct{})
	}
	settled := s.settled
	l.mu.Unlock()
	enough := time.NewTimer(gatherFor)
	defer enough.Stop()
	select {
	case <-settled:
	case <-enough.C:
	}
}

// flush makes a series durable up to a record.
func (l *Log) flush(s *series, seq uint64) error {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	l.gather(s, seq)
	l.mu.Lock()
	file, upTo, synced, lost := s.file, s.written, s.synced, s.lost
	left := s.left
	s.left = nil
	l.mu.Unlock()
	for _, f := range left {
		_ = f.Close() // it was synced, or is given up
	}
	switch {
	case seq <= lost:
		return errors.New("an earlier line did not reach the disk")
	case seq <= synced:
		return nil
	case file == nil:
		return errors.New("its file was given up")
	}
	err := file.Sync()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		s.synced = max(s.synced, upTo)
		return nil
	}
	// What is on the disk is unknown from here on, and a second sync would not tell.
	s.lost = max(s.lost, upTo)
	if s.file == file {
		s.left = append(s.left, file)
		s.file, s.size = nil, 0
	}
	return err
}
