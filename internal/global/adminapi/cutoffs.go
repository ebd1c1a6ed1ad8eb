package adminapi

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/global/clocks"
	"github.com/meridiankds/meridian/internal/global/paging"
	"github.com/meridiankds/meridian/kds/kuma"
	"github.com/meridiankds/meridian/raftstore"
)

func (api *API) listCutOffs(_ *act, w http.ResponseWriter, r *http.Request) error {
	list, err := paging.List(r, api.store.CutOffs(), cutOffJSON)
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
	before, err := api.cutOffTime(body.Before)
	if err != nil {
		return err
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
	c, err := api.store.WithdrawCutOff(r.Context(), a.origin("withdraw cut-off", string(id.Kind), id.Mesh, id.KID), id)
	if err == nil && c.Changed == 0 { // one that is not here a zone may keep: it was withdrawn already
		err = notFound("there is no such cut-off: see global get cut-offs")
	}
	if err != nil {
		return err
	}
	return api.replyCutOff(w, id, c)
}

// cutOffTime reads the time of a cut-off. "now" is the latest clock among the members'
// that agree, so that nothing that any of them has issued is left out.
func (api *API) cutOffTime(text string) (time.Time, error) {
	latest := wholeSecond(api.latest())
	if text == apitypes.CutOffNow {
		return latest, nil
	}
	before, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, federation.InvalidField("before", "%.40q is not a time: write it like 2026-11-22T06:30:00Z, or %s", text, apitypes.CutOffNow)
	}
	before = wholeSecond(before)
	// "Now" by a caller's clock that is a moment ahead is meant to be now.
	if !clock.Begun(before, latest, time.Second) {
		return time.Time{}, federation.InvalidField("before", "%s lies in the future: tokens that are yet to be issued would be refused", before.UTC().Format(time.RFC3339)).
			WithHint("the latest clock of the cluster says %s; write %s for that time", latest.UTC().Format(time.RFC3339), apitypes.CutOffNow)
	}
	return before, nil
}

// wholeSecond rounds a time up: iat has whole seconds, and what was issued in a part
// of one before the time is to be cut off too.
func wholeSecond(t time.Time) time.Time {
	return t.Add(time.Second - time.Nanosecond).Truncate(time.Second)
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
	result := apitypes.CutOffResult{CutOff: cutOffJSON(now), Changed: c.Changed > 0, Revision: c.Revision.String()}
	if ok && (id.Kind == cptoken.Zone || id.Kind == cptoken.Dataplane) {
		result.Unheeding = api.fleet.Unheeding(kuma.CutOffs)
	}
	return reply(w, http.StatusOK, result)
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

const (
	// maxCutOffWait is for how long issuing waits for the clock to reach a cut-off.
	maxCutOffWait = 2 * time.Second
	// elsewhereTimeout is how long another member may take to issue a token instead of
	// this one, and elsewhereMost how many are asked.
	elsewhereTimeout = 5 * time.Second
	elsewhereMost    = 2
)

// The reasons for which a member's clock keeps it from issuing.
const (
	reasonClockBehind = "clock_behind"
	reasonClockOff    = "clock_off"
)

// clocks is what is known of the members' clocks; a node that is alone has only its own.
func (api *API) clocks() clocks.Picture {
	if api.cfg.Cluster == nil {
		return clocks.Picture{Now: api.cfg.Now()}
	}
	return api.cfg.Cluster.Clocks()
}

// latest is the latest time that any clock of the cluster shows that agrees with the
// others.
func (api *API) latest() time.Time {
	p := api.clocks()
	return p.Latest()
}

// IssuingTime returns the time at which this member is to issue a token of a key. One
// with an earlier iat than the newest cut-off of its kind would never be accepted: it
// waits for that time where it is near, and otherwise names this member's clock, which
// is behind that of the member that took the cut-off. A member whose clock is off
// issues nothing: what it issues would escape a cut-off, or not be valid yet.
func (api *API) IssuingTime(ctx context.Context, kind cptoken.Kind, mesh, kid string) (time.Time, error) {
	for end := time.Now().Add(maxCutOffWait); ; {
		p, before := api.clocks(), api.store.View().CutOff(kind, mesh, kid)
		if p.Own.Off {
			return time.Time{}, api.clockOff(kind, p.Own)
		}
		wait := clock.Left(before, p.Now)
		if wait <= 0 {
			return p.Now, nil
		}
		if wait > clock.Left(end, time.Now()) {
			return time.Time{}, api.clockBehind(kind, before, p.Now)
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

func (api *API) clockBehind(kind cptoken.Kind, before, now time.Time) error {
	return federation.Errorf(federation.Unavailable,
		"every %s issued before %s is refused, and the clock of member %s says %s", kind.TokenName(), before.UTC().Format(time.RFC3339),
		api.store.NodeID(), now.UTC().Format(time.RFC3339)).
		WithReason(reasonClockBehind).WithHint("ask another member, and set the clock of this one right")
}

func (api *API) clockOff(kind cptoken.Kind, own clocks.Clock) error {
	return federation.Errorf(federation.Unavailable, "the clock of member %s is %s what most members agree on: it issues no %s",
		api.store.NodeID(), aheadOf(own.Ahead), kind.TokenName()).
		WithReason(reasonClockOff).WithHint("ask another member, and set the clock of this one right")
}

// aheadOf says by how much a clock is ahead of, or behind, another one.
func aheadOf(d time.Duration) string {
	if d < 0 {
		return (-d).Round(time.Second).String() + " behind"
	}
	return d.Round(time.Second).String() + " ahead of"
}

// elsewhereBy has another member issue a token that this member's clock keeps it from issuing, where
// refusal says so; request is what was asked for, in full. done is false where nobody
// else was asked, and the refusal stands.
func (api *API) elsewhereBy(ctx context.Context, a *act, c cptoken.Claims, kid string, request any, refusal error) (token, newer string, done bool, err error) {
	reason := federation.AsError(refusal).Reason
	if api.cfg.Cluster == nil || a.hopped || reason != reasonClockBehind && reason != reasonClockOff {
		return "", "", false, nil
	}
	body, err := json.Marshal(request)
	if err != nil {
		return "", "", true, federation.Errorf(federation.Internal, "encoding a request for another member: %w", err)
	}
	p := api.clocks()
	// Who is asked waits as long as this member would; those that need not come first.
	for i, member := range p.Reached(api.store.View().CutOff(c.Kind, c.Mesh, kid).Add(-maxCutOffWait)) {
		if i == elsewhereMost {
			break
		}
		asking, cancel := context.WithTimeout(ctx, elsewhereTimeout)
		token, newer, err = api.cfg.Cluster.Issue(asking, member, "/tokens/"+strings.TrimSuffix(c.Kind.TokenName(), "-token"), body, a.caller, a.requestID)
		cancel()
		if code := federation.CodeOf(err); code == federation.Unavailable || code == federation.UnknownOutcome {
			continue
		}
		a.forwarded = true
		a.note(slog.String("issuedBy", member))
		return token, newer, true, err
	}
	return "", "", false, nil
}

// clockWarnings name the members whose clocks do not agree with the others'.
func clockWarnings(p clocks.Picture) (warnings []string) {
	for _, c := range p.Members {
		if c.Off {
			warnings = append(warnings, fmt.Sprintf("the clock of member %s is %s what most members agree on: it issues no tokens; set it right", c.Member, aheadOf(c.Ahead)))
		}
	}
	if !p.Agreed && p.Apart > clocks.Tolerance {
		warnings = append(warnings, fmt.Sprintf("the clocks of the members are up to %s apart, and no majority agrees: set them right", p.Apart.Round(time.Second)))
	}
	return warnings
}

// clockJSON is a member's clock as the API shows it; nil where it is not known.
func clockJSON(p clocks.Picture, member string) *apitypes.MemberClock {
	for _, c := range p.Members {
		if c.Member == member && c.Known {
			return &apitypes.MemberClock{AheadSeconds: c.Ahead.Seconds(), WithinSeconds: c.Within.Seconds(), Off: c.Off}
		}
	}
	return nil
}
