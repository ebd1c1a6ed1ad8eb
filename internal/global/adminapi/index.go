package adminapi

import (
	"net/http"
	"strings"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/kds/kuma"
)

// product is what Kuma's clients compare with their own name: they refuse to add, or
// warn at every command of, what calls itself something else. Who answers in truth
// says implementation.
const (
	product        = "Kuma"
	implementation = "Meridian"
)

// getStrangersIndex answers who shows no credential, as clients of Kuma's do where
// they first look what an address is, with nothing but the kind of API.
func (api *API) getStrangersIndex(_ *act, w http.ResponseWriter, r *http.Request) error {
	return reply(w, http.StatusOK, apitypes.Index{
		Tagline: product, Product: product, Implementation: implementation, Version: versionFor(r, "unknown"),
	})
}

// versionFor is what kumactl compares with its own version. It warns at every command
// where they differ, so one that speaks what is spoken here is answered with its own.
func versionFor(r *http.Request, own string) string {
	agent, _, _ := strings.Cut(r.UserAgent(), " ")
	if its, ok := strings.CutPrefix(agent, "kumactl/"); ok && kuma.Speaks(its) {
		return its
	}
	return own
}

func (api *API) getIndex(_ *act, w http.ResponseWriter, r *http.Request) error {
	return reply(w, http.StatusOK, apitypes.Index{
		Hostname: api.cfg.Hostname, Tagline: product, Product: product, Implementation: implementation, Version: versionFor(r, api.cfg.Version),
		InstanceID: api.store.NodeID(), ClusterID: api.store.ClusterID(),
	})
}

func (api *API) getWhoAmI(a *act, w http.ResponseWriter, _ *http.Request) error {
	return reply(w, http.StatusOK, apitypes.WhoAmI{
		Name: a.caller.Name, Groups: orEmpty(a.caller.Groups), Via: a.caller.Via, Roles: a.rights.Roles(), Bounds: a.rights.Bounds(),
	})
}

func (api *API) getStatus(_ *act, w http.ResponseWriter, _ *http.Request) error {
	_, rev := api.store.Head()
	s := apitypes.Status{
		NodeID: api.store.NodeID(), ClusterID: api.store.ClusterID(), IsLeader: api.cfg.Leads(),
		Revision: rev.String(), Applied: api.store.Applied(), Version: api.cfg.Version,
		// The store opens with a seal key or not at all.
		Sealed:       true,
		Certificates: api.cfg.Certificates(),
	}
	seal := api.sealJSON()
	s.SealKeyID, s.CanSign, s.CannotOpen = seal.Active, seal.CanSign, seal.CannotOpen
	s.Leader, s.LeaderAddress = api.store.Leader()
	s.Counts.Keys = len(api.store.Keys())
	s.Counts.Zones = len(api.zones())
	for _, z := range api.fleet.Zones() {
		if z.Online {
			s.Counts.ZonesOnline++
		}
	}
	meshes := api.store.Meshes()
	s.Counts.Meshes = len(meshes)
	for _, kind := range cptoken.Kinds {
		if !kind.PerMesh() {
			s.Counts.Revocations += api.store.RevocationCount(kind, "")
			continue
		}
		for _, m := range meshes {
			s.Counts.Revocations += api.store.RevocationCount(kind, m.Name)
		}
	}
	return reply(w, http.StatusOK, s)
}
