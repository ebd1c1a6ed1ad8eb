package adminapi

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/fleet"
	"github.com/meridiankds/meridian/internal/global/paging"
	"github.com/meridiankds/meridian/raftstore"
)

// meshes returns the meshes ordered by name.
func (api *API) meshes() []raftstore.Mesh {
	meshes := slices.Clone(api.store.Meshes())
	slices.SortFunc(meshes, func(a, b raftstore.Mesh) int { return strings.Compare(a.Name, b.Name) })
	return meshes
}

// mesh returns the mesh that the path names.
func (api *API) mesh(a *act, r *http.Request) (raftstore.Mesh, error) {
	name := r.PathValue("mesh")
	if err := federation.ValidateName("mesh", name); err != nil {
		return raftstore.Mesh{}, err
	}
	a.note(slog.String("mesh", name))
	m, ok := api.store.Mesh(name)
	if !ok {
		return raftstore.Mesh{Name: name}, notFound("there is no mesh %s", name)
	}
	return m, nil
}

// meshField checks a mesh that a body or query names.
func (api *API) meshField(name string) error {
	if err := federation.ValidateName("mesh", name); err != nil {
		return err
	}
	if _, ok := api.store.Mesh(name); !ok {
		return federation.InvalidField("mesh", "there is no mesh %s", name)
	}
	return nil
}

func (api *API) listMeshes(_ *act, w http.ResponseWriter, r *http.Request) error {
	list, err := paging.List(r, api.meshes(), meshJSON)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, list)
}

func (api *API) getMesh(a *act, w http.ResponseWriter, r *http.Request) error {
	m, err := api.mesh(a, r)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, meshJSON(m))
}

// putMesh makes a mesh, and with it its first dataplane key. A mesh has no
// settings: one that is there stays as it is. Should a zone not acknowledge the
// key in time, the mesh is there all the same, and the key becomes active at the
// next PUT or when a token is asked for.
func (api *API) putMesh(a *act, w http.ResponseWriter, r *http.Request) error {
	m, err := api.mesh(a, r)
	made := federation.CodeOf(err) == federation.NotFound
	if err != nil && !made {
		return err
	}
	var body struct {
		apitypes.Mesh
		metadata
	}
	if err := readBody(w, r, &body); err != nil {
		return err
	}
	if err := named(apitypes.TypeMesh, body.Type, m.Name, body.Name); err != nil {
		return err
	}
	if m, err = api.store.ApplyMesh(r.Context(), a.origin("apply mesh", m.Name), m.Name); err != nil {
		return err
	}
	if err := api.startFirstKey(r.Context(), a, m.Name, api.cfg.ImportWait); err != nil {
		return err
	}
	status, change := http.StatusOK, apitypes.MeshChange{Mesh: meshJSON(m)}
	if made {
		status = http.StatusCreated
		change.Warnings = api.meshHolding(m.Name).Warnings("mesh "+m.Name, false)
	}
	return reply(w, status, change)
}

// startFirstKey activates the prepared key of a mesh that no key signs for, as
// soon as its gate is open and if it opens within the given time.
func (api *API) startFirstKey(ctx context.Context, a *act, mesh string, wait time.Duration) error {
	var first raftstore.Key
	for _, k := range api.store.Keys() {
		if k.ID.Kind != cptoken.Dataplane || k.ID.Mesh != mesh {
			continue
		}
		if !k.Active.IsZero() {
			return nil // it was started once: what follows is an operator's rotation
		}
		if k.State == cptoken.Prepared && first.Serial == 0 {
			first = k
		}
	}
	if first.Serial == 0 || !api.cfg.Leads() {
		return nil
	}
	// A zone of Kuma's never acknowledges a dataplane key. To wait for one that no token
	// is signed with yet would keep the mesh from ever having a token.
	if h := api.awaitGate(ctx, first, wait, fleet.Holding.WaitsForKuma); !h.Open && !h.WaitsForKuma() {
		a.note(slog.String("keyWaiting", first.ID.String()), slog.Any("waiting", h.Waiting), slog.Any("members", h.Members))
		return nil
	}
	_, err := api.store.ActivateKey(ctx, a.origin("activate key", first.ID.String()), first.ID)
	return err
}

// deleteMesh deletes a mesh with its keys: no dataplane token of it holds any
// longer.
func (api *API) deleteMesh(a *act, w http.ResponseWriter, r *http.Request) error {
	m, err := api.mesh(a, r)
	origin := a.origin("delete mesh", r.PathValue("mesh"))
	if _, ok := api.repeated(err, origin); ok {
		return reply(w, http.StatusOK, api.meshDeleted(raftstore.Mesh{Name: r.PathValue("mesh")}))
	}
	if err != nil {
		return err
	}
	if err := api.store.DeleteMesh(r.Context(), origin, m.Name); err != nil {
		return err
	}
	return reply(w, http.StatusOK, api.meshDeleted(m))
}

func (api *API) meshDeleted(m raftstore.Mesh) apitypes.MeshChange {
	return apitypes.MeshChange{Mesh: meshJSON(m), Warnings: api.meshHolding(m.Name).Warnings("mesh "+m.Name, true)}
}

// meshHolding is which zones take and drop the keys of a mesh.
func (api *API) meshHolding(mesh string) fleet.Holding {
	_, head := api.store.Head()
	return api.fleet.Gate(head, api.cfg.Members(), cptoken.KeyID{Kind: cptoken.Dataplane, Mesh: mesh})
}

func meshJSON(m raftstore.Mesh) apitypes.Mesh {
	return apitypes.Mesh{
		Type: apitypes.TypeMesh, Name: m.Name,
		CreationTime: stamp(m.Created), ModificationTime: stamp(m.Modified),
	}
}
