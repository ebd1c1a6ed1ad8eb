package adminapi

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/global/audit"
	"github.com/meridiankds/meridian/internal/global/paging"
)

// trail is how a router tells the audit log what it does.
type trail struct {
	log      *audit.Log
	revision func() string
	refused  func(reason ...string) // counts
	warn     *slog.Logger
}

// classOf is the class of what a route does; ok is false where it changes nothing
// and hands nothing out.
func classOf(need access.Permission, method string) (class audit.Class, ok bool) {
	read := method == http.MethodGet || method == http.MethodHead
	switch {
	case need == access.Issue:
		return audit.Issue, true
	case need == access.Revoke && !read:
		return audit.Revocation, true
	case !read || need == access.Administer: // a backup is read, and is everything
		return audit.Change, true
	}
	return "", false
}

// begin writes that a request's act begins. It must not take place where this fails.
// A token is written when it is made, see API.issue.
func (t *trail) begin(a *act, need access.Permission, method string) error {
	class, ok := classOf(need, method)
	if t == nil || !ok || class == audit.Issue {
		return nil
	}
	begun, err := t.log.Begin(a.record(class, audit.Begun))
	if err != nil {
		t.warn.Error("a request was refused because the audit log cannot be written", "request", a.route, "requestId", a.requestID, "error", err)
		return err
	}
	a.begun = begun
	return nil
}

// unknownPath is the action of a request that is no command's.
const unknownPath = "unknown path"

// end writes how a request ended that began an act, and that somebody was refused.
func (t *trail) end(a *act, what string, status int, err error) {
	if t == nil {
		return
	}
	r := a.record("", outcomeFor(status, err))
	r.Status = status
	if r.Action == "" {
		r.Action, r.About["path"] = unknownPath, what
	}
	if err != nil {
		e := federation.AsError(err)
		r.Reason, r.Detail = e.Reason, e.Error()
	}
	turnedAway := status == http.StatusUnauthorized || status == http.StatusForbidden
	if turnedAway && !a.forwarded {
		t.refused(r.Reason)
	}
	var failed error
	switch {
	case a.begun != nil:
		r.Revision = t.revision()
		failed = a.begun.End(r)
	case a.forwarded && r.Outcome == audit.Unknown:
		// The leader may have a record of it or not.
		r.Class = audit.Change
		failed = t.log.Write(r)
	case turnedAway && !a.forwarded:
		t.log.Refuse(r)
	}
	if failed != nil {
		t.warn.Error("what was done is missing from the audit log but for its beginning", "request", what, "requestId", a.requestID, "error", failed)
	}
}

// outcomeFor is the outcome that an answer means.
func outcomeFor(status int, err error) audit.Outcome {
	switch {
	case federation.CodeOf(err) == federation.UnknownOutcome:
		return audit.Unknown
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return audit.Refused
	case status >= 500:
		return audit.Failed
	case err != nil || status >= 400:
		return audit.Rejected
	}
	return audit.Done
}

// record is what is known of a request so far.
func (a *act) record(class audit.Class, outcome audit.Outcome) audit.Record {
	r := audit.Record{
		Class: class, User: a.caller.Name, Via: a.caller.Via, Remote: a.caller.Remote,
		Action: a.words, RequestID: a.requestID, Outcome: outcome, About: make(map[string]string, len(a.notes)),
	}
	for _, note := range a.notes {
		switch v := note.Value.Any().(type) {
		case []string:
			r.About[note.Key] = strings.Join(v, ",")
		case []cptoken.Scope:
			scopes := make([]string, len(v))
			for i, s := range v {
				scopes[i] = string(s)
			}
			r.About[note.Key] = strings.Join(scopes, ",")
		default:
			r.About[note.Key] = fmt.Sprint(v)
		}
	}
	return r
}

// signed signs a token whose line is in the audit log before it exists, and returns it
// when that line is durable: it must not be handed out where that fails. The line is
// written first so that those of tokens that are signed meanwhile share its sync.
func (api *API) signed(a *act, d *issue.Draft) (string, error) {
	r := a.record(audit.Issue, audit.Done)
	_, rev := api.store.Head()
	r.Status, r.Revision = http.StatusOK, rev.String()
	line, err := api.cfg.Audit.Append(r)
	if err != nil {
		return "", err
	}
	token, err := d.Sign()
	if err != nil {
		r.Outcome, r.Status, r.Reason = audit.Failed, http.StatusInternalServerError, federation.AsError(err).Reason
		return "", errors.Join(err, line.Correct(r))
	}
	return token, line.Durable()
}

// newTrail is the trail of a listener.
func (api *API) newTrail() *trail {
	return &trail{
		log: api.cfg.Audit, refused: api.cfg.Refused, warn: api.log,
		revision: func() string { _, rev := api.store.Head(); return rev.String() },
	}
}

// listAudit shows what was done and who was refused, through any member.
func (api *API) listAudit(a *act, w http.ResponseWriter, r *http.Request) error {
	done, err := api.audits.Enter(r.Context(), a.turn()) // looking through the files costs memory
	if err != nil {
		return err
	}
	defer done()
	list, next, err := api.logs.List(r.Context(), r.URL.Query())
	if err != nil {
		return err
	}
	if next != nil {
		list.Next = paging.Next(r, next)
	}
	return reply(w, http.StatusOK, list)
}
