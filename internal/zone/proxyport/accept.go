package proxyport

import (
	"net/http"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/apierr"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// acceptXDS is written to the log at every level that it may have: a zone has no audit log.
func (s *Server) acceptXDS(w http.ResponseWriter, r *http.Request, caller access.Caller) {
	var body apitypes.XDSAccept
	err := apierr.ReadJSON(w, r, maxSetting, &body)
	switch {
	case err != nil:
	case body.Digest == "":
		err = federation.InvalidField("digest", "must not be empty").WithHint("`zone status` shows it")
	case s.cfg.AcceptXDS == nil:
		err = federation.Errorf(federation.NotFound, "this zone has no folder of resources").WithHint("it is started with --xds-dir")
	default:
		body.Folder, err = s.cfg.AcceptXDS(body.Digest)
	}
	if err != nil {
		apierr.WriteError(w, err)
		return
	}
	s.cfg.Logger.Error("that resources are gone was accepted", "name", clip(caller.Name), "via", caller.Via, "remote", r.RemoteAddr,
		"folder", body.Folder, "digest", body.Digest)
	apierr.WriteJSON(w, http.StatusOK, body)
}
