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
	first cptoken.Part // without its changes
	mode  mode
	next  uint32
	ahead *draft // what the set comes to; nil: nothing new
}

// queued is a part that is to be written, the last of a set with records of the ids that
// the set revokes, and the number of the set.
type queued struct {
	part    cptoken.Part
	revokes [][]byte
	set     uint64
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
		if m != modeNothing {
			if in.ahead, err = s.foresee(p); err != nil {
				return err
			}
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
		if in.ahead == nil {
			continue
		}
		if err := in.ahead.apply(c); err != nil {
			return err
		}
	}
	in.next++
	if in.mode == modeNothing {
		return nil
	}
	return s.enqueue(in, p)
}

// enqueue has a part written, and a set that is complete refuse what it refuses. s.mu is
// held.
func (s *Store) enqueue(in *incoming, p cptoken.Part) error {
	q := queued{part: p}
	if p.Last {
		if err := s.complete(in, p, &q); err != nil {
			return err
		}
	}
	if s.behind != nil {
		s.given = append(s.given, q.revokes...)
		return nil
	}
	s.queue = append(s.queue, q)
	s.poke()
	return nil
}

// complete takes a set of which this is the last part.
func (s *Store) complete(in *incoming, p cptoken.Part, q *queued) error {
	s.incoming = nil
	if in.ahead != nil {
		next, refuses, err := in.ahead.foreseen(p, s.ahead)
		if err != nil {
			return err
		}
		s.ahead, q.revokes = next, in.ahead.log.records
		if refuses {
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
	s.leads = true
	s.sets++
	q.set = s.sets
	return nil
}

// poke has Run look for what there is to write.
func (s *Store) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// reference is what the next set must lead on from. s.mu is held.
func (s *Store) reference() head {
	if s.leads {
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
