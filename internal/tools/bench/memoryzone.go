package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/keysync"
)

// maxHeld is how many ids of a full state a memoryZone holds one by one.
const maxHeld = 20_000

// memoryZone is a zone's copy without its disk: what was revoked since it joined it
// holds one by one, and of a full state that is very long it counts the ids.
type memoryZone struct {
	number int
	seen   *arrivals

	mu      sync.Mutex
	cluster string
	rev     federation.Revision
	keys    int
	ids     int
	recent  map[string]bool
	staged  []cptoken.Part
	changed chan struct{} // closed at the next change of rev
}

// Position implements kds.Sink.
func (z *memoryZone) Position() (string, federation.Revision) {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.cluster, z.rev
}

// Proof implements kds.Sink: this copy never resumes.
func (z *memoryZone) Proof() []byte { return nil }

// Taken implements kds.Sink.
func (z *memoryZone) Taken() (string, federation.Revision) { return z.Position() }

// Persisted implements kds.Sink: what is taken counts as durable.
func (z *memoryZone) Persisted() (cptoken.Persistence, <-chan struct{}) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.changed == nil {
		z.changed = make(chan struct{})
	}
	return cptoken.Persistence{Revision: z.rev}, z.changed
}

// Skipped implements kds.Sink.
func (z *memoryZone) Skipped() (int, []string) { return cptoken.Vocabulary, nil }

// Heard implements kds.Sink.
func (z *memoryZone) Heard(string, time.Time) {}

// Take implements kds.Sink: the whole set at its last part.
func (z *memoryZone) Take(_ context.Context, p cptoken.Part) error {
	z.mu.Lock()
	if p.Number == 0 {
		z.staged = nil
	}
	if z.staged = append(z.staged, p); !p.Last {
		z.mu.Unlock()
		return nil
	}
	if p.Full {
		z.keys, z.ids, z.recent = 0, 0, nil
	}
	for _, part := range z.staged {
		for _, c := range part.Changes {
			z.take(c, p.Full)
		}
	}
	z.staged, z.cluster, z.rev = nil, p.Cluster, p.To
	if z.changed != nil {
		close(z.changed)
		z.changed = nil
	}
	z.mu.Unlock()
	z.seen.saw(z.number)
	return nil
}

func (z *memoryZone) take(c cptoken.Change, full bool) {
	switch {
	case c.Key != nil:
		z.keys++
	case c.Revoked != nil:
		if z.ids += len(c.Revoked.IDs); full && z.ids > maxHeld {
			return
		}
		if z.recent == nil {
			z.recent = map[string]bool{}
		}
		for _, id := range c.Revoked.IDs {
			z.recent[id.ID] = true
		}
	}
}

// check fails unless the zone holds a revision and refuses the id.
func (z *memoryZone) check(rev federation.Revision, id string) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	switch {
	case z.keys == 0:
		return fmt.Errorf("zone %d has no key", z.number)
	case !z.rev.Covers(rev):
		return fmt.Errorf("zone %d stands at %s, not at %s", z.number, z.rev, rev)
	case id != "" && !z.recent[id]:
		return fmt.Errorf("zone %d would still accept %s", z.number, id)
	}
	return nil
}

// diskZone is a zone's copy as zones have it.
type diskZone struct {
	store  *keysync.Store
	number int
	seen   *arrivals
}

// Position implements kds.Sink.
func (z *diskZone) Position() (cluster string, rev federation.Revision) { return z.store.Position() }

// Heard implements kds.Sink.
func (z *diskZone) Heard(member string, at time.Time) { z.store.Heard(member, at) }

// Take implements kds.Sink: a zone counts once it can acknowledge.
func (z *diskZone) Take(ctx context.Context, p cptoken.Part) error {
	err := z.store.Apply(ctx, p)
	if err == nil && p.Last {
		z.seen.saw(z.number)
	}
	return err
}

// Proof implements kds.Sink.
func (z *diskZone) Proof() []byte { return z.store.Proof() }

// Taken implements kds.Sink.
func (z *diskZone) Taken() (cluster string, rev federation.Revision) { return z.store.Taken() }

// Persisted implements kds.Sink.
func (z *diskZone) Persisted() (cptoken.Persistence, <-chan struct{}) { return z.store.Persisted() }

// Skipped implements kds.Sink.
func (z *diskZone) Skipped() (vocabulary int, names []string) { return z.store.Skipped() }

func (z *diskZone) check(rev federation.Revision, id string) error {
	v := z.store.View()
	if !v.Revision().Covers(rev) {
		return fmt.Errorf("zone %d stands at %s, not at %s", z.number, v.Revision(), rev)
	}
	if id != "" && !v.Revoked(cptoken.Zone, "", id) {
		return fmt.Errorf("zone %d would still accept %s", z.number, id)
	}
	return nil
}
