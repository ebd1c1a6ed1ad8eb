package adminapi

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apierr"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/raftstore"
)

// origin tells the store who asks and under which id the result is remembered.
// The id is derived from the request's and from all that the command depends on:
// the same request sent twice has one effect, while two different ones under one
// id, as a tracing proxy may send, both have theirs. It begins with the request's, by
// which GET /v1/requests finds it.
func (a *act) origin(command string, content ...string) raftstore.Origin {
	id, err := uuid.Parse(a.requestID)
	if err != nil {
		id = uuid.New()
	}
	var text strings.Builder
	for _, part := range append([]string{a.caller.Name, a.caller.Via, command}, content...) {
		text.WriteString(strconv.Itoa(len(part)))
		text.WriteByte(':')
		text.WriteString(part)
	}
	return raftstore.Origin{By: a.caller.Name, RequestID: rememberedAs(id) + madeBy(a.caller) + uuid.NewSHA1(id, []byte(text.String())).String()}
}

// readBody reads a request's JSON into v.
func readBody(w http.ResponseWriter, r *http.Request, v any) error {
	return apierr.ReadJSON(w, r, maxBody, v)
}

// readList reads a body that may hold a whole list of revocations. done must be
// called when the request has been dealt with. The router has made sure that the
// caller may revoke.
func (api *API) readList(a *act, w http.ResponseWriter, r *http.Request, v any) (done func(), err error) {
	done = func() {}
	limit := int64(maxBody)
	if r.ContentLength < 0 || r.ContentLength > maxBody {
		if done, err = api.large.Body(w, r, a.turn(), listBodyTime); err != nil {
			return done, err
		}
		limit = api.listBody
	}
	return done, apierr.ReadJSON(w, r, limit, v)
}

// reply answers with JSON.
func reply(w http.ResponseWriter, status int, v any) error {
	apierr.WriteJSON(w, status, v)
	return nil
}

// notFound is the answer for a resource that does not exist, in Kuma's words: its
// clients take it for "make one". The hint names it.
func notFound(format string, args ...any) error {
	e := &federation.Error{Code: federation.NotFound}
	return e.WithHint(format, args...)
}

// named checks that a resource in a body is the one that the path names. Both may
// be left out of the body.
func named(wantType, gotType, wantName, gotName string) error {
	if gotType != "" && gotType != wantType {
		return federation.InvalidField("type", "is %.40q, must be %q", gotType, wantType)
	}
	if gotName != "" && gotName != wantName {
		return federation.InvalidField("name", "differs from the name in the address, %q", wantName)
	}
	return nil
}

// parseValidFor reads a duration as Go writes it. An absent one is 0.
func parseValidFor(field, s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, federation.InvalidField(field, "%.40q is not a duration: write it like 720h or 30m", s)
	}
	if d < time.Second { // whole seconds are kept, and 0 of them would mean something else
		return 0, federation.InvalidField(field, "must be at least 1s, is %s", d)
	}
	return d, nil
}

// nameList writes names for a message, a few of them if there are many.
func nameList(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + " and " + strconv.Itoa(len(names)-most) + " more"
}

// firstIDs returns what an answer repeats of the ids that a request named, and
// how many they are if that is more.
func firstIDs(ids []string) (named int, first []string) {
	if len(ids) <= apitypes.MaxIDs {
		return 0, ids
	}
	return len(ids), ids[:apitypes.MaxIDs]
}

// orEmpty makes a nil list an empty one, which JSON writes as [].
func orEmpty(list []string) []string { return append([]string{}, list...) }
