package state

import (
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// maxLag bounds the changes that Lag counts.
const maxLag = 100_000

// Lag tells how many changes a zone at a revision lacks, at most maxLag, and when the
// oldest of them was made. ok is false where the revision is of another history or
// ahead of this state.
func (s *State) Lag(rev federation.Revision) (changes int, since time.Time, ok bool) {
	if !rev.IsZero() && rev.History != s.history || rev.Index > s.revision {
		return 0, time.Time{}, false
	}
	for _, e := range s.log.from(logKey{index: rev.Index + 1}) {
		if !atZones(e.kind()) {
			continue
		}
		if changes++; changes == 1 {
			since = s.madeAt(e)
		}
		if changes == maxLag {
			break
		}
	}
	return changes, since, true
}

// madeAt is when the change of a log entry was made.
func (s *State) madeAt(e logEntry) time.Time {
	switch e.what {
	case keyChanged:
		k, _ := s.keys.get(e.id)
		made := k.Prepared
		for _, t := range []time.Time{k.Active, k.Retiring} {
			if t.After(made) {
				made = t
			}
		}
		return made
	case cutOffSet:
		c, _ := s.cutOffs.get(cptoken.CutOffID(e.id))
		return c.At
	}
	if e.run != nil {
		return millis(e.run.at)
	}
	return millis(e.at)
}
