package cptoken

import (
	"iter"
	"time"

	"github.com/meridiankds/meridian/federation"
)

// Delta is what leads a holder of keys and revocations from one revision to
// another.
type Delta struct {
	Cluster string
	// From and To are of the same history unless Full is set, which makes From
	// meaningless: Changes are then the whole state at To.
	From, To federation.Revision
	Full     bool
	// Began is the index at which To's history began, 0 where that is not known:
	// changes of a greater index were made in it and did not come out of a backup.
	Began uint64
	// Watermark is the pruning time: a revocation whose known expiry lies more
	// than PruneAfter before it is forgotten.
	Watermark time.Time
	// Merging says that nothing proves where the holder stands: of a full state it keeps
	// what it refuses beyond it, until that is explicitly withdrawn.
	Merging bool
	// Position proves, to who made it, that its holder has everything up to To; nil where
	// it cannot be proved.
	Position []byte
	// Changes yields what happened, in log order. It can be run more than once
	// and yields the same each time.
	Changes iter.Seq[Change]
}

// MaxPosition bounds a position in bytes.
const MaxPosition = 256

// Standing is what the position that a holder shows is to who made it, or should have.
type Standing int

// In the words of docs/model.
const (
	// Unproven: nothing proves where it stands, or it is of an older history. It gets a
	// full state that merges.
	Unproven Standing = iota
	// InPast: it needs the changes since.
	InPast
	// Ahead: it knows what is not known here. It gets nothing until that is known, or is
	// known to be lost.
	Ahead
)

// PruneAfter is how long after its token's expiry a revocation is kept.
const PruneAfter = 24 * time.Hour

// Part is a piece of a Delta as it travels. All parts of a Delta share the
// header; they arrive in the order of Number, from 0, and have no effect before
// the one with Last set has arrived.
type Part struct {
	Cluster   string
	From, To  federation.Revision
	Full      bool
	Began     uint64
	Watermark time.Time
	Merging   bool
	Position  []byte
	Number    uint32
	Last      bool
	Changes   []Change
}

// Persistence is how far a holder of keys and revocations has made durable what it took.
type Persistence struct {
	// Revision up to which everything is durable.
	Revision federation.Revision
	// Taken counts the sets that were taken, and Durable up to which of them all are
	// durable, those apart that Lost tells of. A set may be acknowledged once Durable has
	// reached what Taken was after it: what a set leads to does not tell it from another.
	Taken, Durable uint64
	// Err is why what was taken beyond it is not; nil while it is being written, or there
	// is nothing.
	Err error
	// Lost counts how often what was taken beyond Revision was given up, because it could
	// not be written: it has to be sent again.
	Lost uint64
}
