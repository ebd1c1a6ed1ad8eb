package proxyport

import (
	"encoding/hex"
	"net/http"
	"os"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apierr"
	"github.com/meridiankds/meridian/internal/apitypes"
)

func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	host, err := os.Hostname()
	if err != nil {
		host = "" // shown to humans only
	}
	apierr.WriteJSON(w, http.StatusOK, apitypes.ZoneIndex{
		Hostname: host, Tagline: "Meridian", Product: "Meridian", Version: s.cfg.Version,
		InstanceID: s.cfg.Instance, ClusterID: s.cfg.Store.View().Cluster(), Zone: s.cfg.Zone,
	})
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	view := s.cfg.Store.View()
	out := apitypes.ZoneStatus{
		Zone: s.cfg.Zone, Instance: s.cfg.Instance, Version: s.cfg.Version,
		Cluster: view.Cluster(), Revision: view.Revision().String(), Empty: view.Empty(),
		Global: s.global(), Authentication: s.authentication(), Keys: []apitypes.ZoneKey{}, Revocations: map[string]int{}, CutOffs: view.CutOffs(),
		Certificates: s.cfg.Certificates(), NotHeld: view.Skipped(), Kept: view.Kept(),
	}
	if err := s.cfg.Store.Unwritten(); err != nil {
		out.Unwritten = err.Error()
	}
	if s.cfg.XDSProblems != nil {
		for _, err := range s.cfg.XDSProblems() {
			out.XDSProblems = append(out.XDSProblems, err.Error())
		}
	}
	for _, u := range s.cfg.KeySets.Uses() {
		out.KeySets = append(out.KeySets, apitypes.KeySetUse{Set: u.Set, Count: u.Count, Last: u.Last.UTC()})
	}
	for _, k := range view.Keys() {
		out.Keys = append(out.Keys, keyOf(k))
	}
	for _, k := range s.cfg.Auth.Keyring().Own() {
		own := keyOf(k)
		own.Static, own.Registered = true, false
		out.Keys = append(out.Keys, own)
	}
	for _, kind := range cptoken.Kinds {
		if n := view.RevocationsOf(kind); n > 0 || kind.AtZones() {
			out.Revocations[string(kind)] = n
		}
	}
	apierr.WriteJSON(w, http.StatusOK, out)
}

func keyOf(k *cptoken.PublicKey) apitypes.ZoneKey {
	fingerprint := k.Fingerprint()
	return apitypes.ZoneKey{
		Kind: string(k.ID.Kind), Mesh: k.ID.Mesh, KID: k.ID.KID, State: string(k.State),
		Alg: k.Alg, Fingerprint: hex.EncodeToString(fingerprint[:]), Registered: k.Registered != nil,
		NotInKeySet: outsideKeySets(k),
	}
}

// outsideKeySets says why no key set of this zone has the key. User tokens are not for
// the services behind proxies, and there is no set for them.
func outsideKeySets(k *cptoken.PublicKey) string {
	if k.ID.Kind != cptoken.Zone && k.ID.Kind != cptoken.Dataplane {
		return ""
	}
	return k.OutsideKeySets()
}

func (s *Server) authentication() apitypes.ZoneAuthentication {
	authn := s.cfg.Auth.Settings().Authn
	out := apitypes.ZoneAuthentication{ZoneProxy: string(authn.ZoneProxy.Type), DPProxy: string(authn.DPProxy.Type)}
	for _, kind := range []cptoken.Kind{cptoken.Zone, cptoken.Dataplane} {
		if !s.cfg.Auth.Keyring().Secrets(kind) {
			out.IgnoredSecrets = append(out.IgnoredSecrets, string(kind))
		}
	}
	return out
}

func (s *Server) global() apitypes.ZoneGlobal {
	link := s.cfg.Link()
	g := apitypes.ZoneGlobal{Connected: link.Connected, Address: link.Address, Member: link.Member, Kind: link.Kind, LastError: link.LastError}
	if !link.Since.IsZero() {
		since := link.Since.UTC()
		g.Since = &since
	}
	member, at := s.cfg.Store.Contact()
	if g.Member == "" {
		g.Member = member
	}
	if age, ok := s.cfg.Auth.Age(); ok {
		heard, seconds := at.UTC(), age.Seconds()
		g.LastHeard, g.AgeSeconds = &heard, &seconds
	}
	if most := s.cfg.Auth.MaxStale(); most > 0 {
		g.MaxStale, g.Stale = most.String(), s.cfg.Auth.Stale() != nil
	}
	return g
}
