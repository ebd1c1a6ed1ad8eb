package apiclient

import (
	"context"
	"net/http"

	"github.com/meridiankds/meridian/internal/apitypes"
)

// ZoneDetail tells everything that the global knows of a zone.
func (g *Global) ZoneDetail(ctx context.Context, name string) (apitypes.ZoneDetail, error) {
	return get[apitypes.ZoneDetail](ctx, g.c, "the zone "+name, nil, "v1", "zones", name)
}

// Zone returns a zone's record.
func (g *Global) Zone(ctx context.Context, name string) (apitypes.Zone, error) {
	return get[apitypes.Zone](ctx, g.c, "the zone "+name, nil, "zones", name)
}

// ApplyZone makes a zone's record, or replaces it as a whole.
func (g *Global) ApplyZone(ctx context.Context, z apitypes.Zone) (apitypes.Zone, error) {
	return replace[apitypes.Zone](ctx, g.c, http.MethodPut, z, "v1", "zones", z.Name)
}

// EnableZone lets a zone in, or cuts it off, and changes nothing else of its record.
func (g *Global) EnableZone(ctx context.Context, name string, enabled bool) (apitypes.Zone, error) {
	z := apitypes.Zone{Type: apitypes.TypeZone, Name: name, Enabled: &enabled}
	return replace[apitypes.Zone](ctx, g.c, http.MethodPut, z, "zones", name)
}

// DeleteZone deletes a zone: it is refused until it is applied again.
func (g *Global) DeleteZone(ctx context.Context, name string) error {
	_, err := replace[apitypes.Zone](ctx, g.c, http.MethodDelete, nil, "zones", name)
	return err
}

// ApplyMesh makes a mesh, with its first dataplane key.
func (g *Global) ApplyMesh(ctx context.Context, m apitypes.Mesh) (apitypes.MeshChange, error) {
	return replace[apitypes.MeshChange](ctx, g.c, http.MethodPut, m, "meshes", m.Name)
}

// DeleteMesh deletes a mesh and its keys.
func (g *Global) DeleteMesh(ctx context.Context, name string) (apitypes.MeshChange, error) {
	return replace[apitypes.MeshChange](ctx, g.c, http.MethodDelete, nil, "meshes", name)
}

// replace sends a request that changes one resource.
func replace[T any](ctx context.Context, c *client, method string, body any, path ...string) (T, error) {
	var into T
	err := c.do(ctx, call{method: method, path: path, body: body, into: &into, changes: true})
	return into, err
}
