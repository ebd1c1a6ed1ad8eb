package adminapi

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/raftstore"
)

// rememberedAs begins the ids under which the store remembers the changes of a request.
func rememberedAs(request uuid.UUID) string { return request.String() + "." }

// madeBy goes on with who made the request: a name may be that of a token's user and of
// a certificate's, who are two.
func madeBy(c access.Caller) string {
	sum := sha256.Sum256([]byte(c.Via + ":" + c.Name))
	return hex.EncodeToString(sum[:8]) + "."
}

// getRequest tells what became of a request, to who made it and to administrators: for
// anybody else it never was. Only the leader can, and only after it has
// made sure that it still leads: what another member lacks may have been made.
func (api *API) getRequest(a *act, w http.ResponseWriter, r *http.Request) error {
	id, err := uuid.Parse(r.PathValue("id"))
	if err != nil {
		return federation.InvalidField("id", "%.40q is not a request id: it is a UUID, as X-Request-Id had it", r.PathValue("id"))
	}
	if err := api.notLeader(); err != nil {
		return err
	}
	if _, err := api.store.ReadIndex(); err != nil {
		return err
	}
	whose := madeBy(a.caller)
	if a.rights.Allow(access.Administer) == nil {
		whose = ""
	}
	changes := api.store.Requests(rememberedAs(id) + whose)
	_, rev := api.store.Head()
	told := apitypes.RequestOutcome{RequestID: id.String(), Outcome: outcomeOf(changes), Changes: []apitypes.RequestChange{}, Revision: rev.String()}
	for _, c := range changes {
		told.Changes = append(told.Changes, changeJSON(c))
	}
	return reply(w, http.StatusOK, told)
}

// repeated returns what a change came to that was made before under the same request id
// by the same caller, and of which err now says that there is nothing to change, or that
// it is not as it was: the first answer was lost, and the second must not be that.
func (api *API) repeated(err error, o raftstore.Origin) (raftstore.Request, bool) {
	if code := federation.CodeOf(err); code != federation.NotFound && code != federation.Conflict {
		return raftstore.Request{}, false
	}
	for _, c := range api.store.Requests(o.RequestID) {
		if c.Err == nil {
			return c, true
		}
	}
	return raftstore.Request{}, false
}

// outcomeOf is what became of a request that may have made several changes.
func outcomeOf(changes []raftstore.Request) string {
	made, refused := 0, 0
	for _, c := range changes {
		if c.Err == nil {
			made++
		} else {
			refused++
		}
	}
	switch {
	case made > 0 && refused > 0:
		return apitypes.OutcomePartly
	case made > 0:
		return apitypes.OutcomeApplied
	case refused > 0:
		return apitypes.OutcomeRefused
	}
	return apitypes.OutcomeUnknown
}

func changeJSON(c raftstore.Request) apitypes.RequestChange {
	j := apitypes.RequestChange{
		Change: c.Verb, Outcome: apitypes.OutcomeApplied, Revision: c.Revision.String(), Changed: c.Changed,
		At: stamp(c.At), RememberedUntil: stamp(c.Until),
	}
	if c.Err != nil {
		j.Outcome, j.Reason, j.Detail = apitypes.OutcomeRefused, c.Err.Reason, c.Err.Error()
	}
	return j
}

// askable says of an error whose outcome is unknown how to learn it.
func askable(err error, request string) error {
	if federation.CodeOf(err) != federation.UnknownOutcome {
		return err
	}
	return federation.AsError(err).WithHint("ask what became of it: global get request %s", request)
}
