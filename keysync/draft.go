package keysync

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// A mode is what a set of changes is to the copy that it meets.
type mode int

const (
	// modeNothing: the copy holds all of it already.
	modeNothing mode = iota
	// modeDelta: changes on top of the copy.
	modeDelta
	// modeFull: the whole state, in the history that the copy is of.
	modeFull
	// modeAdopt: the whole state, in a newer history, or the first one ever.
	modeAdopt
	// modeMerge: the whole state, in the history that the copy is of, from a global that
	// cannot tell where the copy stands.
	modeMerge
)

// full reports whether the set is the whole state.
func (m mode) full() bool { return m == modeFull || m.keeps() }

// keeps reports whether the copy keeps what it refuses beyond the set.
func (m mode) keeps() bool { return m == modeAdopt || m == modeMerge }

// leads reports whether the copy stands where the set leads to, once it has taken it.
func (m mode) leads(from, to federation.Revision) bool { return m.keeps() || to.Index > from.Index }

// draft is the next state, while one transaction makes it, or while it is foreseen, in
// memory alone.
type draft struct {
	txn
	mode mode
	// began is where the history of the set began, 0 where that is not known.
	began uint64
	base  *state // the state before; never changed
	ahead *ahead // what all sets that were taken come to, nil where that is this one
	next  state  // becomes the state after
	hash  hashKey
	// owned says that the maps of next are its own; until then they are base's.
	owned bool

	fresh *table // what this set says of ids
	log   logWriter
	// unrevoked and settled are the revocations and cut-offs of which a full set
	// explicitly says how they are, whatever was kept from an older history.
	unrevoked map[digest]bool
	settled   map[cptoken.CutOffID]bool
	// blocked are keys of the set that a tombstone of an older history refuses.
	blocked []cptoken.KeyID
	again   bool // the set says something of an id that may be kept, see retells
}

func newDraft(tx *bbolt.Tx, set *pending, base *state, k hashKey) *draft {
	d := &draft{mode: set.mode, began: set.first.Began, base: base, next: *base, hash: k, fresh: newTable(0)}
	d.txn = txn{tx: tx, h: &d.next.head}
	d.h.live = maps.Clone(d.h.live) // the state before keeps its own
	d.unrevoked, d.settled = map[digest]bool{}, map[cptoken.CutOffID]bool{}
	return d
}

// own makes the maps of the next state its own before the first change to one:
// a set that only revokes shares them with the state before.
func (d *draft) own() {
	if !d.owned {
		d.next, d.owned = d.next.clone(), true
	}
}

// full reports whether the set is the whole state.
func (d *draft) full() bool { return d.mode.full() }

// begin clears what a full set replaces.
func (d *draft) begin() error {
	if !d.full() {
		return nil
	}
	d.own()
	clear(d.next.keys)
	clear(d.next.cutOffs)
	clear(d.next.skipped)
	clear(d.next.unread)
	d.h.entries, d.h.carried, d.h.earliest, d.h.live, d.next.kept = 0, 0, 0, tallies{}, nil
	for _, b := range [...]byte{bucketKeys, bucketCutOffs, bucketSkipped} {
		if err := d.clear(b); err != nil {
			return err
		}
	}
	if !d.mode.keeps() {
		return nil
	}
	for id := range d.next.tombs {
		if err := d.setTomb(id, true); err != nil {
			return err
		}
	}
	return nil
}

// explicit reports whether a change of this index is known to have been made in
// the history of the set, by somebody who could know what this zone holds. Only
// such a change undoes what was kept from an older history: a full set of a restored
// backup also holds what was withdrawn before the backup, and revoked again after it.
// A global that does not say where its history began leaves a zone that comes over
// with what it had refused.
func (d *draft) explicit(index uint64) bool {
	switch d.mode {
	case modeDelta:
		return true
	case modeFull, modeMerge:
		return index > d.base.head.revision.Index
	}
	return d.began != 0 && index > d.began
}

// apply applies one change, which was validated.
func (d *draft) apply(c cptoken.Change) error {
	if d.mode == modeDelta && c.Index <= d.base.head.revision.Index {
		return nil // the copy has it, or something later
	}
	if c.Revoked == nil && c.Withdrawn == nil {
		d.own()
	}
	switch {
	case c.Key != nil:
		return d.setKey(c.Index, c.Key)
	case c.RemovedKey != nil:
		return d.removeKey(*c.RemovedKey, d.explicit(c.Index))
	case c.Revoked != nil:
		d.revoke(c.Revoked)
	case c.Withdrawn != nil:
		d.withdraw(c.Withdrawn, d.explicit(c.Index))
	case c.CutOff != nil:
		d.settled[c.CutOff.CutOffID] = d.explicit(c.Index) && !d.ahead.cutsOff(c.CutOff.CutOffID, c.CutOff.Before.Unix())
		return d.setCutOff(c.CutOff.CutOffID, cutOff{before: c.CutOff.Before.Unix()})
	case c.CutOffWithdrawn != nil:
		d.settled[*c.CutOffWithdrawn] = d.explicit(c.Index) && !d.ahead.cutsOff(*c.CutOffWithdrawn, 0)
		return d.withdrawCutOff(*c.CutOffWithdrawn)
	case c.Skipped != nil:
		return d.skip(c.Index, c.Skipped)
	}
	return nil
}

// skip notes what is not understood. A key that it concerns is trusted no longer; it
// leaves no tombstone, because nobody removed it.
func (d *draft) skip(index uint64, s *cptoken.Skipped) error {
	if err := d.note(s.Name, index); err != nil || s.Key == nil {
		return err
	}
	return d.forgetKey(*s.Key)
}

// note has a name be in each acknowledgement: what it says is not held.
func (d *draft) note(name string, index uint64) error {
	if _, known := d.next.skipped[name]; !known && len(d.next.skipped) >= cptoken.MaxSkipped {
		name = cptoken.SkippedMore
	}
	d.next.skipped[name] = index
	return d.put(bucketSkipped, []byte(name), binary.AppendUvarint(nil, index))
}

// forgetKey takes a key out of the copy.
func (d *draft) forgetKey(id cptoken.KeyID) error {
	delete(d.next.keys, id)
	delete(d.next.unread, id)
	return d.delete(bucketKeys, keyOfKey(id))
}

// understand forgets that a key was skipped or is refused, now that it is another matter.
func (d *draft) understand(id cptoken.KeyID) error {
	for _, name := range [...]string{cptoken.SkippedKey(id), cptoken.KnownRemoved(id)} {
		delete(d.next.skipped, name)
		if err := d.delete(bucketSkipped, []byte(name)); err != nil {
			return err
		}
	}
	return nil
}

func (d *draft) setKey(index uint64, k *cptoken.PublicKey) error {
	if err := d.understand(k.ID); err != nil {
		return err
	}
	delete(d.next.unread, k.ID)
	for _, id := range [...]tombID{{k.ID, k.Fingerprint()}, {key: k.ID}} {
		carried, removed := d.next.tombs[id]
		if carried {
			d.blocked = append(d.blocked, k.ID)
			return d.note(cptoken.KnownRemoved(k.ID), index)
		}
		if removed {
			delete(d.next.tombs, id)
			if err := d.delete(bucketTombs, keyOfTomb(id)); err != nil {
				return err
			}
		}
	}
	d.next.keys[k.ID] = k
	return d.put(bucketKeys, keyOfKey(k.ID), appendKey(nil, k))
}

// removeKey forgets a key and leaves a tombstone. Tombstones of an older history
// become ones of this history if the removal is explicit.
func (d *draft) removeKey(id cptoken.KeyID, explicit bool) error {
	tomb := tombID{key: id}
	if k := d.next.keys[id]; k != nil {
		tomb.fingerprint = k.Fingerprint()
	} else if k := d.base.keys[id]; k != nil {
		tomb.fingerprint = k.Fingerprint()
	}
	if err := d.understand(id); err != nil {
		return err
	}
	if err := d.forgetKey(id); err != nil {
		return err
	}
	known := false
	for t, carried := range d.next.tombs {
		if t.key != id {
			continue
		}
		known = true
		if carried && explicit && !d.ahead.carries(t) {
			if err := d.setTomb(t, false); err != nil {
				return err
			}
		}
	}
	if known && tomb.fingerprint == [sha256.Size]byte{} {
		return nil
	}
	if _, there := d.next.tombs[tomb]; there {
		return nil
	}
	return d.setTomb(tomb, false)
}

func (d *draft) setTomb(id tombID, carried bool) error {
	d.next.tombs[id] = carried
	return d.put(bucketTombs, keyOfTomb(id), []byte{carriedFlag(carried)})
}

func (d *draft) setCutOff(id cptoken.CutOffID, c cutOff) error {
	d.next.cutOffs[id] = c
	return d.put(bucketCutOffs, keyOfCutOff(id), valueOfCutOff(c))
}

func (d *draft) withdrawCutOff(id cptoken.CutOffID) error {
	delete(d.next.cutOffs, id)
	return d.delete(bucketCutOffs, keyOfCutOff(id))
}

func (d *draft) revoke(run *cptoken.RevokedRun) {
	for _, id := range run.IDs {
		d.add(entry{op: opRevoked, kind: run.Kind, mesh: run.Mesh, id: []byte(id.ID), expires: id.Expires})
	}
}

func (d *draft) add(e entry) {
	dg := d.hash.ofBytes(e.kind, e.mesh, e.id)
	if d.tx == nil {
		d.foreseeRevoked(e, dg)
		return
	}
	was := d.revokedNow(dg)
	d.again = d.again || was && d.retells(e)
	d.h.count(e, was)
	d.next.keep(e)
	d.fresh.grow()
	d.fresh.set(dg, true)
	d.log.add(e)
}

// retells reports whether an entry is about an id that is named as kept. In a small log, which
// costs nothing to rewrite, any may be.
func (d *draft) retells(e entry) bool {
	return d.h.carried > 0 && (d.h.entries <= smallLog || slices.Contains(d.next.kept, cptoken.KeptRevocation(e.kind, e.mesh, string(e.id))))
}

func (d *draft) withdraw(run *cptoken.RevokedRun, explicit bool) {
	for _, id := range run.IDs {
		e := entry{op: opWithdrawn, kind: run.Kind, mesh: run.Mesh, id: []byte(id.ID)}
		dg := d.hash.ofBytes(e.kind, e.mesh, e.id)
		if d.tx == nil {
			d.foreseeWithdrawn(dg, explicit)
			continue
		}
		if d.full() && explicit && !d.ahead.revokes(dg) {
			d.unrevoked[dg] = true
		}
		if !d.revokedNow(dg) {
			continue
		}
		d.again = d.again || d.retells(e)
		d.h.count(e, true)
		d.fresh.grow()
		d.fresh.set(dg, false)
		d.log.add(e)
	}
}

// revokedNow reports whether the id is revoked in the draft as it stands.
func (d *draft) revokedNow(dg digest) bool {
	if revoked, found := d.fresh.get(dg); found {
		return revoked
	}
	return !d.full() && d.base.revoked.revoked(dg)
}
