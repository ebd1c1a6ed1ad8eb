package adminapi

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/fleet"
	"github.com/meridiankds/meridian/internal/global/secretname"
	"github.com/meridiankds/meridian/raftstore"
)

// secretBody is a written secret. It is not apitypes.Secret so that the data can
// be decoded with an error that names the field.
type secretBody struct {
	Type             string  `json:"type"`
	Mesh             string  `json:"mesh"`
	Name             string  `json:"name"`
	CreationTime     string  `json:"creationTime"`
	ModificationTime string  `json:"modificationTime"`
	Data             *string `json:"data"`
	metadata
}

// decode checks the body against the path and returns the data.
func (b *secretBody) decode(mesh, name string) ([]byte, error) {
	if err := named(secretType(mesh), b.Type, name, b.Name); err != nil {
		return nil, err
	}
	if b.Mesh != "" && b.Mesh != mesh {
		return nil, federation.InvalidField("mesh", "differs from the mesh in the address")
	}
	if b.Data == nil {
		return nil, federation.InvalidField("data", "is missing")
	}
	data, err := base64.StdEncoding.DecodeString(*b.Data)
	if err != nil {
		// The cause tells a position only, but nothing of a key belongs in an error.
		return nil, federation.InvalidField("data", "is not base64")
	}
	return data, nil
}

func (api *API) putSecret(a *act, w http.ResponseWriter, r *http.Request) error {
	ref, known, err := api.secret(a, r)
	switch {
	case err != nil:
		return err
	case !known:
		return federation.InvalidField("name", "is not the name of a signing key or of a list of revocations, and other secrets are not kept").
			WithHint("names are like zone-token-signing-key-2, control-plane-signing-key-0002, zone-token-revocations; those of dataplane tokens belong to a mesh (/meshes/MESH/secrets)")
	}
	// The route lets revokers in, for the lists.
	if ref.IsKey() {
		err = a.rights.Allow(access.Administer)
	} else {
		err = a.rights.Revoke(ref.Kind, ref.Mesh)
	}
	if err != nil {
		return err
	}
	var body secretBody
	if ref.IsKey() {
		err = readBody(w, r, &body)
	} else {
		var done func()
		done, err = api.readList(a, w, r, &body)
		defer done()
	}
	if err != nil {
		return err
	}
	data, err := body.decode(ref.Mesh, r.PathValue("name"))
	if err != nil {
		return err
	}
	if ref.IsKey() {
		return api.putKey(a, w, r, ref, data)
	}
	return api.putList(a, w, r, ref, data)
}

// putKey imports a signing key and makes it the one that signs as soon as
// everybody holds it, which is what writing this secret has always meant to users.
func (api *API) putKey(a *act, w http.ResponseWriter, r *http.Request, ref secretname.Ref, data []byte) error {
	k, exists := api.store.Key(ref.KeyID())
	exists = exists && k.State != cptoken.Removed
	made := !exists
	switch {
	case exists && bytes.Equal(data, publicPart(k)):
		// What was read is written back.
		return reply(w, http.StatusOK, keyWritten(ref, k, nil))
	case bytes.HasPrefix(data, []byte(fingerprintPrefix)):
		return federation.InvalidField("data", "is the fingerprint of a key, not the key: keys can be written and never read")
	case exists:
		same, err := api.sameKey(ref, k, data)
		if err != nil {
			return err
		}
		if !same {
			return federation.Errorf(federation.Conflict, "%s exists and is another key", ref.Name()).
				WithReason("serial_taken").
				WithHint("write the new key under a serial greater than all before, then delete this one")
		}
	default:
		if err := api.notLeader(); err != nil {
			return err
		}
		var err error
		// No id that is derived from the key: a hash of it has no place in the log.
		// Written again, the key is found to be there.
		origin := raftstore.Origin{By: a.caller.Name}
		if k, err = api.store.ImportKey(r.Context(), origin, issueRef(ref), data); err != nil {
			return err
		}
	}
	a.note(slog.String("fingerprint", fingerprintText(k)))
	return api.activateWritten(a, w, r, ref, k, made)
}

// activateWritten takes a key that was written through its gate. It answers 202
// where the gate stays closed.
func (api *API) activateWritten(a *act, w http.ResponseWriter, r *http.Request, ref secretname.Ref, k raftstore.Key, made bool) error {
	status := http.StatusOK
	if made {
		status = http.StatusCreated
	}
	if k.State == cptoken.Prepared {
		if err := api.notLeader(); err != nil {
			return err
		}
		h := api.awaitGate(r.Context(), k, api.cfg.ImportWait)
		if !h.Open {
			a.note(slog.Any("waiting", h.Waiting), slog.Any("members", h.Members))
			change := keyWritten(ref, k, &h)
			change.Warnings = h.Warnings(ref.Name(), false)
			return reply(w, http.StatusAccepted, change)
		}
		var err error
		if k, err = api.store.ActivateKey(r.Context(), a.origin("activate key", k.ID.String()), k.ID); err != nil {
			return err
		}
	}
	a.note(slog.String("state", string(k.State)))
	change := keyWritten(ref, k, nil)
	change.Warnings = api.holding(k).Warnings(ref.Name(), false)
	return reply(w, status, change)
}

// sameKey reports whether written key material is that of a key.
func (api *API) sameKey(ref secretname.Ref, k raftstore.Key, data []byte) (bool, error) {
	given, err := issue.Import(issueRef(ref), data)
	if err != nil {
		return false, err
	}
	if k.Public != nil {
		return bytes.Equal(given.PublicDER(), k.Public.DER()), nil
	}
	return bytes.Equal(given.Fingerprint(api.store.ClusterID()), k.Fingerprint), nil
}

func issueRef(s secretname.Ref) issue.Ref {
	return issue.Ref{Kind: s.Kind, Mesh: s.Mesh, Serial: s.Serial}
}

func (api *API) deleteSecret(a *act, w http.ResponseWriter, r *http.Request) error {
	ref, known, err := api.secret(a, r)
	switch {
	case err != nil:
		return err
	case !known:
		return unknownSecret()
	case !ref.IsKey():
		return api.deleteList(a, w, r, ref)
	}
	k, ok := api.store.Key(ref.KeyID())
	origin := a.origin("remove key", ref.KeyID().String())
	if !ok || k.State == cptoken.Removed {
		if was, again := api.repeated(unknownSecret(), origin); again {
			return reply(w, http.StatusOK, api.keyRemoved(ref, raftstore.Key{ID: ref.KeyID(), State: cptoken.Removed, Index: was.Revision.Index}))
		}
		return unknownSecret()
	}
	removed, err := api.store.RemoveKey(r.Context(), origin, k.ID, raftstore.RemoveOptions{Force: true})
	if err != nil {
		return err
	}
	change := api.keyRemoved(ref, removed)
	change.CutOff = cutOffText(k)
	a.note(slog.String("cutOff", change.CutOff))
	return reply(w, http.StatusOK, change)
}

func (api *API) keyRemoved(ref secretname.Ref, k raftstore.Key) apitypes.SecretChange {
	change := keyWritten(ref, k, nil)
	change.Warnings = api.holding(k).Warnings(ref.Name(), true)
	return change
}

func keyWritten(ref secretname.Ref, k raftstore.Key, h *fleet.Holding) apitypes.SecretChange {
	key := keyJSON(k)
	c := apitypes.SecretChange{Type: secretType(ref.Mesh), Mesh: ref.Mesh, Name: ref.Name(), Key: &key}
	if h != nil {
		j := holdingJSON(*h)
		c.Holding = &j
	}
	return c
}

// cutOffText says which tokens the removal of a key refuses.
func cutOffText(k raftstore.Key) string {
	switch {
	case k.Registered != nil:
		return fmt.Sprintf("every %s that was signed with key %s, which is not here", k.ID.Kind.TokenName(), k.ID.KID)
	case k.Imported:
		return fmt.Sprintf("every %s that was signed with key %s, here or where the key came from", k.ID.Kind.TokenName(), k.ID.KID)
	case k.Active.IsZero():
		return fmt.Sprintf("nothing: key %s has signed no token", k.ID.KID)
	case k.Retiring.IsZero():
		return fmt.Sprintf("every %s that was issued since %s", k.ID.Kind.TokenName(), k.Active.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("every %s that was issued from %s to %s; without a validity of their own they live until %s", k.ID.Kind.TokenName(),
		k.Active.UTC().Format(time.RFC3339), k.Retiring.UTC().Format(time.RFC3339), k.Retiring.UTC().Add(cptoken.DefaultValidity).Format(time.DateOnly))
}
