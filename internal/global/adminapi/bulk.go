package adminapi

import (
	"log/slog"
	"mime"
	"net/http"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/idlist"
)

// bulkTimeout is how long a list may take to arrive and to be replicated: longer
// than any other request.
const bulkTimeout = 10 * time.Minute

// postBulk revokes, or withdraws, a list of ids that is sent as text. All of it is
// one change.
func (api *API) postBulk(a *act, w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	kind, err := api.kindAndMesh(query.Get("kind"), query.Get("mesh"))
	if err != nil {
		return err
	}
	mesh, reason, withdraw := query.Get("mesh"), query.Get("reason"), query.Get("withdraw") == "true"
	if err := a.rights.Revoke(kind, mesh); err != nil {
		return err
	}
	if withdraw {
		if err := a.rights.Allow(access.Administer); err != nil {
			return err
		}
	}
	if err := checkReason(reason); err != nil {
		return err
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "text/plain" {
		return federation.InvalidField("Content-Type", "must be text/plain: ids, one a line or separated by commas")
	}
	done, err := api.bulk.Body(w, r, a.turn(), bulkTimeout)
	if err != nil {
		return err
	}
	defer done()
	list, err := idlist.Read(http.MaxBytesReader(w, r.Body, idlist.MaxBytes))
	if err != nil {
		return err
	}
	if len(list.IDs) == 0 {
		return federation.InvalidField("ids", "are missing: the list is empty")
	}
	result := apitypes.RevokeResult{Kind: string(kind), Mesh: mesh, Given: len(list.IDs), IDs: []string{}, Unheeding: api.fleet.UnheedingRevocations(kind)}
	a.note(slog.String("kind", string(kind)), slog.String("mesh", mesh), slog.Int("ids", len(list.IDs)), slog.Bool("withdraw", withdraw))
	if withdraw {
		c, err := api.store.Withdraw(r.Context(), a.origin("withdraw", string(kind), mesh, list.Digest), kind, mesh, list.IDs)
		if err != nil {
			return err
		}
		result.Withdrawn, result.Revision = int(c.Changed), c.Revision.String()
	} else {
		var known *comparison
		if query.Get("compare") == "true" {
			if known, err = api.compare(r.Context(), a, kind, mesh, list.IDs); err != nil {
				return err
			}
		}
		c, err := api.store.Revoke(r.Context(), a.origin("revoke", string(kind), mesh, reason, list.Digest), kind, mesh, idsOf(list.IDs), reason)
		if err != nil {
			return err
		}
		result.Revoked, result.Revision, result.Warnings = int(c.Changed), c.Revision.String(), api.fleet.StreamWarnings(kind)
		result.Compared = known.result(r.Context())
	}
	a.note(slog.Int("revoked", result.Revoked), slog.Int("withdrawn", result.Withdrawn), slog.String("revision", result.Revision))
	return reply(w, http.StatusOK, result)
}

func checkReason(reason string) error {
	if len(reason) > federation.MaxReason {
		return federation.InvalidField("reason", "has more than %d bytes", federation.MaxReason)
	}
	return nil
}
