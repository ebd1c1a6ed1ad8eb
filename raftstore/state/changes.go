package state

import (
	"iter"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
)

// Since returns what leads a zone from a revision to this state: the changes
// after it, or full state where they are not known (another history, tombstones
// that were forgotten, nothing known yet). It fails where the zone is ahead of
// this state; the zone must wait for it and never goes back.
//
// Full state includes the tombstones of the last 30 days: a zone that comes from
// an older history keeps its revocations until it is told that they were
// withdrawn.
func (s *State) Since(rev federation.Revision) (cptoken.Delta, error) {
	if !s.Founded() {
		return cptoken.Delta{}, federation.Errorf(federation.Unavailable, "the cluster is not founded yet").
			WithReason("not_founded")
	}
	d := cptoken.Delta{
		Cluster: s.cluster, From: rev, To: s.Revision(), Began: s.began, Watermark: millis(s.watermark),
	}
	switch age := rev.History.Compare(s.history); {
	case rev.IsZero() || age < 0:
		d.Full = true
	case age > 0 || rev.Index > s.revision:
		return cptoken.Delta{}, &federation.Error{
			Code: federation.Unavailable, Reason: "behind", RetryAfter: time.Second,
			Detail: "this node is at " + s.Revision().String() + " and has not caught up with " + rev.String(),
			Hint:   "wait, or ask another member",
		}
	default:
		d.Full = rev.Index < s.floor
	}
	if d.Full {
		d.From = federation.Revision{}
	}
	d.Changes = s.changes(d.From.Index)
	return d, nil
}

// changes yields what happened after an index to things that zones hold.
func (s *State) changes(after uint64) iter.Seq[cptoken.Change] {
	return func(yield func(cptoken.Change) bool) {
		for at, e := range s.log.From(logKey{index: after + 1}) {
			if !atZones(e.kind()) {
				continue
			}
			if e.run != nil {
				if !s.yieldRun(e.run, yield) {
					return
				}
				continue
			}
			if !yield(s.change(at.index, e)) {
				return
			}
		}
	}
}

func (s *State) change(index uint64, e logEntry) cptoken.Change {
	c := cptoken.Change{Index: index}
	id := e.id
	switch e.what {
	case keyChanged:
		k, _ := s.keys.Get(id)
		c.Key = k.Public
	case keyRemoved:
		c.RemovedKey = &id
	case cutOffSet:
		r, _ := s.cutOffs.Get(cptoken.CutOffID(id))
		cutOff := r.CutOff.CutOff
		c.CutOff = &cutOff
	case cutOffWithdrawn:
		cutOff := cptoken.CutOffID(id)
		c.CutOffWithdrawn = &cutOff
	}
	return c
}

// yieldRun yields a run in pieces of at most cptoken.MaxRun ids.
func (s *State) yieldRun(r *run, yield func(cptoken.Change) bool) bool {
	list := s.list(r.listID)
	piece, more := newPiece(r), true
	flush := func() {
		c := cptoken.Change{Index: r.index}
		if r.withdrawn {
			c.Withdrawn = piece
		} else {
			c.Revoked = piece
		}
		more = yield(c)
		piece = newPiece(r)
	}
	r.each(&list, func(id string, e idEntry) bool {
		revoked := cptoken.RevokedID{ID: id}
		if !r.withdrawn {
			revoked.Expires = e.expires
		}
		piece.IDs = append(piece.IDs, revoked)
		if len(piece.IDs) == cptoken.MaxRun {
			flush()
		}
		return more
	})
	if more && len(piece.IDs) > 0 {
		flush()
	}
	return more
}

func newPiece(r *run) *cptoken.RevokedRun {
	return &cptoken.RevokedRun{
		Kind: r.kind, Mesh: r.mesh,
		IDs: make([]cptoken.RevokedID, 0, min(r.live, cptoken.MaxRun)),
	}
}

// view is a capture as verifiers see it.
type view struct{ s *State }

var _ cptoken.View = view{}

// View returns the public keys, revocations and cut-offs of every kind. s must not be
// changed any more.
func (s *State) View() cptoken.View { return view{s} }

// Key returns a public key that is not removed, or nil.
func (v view) Key(id cptoken.KeyID) *cptoken.PublicKey {
	if k, ok := v.s.keys.Get(id); ok {
		return k.Public
	}
	return nil
}

// Revoked reports whether the id is on the list of the kind and mesh.
func (v view) Revoked(kind cptoken.Kind, mesh, id string) bool {
	list, ok := v.s.lists.Get(listID{kind, mesh})
	if !ok {
		return false
	}
	e, ok := list.get(id)
	return ok && !e.withdrawn()
}

// Pruned returns the watermark.
func (v view) Pruned() time.Time { return v.s.Watermark() }

// CutOff returns the later of the cut-offs of the kid and of the kind and mesh.
func (v view) CutOff(kind cptoken.Kind, mesh, kid string) time.Time {
	if v.s.cutOffs.Len() == 0 {
		return time.Time{}
	}
	var latest time.Time
	for _, id := range [...]string{"", kid} {
		c, ok := v.s.cutOffs.Get(cptoken.CutOffID{Kind: kind, Mesh: mesh, KID: id})
		if ok && clock.Earlier(latest, c.Before) {
			latest = c.Before
		}
	}
	return latest
}
