package keysync

import (
	"maps"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// narrowing is what sets that are not durable yet refuse: revoked ids, removed keys and
// cut-offs. A View answers with it on top of what is durable, so that a token is refused
// from the moment on at which the zone knows, whatever its disk does; what such sets
// allow waits. It is immutable once it is part of a View.
type narrowing struct {
	// revoked are the ids that the sets speak of: revoked, or, where a later set
	// withdrew them, left to what is durable.
	revoked revSet
	// keys are those that the sets speak of: true where what is held under this name is
	// not to be trusted.
	keys map[cptoken.KeyID]bool
	// cutOffs are those of the sets, in Unix seconds; 0 where one was withdrawn.
	cutOffs map[cptoken.CutOffID]int64
	// to is how far the sets lead.
	to federation.Revision
}

// on returns what a later narrowing comes to on top of this one. Either may be nil.
func (n *narrowing) on(later *narrowing) *narrowing {
	if n == nil || later == nil {
		if later != nil {
			return later
		}
		return n
	}
	out := &narrowing{revoked: n.revoked, keys: maps.Clone(n.keys), cutOffs: maps.Clone(n.cutOffs), to: later.to}
	for i := len(later.revoked.tables) - 1; i >= 0; i-- {
		out.revoked = out.revoked.push(later.revoked.tables[i])
	}
	maps.Copy(out.keys, later.keys)
	maps.Copy(out.cutOffs, later.cutOffs)
	return out
}

// empty reports whether nothing is refused.
func (n *narrowing) empty() bool {
	for _, refused := range n.keys {
		if refused {
			return false
		}
	}
	return len(n.revoked.tables) == 0 && len(n.cutOffs) == 0
}

// refuses reports whether a key is not to be trusted.
func (n *narrowing) refuses(id cptoken.KeyID) bool { return n != nil && n.keys[id] }

// cutOff returns the cut-off of an id, 0 where there is none.
func (n *narrowing) cutOff(id cptoken.CutOffID) int64 {
	if n == nil {
		return 0
	}
	return n.cutOffs[id]
}

// narrower makes the narrowing of one set while its parts arrive.
type narrower struct {
	n     narrowing
	fresh *table
	hash  hashKey
	full  bool
	since uint64 // changes up to here are held already; 0 for a full set
	held  map[cptoken.KeyID]*cptoken.PublicKey
}

func newNarrower(base *state, have federation.Revision, m mode, to federation.Revision, k hashKey) *narrower {
	w := &narrower{fresh: newTable(0), hash: k, held: base.keys, full: m.full()}
	w.n = narrowing{keys: map[cptoken.KeyID]bool{}, cutOffs: map[cptoken.CutOffID]int64{}, to: to}
	if !w.full {
		w.since = have.Index
	}
	return w
}

// take notes a change, which was validated.
func (w *narrower) take(c cptoken.Change) {
	if c.Index <= w.since {
		return
	}
	switch {
	case c.Key != nil:
		held := w.held[c.Key.ID]
		w.n.keys[c.Key.ID] = held != nil && held.Fingerprint() != c.Key.Fingerprint()
	case c.RemovedKey != nil:
		w.n.keys[*c.RemovedKey] = true
	case c.Skipped != nil && c.Skipped.Key != nil:
		w.n.keys[*c.Skipped.Key] = true
	case c.Revoked != nil:
		w.set(c.Revoked, true)
	case c.Withdrawn != nil:
		w.set(c.Withdrawn, false)
	case c.CutOff != nil:
		w.n.cutOffs[c.CutOff.CutOffID] = c.CutOff.Before.Unix()
	case c.CutOffWithdrawn != nil:
		w.n.cutOffs[*c.CutOffWithdrawn] = 0
	}
}

func (w *narrower) set(run *cptoken.RevokedRun, revoked bool) {
	for _, id := range run.IDs {
		w.fresh.grow()
		w.fresh.set(w.hash.ofBytes(run.Kind, run.Mesh, []byte(id.ID)), revoked)
	}
}

// done returns the narrowing of the whole set.
func (w *narrower) done() *narrowing {
	if w.full {
		for id := range w.held {
			if _, named := w.n.keys[id]; !named {
				w.n.keys[id] = true
			}
		}
	}
	w.n.revoked = revSet{}.push(w.fresh.compact(true))
	return &w.n
}
