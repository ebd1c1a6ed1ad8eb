package keysync

import (
	"maps"

	"go.etcd.io/bbolt"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// ahead is what all sets that were taken come to, as on a disk that never fails: those
// that are durable, those that wait, and those that were given up. It is made by the code
// that writes sets, without a file. A View trusts what is durable and stands in ahead as
// well, so that what a set refuses is refused from the moment on at which the zone knows,
// whatever its disk does, and stays so until something later undoes it; what a set allows
// waits. It is immutable once it is part of a View.
type ahead struct {
	// state has keys, cut-offs and tombstones as they would be. Its revoked ids are
	// those that are durable or were revoked since, less what was withdrawn.
	state
	// apart says that keys or cut-offs may differ from what is durable.
	apart bool
}

// foresee begins the next ahead, with the set that begins with this part. It is nil where
// the set leads to what was taken before and given up: all that it refuses is refused
// already. s.mu is held.
func (s *Store) foresee(p cptoken.Part) (*draft, error) {
	base := s.state
	if s.ahead != nil {
		base = s.ahead.state
	}
	m, err := modeOf(&base.head, p)
	switch {
	case err == nil:
	case federation.AsError(err).Reason == ReasonAhead:
		return nil, nil
	case federation.AsError(err).Reason == ReasonGap:
		m = modeDelta // a set that was given up led back
	default:
		return nil, err // it is of a history that was left
	}
	if m == modeNothing {
		return nil, nil
	}
	d := newDraft(nil, &pending{first: p, mode: m}, &base, s.hash)
	return d, d.begin()
}

// foreseen completes an ahead, and reports whether it refuses anything that the one before
// did not. last is the last part of the set.
func (d *draft) foreseen(last cptoken.Part, before *ahead) (next *ahead, refuses bool, err error) {
	if d.full() {
		err = d.keepCutOffs()
	}
	if err == nil {
		err = d.keepTombs()
	}
	if err != nil {
		return nil, false, err
	}
	d.log.flush()
	refuses = d.owned || d.fresh.used > d.fresh.negatives
	d.next.revoked = d.base.revoked.push(d.fresh.compact(true))
	d.lead(last)
	return &ahead{d.next, d.owned || before != nil && before.apart}, refuses, nil
}

// foreseeRevoked is add for a draft without a file: it notes an id that was not refused
// before. A zone that holds nothing has nothing to refuse.
func (d *draft) foreseeRevoked(e entry, dg digest) {
	if d.base.head.revision.IsZero() || d.refusedNow(dg) {
		return
	}
	d.fresh.grow()
	d.fresh.set(dg, true)
	d.log.add(e)
}

func (d *draft) foreseeWithdrawn(dg digest, explicit bool) {
	if explicit && d.refusedNow(dg) {
		d.fresh.grow()
		d.fresh.set(dg, false)
	}
}

func (d *draft) refusedNow(dg digest) bool {
	if revoked, found := d.fresh.get(dg); found {
		return revoked
	}
	return d.base.revoked.revoked(dg)
}

// narrowTo has a View refuse what a refuses.
func (v *View) narrowTo(a *ahead) {
	v.ahead = a.revoked
	if !a.apart {
		return
	}
	v.keys, v.cutOffs = maps.Clone(v.keys), maps.Clone(v.cutOffs)
	for id, k := range v.keys {
		var both *cptoken.PublicKey
		if now := a.keys[id]; now != nil && now.Fingerprint() == k.Fingerprint() {
			both = k.Within(now)
		}
		if v.keys[id] = both; both == nil {
			delete(v.keys, id)
		}
	}
	for id, c := range a.cutOffs {
		if c.before > v.cutOffs[id].before {
			v.cutOffs[id] = c
		}
	}
}

// What a draft asks before it undoes something: what is refused in ahead was refused
// later, by a set that is not durable.

func (a *ahead) revokes(dg digest) bool { return a != nil && a.revoked.revoked(dg) }

func (a *ahead) cutsOff(id cptoken.CutOffID, before int64) bool {
	return a != nil && a.cutOffs[id].before > before
}

func (a *ahead) carries(t tombID) bool { return a != nil && a.tombs[t] }

// owes reports whether sets that were given up led beyond this revision.
func (s *Store) owes(to federation.Revision) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owed.History == to.History && s.owed.Index > to.Index
}

// keepRefused makes durable, where the copy stands, what sets refuse that were given up:
// what comes next may be a new history, or a restart, and know nothing of it. given are
// records of the ids. s.disk is held.
func (s *Store) keepRefused(a *ahead, given [][]byte) (*state, error) {
	if err := s.fault("refused"); err != nil {
		return nil, err
	}
	var d *draft
	err := s.file.update(func(tx *bbolt.Tx) error {
		d = newDraft(tx, &pending{mode: modeDelta}, &s.state, s.hash)
		if err := d.refuse(a, given); err != nil {
			return err
		}
		if err := d.finish(d.h.watermark); err != nil {
			return err
		}
		d.h.setContact(s.contact.Load())
		return d.writeHead()
	})
	if err != nil {
		return nil, err
	}
	return &d.next, nil
}

// refuse takes into the draft what a refuses beyond it, as kept: it is of later than where
// the copy stands, and a full state of before it must not undo it. A key without a tombstone
// is left: the set that has another in its place, or none, comes once more.
func (d *draft) refuse(a *ahead, given [][]byte) error {
	d.own()
	for id, c := range a.cutOffs {
		if c.before <= d.next.cutOffs[id].before {
			continue
		}
		if err := d.setCutOff(id, cutOff{before: c.before, carried: true}); err != nil {
			return err
		}
	}
	for id := range a.tombs {
		if _, there := d.next.tombs[id]; there {
			continue
		}
		if k := d.next.keys[id.key]; k != nil && (k.Fingerprint() == id.fingerprint || id == tombID{key: id.key}) {
			if err := d.forgetKey(id.key); err != nil {
				return err
			}
		}
		if err := d.setTomb(id, true); err != nil {
			return err
		}
	}
	for _, record := range given {
		err := eachID(record, func(e entry) error {
			if dg := d.hash.ofBytes(e.kind, e.mesh, e.id); a.revoked.revoked(dg) && !d.revokedNow(dg) {
				e.carried = true
				d.add(e)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
