package adminapi

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/raftstore"
)

func (api *API) listCutOffs(_ *act, w http.ResponseWriter, r *http.Request) error {
	list, err := listOf(r, api.store.CutOffs(), cutOffJSON)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, list)
}

// postCutOff refuses, from now on, everything of a kind, mesh or key that was
// issued before a time. A cut-off only moves forward.
func (api *API) postCutOff(a *act, w http.ResponseWriter, r *http.Request) error {
	var body apitypes.CutOffRequest
	if err := readBody(w, r, &body); err != nil {
		return err
	}
	id, err := api.cutOffID(body.Kind, body.Mesh, body.KID)
	if err != nil {
		return err
	}
	if err := a.rights.Revoke(id.Kind, id.Mesh); err != nil {
		return err
	}
	if err := checkReason(body.Reason); err != nil {
		return err
	}
	before, err := time.Parse(time.RFC3339, body.Before)
	if err != nil {
		return federation.InvalidField("before", "%.40q is not a time: write it like 2026-11-22T06:30:00Z", body.Before)
	}
	before = wholeSecond(before)
	// "Now" by a caller's clock that is a moment ahead is meant to be now.
	if before.After(wholeSecond(api.cfg.Now()).Add(time.Second)) {
		return federation.InvalidField("before", "%s lies in the future: tokens that are yet to be issued would be refused", before.UTC().Format(time.RFC3339))
	}
	a.noteCutOff(id)
	a.note(slog.String("before", before.UTC().Format(time.RFC3339)))
	c, err := api.store.SetCutOff(r.Context(), a.origin("cut off", string(id.Kind), id.Mesh, id.KID, before.UTC().String(), body.Reason),
		cptoken.CutOff{CutOffID: id, Before: before.UTC()}, body.Reason)
	if err != nil {
		return err
	}
	return api.replyCutOff(w, id, c)
}

func (api *API) postWithdrawCutOff(a *act, w http.ResponseWriter, r *http.Request) error {
	var body apitypes.CutOffRequest
	if err := readBody(w, r, &body); err != nil {
		return err
	}
	id, err := api.cutOffID(body.Kind, body.Mesh, body.KID)
	if err != nil {
		return err
	}
	if body.Before != "" || body.Reason != "" {
		return federation.InvalidField("before", "and reason have no place in a withdrawal")
	}
	a.noteCutOff(id)
	if _, ok := api.cutOff(id); !ok {
		return notFound("there is no such cut-off: see global get cut-offs")
	}
	c, err := api.store.WithdrawCutOff(r.Context(), a.origin("withdraw cut-off", string(id.Kind), id.Mesh, id.KID), id)
	if err != nil {
		return err
	}
	return api.replyCutOff(w, id, c)
}

// wholeSecond rounds a time up: iat has whole seconds, and what was issued in a part
// of one before the time is to be cut off too.
func wholeSecond(t time.Time) time.Time {
	return t.Add(time.Second - time.Nanosecond).Truncate(time.Second)
}

// maxCutOffWait is for how long issuing waits for the clock to reach a cut-off.
const maxCutOffWait = 2 * time.Second

// pastCutOff returns the time at which a token is to be issued: one with an earlier
// iat than the newest cut-off of its kind would never be accepted. It waits for that
// time where it is near, and otherwise names this member's clock, which is behind
// that of the member that took the cut-off.
func (api *API) pastCutOff(ctx context.Context, kind cptoken.Kind, mesh, kid string) (time.Time, error) {
	for end := time.Now().Add(maxCutOffWait); ; {
		now, before := api.cfg.Now(), api.store.View().CutOff(kind, mesh, kid)
		wait := before.Sub(now)
		if wait <= 0 {
			return now, nil
		}
		if wait > time.Until(end) {
			return time.Time{}, federation.Errorf(federation.Unavailable,
				"every %s issued before %s is refused, and the clock of member %s says %s", kind.TokenName(), before.UTC().Format(time.RFC3339),
				api.store.NodeID(), now.UTC().Format(time.RFC3339)).
				WithReason("clock_behind").WithHint("ask another member, and set the clock of this one right")
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return time.Time{}, federation.Errorf(federation.Unavailable, "waiting for the clock to reach a cut-off: %w", context.Cause(ctx))
		case <-timer.C:
		}
	}
}

func (a *act) noteCutOff(id cptoken.CutOffID) {
	a.note(slog.String("kind", string(id.Kind)), slog.String("mesh", id.Mesh), slog.String("kid", id.KID))
}

// replyCutOff answers with the cut-off as it is now; one that was withdrawn is
// known by its name only.
func (api *API) replyCutOff(w http.ResponseWriter, id cptoken.CutOffID, c raftstore.Change) error {
	now, ok := api.cutOff(id)
	if !ok {
		now.CutOffID = id
	}
	return reply(w, http.StatusOK, apitypes.CutOffResult{CutOff: cutOffJSON(now), Changed: c.Changed > 0, Revision: c.Revision.String()})
}

func (api *API) cutOff(id cptoken.CutOffID) (raftstore.CutOff, bool) {
	all := api.store.CutOffs()
	i := slices.IndexFunc(all, func(c raftstore.CutOff) bool { return c.CutOffID == id })
	if i < 0 {
		return raftstore.CutOff{}, false
	}
	return all[i], true
}

func (api *API) cutOffID(kindName, mesh, kid string) (cptoken.CutOffID, error) {
	kind, err := api.kindAndMesh(kindName, mesh)
	if err != nil {
		return cptoken.CutOffID{}, err
	}
	if len(kid) > cptoken.MaxKIDLen {
		return cptoken.CutOffID{}, federation.InvalidField("kid", "has more than %d bytes", cptoken.MaxKIDLen)
	}
	return cptoken.CutOffID{Kind: kind, Mesh: mesh, KID: kid}, nil
}

func cutOffJSON(c raftstore.CutOff) apitypes.CutOff {
	return apitypes.CutOff{Kind: string(c.Kind), Mesh: c.Mesh, KID: c.KID, Before: stamp(c.Before), Reason: c.Reason, By: c.By, At: stamp(c.At)}
}
