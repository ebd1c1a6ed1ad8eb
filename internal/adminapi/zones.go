package adminapi

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/adminapi/apitypes"
)

// maxRelayMeshes bounds what a zone's record may list.
const maxRelayMeshes = 1000

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
	before, err := api.zone(a, r)
	made := federation.CodeOf(err) == federation.NotFound
	if err != nil && !made {
		return err
	}
	var body apitypes.Zone
	if err := readBody(w, r, &body); err != nil {
		return err
	}
	z, err := zoneOf(body, before.Name)
	if err != nil {
		return err
	}
	a.note(slog.Bool("enabled", z.Enabled), slog.String("auth", string(z.Auth)))
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
	if err != nil {
		return err
	}
	if err := api.store.DeleteZone(r.Context(), a.origin("delete zone", z.Name), z.Name); err != nil {
		return err
	}
	return reply(w, http.StatusOK, zoneJSON(z))
}

// zoneOf reads the zone that a PUT describes.
func zoneOf(body apitypes.Zone, name string) (federation.Zone, error) {
	z := federation.Zone{Name: name, Enabled: body.Enabled == nil || *body.Enabled}
	if err := named(apitypes.TypeZone, body.Type, name, body.Name); err != nil {
		return z, err
	}
	var err error
	if body.Auth != "" {
		if z.Auth, err = federation.ParseAuthMode("auth", body.Auth); err != nil {
			return z, err
		}
	}
	if body.Relay == nil {
		return z, nil
	}
	if len(body.Relay.Meshes) > maxRelayMeshes {
		return z, federation.InvalidField("relay.meshes", "names more than %d meshes", maxRelayMeshes)
	}
	for _, mesh := range body.Relay.Meshes {
		if err := federation.ValidateName("relay.meshes", mesh); err != nil {
			return z, err
		}
	}
	z.Relay.Meshes = body.Relay.Meshes
	z.Relay.MaxValidity, err = parseValidFor("relay.maxValidity", body.Relay.MaxValidity)
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
