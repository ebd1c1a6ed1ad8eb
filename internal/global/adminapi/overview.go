package adminapi

import (
	"net/http"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/fleet"
	"github.com/meridiankds/meridian/kds/kuma"
)

// observed returns what the fleet knows of each zone, by name.
func (api *API) observed() map[string]fleet.Zone {
	byName := map[string]fleet.Zone{}
	for _, z := range api.fleet.Zones() {
		byName[z.Name] = z
	}
	return byName
}

func (api *API) listOverviews(_ *act, w http.ResponseWriter, r *http.Request) error {
	observed := api.observed()
	list, err := listOf(r, api.zones(), func(z federation.Zone) apitypes.ZoneOverview {
		return observed[z.Name].Overview(z)
	})
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, list)
}

func (api *API) listZoneStates(_ *act, w http.ResponseWriter, r *http.Request) error {
	observed := api.observed()
	_, head := api.store.Head()
	list, err := listOf(r, api.zones(), func(z federation.Zone) apitypes.ZoneState {
		return observed[z.Name].State(z, head)
	})
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, list)
}

// unheeding returns the zones that do not heed something, in the words of package kuma.
func (api *API) unheeding(what string) []apitypes.UnheedingZone {
	var zones []apitypes.UnheedingZone
	for _, z := range api.fleet.Unheeding(what) {
		zones = append(zones, apitypes.UnheedingZone{Zone: z.Zone, Version: z.Version, What: what})
	}
	return zones
}

// unheedingRevocations returns the zones that do not heed lists of revoked tokens of a
// kind.
func (api *API) unheedingRevocations(kind cptoken.Kind) []apitypes.UnheedingZone {
	if kind != cptoken.Zone {
		return nil // lists of dataplane tokens are heeded, and no other tokens are shown to zones of Kuma's
	}
	return api.unheeding(kuma.ZoneRevocations)
}
