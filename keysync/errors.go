package keysync

import "github.com/meridiankds/meridian/federation"

// Reasons of the errors of this package (federation.Error.Reason).
const (
	// ReasonOtherCluster: the changes are of another cluster than the copy.
	ReasonOtherCluster = "other_cluster"
	// ReasonOlderHistory: the changes are of an older history than the copy.
	ReasonOlderHistory = "older_history"
	// ReasonGap: a delta begins beyond the copy, or in another history: something
	// between is missing. Full state, or a delta from Position, closes the gap.
	ReasonGap = "gap"
	// ReasonAhead: the set leads to less than the copy holds, or to where it stands by
	// another past. To pass over it would acknowledge what is not held.
	ReasonAhead = "ahead"
	// ReasonBrokenSet: a part arrived out of order, or does not belong to the set
	// of the parts before it. The set is dropped; it can be sent anew.
	ReasonBrokenSet = "broken_set"
	// ReasonOtherZone: the file belongs to another zone.
	ReasonOtherZone = "other_zone"
	// ReasonLocked: another process has the file open.
	ReasonLocked = "locked"
	// ReasonNewerFormat: a later release wrote the file.
	ReasonNewerFormat = "newer_format"
	// ReasonOlderFormat: the file is of a format that no release had.
	ReasonOlderFormat = "older_format"
	// ReasonUnwritten: the zone cannot write its file.
	ReasonUnwritten = "unwritten"
	// ReasonDamaged: the file changed or vanished under a running zone.
	ReasonDamaged = "damaged"
)

// damage is the error for a file whose content cannot be right. Open sets such a
// file aside; everything else that goes wrong leaves the file alone.
type damage struct{ err *federation.Error }

func (d *damage) Error() string { return d.err.Error() }
func (d *damage) Unwrap() error { return d.err }

func damagef(format string, args ...any) error {
	return &damage{federation.Errorf(federation.Internal, format, args...).WithReason(ReasonDamaged)}
}
