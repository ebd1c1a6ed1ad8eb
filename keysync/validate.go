package keysync

import (
	"slices"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

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
	for _, there := range [...]bool{c.Key != nil, c.RemovedKey != nil, c.Revoked != nil, c.Withdrawn != nil, c.CutOff != nil, c.CutOffWithdrawn != nil, c.Skipped != nil} {
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
	case c.Skipped != nil:
		if n := len(c.Skipped.Name); n == 0 || n > cptoken.MaxSkippedLen {
			return bad("what was skipped has a name of %d bytes", n)
		}
		return nil
	case c.CutOff != nil:
		if c.CutOff.Before.Unix() <= 0 {
			return bad("a cut-off without a time")
		}
		return validRef(cptoken.KeyID(c.CutOff.CutOffID), false, bad)
	default:
		return validRef(cptoken.KeyID(*c.CutOffWithdrawn), false, bad)
	}
}

func validRef(id cptoken.KeyID, needKID bool, bad func(string, ...any) error) error {
	switch {
	case !id.Kind.Valid():
		return bad("%.40q is not a kind of token", id.Kind)
	case len(id.KID) > cptoken.MaxKIDLen || needKID && id.KID == "":
		return bad("the kid has %d bytes, want 1 to %d", len(id.KID), cptoken.MaxKIDLen)
	}
	if err := id.Kind.ValidateScope(id.Mesh); err != nil {
		return bad("%w", err)
	}
	return nil
}

// revocable reports whether what is of a kind can be revoked.
func revocable(k cptoken.Kind) bool { return k.Valid() || k == cptoken.Certificate }

func validRun(run *cptoken.RevokedRun, bad func(string, ...any) error) error {
	if !revocable(run.Kind) {
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
