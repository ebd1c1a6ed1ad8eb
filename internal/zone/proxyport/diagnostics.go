package proxyport

import (
	"fmt"
	"net/http"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apierr"
)

// Diagnostics returns the handler of the diagnostics port, which tells nothing
// that is worth a token. /healthy answers 200 while the process serves. /ready
// answers 200 once the zone can decide over tokens, and 503 with the reason while
// it knows no keys or is too stale: an orchestrator then sends proxies elsewhere
// and restarts nothing.
func (s *Server) Diagnostics() http.Handler {
	return routes{
		"/healthy": {http.MethodGet: func(w http.ResponseWriter, _ *http.Request) {
			apierr.WriteJSON(w, http.StatusOK, health{Status: "healthy"})
		}},
		"/ready": {http.MethodGet: func(w http.ResponseWriter, _ *http.Request) {
			err := s.Unready()
			if err == nil {
				err = s.cfg.Store.Unwritten()
			}
			if err == nil && s.cfg.Unready != nil {
				err = s.cfg.Unready()
			}
			if err != nil {
				apierr.WriteError(w, err)
				return
			}
			apierr.WriteJSON(w, http.StatusOK, health{Status: "ready", Notices: s.notices()})
		}},
	}
}

type health struct {
	Status string `json:"status"`
	// Notices are what an operator should see and no orchestrator should act upon.
	Notices []string `json:"notices,omitempty"`
}

// notices tell what is wrong with what proxies are given. It takes no zone out: others would
// give them the same.
func (s *Server) notices() (list []string) {
	if n := s.cfg.Proxies.Counts().Refusing; n > 0 {
		list = append(list, fmt.Sprintf("%d proxies refuse resources: see zone get proxies", n))
	}
	if s.cfg.XDSProblems != nil {
		if n := len(s.cfg.XDSProblems()); n > 0 {
			list = append(list, fmt.Sprintf("%d problems in the folder of resources: see zone status", n))
		}
	}
	return list
}

// Unready returns why the zone cannot decide over tokens, or nil.
func (s *Server) Unready() error {
	if e, ok := s.cfg.Auth.Keyring().View().(cptoken.EmptyView); ok && e.Empty() {
		return cptoken.Refuse(cptoken.NoKeys, "zone %s knows no keys yet", s.cfg.Zone).
			WithHint("it receives them when it first reaches the global: zone status shows what keeps it")
	}
	return s.cfg.Auth.Stale()
}
