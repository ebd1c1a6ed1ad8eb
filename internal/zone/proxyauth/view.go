package proxyauth

import (
	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// view is what the global sent joined with the zone's own keys. Revocations and
// cut-offs are the global's, and hold for tokens of either. Where both have a key
// of one kid, the zone's counts: its operator wrote it beside this very zone.
type view struct {
	cptoken.View // what the global sent
	own          *ownKeys
}

// Key implements cptoken.View.
func (v *view) Key(id cptoken.KeyID) *cptoken.PublicKey {
	if k := v.own.keys[id]; k != nil {
		return k
	}
	if v.own.alone[id.Kind] {
		return nil
	}
	return v.View.Key(id)
}

// Empty implements cptoken.EmptyView: nothing has been received from the global,
// while its keys are wanted.
func (v *view) Empty() bool {
	if v.own.alone[cptoken.Zone] && v.own.alone[cptoken.Dataplane] {
		return false
	}
	held, ok := v.View.(cptoken.EmptyView)
	return ok && held.Empty()
}

// revisionOf returns up to which of the global's changes a view holds everything.
func revisionOf(v cptoken.View) federation.Revision {
	if joined, ok := v.(*view); ok {
		v = joined.View
	}
	if r, ok := v.(interface{ Revision() federation.Revision }); ok {
		return r.Revision()
	}
	return federation.Revision{}
}
