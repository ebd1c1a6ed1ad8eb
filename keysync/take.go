package keysync

import (
	"context"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// maxQueued bounds the parts that wait for the disk. Where there are more, the zone goes
// on without what they hold, and has them sent again once it can write.
const maxQueued = 64

// incoming is a set of which not all parts have arrived.
type incoming struct {
	first    cptoken.Part // without its changes
	mode     mode
	next     uint32
	narrower *narrower // nil: there is nothing to narrow
}

// queued is a part that is to be written, the last of a set with what the set refuses.
type queued struct {
	part   cptoken.Part
	narrow *narrowing
}

// Take takes one part of a set of changes. Parts of a set come in the order of Number;
// one with Number 0 begins a set and drops what there was of another. With the last part
// the set takes effect as far as it refuses something: that never waits for the disk,
// and Take returns once it is visible in View. The rest takes effect when it is durable,
// which [Store.Persisted] tells. [Store.Run] does the writing.
//
// A set must lead on from what was taken before (Taken), also where that is not durable.
// One that the copy covers already is taken without effect. Everything else that does
// not fit is an error with one of the reasons of this package, and changes nothing.
func (s *Store) Take(ctx context.Context, p cptoken.Part) error {
	if err := ctx.Err(); err != nil {
		return federation.Errorf(federation.Unavailable, "the changes were not applied: %w", err)
	}
	s.makeRoom(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return federation.Errorf(federation.Unavailable, "the zone's file of keys is closed")
	}
	if err := s.admit(p); err != nil {
		s.incoming = nil
		return err
	}
	return nil
}

// makeRoom waits for a moment where many parts wait for the disk: it may only be busy.
func (s *Store) makeRoom(ctx context.Context) {
	timer := time.NewTimer(s.opts.WriteTimeout)
	defer timer.Stop()
	for {
		s.mu.Lock()
		full, persisted := len(s.queue) >= maxQueued, s.persisted
		s.mu.Unlock()
		if !full {
			return
		}
		select {
		case <-persisted:
		case <-timer.C:
			s.mu.Lock()
			s.fallBehind(s.unwritten())
			s.mu.Unlock()
			return
		case <-ctx.Done():
			return
		}
	}
}

// admit admits a part to its set, and queues it. s.mu is held.
func (s *Store) admit(p cptoken.Part) error {
	have := s.reference()
	if p.Number == 0 {
		m, err := modeOf(&have, p)
		if err != nil {
			return err
		}
		in := &incoming{first: p, mode: m}
		in.first.Changes = nil
		if m != modeNothing && !s.view.Load().Empty() {
			in.narrower = newNarrower(&s.state, have.revision, m, p.To, s.hash)
		}
		s.incoming = in
	} else if s.incoming == nil || !continues(&s.incoming.first, s.incoming.next, p) {
		return brokenSet(p)
	}
	in := s.incoming
	if len(p.Changes) > maxPartChanges {
		return federation.Errorf(federation.TooLarge, "a part with %d changes, at most %d are taken", len(p.Changes), maxPartChanges)
	}
	for _, c := range p.Changes {
		if err := validate(c, p.To.Index); err != nil {
			return err
		}
		if in.narrower != nil {
			in.narrower.take(c)
		}
	}
	in.next++
	if in.mode != modeNothing {
		s.enqueue(in, p)
	}
	return nil
}

// enqueue has a part written, and a set that is complete refuse what it refuses. s.mu is
// held.
func (s *Store) enqueue(in *incoming, p cptoken.Part) {
	q := queued{part: p}
	if p.Last {
		s.incoming = nil
		if in.narrower != nil {
			q.narrow = in.narrower.done()
			if s.narrow != nil || !q.narrow.empty() {
				s.narrow = s.narrow.on(q.narrow)
				s.publish()
			}
		}
		s.taken = s.reference()
		s.taken.cluster, s.taken.watermark = p.Cluster, max(s.taken.watermark, p.Watermark.UnixMilli())
		if in.mode.leads(s.taken.revision, p.To) {
			s.taken.revision, s.taken.position = p.To, p.Position
		}
		if in.mode.full() {
			s.taken.vocabulary = cptoken.Vocabulary
		}
		s.ahead = true
	}
	if s.behind != nil {
		s.kept = s.narrow
	} else {
		s.queue = append(s.queue, q)
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// reference is what the next set must lead on from. s.mu is held.
func (s *Store) reference() head {
	if s.ahead {
		return s.taken
	}
	return s.state.head
}

// Taken returns what the next set must lead on from. It is beyond Position while
// something is being written, or cannot be.
func (s *Store) Taken() (cluster string, rev federation.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.reference()
	return h.cluster, h.revision
}
