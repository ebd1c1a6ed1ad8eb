package adminapi

import (
	"log/slog"
	"net/http"
	"strings"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/raftstore"
)

// listExpelled tells which nodes and certificates are refused on every port.
func (api *API) listExpelled(_ *act, w http.ResponseWriter, _ *http.Request) error {
	list := apitypes.ExpelledList{Items: []apitypes.Expelled{}}
	for _, e := range api.store.Expelled() {
		list.Items = append(list.Items, apitypes.Expelled{ID: e.ID, Subject: e.Subject, Reason: e.Reason, By: e.By, At: e.At.UTC()})
	}
	list.Total = len(list.Items)
	return reply(w, http.StatusOK, list)
}

func (api *API) postExpel(a *act, w http.ResponseWriter, r *http.Request) error {
	var body apitypes.ExpelRequest
	if err := readBody(w, r, &body); err != nil {
		return err
	}
	a.note(slog.String("expelled", clip(body.ID)), slog.Bool("force", body.Force))
	if api.cfg.Cluster != nil && body.ID == api.cfg.Cluster.OwnCertificateKey() && !body.Force {
		return federation.Errorf(federation.Conflict, "the certificate is the one that the leader shows: every zone would leave it, and refuse it also after it is readmitted").
			WithReason("own_certificate").
			WithHint("give the leader a certificate of a new key first (docs/certificates.md), or expel this one all the same with --force")
	}
	expelled := raftstore.Expelled{ID: body.ID, Subject: body.Subject, Reason: body.Reason}
	if err := api.store.Expel(r.Context(), a.origin("expel", body.ID, body.Subject, body.Reason), expelled); err != nil {
		return err
	}
	result := apitypes.ExpelResult{}
	if !strings.Contains(body.Subject, "/"+string(tlsutil.RoleZone)+"/") && !strings.Contains(body.Subject, "/"+string(tlsutil.RoleUser)+"/") {
		result.Warnings = api.fleet.ExpulsionWarnings()
	}
	return reply(w, http.StatusOK, result)
}

func (api *API) deleteExpelled(a *act, w http.ResponseWriter, r *http.Request) error {
	id := api.expelledID(r.PathValue("id"))
	a.note(slog.String("readmitted", clip(id)))
	if !strings.HasPrefix(id, "sha256:") {
		a.words = "cluster readmit" // of a node
	}
	origin := a.origin("readmit", id)
	err := api.store.Readmit(r.Context(), origin, id)
	if _, again := api.repeated(err, origin); err != nil && !again {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// expelledID returns the id of the expelled node that an operator calls so, who may have the
// name by which it was expelled only. Any other word is returned as it is.
func (api *API) expelledID(word string) string {
	found := word
	for _, e := range api.store.Expelled() {
		switch {
		case e.ID == word:
			return word
		case e.Subject == "node "+word && !strings.HasPrefix(e.ID, "sha256:"):
			found = e.ID
		}
	}
	return found
}

// getTrust tells which CAs the members and the zones trust.
func (api *API) getTrust(_ *act, w http.ResponseWriter, _ *http.Request) error {
	return reply(w, http.StatusOK, api.fleet.Trust(api.cfg.Members(), api.store.Zones()))
}
