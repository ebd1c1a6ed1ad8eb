package adminapi

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/paging"
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
	list, err := paging.List(r, api.zones(), zoneJSON)
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

// putZone changes what a zone of Kuma's API has: whether it is enabled.
func (api *API) putZone(a *act, w http.ResponseWriter, r *http.Request) error {
	return api.writeZone(a, w, r, (*zoneBody).over)
}

// applyZone replaces the whole record.
func (api *API) applyZone(a *act, w http.ResponseWriter, r *http.Request) error {
	return api.writeZone(a, w, r, (*zoneBody).inPlaceOf)
}

// writeZone has next make the record of the zone that the path names out of the one
// before and the body.
func (api *API) writeZone(a *act, w http.ResponseWriter, r *http.Request, next func(*zoneBody, federation.Zone) (federation.Zone, error)) error {
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
	z, err := next(&body, before)
	if err != nil {
		return err
	}
	if a.route == "PUT /zones/{zone}" && !made && z.Enabled != before.Enabled {
		a.words = map[bool]string{true: "enable zone", false: "disable zone"}[z.Enabled]
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

// inPlaceOf reads the zone that a whole record describes: a relay that is left out is
// taken away. What protects and is left out may have been forgotten, and is refused.
func (b *zoneBody) inPlaceOf(before federation.Zone) (federation.Zone, error) {
	z := before
	z.Relay = federation.RelayPolicy{}
	if err := named(apitypes.TypeZone, b.Type, z.Name, b.Name); err != nil {
		return z, err
	}
	if b.Enabled == nil && !before.Enabled {
		return z, federation.InvalidField("enabled", "is left out, and zone %s is disabled", z.Name).
			WithHint("add the line `enabled: false`, or `enabled: true` to let it in again")
	}
	if b.Enabled != nil {
		z.Enabled = *b.Enabled
	}
	if b.Auth == nil && before.Auth != "" {
		return z, federation.InvalidField("auth", "is left out, and zone %s authenticates by %s", z.Name, before.Auth).
			WithHint("add the line `auth: %s`, or `auth: \"\"` for what --kds-auth of the global says", before.Auth)
	}
	z.Auth = ""
	if b.Auth != nil && *b.Auth != "" {
		var err error
		if z.Auth, err = federation.ParseAuthMode("auth", *b.Auth); err != nil {
			return z, err
		}
	}
	var err error
	z.Relay, err = b.relay()
	return z, err
}

// over reads the zone that a PUT of Kuma's API describes. Our members may come with it as
// they are, from who read the zone before; they are not changed this way.
func (b *zoneBody) over(z federation.Zone) (federation.Zone, error) {
	if err := named(apitypes.TypeZone, b.Type, z.Name, b.Name); err != nil {
		return z, err
	}
	notKumas := func(field string) error {
		return federation.InvalidField(field, "is not changed by PUT /zones/%s, which changes what Kuma's zones have", z.Name).
			WithHint("use PUT /v1/zones/%s, or global apply, which replace the whole record", z.Name)
	}
	if b.Auth != nil && *b.Auth != string(z.Auth) {
		if auth, err := federation.ParseAuthMode("auth", *b.Auth); err != nil || auth != z.Auth {
			return z, notKumas("auth")
		}
	}
	relay, err := b.relay()
	if b.Relay != nil && (err != nil || relay.MaxValidity != z.Relay.MaxValidity || !slices.Equal(relay.Meshes, z.Relay.Meshes)) {
		return z, notKumas("relay")
	}
	if b.Enabled != nil {
		z.Enabled = *b.Enabled
	}
	return z, nil
}

// relay reads what the zone may relay; nothing where it is left out.
func (b *zoneBody) relay() (federation.RelayPolicy, error) {
	if b.Relay == nil {
		return federation.RelayPolicy{}, nil
	}
	if len(b.Relay.Meshes) > federation.MaxRelayMeshes {
		return federation.RelayPolicy{}, federation.InvalidField("relay.meshes", "names more than %d meshes", federation.MaxRelayMeshes)
	}
	for _, mesh := range b.Relay.Meshes {
		if err := federation.ValidateName("relay.meshes", mesh); err != nil {
			return federation.RelayPolicy{}, err
		}
	}
	validity, err := parseValidFor("relay.maxValidity", b.Relay.MaxValidity)
	return federation.RelayPolicy{Meshes: b.Relay.Meshes, MaxValidity: validity}, err
}

func zoneJSON(z federation.Zone) apitypes.Zone {
	j := apitypes.Zone{
		Type: apitypes.TypeZone, Name: z.Name, Enabled: &z.Enabled,
		CreationTime: stamp(z.Created), ModificationTime: stamp(z.Modified),
	}
	if auth := string(z.Auth); auth != "" {
		j.Auth = &auth
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
