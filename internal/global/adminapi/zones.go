package adminapi

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// zones returns the records of zones that were not deleted, ordered by name.
func (api *API) zones() []federation.Zone {
	zones := slices.DeleteFunc(slices.Clone(api.store.Zones()), func(z federation.Zone) bool { return z.Deleted })
	slices.SortFunc(zones, func(a, b federation.Zone) int { return strings.Compare(a.Name, b.Name) })
	return zones
}

// zone returns the record that the path names.
func (api *API) zone(a *act, r *http.Request) (federation.Zone, error) {
	name := r.PathValue("zone")
	if err := federation.ValidateName("zone", name); err != nil {
		return federation.Zone{}, err
	}
	a.note(slog.String("zone", name))
	z, ok := api.store.Zone(name)
	if !ok || z.Deleted {
		return federation.Zone{Name: name}, notFound("there is no zone %s: it appears when its control plane first joins, or when it is applied", name)
	}
	return z, nil
}

func (api *API) listZones(_ *act, w http.ResponseWriter, r *http.Request) error {
	list, err := listOf(r, api.zones(), zoneJSON)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, list)
}

func (api *API) getZone(a *act, w http.ResponseWriter, r *http.Request) error {
	z, err := api.zone(a, r)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, zoneJSON(z))
}

func (api *API) putZone(a *act, w http.ResponseWriter, r *http.Request) error {
	var body zoneBody
	if _, err := api.zone(a, r); err != nil && federation.CodeOf(err) != federation.NotFound {
		return err
	}
	if err := readBody(w, r, &body); err != nil {
		return err
	}
	// What is kept must not be what another change is just replacing.
	api.zoneWrites.Lock()
	defer api.zoneWrites.Unlock()
	before, err := api.zone(a, r)
	made := federation.CodeOf(err) == federation.NotFound
	if made {
		before.Enabled = true
	}
	z, err := body.over(before)
	if err != nil {
		return err
	}
	a.note(slog.Bool("enabled", z.Enabled), slog.String("auth", string(z.Auth)))
	if len(z.Relay.Meshes) > 0 { // whose tokens the zone may have issued is a power given away
		most := z.Relay.MaxValidity
		if most == 0 {
			most = federation.DefaultRelayValidity
		}
		a.note(slog.Any("relayMeshes", z.Relay.Meshes), slog.String("relayMaxValidity", most.String()))
	}
	content := []string{z.Name, string(z.Auth), boolText(z.Enabled), z.Relay.MaxValidity.String()}
	if z, err = api.store.ApplyZone(r.Context(), a.origin("apply zone", append(content, z.Relay.Meshes...)...), z); err != nil {
		return err
	}
	status := http.StatusOK
	if made {
		status = http.StatusCreated
	}
	return reply(w, status, zoneJSON(z))
}

func (api *API) deleteZone(a *act, w http.ResponseWriter, r *http.Request) error {
	z, err := api.zone(a, r)
	origin := a.origin("delete zone", r.PathValue("zone"))
	if _, ok := api.repeated(err, origin); ok {
		z, _ = api.store.Zone(r.PathValue("zone"))
		return reply(w, http.StatusOK, zoneJSON(z))
	}
	if err != nil {
		return err
	}
	if err := api.store.DeleteZone(r.Context(), origin, z.Name); err != nil {
		return err
	}
	return reply(w, http.StatusOK, zoneJSON(z))
}

// zoneBody is a written zone: apitypes.Zone that tells a member that is left out
// from an empty one.
type zoneBody struct {
	Type             string          `json:"type"`
	Name             string          `json:"name"`
	CreationTime     string          `json:"creationTime"`
	ModificationTime string          `json:"modificationTime"`
	Enabled          *bool           `json:"enabled"`
	Auth             *string         `json:"auth"`
	Relay            *apitypes.Relay `json:"relay"`
	metadata
}

// metadata may come with a resource of Kuma's. It cannot change what the resource means
// here, and is not kept.
type metadata struct {
	Labels map[string]string `json:"labels"`
	KRI    string            `json:"kri"` // its name across Kuma's zones and meshes, of kumactl since 2.13
}

// over reads the zone that a PUT describes. What it leaves out stays as it was:
// tools that know Kuma's zones alone would otherwise, with every change, open a
// zone that has to authenticate.
func (b *zoneBody) over(z federation.Zone) (federation.Zone, error) {
	if err := named(apitypes.TypeZone, b.Type, z.Name, b.Name); err != nil {
		return z, err
	}
	if b.Enabled != nil {
		z.Enabled = *b.Enabled
	}
	if b.Auth != nil {
		z.Auth = ""
		if *b.Auth != "" {
			var err error
			if z.Auth, err = federation.ParseAuthMode("auth", *b.Auth); err != nil {
				return z, err
			}
		}
	}
	if b.Relay == nil {
		return z, nil
	}
	if len(b.Relay.Meshes) > federation.MaxRelayMeshes {
		return z, federation.InvalidField("relay.meshes", "names more than %d meshes", federation.MaxRelayMeshes)
	}
	for _, mesh := range b.Relay.Meshes {
		if err := federation.ValidateName("relay.meshes", mesh); err != nil {
			return z, err
		}
	}
	validity, err := parseValidFor("relay.maxValidity", b.Relay.MaxValidity)
	z.Relay = federation.RelayPolicy{Meshes: b.Relay.Meshes, MaxValidity: validity}
	return z, err
}

func zoneJSON(z federation.Zone) apitypes.Zone {
	j := apitypes.Zone{
		Type: apitypes.TypeZone, Name: z.Name, Enabled: &z.Enabled, Auth: string(z.Auth),
		CreationTime: stamp(z.Created), ModificationTime: stamp(z.Modified),
	}
	if len(z.Relay.Meshes) > 0 {
		j.Relay = &apitypes.Relay{Meshes: z.Relay.Meshes}
		if z.Relay.MaxValidity > 0 {
			j.Relay.MaxValidity = z.Relay.MaxValidity.String()
		}
	}
	return j
}

func boolText(b bool) string {
	if b {
		return "true"
	}
	return "false"
}
