package keysync

import (
	"time"

	"github.com/meridiankds/meridian/cptoken"
)

// When the log is rewritten. Up to smallLog entries it is done as soon as there
// is one to forget; in a larger log when an eighth of it has expired, or half of
// it says nothing new. What stays meanwhile are revocations of tokens that are
// refused as expired anyway.
const smallLog = 1 << 16

// prunable reports whether a revocation with this expiry may be forgotten. Only
// the watermark decides, which the global stamps: a zone whose clock is wrong
// forgets nothing too early.
func (d *draft) prunable(expires int64) bool {
	return expires != 0 && expires < (d.h.watermark/1000)-int64(cptoken.PruneAfter/time.Second)
}

// rewriteIfWorth rewrites the log without what is out of date, if there is enough
// of it.
func (d *draft) rewriteIfWorth() error {
	// What is named as kept beyond the global's list is neither on the list by now nor
	// withdrawn.
	worth := d.h.entries > 2*d.h.total()+smallLog || d.again && d.h.carried > 0
	if !worth && d.prunable(d.h.earliest) {
		var expired uint64
		err := eachEntry(d.tx, func(e entry) error {
			if e.op == opRevoked && d.prunable(e.expires) {
				expired++
			}
			return nil
		})
		if err != nil {
			return err
		}
		worth = d.h.entries <= smallLog || expired >= d.h.entries/8
	}
	if !worth {
		return nil
	}
	return d.rewrite()
}

func (d *draft) rewrite() error {
	l, err := readLedger(d.tx, d.hash, d.h.entries)
	if err != nil {
		return err
	}
	live := newTable(int(d.h.total()))
	var log logWriter
	h := d.h
	h.entries, h.carried, h.earliest, h.live, d.next.kept = 0, 0, 0, tallies{}, nil
	err = l.each(d.tx, func(e entry, dg digest) {
		if d.prunable(e.expires) {
			return
		}
		h.count(e, false)
		d.next.keep(e)
		live.set(dg, true)
		log.add(e)
	})
	if err != nil {
		return err
	}
	log.flush()
	d.next.revoked = revSet{}.push(live.compact(false))
	return d.replaceLog(log.records)
}
