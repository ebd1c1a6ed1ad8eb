package keyring

import (
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// view is what the global sent joined with the zone's own keys. Revocations and
// cut-offs are the global's, and hold for tokens of either. Where both have a key
// of one kid, the zone's counts: its operator wrote it beside this very zone.
type view struct {
	held cptoken.View // what the global sent
	own  *ownKeys
}

// Key implements cptoken.View.
func (v *view) Key(id cptoken.KeyID) *cptoken.PublicKey {
	if k := v.own.keys[id]; k != nil {
		return k
	}
	if v.own.alone[id.Kind] {
		return nil
	}
	return v.held.Key(id)
}

// Revoked implements cptoken.View.
func (v *view) Revoked(kind cptoken.Kind, mesh, id string) bool {
	return v.held.Revoked(kind, mesh, id)
}

// CutOff implements cptoken.View.
func (v *view) CutOff(kind cptoken.Kind, mesh, kid string) time.Time {
	return v.held.CutOff(kind, mesh, kid)
}

// Pruned implements cptoken.View.
func (v *view) Pruned() time.Time { return v.held.Pruned() }

// Empty implements cptoken.EmptyView: nothing has been received from the global,
// while its keys are wanted.
func (v *view) Empty() bool {
	if v.own.alone[cptoken.Zone] && v.own.alone[cptoken.Dataplane] {
		return false
	}
	held, ok := v.held.(cptoken.EmptyView)
	return ok && held.Empty()
}

// RevisionOf returns up to which of the global's changes a view holds everything.
func RevisionOf(v cptoken.View) federation.Revision {
	if joined, ok := v.(*view); ok {
		v = joined.held
	}
	if r, ok := v.(interface{ Revision() federation.Revision }); ok {
		return r.Revision()
	}
	return federation.Revision{}
}
