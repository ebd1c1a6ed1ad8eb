package adminapi

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/idlist"
	"github.com/meridiankds/meridian/internal/global/secretname"
	"github.com/meridiankds/meridian/raftstore"
)

// putList adds to a list of revoked ids. What the written list lacks is withdrawn
// only where If-Match proves that the writer has seen the list as it is.
func (api *API) putList(a *act, w http.ResponseWriter, r *http.Request, ref secretname.Ref, data []byte) error {
	ids, err := parseIDList(string(data))
	if err != nil {
		return err
	}
	change := apitypes.SecretChange{Type: secretType(ref.Mesh), Mesh: ref.Mesh, Name: ref.Name()}
	added, withdrawn := idsOf(ids), []string(nil)
	if len(added) > 0 {
		change.Warnings = api.fleet.ListWarnings(ref.Kind)
	}
	revoking := a.origin("revoke", append([]string{string(ref.Kind), ref.Mesh}, ids...)...)
	withdrawing := a.withdrawal(r, ref, ids)
	made := api.store.RevocationCount(ref.Kind, ref.Mesh) == 0
	if !ref.AddOnly {
		withdrawn, err = api.missing(r, ref, ids)
		more, again := api.repeated(err, revoking)
		less, all := api.repeated(err, withdrawing)
		if all || again && api.store.RevocationCount(ref.Kind, ref.Mesh) == len(ids) { // the list is not as it was, but as was written
			if change.Added, change.Withdrawn = int(more.Changed), int(less.Changed); !all {
				less.Revision = more.Revision
			}
			change.Revision = less.Revision.String()
			return reply(w, http.StatusOK, change)
		}
		if err != nil {
			return err
		}
	}
	if len(withdrawn) > 0 {
		if err := a.rights.Allow(access.Administer); err != nil {
			return err
		}
	}
	ctx := r.Context()
	// First what is added: should the second step fail, too much is refused, never
	// too little.
	if len(added) > 0 {
		c, err := api.store.Revoke(ctx, revoking, ref.Kind, ref.Mesh, added, "")
		if err != nil {
			return err
		}
		change.Added, change.Revision = int(c.Changed), c.Revision.String()
	}
	if len(withdrawn) > 0 {
		c, err := api.store.Withdraw(ctx, withdrawing, ref.Kind, ref.Mesh, withdrawn)
		if err != nil {
			return err
		}
		change.Withdrawn, change.Revision = int(c.Changed), c.Revision.String()
	}
	a.note(slog.Int("added", change.Added), slog.Int("withdrawn", change.Withdrawn))
	if made && change.Added > 0 {
		return reply(w, http.StatusCreated, change)
	}
	return reply(w, http.StatusOK, change)
}

// missing returns the ids of the list that are not among the given ones, or a
// Conflict where there are such and the request may not withdraw them.
func (api *API) missing(r *http.Request, ref secretname.Ref, given []string) ([]string, error) {
	match, conditional := ifMatch(r)
	list, err := api.wholeList(ref)
	if err != nil {
		if !conditional && federation.CodeOf(err) == federation.TooLarge {
			// Such a list cannot be read and so not be withdrawn from by writing it.
			return nil, nil
		}
		return nil, err
	}
	if conditional && !slices.Contains(match, entityTag([]byte(strings.Join(list.ids, ",")))) {
		return nil, federation.Errorf(federation.Conflict, "%s has changed since it was read", ref.Name()).
			WithReason("stale_etag").
			WithHint("read it again and repeat the change with the new ETag in If-Match")
	}
	keep := slices.Sorted(slices.Values(given))
	var missing []string
	for _, id := range list.ids {
		if _, found := slices.BinarySearch(keep, id); !found {
			missing = append(missing, id)
		}
	}
	if len(missing) > 0 && !conditional {
		return nil, federation.Errorf(federation.Conflict,
			"the written list lacks %d of the ids that are revoked in %s, and writing it would make their tokens valid again", len(missing), ref.Name()).
			WithReason("would_withdraw").
			WithHint("write the new ids together with all that are there, or send the ETag of a read in If-Match to withdraw, or use POST /v1/revocations/withdraw")
	}
	return missing, nil
}

// withdrawal is the origin of a withdrawal of what a list had that the caller saw and is not
// among the given ids.
func (a *act) withdrawal(r *http.Request, ref secretname.Ref, given []string) raftstore.Origin {
	seen, _ := ifMatch(r)
	return a.origin("withdraw from list", slices.Concat([]string{string(ref.Kind), ref.Mesh, strings.Join(seen, ",")}, given)...)
}

// deleteList withdraws everything on a list.
func (api *API) deleteList(a *act, w http.ResponseWriter, r *http.Request, ref secretname.Ref) error {
	if ref.AddOnly {
		return unknownSecret()
	}
	change := apitypes.SecretChange{Type: secretType(ref.Mesh), Mesh: ref.Mesh, Name: ref.Name()}
	origin, err := a.withdrawal(r, ref, nil), error(nil)
	var withdrawn []string
	if api.store.RevocationCount(ref.Kind, ref.Mesh) == 0 {
		err = unknownSecret()
	} else {
		withdrawn, err = api.missing(r, ref, nil)
	}
	if was, again := api.repeated(err, origin); again {
		change.Withdrawn, change.Revision = int(was.Changed), was.Revision.String()
		return reply(w, http.StatusOK, change)
	}
	if err != nil {
		return err
	}
	if len(withdrawn) == 0 { // too long to be read, so no ETag exists that could allow it
		return federation.Errorf(federation.Conflict, "%s is too long to be withdrawn at once", ref.Name()).
			WithReason("would_withdraw").
			WithHint("withdraw in parts with POST /v1/revocations/withdraw")
	}
	c, err := api.store.Withdraw(r.Context(), origin, ref.Kind, ref.Mesh, withdrawn)
	if err != nil {
		return err
	}
	a.note(slog.Uint64("withdrawn", uint64(c.Changed)))
	change.Withdrawn, change.Revision = int(c.Changed), c.Revision.String()
	return reply(w, http.StatusOK, change)
}

// ifMatch returns the entity tags of If-Match (RFC 9110, section 13.1.1) and
// whether the header is there. "*" names no tag: it proves nothing about what the
// writer has seen.
func ifMatch(r *http.Request) (tags []string, conditional bool) {
	values := r.Header.Values("If-Match")
	for _, v := range values {
		for tag := range strings.SplitSeq(v, ",") {
			tags = append(tags, strings.TrimSpace(tag))
		}
	}
	return tags, len(values) > 0
}

// parseIDList reads comma-separated ids. Blanks around them, empty ones and
// repetitions are left out; the order is that of first appearance.
func parseIDList(text string) ([]string, error) {
	var ids []string
	for id := range strings.SplitSeq(text, ",") {
		if id = strings.TrimSpace(id); id != "" {
			ids = append(ids, id)
		}
	}
	return idlist.Unique("data", ids)
}

func idsOf(ids []string) []cptoken.RevokedID {
	revoked := make([]cptoken.RevokedID, len(ids))
	for i, id := range ids {
		revoked[i].ID = id
	}
	return revoked
}
