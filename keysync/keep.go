package keysync

import "github.com/meridiankds/meridian/cptoken"

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

// keepCutOffs carries the cut-offs of an older history over, where they reach
// further than the set's own and the set does not explicitly say otherwise.
func (d *draft) keepCutOffs() error {
	for id, old := range d.base.cutOffs {
		if d.mode == modeFull && !old.carried || d.settled[id] || d.next.cutOffs[id].before >= old.before {
			continue
		}
		if err := d.setCutOff(id, cutOff{before: old.before, carried: true}); err != nil {
			return err
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
		if _, there := d.next.tombs[tomb]; there || d.next.keys[id] != nil || d.lacks(id) {
			continue
		}
		if err := d.setTomb(tomb, false); err != nil {
			return err
		}
	}
	return nil
}

// lacks reports whether the set names a key that is not understood.
func (d *draft) lacks(id cptoken.KeyID) bool {
	_, skipped := d.next.skipped[cptoken.SkippedKey(id)]
	return skipped
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
