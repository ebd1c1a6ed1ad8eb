package keysync

import (
	"bytes"
	"context"
	"errors"

	"go.etcd.io/bbolt"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// Bounds of what Apply takes.
const (
	// maxPartChanges bounds the changes of one part.
	maxPartChanges = 1 << 18
	// maxStaged bounds the bytes of a set that is not complete, on disk: some fifty
	// million ids.
	maxStaged = 1 << 30
)

// pending is a set of which not all parts are written.
type pending struct {
	first cptoken.Part // without its changes
	mode  mode
	next  uint32
	stage *stage // of the parts so far; nil: there are none
}

// bytes is how much of the set is put aside.
func (p *pending) bytes() int64 {
	if p == nil || p.stage == nil {
		return 0
	}
	return p.stage.size
}

// drop forgets the set that is pending. s.disk is held.
func (s *Store) drop() {
	if s.pending != nil {
		s.pending.stage.remove()
		s.pending = nil
	}
}

// Apply is Take, and returns only when what was taken is durable and in use, for who
// has no [Store.Run] beside. Where it cannot be written, the error says why, and what
// the set refuses is refused all the same.
func (s *Store) Apply(ctx context.Context, p cptoken.Part) error {
	var err error
	if s.disk.TryLock() { // else somebody waits for the disk, and what narrows must not
		err = s.recover()
		s.disk.Unlock()
	}
	before, _ := s.Persisted()
	if err := s.Take(ctx, p); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	if err := s.flush(); err != nil {
		return err
	}
	if now, _ := s.Persisted(); now.Lost != before.Lost {
		return federation.Errorf(federation.Unavailable, "the changes were given up, because they could not be written").WithReason(ReasonUnwritten)
	}
	return nil
}

// write admits a part to its set, and stages or commits it. The state is the one that a
// commit led to. s.disk is held.
func (s *Store) write(p cptoken.Part) (*state, error) {
	st, err := s.writePart(p)
	if err != nil {
		s.drop()
		return nil, s.applyError(err)
	}
	return st, nil
}

func (s *Store) writePart(p cptoken.Part) (*state, error) {
	if p.Number == 0 {
		m, err := modeOf(&s.state.head, p)
		if err != nil {
			return nil, err
		}
		if m == modeFull && s.owes(p.To) {
			m = modeMerge // it cannot know what was given up
		}
		s.drop()
		s.pending = &pending{first: p, mode: m}
		s.pending.first.Changes = nil
	} else if s.pending == nil || !continues(&s.pending.first, s.pending.next, p) {
		return nil, brokenSet(p)
	}
	if err := s.fault("write"); err != nil {
		return nil, err
	}
	s.pending.next++
	if !p.Last {
		return nil, s.stagePart(p)
	}
	defer s.drop()
	return s.commit(s.pending, p)
}

// modeOf decides what a set is to the copy, from the header that its parts share.
func modeOf(have *head, p cptoken.Part) (mode, error) {
	switch {
	case p.Cluster == "" || len(p.Cluster) > maxText || p.To.History.ID == "" || len(p.To.History.ID) > maxText || p.To.Index == 0:
		return modeNothing, federation.Errorf(federation.Invalid, "the changes do not say which cluster and revision they lead to").
			WithReason(ReasonBrokenSet)
	case have.cluster != "" && p.Cluster != have.cluster:
		return modeNothing, federation.Errorf(federation.Conflict,
			"the changes are of cluster %.64q, this zone belongs to cluster %.64q", p.Cluster, have.cluster).
			WithReason(ReasonOtherCluster).
			WithHint("check --global-address; to move the zone to another cluster, stop it and move its data folder away, but for tls, which its proxies trust")
	}
	if have.revision.IsZero() {
		if !p.Full {
			return modeNothing, gap(have, p)
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
		return modeNothing, gap(have, p)
	case p.Merging:
		return modeMerge, nil // also to a lower index: it takes nothing away
	}
	switch {
	case p.To.Index < have.revision.Index:
		return modeNothing, notThrough(have, p)
	case p.Full && p.To.Index == have.revision.Index && have.vocabulary != cptoken.Vocabulary:
		return modeFull, nil // the same once more, for what was not understood
	case p.To.Index == have.revision.Index && !bytes.Equal(p.Position, have.position):
		return modeNothing, notThrough(have, p)
	case p.To.Index == have.revision.Index && p.Watermark.UnixMilli() <= have.watermark:
		return modeNothing, nil // the very same set, which was taken and is not durable yet
	case p.To.Index == have.revision.Index:
		return modeDelta, nil // for the watermark alone
	case p.Full:
		return modeFull, nil
	case p.From.History != p.To.History || p.From.Index > have.revision.Index:
		return modeNothing, gap(have, p)
	}
	return modeDelta, nil
}

func gap(have *head, p cptoken.Part) error {
	return federation.Errorf(federation.Conflict, "the changes lead from %s to %s, this zone stands at %s",
		p.From, p.To, have.revision).
		WithReason(ReasonGap).
		WithHint("subscribe again from the zone's position, or for full state")
}

func notThrough(have *head, p cptoken.Part) error {
	return federation.Errorf(federation.Conflict, "the changes lead to %s, and this zone stands at %s, which they do not lead through",
		p.To, have.revision).
		WithReason(ReasonAhead).
		WithHint("the global's disk was put back to an earlier state, or this member lags: see its log and global cluster status")
}

// continues reports whether p is the next part of the set that was begun.
func continues(f *cptoken.Part, next uint32, p cptoken.Part) bool {
	return p.Number == next && p.Cluster == f.Cluster && p.From == f.From && p.To == f.To && p.Full == f.Full &&
		p.Began == f.Began && p.Merging == f.Merging && bytes.Equal(p.Position, f.Position) && p.Watermark.Equal(f.Watermark)
}

func brokenSet(p cptoken.Part) error {
	return federation.Errorf(federation.Invalid, "part %d to %s does not continue the set that was begun", p.Number, p.To).
		WithReason(ReasonBrokenSet).
		WithHint("subscribe again from the zone's position")
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
func (s *Store) commit(set *pending, last cptoken.Part) (*state, error) {
	var d *draft
	s.mu.Lock()
	known := s.ahead
	s.mu.Unlock()
	err := s.file.update(func(tx *bbolt.Tx) error {
		d = newDraft(tx, set, &s.state, s.hash)
		d.ahead = known
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
		d.lead(last)
		d.h.setContact(s.contact.Load())
		return d.writeHead()
	})
	if err != nil {
		if d != nil { // nil: the transaction did not begin
			s.tried = d.next.head
		}
		return nil, err
	}
	s.report(d)
	return &d.next, nil
}

// lead has the draft stand where the set leads to.
func (d *draft) lead(last cptoken.Part) {
	d.h.cluster = last.Cluster
	if d.full() {
		d.h.vocabulary = cptoken.Vocabulary
	}
	if d.mode.leads(d.h.revision, last.To) {
		d.h.revision, d.h.position = last.To, last.Position
	}
}

// report tells the operator what a restore of the global has led to here.
func (s *Store) report(d *draft) {
	for _, id := range d.blocked {
		s.log.Warn("the global names a key that was removed in an earlier history; it stays refused",
			"key", id.String(), "hint", "rotate to a new key; global keys remove makes the global forget this one")
	}
	if (d.mode == modeAdopt || d.mode == modeMerge) && !s.state.head.revision.IsZero() {
		s.log.Warn("the global's state was taken over as a whole, and what was revoked here stays revoked: it began a new history, or could not tell where this zone stood",
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
