package adminapi

import (
	"log/slog"
	"net/http"

	"github.com/meridiankds/meridian/internal/apitypes"
)

// ownAffairs are changes of the member that is asked: no other one can make them.
var ownAffairs = map[string]bool{"POST /v1/log-level": true}

func (api *API) getLogLevel(_ *act, w http.ResponseWriter, _ *http.Request) error {
	return reply(w, http.StatusOK, api.cfg.RunLog.Answer(api.store.NodeID()))
}

func (api *API) postLogLevel(a *act, w http.ResponseWriter, r *http.Request) error {
	var body apitypes.LogLevelRequest
	if err := readBody(w, r, &body); err != nil {
		return err
	}
	a.note(slog.String("logLevel", clip(body.Level)), slog.String("for", clip(body.For)))
	if err := api.cfg.RunLog.Change(body); err != nil {
		return err
	}
	return api.getLogLevel(a, w, r)
}
