package adminapi

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strconv"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/paging"
	"github.com/meridiankds/meridian/raftstore"
	"github.com/meridiankds/meridian/raftstore/state"
)

// Registered public keys: those of offline issuing, whose private half the global
// never has.

func (api *API) listPublicKeys(_ *act, w http.ResponseWriter, r *http.Request) error {
	registered := slices.DeleteFunc(slices.Clone(api.store.Keys()), func(k raftstore.Key) bool { return k.Registered == nil })
	list, err := paging.List(r, registered, publicKeyJSON)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, list)
}

func (api *API) getPublicKey(a *act, w http.ResponseWriter, r *http.Request) error {
	k, _, err := api.publicKey(a, r)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, publicKeyJSON(k))
}

// putPublicKey registers a key, or replaces the bounds of one that is registered.
// Zones that are connected have it within moments; nothing waits for them, because
// nothing here signs with it.
func (api *API) putPublicKey(a *act, w http.ResponseWriter, r *http.Request) error {
	_, id, err := api.publicKey(a, r)
	made := federation.CodeOf(err) == federation.NotFound
	if err != nil && !made {
		return err
	}
	var body apitypes.PublicKey
	if err := readBody(w, r, &body); err != nil {
		return err
	}
	pub, err := registration(id, &body)
	if err != nil {
		return err
	}
	content, err := json.Marshal(body)
	if err != nil {
		return federation.Errorf(federation.Internal, "writing the key down: %w", err)
	}
	k, err := api.store.RegisterKey(r.Context(), a.origin("register key", id.String(), string(content)), pub)
	if err != nil {
		return err
	}
	a.note(slog.Any("zones", body.Zones), slog.Any("scopes", pub.Registered.Scopes), slog.String("maxLifetime", body.MaxLifetime),
		slog.Bool("allowNoExpiry", body.AllowNoExpiry), slog.Bool("allowNoId", body.AllowNoID), slog.String("fingerprint", fingerprintText(k)))
	status := http.StatusOK
	if made {
		status = http.StatusCreated
	}
	return reply(w, status, apitypes.PublicKeyChange{PublicKey: publicKeyJSON(k), Warnings: api.fleet.RegisteredWarnings(api.holding(k), state.KeyName(id))})
}

// deletePublicKey refuses from now on every token of the key. Its kid is spent.
func (api *API) deletePublicKey(a *act, w http.ResponseWriter, r *http.Request) error {
	k, id, err := api.publicKey(a, r)
	origin := a.origin("remove key", id.String())
	if was, ok := api.repeated(err, origin); ok {
		k = raftstore.Key{ID: id, State: cptoken.Removed, Index: was.Revision.Index, Registered: &cptoken.Constraints{}}
		return reply(w, http.StatusOK, api.registeredRemoved(k, k))
	}
	if err != nil {
		return err
	}
	removed, err := api.store.RemoveKey(r.Context(), origin, id, raftstore.RemoveOptions{Force: true})
	if err != nil {
		return err
	}
	a.note(slog.String("cutOff", cutOffText(k)))
	return reply(w, http.StatusOK, api.registeredRemoved(removed, k))
}

func (api *API) registeredRemoved(removed, was raftstore.Key) apitypes.KeyChange {
	return apitypes.KeyChange{Key: keyJSON(removed), CutOff: cutOffText(was), Warnings: api.holding(removed).Warnings(state.KeyName(removed.ID), true)}
}

// publicKey returns the registered key that the address names. Where it names one
// that could be registered, and is not, the error is NotFound and the id is set.
func (api *API) publicKey(a *act, r *http.Request) (k raftstore.Key, id cptoken.KeyID, err error) {
	kind, err := cptoken.ParseKind("kind", r.PathValue("kind"))
	if err != nil {
		return k, id, err
	}
	if kind != cptoken.Zone && kind != cptoken.Dataplane {
		return k, id, federation.InvalidField("kind", "a %s is issued by the global alone: use zone-token or dataplane-token", kind.TokenName())
	}
	mesh := r.URL.Query().Get("mesh")
	if _, err := api.kindAndMesh(string(kind), mesh); err != nil {
		return k, id, err
	}
	if err := cptoken.ValidateKID("kid", r.PathValue("kid")); err != nil {
		return k, id, err
	}
	id = cptoken.KeyID{Kind: kind, Mesh: mesh, KID: r.PathValue("kid")}
	a.note(slog.String("key", id.String()))
	k, ok := api.store.Key(id)
	if !ok || k.State == cptoken.Removed {
		return k, id, notFound("there is no registered key %s: see global get public-keys", state.KeyName(id))
	}
	return k, id, nil
}

// registration reads the key and its bounds from a body.
func registration(id cptoken.KeyID, body *apitypes.PublicKey) (*cptoken.PublicKey, error) {
	if err := named(apitypes.TypePublicKey, body.Type, "", ""); err != nil {
		return nil, err
	}
	if body.Kind != "" {
		if kind, err := cptoken.ParseKind("kind", body.Kind); err != nil || kind != id.Kind {
			return nil, federation.InvalidField("kind", "differs from the kind in the address, %q", id.Kind)
		}
	}
	for _, f := range []struct{ field, got, want string }{{"kid", body.KID, id.KID}, {"mesh", body.Mesh, id.Mesh}} {
		if f.got != "" && f.got != f.want {
			return nil, federation.InvalidField(f.field, "differs from the one in the address, %q", f.want)
		}
	}
	der, err := cptoken.ParsePublicPEM("key", []byte(body.Key))
	if err != nil {
		return nil, err
	}
	bounds, err := boundsOf(id.Kind, body)
	if err != nil {
		return nil, err
	}
	return cptoken.NewPublicKey(id, cptoken.AlgRS256, cptoken.Retiring, der, bounds)
}

// boundsOf reads the bounds of a key. A zone key that names no scopes may vouch for
// zone proxies and nothing more: above all not for a zone's control plane.
func boundsOf(kind cptoken.Kind, body *apitypes.PublicKey) (*cptoken.Constraints, error) {
	lifetime, err := parseValidFor("maxLifetime", body.MaxLifetime)
	if err != nil {
		return nil, err
	}
	c := &cptoken.Constraints{
		Zones: body.Zones, MaxLifetime: lifetime, AllowNoExpiry: body.AllowNoExpiry, AllowNoID: body.AllowNoID,
	}
	if kind != cptoken.Zone {
		if len(body.Zones) > 0 || len(body.Scopes) > 0 {
			return nil, federation.InvalidField("zones", "a dataplane token names neither zones nor scopes: its mesh bounds it")
		}
		return c, nil
	}
	for i, zone := range body.Zones {
		if err := federation.ValidateName("zones["+strconv.Itoa(i)+"]", zone); err != nil {
			return nil, err
		}
	}
	for i, word := range body.Scopes {
		scope := cptoken.Scope(word)
		if !scope.Valid() {
			return nil, federation.InvalidField("scopes["+strconv.Itoa(i)+"]", "%.40q is not a scope: use ingress, egress, dataplane or cp", word)
		}
		c.Scopes = append(c.Scopes, scope)
	}
	if len(c.Scopes) == 0 {
		c.Scopes = slices.Clone(cptoken.DefaultScopes[:])
	}
	return c, nil
}

func publicKeyJSON(k raftstore.Key) apitypes.PublicKey {
	j := apitypes.PublicKey{
		Type: apitypes.TypePublicKey, Kind: string(k.ID.Kind), Mesh: k.ID.Mesh, KID: k.ID.KID,
		Fingerprint: fingerprintText(k), By: k.By, CreationTime: stamp(k.Created),
	}
	if k.Public != nil {
		j.Key, j.NotInKeySet = string(k.Public.PEM()), k.Public.OutsideKeySets()
	}
	if c := k.Registered; c != nil {
		j.Zones, j.AllowNoExpiry, j.AllowNoID = c.Zones, c.AllowNoExpiry, c.AllowNoID
		for _, s := range c.Scopes {
			j.Scopes = append(j.Scopes, string(s))
		}
		if c.MaxLifetime > 0 {
			j.MaxLifetime = c.MaxLifetime.String()
		}
	}
	return j
}
