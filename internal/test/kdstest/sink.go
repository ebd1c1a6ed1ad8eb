package kdstest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// Sink is a zone's copy in memory.
type Sink struct {
	Mu         sync.Mutex
	Cluster    string
	Rev        federation.Revision
	ids        map[string]bool
	pending    []cptoken.Part
	sets       []cptoken.Part // headers of applied sets
	parts      int
	HeardCount int
	HeardFrom  string
	HeardAt    time.Time // the latest time that Heard was told
	changed    chan struct{}
	// Persistence is what Persisted tells, the revision apart; Vocabulary and NotHeld
	// what Skipped tells.
	Persistence cptoken.Persistence
	Vocabulary  int
	NotHeld     []string
	// Hook runs before a part is taken, outside the lock.
	Hook func(p cptoken.Part) error
}

// NewSink returns a copy that knows nothing.
func NewSink() *Sink {
	return &Sink{ids: map[string]bool{}, changed: make(chan struct{}), Vocabulary: cptoken.Vocabulary}
}

// Position implements kds.Sink.
func (s *Sink) Position() (string, federation.Revision) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.Cluster, s.Rev
}

// Proof implements kds.Sink: what a Source takes for a position.
func (s *Sink) Proof() []byte {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if s.Rev.IsZero() {
		return nil
	}
	return []byte(s.Rev.String())
}

// Taken implements kds.Sink: what is taken is durable.
func (s *Sink) Taken() (string, federation.Revision) { return s.Position() }

// Persisted implements kds.Sink.
func (s *Sink) Persisted() (cptoken.Persistence, <-chan struct{}) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	p := s.Persistence
	p.Revision = s.Rev
	return p, s.changed
}

// Skipped implements kds.Sink.
func (s *Sink) Skipped() (int, []string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.Vocabulary, s.NotHeld
}

// Take implements kds.Sink.
func (s *Sink) Take(_ context.Context, p cptoken.Part) error {
	s.Mu.Lock()
	hook := s.Hook
	s.Mu.Unlock()
	if hook != nil {
		if err := hook(p); err != nil {
			return err
		}
	}
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if p.Number == 0 {
		s.pending = nil
	}
	s.parts++
	s.pending = append(s.pending, p)
	if !p.Last {
		return nil
	}
	if p.Full {
		s.ids = map[string]bool{}
	}
	for _, part := range s.pending {
		for _, c := range part.Changes {
			if c.Revoked == nil {
				continue
			}
			for _, id := range c.Revoked.IDs {
				s.ids[id.ID] = true
			}
		}
	}
	s.pending = nil
	s.Cluster, s.Rev = p.Cluster, p.To
	s.sets = append(s.sets, p)
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

// Heard implements kds.Sink.
func (s *Sink) Heard(member string, at time.Time) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.HeardCount++
	s.HeardFrom, s.HeardAt = member, at
}

// Holds reports whether the copy stands at a revision.
func (s *Sink) Holds(rev federation.Revision) bool {
	_, at := s.Position()
	return at == rev
}

// Has reports whether an id is revoked.
func (s *Sink) Has(id string) bool {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.ids[id]
}

// Applied returns the last parts of the sets that were applied.
func (s *Sink) Applied() []cptoken.Part {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return slices.Clone(s.sets)
}

// SetHook sets Hook while the copy is in use.
func (s *Sink) SetHook(f func(cptoken.Part) error) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.Hook = f
}
