package proxyport

import (
	"net/http"
	"strconv"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/apierr"
	"github.com/meridiankds/meridian/internal/support"
)

// supportDump makes the archive for a maintainer. Who had it made is in the log.
func (s *Server) supportDump(w http.ResponseWriter, r *http.Request, caller access.Caller) {
	subjects := r.URL.Query().Get("subjects")
	if subjects != "" && subjects != "true" && subjects != "false" {
		apierr.WriteError(w, federation.InvalidField("subjects", "must be true or false"))
		return
	}
	s.cfg.Logger.Error("an archive for a maintainer is made", "name", clip(caller.Name), "via", caller.Via, "remote", r.RemoteAddr, "subjects", subjects == "true")
	answer := func(h http.HandlerFunc) support.Answer {
		return func(w http.ResponseWriter, r *http.Request) error { h(w, r); return nil }
	}
	answers := map[string]support.Answer{"status.json": answer(s.status)}
	if subjects == "true" {
		answers["proxies.json"] = answer(s.proxies)
	}
	archive, err := s.cfg.Support.Archive(r.Context(), subjects == "true", answers)
	if err != nil {
		apierr.WriteError(w, err)
		return
	}
	w.Header().Set("Content-Type", support.MediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(archive)))
	_, _ = w.Write(archive) // a client that is gone
}
