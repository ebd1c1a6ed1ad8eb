package adminapi

import (
	"log/slog"
	"net/http"
	"strconv"

	"github.com/meridiankds/meridian/internal/support"
)

// getSupport makes the archive for a maintainer, of the member that is asked.
func (api *API) getSupport(a *act, w http.ResponseWriter, r *http.Request) error {
	subjects, err := queryBool(r, "subjects")
	if err != nil {
		return err
	}
	a.note(slog.Bool("subjects", subjects))
	answers := map[string]support.Answer{}
	for name, h := range map[string]handler{
		"status.json": api.getStatus, "cluster.json": api.getCluster, "zones.json": api.listZoneStates,
		"keys.json": api.listKeys, "seal.json": api.getSeal, "trust.json": api.getTrust,
	} {
		answers[name] = func(w http.ResponseWriter, r *http.Request) error { return h(a, w, r) }
	}
	archive, err := api.cfg.Support.Archive(r.Context(), subjects, answers)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", support.MediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(archive)))
	_, err = w.Write(archive)
	return err
}
