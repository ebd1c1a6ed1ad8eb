package adminapi

import (
	"context"
	"encoding/hex"
	"log/slog"
	"net/http"
	"slices"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/fleet"
	"github.com/meridiankds/meridian/internal/global/paging"
	"github.com/meridiankds/meridian/internal/global/secretname"
	"github.com/meridiankds/meridian/raftstore"
	"github.com/meridiankds/meridian/raftstore/state"
)

func (api *API) listKeys(_ *act, w http.ResponseWriter, r *http.Request) error {
	broken := api.store.Broken()
	list, err := paging.List(r, api.store.Keys(), func(k raftstore.Key) apitypes.Key {
		j := keyJSON(k)
		j.Broken = slices.Contains(broken, k.ID)
		return j
	})
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, list)
}

func (api *API) getHolding(a *act, w http.ResponseWriter, r *http.Request) error {
	k, err := api.key(a, r.PathValue("kind"), r.URL.Query().Get("mesh"), r.PathValue("kid"))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, apitypes.KeyHolding{Key: keyJSON(k), Holding: api.holdingOf(k, api.holding(k))})
}

// postPrepare makes a new key, unless one of that kind and mesh waits already: a
// rotation that was broken off is taken up where it stood.
func (api *API) postPrepare(a *act, w http.ResponseWriter, r *http.Request) error {
	var body apitypes.KeyPrepareRequest
	if err := readBody(w, r, &body); err != nil {
		return err
	}
	kind, err := api.kindAndMesh(body.Kind, body.Mesh)
	if err != nil {
		return err
	}
	for _, k := range api.store.Keys() {
		if k.ID.Kind == kind && k.ID.Mesh == body.Mesh && k.State == cptoken.Prepared {
			a.note(slog.String("key", k.ID.String()))
			return reply(w, http.StatusOK, keyJSON(k))
		}
	}
	k, err := api.store.PrepareKey(r.Context(), a.origin("prepare key", string(kind), body.Mesh), kind, body.Mesh)
	if err != nil {
		return err
	}
	a.note(slog.String("key", k.ID.String()))
	return reply(w, http.StatusCreated, keyJSON(k))
}

func (api *API) postActivate(a *act, w http.ResponseWriter, r *http.Request) error {
	k, body, err := api.keyStep(a, w, r)
	if err != nil {
		return err
	}
	switch k.State {
	case cptoken.Active:
		return reply(w, http.StatusOK, apitypes.KeyChange{Key: keyJSON(k)})
	case cptoken.Retiring:
		return federation.Errorf(federation.Conflict, "key %s is retiring: a key signs once and never again", state.KeyName(k.ID)).
			WithHint("prepare a new key: global keys rotate %s", k.ID.Kind.Arguments(k.ID.Mesh))
	}
	if err := api.notLeader(); err != nil {
		return err
	}
	h := api.holding(k)
	if !h.Open && !body.Force {
		return notHeld(k, h)
	}
	if k, err = api.store.ActivateKey(r.Context(), a.origin("activate key", k.ID.String()), k.ID); err != nil {
		return err
	}
	return api.replyStep(a, w, k, h)
}

func (api *API) postRetire(a *act, w http.ResponseWriter, r *http.Request) error {
	k, body, err := api.keyStep(a, w, r)
	if err != nil {
		return err
	}
	if k.State == cptoken.Active && !body.Force {
		return federation.Errorf(federation.Conflict, "retiring key %s would leave nothing that signs a %s", state.KeyName(k.ID), k.ID.Kind.TokenName()).
			WithReason("only_key").
			WithHint("rotate instead, which retires it: global keys rotate %s; or force it (--force), and no %s can be issued until another key is active",
				k.ID.Kind.Arguments(k.ID.Mesh), k.ID.Kind.TokenName())
	}
	if k.State != cptoken.Retiring {
		if k, err = api.store.RetireKey(r.Context(), a.origin("retire key", k.ID.String()), k.ID); err != nil {
			return err
		}
	}
	return api.replyStep(a, w, k, api.holding(k))
}

// postRemove removes a key that may have signed only where the caller accepts
// what that cuts off, and only when no member signs with it any longer.
func (api *API) postRemove(a *act, w http.ResponseWriter, r *http.Request) error {
	k, body, err := api.keyStep(a, w, r)
	if was, ok := api.repeated(err, a.removal(k.ID, body.Compromised)); ok {
		k.State, k.Index = cptoken.Removed, was.Revision.Index
		return api.replyStep(a, w, k, api.removalHeld(r.Context(), k, body, api.holding(k)))
	}
	if err != nil {
		return err
	}
	h := api.holding(k)
	if !body.Force && !body.Compromised {
		if mayHaveSigned(k) && k.State != cptoken.Active {
			return federation.Errorf(federation.Conflict, "removing key %s would refuse %s", state.KeyName(k.ID), cutOffText(k)).
				WithReason("still_valid").
				WithHint("issue those tokens anew first, then remove the key with force (--force)")
		}
		if err := api.notLeader(); err != nil {
			return err
		}
		if !h.Open && k.State == cptoken.Retiring {
			return notHeld(k, h)
		}
	}
	removed, err := api.store.RemoveKey(r.Context(), a.removal(k.ID, body.Compromised), k.ID,
		raftstore.RemoveOptions{Force: body.Force || body.Compromised, Compromised: body.Compromised})
	if err != nil {
		return err
	}
	hj := api.holdingOf(removed, api.removalHeld(r.Context(), removed, body, h))
	a.note(slog.Bool("compromised", body.Compromised), slog.String("cutOff", cutOffText(k)))
	return reply(w, http.StatusOK, apitypes.KeyChange{Key: keyJSON(removed), Holding: &hj, CutOff: cutOffText(k)})
}

// removal is the origin of a key's removal.
func (a *act) removal(id cptoken.KeyID, compromised bool) raftstore.Origin {
	return a.origin("remove key", id.String(), boolText(compromised))
}

// removalHeld is who has dropped a removed key: of a compromised one that is waited for.
func (api *API) removalHeld(ctx context.Context, removed raftstore.Key, body apitypes.KeyStepRequest, before fleet.Holding) fleet.Holding {
	if body.Compromised && removed.ID.Kind.AtZones() {
		return api.awaitZones(ctx, removed.ID, removed.Index)
	}
	return before
}

// mayHaveSigned reports whether tokens of a key may exist.
func mayHaveSigned(k raftstore.Key) bool {
	return !k.Active.IsZero() || k.Imported || k.Registered != nil
}

// keyStep reads the body of a step in a key's life and finds the key. Of one that is
// not there it returns the id alone, with the error.
func (api *API) keyStep(a *act, w http.ResponseWriter, r *http.Request) (k raftstore.Key, body apitypes.KeyStepRequest, err error) {
	if err = readBody(w, r, &body); err != nil {
		return k, body, err
	}
	if body.KID == "" {
		return k, body, federation.InvalidField("kid", "is missing")
	}
	if k, err = api.key(a, body.Kind, body.Mesh, body.KID); err != nil {
		return k, body, err
	}
	if body.Force {
		a.note(slog.Bool("force", true))
	}
	return k, body, nil
}

func (api *API) replyStep(a *act, w http.ResponseWriter, k raftstore.Key, h fleet.Holding) error {
	a.note(slog.String("state", string(k.State)))
	j := api.holdingOf(k, h)
	return reply(w, http.StatusOK, apitypes.KeyChange{Key: keyJSON(k), Holding: &j})
}

// kindAndMesh reads a kind with the mesh that it needs, or does not have.
func (api *API) kindAndMesh(kind, mesh string) (cptoken.Kind, error) {
	k, err := cptoken.ParseKind("kind", kind)
	if err != nil {
		return "", err
	}
	if err := k.ValidateScope(mesh); err != nil {
		return "", err
	}
	if k.PerMesh() {
		return k, api.meshField(mesh)
	}
	return k, nil
}

// key finds the key that a request names.
func (api *API) key(a *act, kind, mesh, kid string) (raftstore.Key, error) {
	k, err := api.kindAndMesh(kind, mesh)
	if err != nil {
		return raftstore.Key{}, err
	}
	if len(kid) > cptoken.MaxKIDLen {
		return raftstore.Key{}, federation.InvalidField("kid", "has more than %d bytes", cptoken.MaxKIDLen)
	}
	id := cptoken.KeyID{Kind: k, Mesh: mesh, KID: kid}
	key, ok := api.store.Key(id)
	if !ok || key.State == cptoken.Removed {
		return raftstore.Key{ID: id}, notFound("there is no key %.40q of kind %s: see global keys list", kid, k)
	}
	a.note(slog.String("key", id.String()))
	return key, nil
}

func keyJSON(k raftstore.Key) apitypes.Key {
	j := apitypes.Key{
		Kind: string(k.ID.Kind), Mesh: k.ID.Mesh, KID: k.ID.KID, Serial: k.Serial, Alg: k.Alg, State: string(k.State),
		Fingerprint: fingerprintText(k), By: k.By, Imported: k.Imported, Registered: k.Registered != nil,
		Created: stamp(k.Created), Prepared: stamp(k.Prepared), Active: stamp(k.Active), Retiring: stamp(k.Retiring),
	}
	if k.Serial != 0 {
		j.Name = secretname.Ref{Kind: k.ID.Kind, Mesh: k.ID.Mesh, Serial: k.Serial}.Name()
	}
	return j
}

func fingerprintText(k raftstore.Key) string { return hex.EncodeToString(k.Fingerprint) }
