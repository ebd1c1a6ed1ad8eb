package proxyport

import (
	"net/http"

	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/apierr"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// maxSetting bounds the body of a request that sets something of this process.
const maxSetting = 4 << 10

func (s *Server) logLevel(w http.ResponseWriter, _ *http.Request) {
	apierr.WriteJSON(w, http.StatusOK, s.cfg.RunLog.Answer(s.cfg.Zone))
}

// setLogLevel is written to the log at every level that it may have: a zone has no audit log.
func (s *Server) setLogLevel(w http.ResponseWriter, r *http.Request, caller access.Caller) {
	var body apitypes.LogLevelRequest
	err := apierr.ReadJSON(w, r, maxSetting, &body)
	if err == nil {
		err = s.cfg.RunLog.Change(body)
	}
	if err != nil {
		apierr.WriteError(w, err)
		return
	}
	s.cfg.Logger.Error("the level of the log was set", "name", clip(caller.Name), "via", caller.Via, "remote", r.RemoteAddr, "logLevel", body.Level, "for", body.For)
	s.logLevel(w, r)
}
