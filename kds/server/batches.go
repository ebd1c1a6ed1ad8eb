package server

import (
	"context"
	"errors"
	"sync"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/wire"
)

// batches is the shared store of encoded sets. Streams that stand at the same
// revision, which is nearly all of them nearly always, get the same batch: one
// of them asks the Source and encodes, the others wait for it. A batch stays for
// as long as a stream sends it; beyond that the store is bounded. Zones that come
// back from many different revisions are sent the full state, which is one for
// all, once the deltas that are being sent fill the bound.
type batches struct {
	source  kds.Source
	limits  *kds.Limits
	maxPart int
	stats   *counters

	mu      sync.Mutex
	entries map[origin]*entry
	bytes   int // of all entries
	pinned  int // of deltas that streams send, also forgotten ones
	clock   uint64

	making chan struct{} // holds a token for each delta that is being made
}

// origin is where a batch begins: at a revision, or at nothing. Of a full state merging
// tells two apart.
type origin struct {
	from    federation.Revision
	merging bool
}

// entry is a batch that is there or being made. batch and err are set before
// ready is closed; refs and used belong to the mutex of batches.
type entry struct {
	from  origin
	ready chan struct{}
	batch *wire.Batch
	err   error

	refs   int
	used   uint64 // clock of the last use
	pinned bool   // its size counts in batches.pinned
}

var (
	// errNeedsFull says that no delta leads on from a revision.
	errNeedsFull = errors.New("kds: needs the full state")
	// errCrowded says that the deltas that are being sent take all the room.
	errCrowded = errors.New("kds: no room for another delta")
)

// maxMaking is how many deltas are made at once: more would only wait for
// processors, and each is not counted before it is made.
const maxMaking = 4

// A stream that resumes names a revision of its own choice, and one that goes on
// stands where it was led: nearly all of these stand together, and have more room.
const (
	roomResuming = 1
	roomGoingOn  = 4
)

func newBatches(source kds.Source, limits *kds.Limits, maxPart int, stats *counters) *batches {
	return &batches{
		source: source, limits: limits, maxPart: maxPart, stats: stats,
		entries: map[origin]*entry{}, making: make(chan struct{}, maxMaking),
	}
}

// wanted is what a stream needs next.
type wanted struct {
	from, head federation.Revision
	room       int  // how many times CacheBytes the deltas that are being sent may take
	whole      bool // a full state, one that does not go back behind from
	merging    bool // a full state, not of before from, for a zone of which nothing proves where it stands
}

// next returns a set that leads a zone on from a revision, to head or further,
// or a full state close enough to head that a delta soon follows. The caller
// must call release once it has sent the set.
func (s *batches) next(ctx context.Context, w wanted) (b *wire.Batch, release func(), err error) {
	if !w.from.IsZero() && !w.whole && !w.merging {
		b, release, err = s.get(ctx, origin{from: w.from}, w.room, func(b *wire.Batch) bool { return b.To.Covers(w.head) })
		if !errors.Is(err, errNeedsFull) && !errors.Is(err, errCrowded) {
			return b, release, err
		}
	}
	return s.get(ctx, origin{merging: w.merging}, w.room, func(b *wire.Batch) bool {
		return b.To.History == w.head.History &&
			b.To.Index+s.limits.FullLag >= w.head.Index &&
			(w.from.History != w.head.History || b.To.Index >= w.from.Index)
	})
}

// get returns the batch that begins at from. One that is there is taken where it
// is fresh; otherwise the caller makes a new one, and whoever comes meanwhile
// waits for that.
func (s *batches) get(ctx context.Context, from origin, room int, fresh func(*wire.Batch) bool) (*wire.Batch, func(), error) {
	for {
		e, mine := s.enter(from, fresh)
		if mine {
			e.batch, e.err = s.build(from, room)
			s.settle(e)
			close(e.ready)
		}
		select {
		case <-e.ready:
		case <-ctx.Done():
			s.release(e)
			return nil, nil, context.Cause(ctx)
		}
		// What somebody else began to make before this caller's head was known may
		// be too old; what this caller made is as new as it gets.
		if e.err == nil && (mine || fresh(e.batch)) {
			return e.batch, func() { s.release(e) }, nil
		}
		s.release(e)
		if errors.Is(e.err, errCrowded) && !mine {
			continue // its maker may have had less room than this caller has
		}
		if e.err != nil {
			return nil, nil, e.err
		}
	}
}

// enter returns the entry of from, held, and whether the caller has to make it.
func (s *batches) enter(from origin, fresh func(*wire.Batch) bool) (e *entry, mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e = s.entries[from]
	if e != nil {
		select {
		case <-e.ready:
			if e.err != nil || !fresh(e.batch) {
				s.forget(e)
				e = nil
			} else {
				s.pin(e)
			}
		default:
		}
	}
	if e == nil {
		e = &entry{from: from, ready: make(chan struct{})}
		s.entries[from] = e
		mine = true
	}
	e.refs++
	s.clock++
	e.used = s.clock
	return e, mine
}

// build encodes a set, if there is room for it.
func (s *batches) build(from origin, room int) (*wire.Batch, error) {
	if from.from.IsZero() {
		return s.encode(from)
	}
	s.making <- struct{}{}
	defer func() { <-s.making }()
	s.mu.Lock()
	crowded := s.pinned > room*s.limits.CacheBytes
	s.mu.Unlock()
	if crowded {
		return nil, errCrowded
	}
	return s.encode(from)
}

// pin counts a delta that is there and that a stream sends.
func (s *batches) pin(e *entry) {
	if !e.pinned && !e.from.from.IsZero() {
		e.pinned = true
		s.pinned += e.batch.Size
	}
}

func (s *batches) encode(from origin) (*wire.Batch, error) {
	d, err := s.source.Since(from.from)
	if err != nil {
		return nil, err
	}
	if d.Full && !from.from.IsZero() {
		return nil, errNeedsFull
	}
	d.Merging = from.merging
	b, err := wire.Encode(d, s.maxPart)
	if err != nil {
		return nil, err
	}
	s.stats.encoded(b)
	return b, nil
}

// settle accounts for an entry that was just made.
func (s *batches) settle(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.err != nil {
		s.forget(e)
		return
	}
	s.pin(e)
	if s.entries[e.from] == e {
		s.bytes += e.batch.Size
		s.trim()
	}
}

func (s *batches) release(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.refs--
	if e.refs == 0 {
		if e.pinned {
			e.pinned = false
			s.pinned -= e.batch.Size
		}
		s.trim()
	}
}

// forget takes an entry out; streams that send it keep it alive.
func (s *batches) forget(e *entry) {
	if s.entries[e.from] != e {
		return
	}
	delete(s.entries, e.from)
	if e.batch != nil {
		s.bytes -= e.batch.Size
	}
}

// trim forgets what nobody sends, the least recently used first, until the store
// is within its bounds. It looks at every entry, of which there are few, and only
// when there is something to forget.
func (s *batches) trim() {
	for s.bytes > s.limits.CacheBytes || len(s.entries) > s.limits.CacheBatches {
		var oldest *entry
		for _, e := range s.entries {
			if e.refs == 0 && (oldest == nil || e.used < oldest.used) {
				oldest = e
			}
		}
		if oldest == nil {
			return
		}
		s.forget(oldest)
	}
}
