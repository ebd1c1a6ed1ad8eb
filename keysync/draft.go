package keysync

import (
	"crypto/sha256"
	"slices"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"go.etcd.io/bbolt"
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
)

// draft is the next state, while one transaction makes it.
type draft struct {
	txn
	mode mode
	base *state // the state before; never changed
	next state  // becomes the state after
	hash hashKey
	// owned says that the maps of next are its own; until then they are base's.
	owned bool

	fresh *table // what this set says of ids
	log   logWriter
	// unrevoked are the carried revocations that a full set withdraws by name.
	unrevoked map[digest]bool
	// blocked are keys of the set that a tombstone of an older history refuses.
	blocked []cptoken.KeyID
}

func newDraft(tx *bbolt.Tx, m mode, base *state, k hashKey) *draft {
	d := &draft{mode: m, base: base, next: *base, hash: k, fresh: newTable(0)}
	d.txn = txn{tx: tx, h: &d.next.head}
	d.unrevoked = map[digest]bool{}
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
func (d *draft) full() bool { return d.mode == modeFull || d.mode == modeAdopt }

// begin clears what a full set replaces.
func (d *draft) begin() error {
	if !d.full() {
		return nil
	}
	d.own()
	clear(d.next.keys)
	clear(d.next.cutOffs)
	d.h.entries, d.h.carried, d.h.earliest, d.h.live = 0, 0, 0, [numKinds]uint64{}
	for _, b := range [...]byte{bucketKeys, bucketCutOffs} {
		if err := d.clear(b); err != nil {
			return err
		}
	}
	if d.mode != modeAdopt {
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
// the copy's history after the copy was taken. Only such a change undoes what
// was kept from an older history: a full set of a restored backup also holds what
// was withdrawn before the backup, and revoked again after it.
func (d *draft) explicit(index uint64) bool {
	return d.mode == modeDelta || d.mode == modeFull && index > d.base.head.revision.Index
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
		return d.setKey(c.Key)
	case c.RemovedKey != nil:
		return d.removeKey(*c.RemovedKey, d.explicit(c.Index))
	case c.Revoked != nil:
		d.revoke(c.Revoked)
	case c.Withdrawn != nil:
		d.withdraw(c.Withdrawn, d.explicit(c.Index))
	case c.CutOff != nil:
		return d.setCutOff(c.CutOff.CutOffID, cutOff{before: c.CutOff.Before.Unix()})
	case c.CutOffWithdrawn != nil:
		return d.withdrawCutOff(*c.CutOffWithdrawn, d.explicit(c.Index))
	}
	return nil
}

func (d *draft) setKey(k *cptoken.PublicKey) error {
	for _, id := range [...]tombID{{k.ID, k.Fingerprint()}, {key: k.ID}} {
		carried, removed := d.next.tombs[id]
		if carried {
			d.blocked = append(d.blocked, k.ID)
			return nil
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
	delete(d.next.keys, id)
	if err := d.delete(bucketKeys, keyOfKey(id)); err != nil {
		return err
	}
	known := false
	for t, carried := range d.next.tombs {
		if t.key != id {
			continue
		}
		known = true
		if carried && explicit {
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

// withdrawCutOff forgets a cut-off. One that was carried is brought back by
// [draft.keepCutOffs] unless the withdrawal is explicit.
func (d *draft) withdrawCutOff(id cptoken.CutOffID, explicit bool) error {
	if d.full() && explicit {
		d.next.cutOffs[id] = cutOff{} // remembered until keepCutOffs
		return nil
	}
	delete(d.next.cutOffs, id)
	return d.delete(bucketCutOffs, keyOfCutOff(id))
}

func (d *draft) revoke(run *cptoken.RevokedRun) {
	for _, id := range run.IDs {
		d.add(entry{op: opRevoked, kind: codeOf(run.Kind), mesh: run.Mesh, id: []byte(id.ID), expires: id.Expires})
	}
}

func (d *draft) add(e entry) {
	dg := d.hash.ofBytes(e.kind, e.mesh, e.id)
	d.h.count(e, d.revokedNow(dg))
	d.fresh.grow()
	d.fresh.set(dg, true)
	d.log.add(e)
}

func (d *draft) withdraw(run *cptoken.RevokedRun, explicit bool) {
	for _, id := range run.IDs {
		e := entry{op: opWithdrawn, kind: codeOf(run.Kind), mesh: run.Mesh, id: []byte(id.ID)}
		dg := d.hash.ofBytes(e.kind, e.mesh, e.id)
		if d.full() && explicit {
			d.unrevoked[dg] = true
		}
		if !d.revokedNow(dg) {
			continue
		}
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

// finish makes the set durable with everything that is kept, and computes the
// revocations of the next state.
func (d *draft) finish(watermark int64) error {
	d.h.watermark = max(d.h.watermark, watermark)
	if err := d.keep(); err != nil {
		return err
	}
	if d.full() {
		d.next.revoked = revSet{}.push(d.fresh.compact(false))
	} else {
		d.next.revoked = d.base.revoked.push(d.fresh.compact(true))
	}
	return d.rewriteIfWorth()
}

// keep writes the log of the set, and for a full set what survives it.
func (d *draft) keep() error {
	if !d.full() {
		d.log.flush()
		return d.appendLog(d.log.records)
	}
	if err := d.keepCutOffs(); err != nil {
		return err
	}
	if err := d.keepTombs(); err != nil {
		return err
	}
	if err := d.keepRevocations(); err != nil {
		return err
	}
	d.log.flush()
	return d.replaceLog(d.log.records)
}

// keepCutOffs carries the cut-offs of an older history into the new one, where
// they reach further than the new one's own.
func (d *draft) keepCutOffs() error {
	for id, old := range d.base.cutOffs {
		now, named := d.next.cutOffs[id]
		if (d.mode == modeFull && !old.carried) || (named && (now == cutOff{} || now.before >= old.before)) {
			continue
		}
		if err := d.setCutOff(id, cutOff{before: old.before, carried: true}); err != nil {
			return err
		}
	}
	for id, c := range d.next.cutOffs {
		if c == (cutOff{}) {
			delete(d.next.cutOffs, id)
			if err := d.delete(bucketCutOffs, keyOfCutOff(id)); err != nil {
				return err
			}
		}
	}
	return nil
}

// keepTombs leaves a tombstone for each key that the same history no longer
// names: it was removed while this zone was away for longer than the global
// remembers. A newer history that does not name a key has merely lost it.
func (d *draft) keepTombs() error {
	if d.mode != modeFull {
		return nil
	}
	for id, k := range d.base.keys {
		tomb := tombID{id, k.Fingerprint()}
		if _, there := d.next.tombs[tomb]; there || d.next.keys[id] != nil {
			continue
		}
		if err := d.setTomb(tomb, false); err != nil {
			return err
		}
	}
	return nil
}

// keepRevocations carries revocations of an older history over into the log of
// the set, unless the set revokes or explicitly withdraws the same ids.
func (d *draft) keepRevocations() error {
	old := &d.base.head
	if old.total() == 0 || d.mode == modeFull && old.carried == 0 {
		return nil
	}
	l, err := readLedger(d.tx, d.hash, old.entries)
	if err != nil {
		return err
	}
	return l.each(d.tx, func(e entry, dg digest) {
		if d.mode == modeFull && !e.carried || d.revokedNow(dg) || d.unrevoked[dg] || d.prunable(e.expires) {
			return
		}
		e.carried = true
		d.add(e)
	})
}

// validate checks what of a change could come from a defect of the global or the
// wire, so that nothing in this file has to.
func validate(c cptoken.Change, to uint64) error {
	bad := func(format string, args ...any) error {
		return federation.Errorf(federation.Invalid, "change %d: "+format, slices.Insert(args, 0, any(c.Index))...)
	}
	if c.Index > to {
		return bad("lies beyond the set, which ends at %d", to)
	}
	set := 0
	for _, there := range [...]bool{c.Key != nil, c.RemovedKey != nil, c.Revoked != nil, c.Withdrawn != nil, c.CutOff != nil, c.CutOffWithdrawn != nil} {
		if there {
			set++
		}
	}
	switch {
	case set != 1:
		return bad("says %d things instead of one", set)
	case c.Key != nil:
		if !c.Key.ID.Kind.AtZones() {
			return bad("a key of kind %.40q does not belong to a zone", c.Key.ID.Kind)
		}
		if s := c.Key.State; !s.Valid() || s == cptoken.Removed {
			return bad("key %s is in state %.20q", c.Key.ID, s)
		}
		return validRef(c.Key.ID, true, bad)
	case c.RemovedKey != nil:
		return validRef(*c.RemovedKey, true, bad)
	case c.Revoked != nil:
		return validRun(c.Revoked, bad)
	case c.Withdrawn != nil:
		return validRun(c.Withdrawn, bad)
	case c.CutOff != nil:
		if c.CutOff.Before.Unix() <= 0 {
			return bad("a cut-off without a time")
		}
		return validRef(cptoken.KeyID(c.CutOff.CutOffID), false, bad)
	default:
		return validRef(cptoken.KeyID(*c.CutOffWithdrawn), false, bad)
	}
}

// maxKIDLen bounds the kid of a key.
const maxKIDLen = 256

func validRef(id cptoken.KeyID, needKID bool, bad func(string, ...any) error) error {
	switch {
	case !id.Kind.Valid():
		return bad("%.40q is not a kind of token", id.Kind)
	case len(id.KID) > maxKIDLen || needKID && id.KID == "":
		return bad("the kid has %d bytes, want 1 to %d", len(id.KID), maxKIDLen)
	}
	if err := id.Kind.ValidateScope(id.Mesh); err != nil {
		return bad("%w", err)
	}
	return nil
}

func validRun(run *cptoken.RevokedRun, bad func(string, ...any) error) error {
	if !run.Kind.Valid() {
		return bad("%.40q is not a kind of token", run.Kind)
	}
	if err := run.Kind.ValidateScope(run.Mesh); err != nil {
		return bad("%w", err)
	}
	if len(run.IDs) > cptoken.MaxRun {
		return bad("a run of %d ids, at most %d are allowed", len(run.IDs), cptoken.MaxRun)
	}
	for _, id := range run.IDs {
		if id.ID == "" || len(id.ID) > cptoken.MaxIDLen {
			return bad("an id has %d bytes, want 1 to %d", len(id.ID), cptoken.MaxIDLen)
		}
	}
	return nil
}
