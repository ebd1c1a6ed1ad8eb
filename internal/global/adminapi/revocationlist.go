package adminapi

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/global/paging"
	"github.com/meridiankds/meridian/internal/global/secretname"
	"github.com/meridiankds/meridian/raftstore"
)

// maxScan bounds the revocations that one request looks through: a filter that
// fits few of a million is answered in several pages, some of them empty.
const maxScan = 100_000

// revocationFilter picks revocations. Its zero value picks all.
type revocationFilter struct {
	id, by, reason string // a beginning, the whole name, a part
	since          time.Time
}

func filterOf(query url.Values) (f revocationFilter, err error) {
	f = revocationFilter{id: query.Get("id"), by: query.Get("by"), reason: query.Get("reason")}
	for name, value := range map[string]string{"id": f.id, "by": f.by, "reason": f.reason} {
		if len(value) > federation.MaxReason {
			return f, federation.InvalidField(name, "has more than %d bytes", federation.MaxReason)
		}
	}
	if since := query.Get("since"); since != "" {
		if f.since, err = time.Parse(time.RFC3339, since); err != nil {
			return f, federation.InvalidField("since", "%.40q is not a time: write it like 2026-11-22T06:30:00Z", since)
		}
	}
	return f, nil
}

func (f revocationFilter) picks(r raftstore.Revocation) bool {
	return strings.HasPrefix(r.ID, f.id) && (f.by == "" || r.By == f.by) && strings.Contains(r.Reason, f.reason) && !clock.Earlier(r.At, f.since)
}

func (api *API) listRevocations(_ *act, w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	kind, err := api.kindAndMesh(query.Get("kind"), query.Get("mesh"))
	if err != nil {
		return err
	}
	limit, err := paging.Int(query, "limit", apitypes.DefaultPage, 1, apitypes.MaxPage)
	if err != nil {
		return err
	}
	filter, err := filterOf(query)
	if err != nil {
		return err
	}
	mesh, after := query.Get("mesh"), query.Get("after")
	if len(after) > cptoken.MaxIDLen {
		return federation.InvalidField("after", "has more than %d bytes", cptoken.MaxIDLen)
	}
	list := apitypes.List[apitypes.Revocation]{Total: api.store.RevocationCount(kind, mesh), Items: []apitypes.Revocation{}}
	last, more := api.scan(kind, mesh, after, filter, func(rev raftstore.Revocation) bool {
		list.Items = append(list.Items, revocationJSON(rev))
		return len(list.Items) < limit
	})
	if more {
		next := url.Values{"kind": {string(kind)}, "after": {last}, "limit": {strconv.Itoa(limit)}}
		for _, name := range []string{"mesh", "id", "by", "reason", "since"} {
			if query.Get(name) != "" {
				next.Set(name, query.Get(name))
			}
		}
		list.Next = paging.Next(r, next)
	}
	return reply(w, http.StatusOK, list)
}

// scan yields what the filter picks, in the order of ids, until yield says that it
// is enough. It returns the last id that it looked at and whether there are more.
func (api *API) scan(kind cptoken.Kind, mesh, after string, f revocationFilter, yield func(raftstore.Revocation) bool) (last string, more bool) {
	if f.id != "" {
		after = max(after, before(f.id))
	}
	for seen := 0; seen < maxScan; {
		// One more than is looked at tells whether there is another.
		page := api.store.Revocations(kind, mesh, after, apitypes.MaxPage+1)
		for i, rev := range page[:min(len(page), apitypes.MaxPage)] {
			if seen++; rev.ID > f.id && !strings.HasPrefix(rev.ID, f.id) {
				return after, false // no id that follows begins so either
			}
			after = rev.ID
			if f.picks(rev) && !yield(rev) {
				return after, i+1 < len(page)
			}
		}
		if len(page) <= apitypes.MaxPage {
			return after, false
		}
	}
	return after, true
}

// before is what comes before every id with a beginning, and after all that come before
// those: no id has the byte 0xff, which UTF-8 never has.
func before(beginning string) string {
	n := len(beginning)
	return beginning[:n-1] + string([]byte{beginning[n-1] - 1, 0xff})
}

// listRevocationLists tells how many ids of each kind and mesh are revoked.
func (api *API) listRevocationLists(_ *act, w http.ResponseWriter, r *http.Request) error {
	var lists []apitypes.RevocationList
	add := func(kind cptoken.Kind, mesh string) {
		lists = append(lists, apitypes.RevocationList{
			Kind: string(kind), Mesh: mesh, Name: secretname.Ref{Kind: kind, Mesh: mesh}.Name(), Revoked: api.store.RevocationCount(kind, mesh),
		})
	}
	for _, kind := range cptoken.Kinds {
		if !kind.PerMesh() {
			add(kind, "")
			continue
		}
		for _, m := range api.store.Meshes() {
			add(kind, m.Name)
		}
	}
	list, err := paging.List(r, lists, func(l apitypes.RevocationList) apitypes.RevocationList { return l })
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, list)
}
