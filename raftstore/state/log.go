package state

import (
	"cmp"

	"github.com/meridiankds/meridian/cptoken"
)

// The log of the state is not Raft's: it lists the newest change of each thing
// that zones see, ordered by Raft index. What a later change replaces is taken
// out, so that a walk from any index on yields what a zone at that index lacks.

// logKey orders changes by Raft index, and within it by when they were added.
type logKey struct {
	index uint64
	seq   uint32
}

func compareLog(a, b logKey) int {
	if c := cmp.Compare(a.index, b.index); c != 0 {
		return c
	}
	return cmp.Compare(a.seq, b.seq)
}

// changed says what a log entry is about.
type changed uint8

const (
	keyChanged      changed = iota + 1 // the record is in State.keys
	keyRemoved                         // a tombstone
	cutOffSet                          // the record is in State.cutOffs
	cutOffWithdrawn                    // a tombstone
	idsRevoked                         // run
	idsWithdrawn                       // run: tombstones
)

type logEntry struct {
	what changed
	id   cptoken.KeyID // of a key or cut-off
	run  *run
	at   int64 // of a tombstone: when, in Unix milliseconds
}

func (e logEntry) tombstone() bool {
	return e.what == keyRemoved || e.what == cutOffWithdrawn || e.what == idsWithdrawn
}

// kind is the kind of token that the change concerns.
func (e logEntry) kind() cptoken.Kind {
	if e.run != nil {
		return e.run.kind
	}
	return e.id.Kind
}

// append adds a change, and moves the revision if zones see it; from LevelLineage on
// every acknowledged change moves it, see moves.
func (s *State) append(index uint64, e logEntry) logKey {
	at := logKey{index, s.seq}
	s.seq++
	s.log.Set(s.edit, at, e)
	if atZones(e.kind()) {
		s.revision = max(s.revision, index)
	}
	return at
}
