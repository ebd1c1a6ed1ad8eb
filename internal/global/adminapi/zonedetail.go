package adminapi

import (
	"net/http"
	"slices"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/global/secretname"
)

// getZoneDetail tells everything that is known of one zone.
func (api *API) getZoneDetail(a *act, w http.ResponseWriter, r *http.Request) error {
	z, err := api.zone(a, r)
	if err != nil {
		return err
	}
	_, head := api.store.Head()
	seen := api.observed()[z.Name]
	detail := apitypes.ZoneDetail{
		ZoneState: seen.State(z, head), Relay: zoneJSON(z).Relay,
		Created: stamp(z.Created), Modified: stamp(z.Modified), Revision: head.String(), Waits: api.waitsOn(z.Name),
		AnsweredBy: api.store.NodeID(), Leader: api.cfg.Cluster == nil || api.cfg.Leads(), AgeSeconds: seen.Age.Seconds(),
	}
	now := api.cfg.Now()
	for i := range detail.Sessions {
		changes, since, ok := api.store.Lag(seen.Sessions[i].Acked)
		if !ok {
			continue
		}
		n, seconds := uint64(changes), 0.0
		if changes > 0 {
			seconds = clock.Elapsed(since, now).Seconds()
		}
		detail.Sessions[i].Behind, detail.Sessions[i].BehindSeconds = &n, &seconds
	}
	return reply(w, http.StatusOK, detail)
}

// waitsOn says which steps of keys wait for a zone to acknowledge them.
func (api *API) waitsOn(zone string) []string {
	waits := []string{}
	for _, k := range api.store.Keys() {
		if k.State != cptoken.Prepared || !k.ID.Kind.AtZones() || !slices.Contains(api.holding(k).Waiting, zone) {
			continue
		}
		waits = append(waits, "activation of "+secretname.Ref{Kind: k.ID.Kind, Mesh: k.ID.Mesh, Serial: k.Serial}.Name())
	}
	return waits
}
