package keysync

import (
	"context"
	"errors"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"go.etcd.io/bbolt"
)

// Bounds of what Apply takes.
const (
	// maxPartChanges bounds the changes of one part.
	maxPartChanges = 1 << 18
	// maxStaged bounds the bytes of a set that is not complete, on disk: some fifty
	// million ids.
	maxStaged = 1 << 30
)

// pending is a set of which not all parts have arrived.
type pending struct {
	first cptoken.Part // without its changes
	mode  mode
	next  uint32
	stage *stage // of the parts so far; nil: there are none
}

// drop forgets the set that is pending. s.mu is held.
func (s *Store) drop() {
	if s.pending != nil {
		s.pending.stage.remove()
		s.pending = nil
	}
}

// Apply takes one part of a set of changes. Parts of a set come in the order of
// Number; one with Number 0 begins a set and drops what there was of another. A
// part that is not the last is put aside on disk and has no effect yet, so that
// memory holds one part at a time, whatever the size of the set.
//
// With the last part the whole set is made durable in one transaction, then
// published as a new View, and only then does Apply return nil: the caller may
// acknowledge. A set that the copy covers already is taken without effect, as are
// changes of an overlapping delta that the copy has. Everything else that does
// not fit is an error with one of the reasons of this package, and leaves file
// and View as they were.
func (s *Store) Apply(ctx context.Context, p cptoken.Part) error {
	if err := ctx.Err(); err != nil {
		return federation.Errorf(federation.Unavailable, "the changes were not applied: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return federation.Errorf(federation.Unavailable, "the zone's file of keys is closed")
	}
	if !s.file.usable() {
		s.drop()
		if err := s.reopen(); err != nil {
			return err
		}
	}
	if err := s.take(p); err != nil {
		s.drop()
		return s.applyError(err)
	}
	return nil
}

// take admits a part to its set, and stages or applies it.
func (s *Store) take(p cptoken.Part) error {
	if p.Number == 0 {
		m, err := s.modeOf(p)
		if err != nil {
			return err
		}
		s.drop()
		first := p
		first.Changes = nil
		s.pending = &pending{first: first, mode: m}
	} else if err := s.continues(p); err != nil {
		return err
	}
	if len(p.Changes) > maxPartChanges {
		return federation.Errorf(federation.TooLarge, "a part with %d changes, at most %d are taken", len(p.Changes), maxPartChanges)
	}
	for _, c := range p.Changes {
		if err := validate(c, p.To.Index); err != nil {
			return err
		}
	}
	s.pending.next++
	switch {
	case !p.Last && s.pending.mode == modeNothing:
		return nil
	case !p.Last:
		return s.stagePart(p)
	}
	defer s.drop()
	if s.pending.mode == modeNothing {
		return nil
	}
	return s.commit(s.pending, p)
}

// modeOf decides what a set is to the copy, from the header that its parts share.
func (s *Store) modeOf(p cptoken.Part) (mode, error) {
	have := &s.state.head
	switch {
	case p.Cluster == "" || len(p.Cluster) > maxText || p.To.History.ID == "" || len(p.To.History.ID) > maxText || p.To.Index == 0:
		return modeNothing, federation.Errorf(federation.Invalid, "the changes do not say which cluster and revision they lead to").
			WithReason(ReasonBrokenSet)
	case have.cluster != "" && p.Cluster != have.cluster:
		return modeNothing, federation.Errorf(federation.Conflict,
			"the changes are of cluster %.64q, this zone belongs to cluster %.64q", p.Cluster, have.cluster).
			WithReason(ReasonOtherCluster).
			WithHint("check --global-address; to move the zone to another cluster, stop it and move its data folder away")
	}
	if have.revision.IsZero() {
		if !p.Full {
			return modeNothing, s.gap(p)
		}
		return modeAdopt, nil
	}
	switch c := p.To.History.Compare(have.revision.History); {
	case c < 0:
		return modeNothing, federation.Errorf(federation.Conflict,
			"the changes are of history %s, which ended before the history %s that this zone has seen", p.To, have.revision).
			WithReason(ReasonOlderHistory).
			WithHint("this member of the global was left behind by a restore: take it out of --global-address, or join it to the cluster anew")
	case c > 0 && p.Full:
		return modeAdopt, nil
	case c > 0:
		return modeNothing, s.gap(p)
	}
	covered := have.revision.Index >= p.To.Index
	switch {
	case covered && p.Watermark.UnixMilli() <= have.watermark:
		return modeNothing, nil
	case covered:
		return modeDelta, nil // for the watermark alone: the copy never goes back
	case p.Full:
		return modeFull, nil
	case p.From.History != p.To.History || p.From.Index > have.revision.Index:
		return modeNothing, s.gap(p)
	}
	return modeDelta, nil
}

func (s *Store) gap(p cptoken.Part) error {
	return federation.Errorf(federation.Conflict, "the changes lead from %s to %s, this zone stands at %s",
		p.From, p.To, s.state.head.revision).
		WithReason(ReasonGap).
		WithHint("subscribe again from the zone's position, or for full state")
}

// continues checks that p is the next part of the pending set.
func (s *Store) continues(p cptoken.Part) error {
	broken := federation.Errorf(federation.Invalid, "part %d to %s does not continue the set that was begun", p.Number, p.To).
		WithReason(ReasonBrokenSet).
		WithHint("subscribe again from the zone's position")
	if s.pending == nil || p.Number != s.pending.next {
		return broken
	}
	f := &s.pending.first
	if p.Cluster != f.Cluster || p.From != f.From || p.To != f.To || p.Full != f.Full || p.Began != f.Began || !p.Watermark.Equal(f.Watermark) {
		return broken
	}
	return nil
}

// stagePart puts a part aside, beside the file.
func (s *Store) stagePart(p cptoken.Part) (err error) {
	if s.pending.stage == nil {
		if s.pending.stage, err = newStage(s.path + stageSuffix); err != nil {
			return err
		}
	}
	return s.pending.stage.add(appendChanges(nil, p.Changes))
}

// commit applies a whole set, of which last is the last part.
func (s *Store) commit(set *pending, last cptoken.Part) error {
	var d *draft
	heard := s.contact.Load()
	err := s.file.update(func(tx *bbolt.Tx) error {
		d = newDraft(tx, set, &s.state, s.hash)
		if err := d.begin(); err != nil {
			return err
		}
		if err := set.stage.each(d.apply); err != nil {
			return err
		}
		for _, c := range last.Changes {
			if err := d.apply(c); err != nil {
				return err
			}
		}
		if err := d.finish(last.Watermark.UnixMilli()); err != nil {
			return err
		}
		h := d.h
		h.cluster = last.Cluster
		if set.mode == modeAdopt || last.To.Index > h.revision.Index {
			h.revision = last.To
		}
		h.setContact(heard)
		return d.writeHead()
	})
	if err != nil {
		return err
	}
	s.report(d)
	s.written = heard.at
	s.publish(d.next)
	return nil
}

// report tells the operator what a restore of the global has led to here.
func (s *Store) report(d *draft) {
	for _, id := range d.blocked {
		s.log.Warn("the global names a key that was removed in an earlier history; it stays refused",
			"key", id.String(), "hint", "rotate to a new key; global keys remove makes the global forget this one")
	}
	if d.mode == modeAdopt && !s.state.head.revision.IsZero() {
		s.log.Warn("the global began a new history: its state was taken over, and what was revoked here stays revoked",
			"from", s.state.head.revision.String(), "to", d.next.head.revision.String(), "kept", d.next.head.carried)
	}
}

// applyError says what is wrong with the file where an error does not.
func (s *Store) applyError(err error) error {
	var known *federation.Error
	if errors.As(err, &known) {
		return err
	}
	return federation.Errorf(federation.Internal, "writing the zone's file of keys: %w", err).
		WithHint("check the disk of %s; the changes will be asked for again", s.path)
}
