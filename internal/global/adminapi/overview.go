package adminapi

import (
	"net/http"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/fleet"
	"github.com/meridiankds/meridian/internal/global/paging"
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
	list, err := paging.List(r, api.zones(), func(z federation.Zone) apitypes.ZoneOverview {
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
	list, err := paging.List(r, api.zones(), func(z federation.Zone) apitypes.ZoneState {
		return observed[z.Name].State(z, head)
	})
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, list)
}
