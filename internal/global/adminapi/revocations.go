package adminapi

import (
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/global/idlist"
	"github.com/meridiankds/meridian/raftstore"
)

func (api *API) postRevocations(a *act, w http.ResponseWriter, r *http.Request) error {
	var body apitypes.RevokeRequest
	done, err := api.readList(a, w, r, &body)
	defer done()
	if err != nil {
		return err
	}
	if err := checkReason(body.Reason); err != nil {
		return err
	}
	kind, mesh, ids, err := api.whatToRevoke(body)
	if err != nil {
		return err
	}
	if err := a.rights.Revoke(kind, mesh); err != nil {
		return err
	}
	content := []string{string(kind), mesh, body.Reason}
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = id.ID
		content = append(content, id.ID, strconv.FormatInt(id.Expires, 10))
	}
	a.note(slog.String("kind", string(kind)), slog.String("mesh", mesh), slog.Int("ids", len(ids)), slog.String("first", names[0]))
	var known *comparison
	if body.Compare && body.Token == "" {
		if known, err = api.compare(r.Context(), a, kind, mesh, names); err != nil {
			return err
		}
	}
	c, err := api.store.Revoke(r.Context(), a.origin("revoke", content...), kind, mesh, ids, body.Reason)
	if err != nil {
		return err
	}
	a.note(slog.Uint64("revoked", c.Changed), slog.String("revision", c.Revision.String()))
	named, first := firstIDs(names)
	return reply(w, http.StatusOK, apitypes.RevokeResult{
		Kind: string(kind), Mesh: mesh, Revoked: int(c.Changed), Revision: c.Revision.String(), InForce: inForce(kind),
		Named: named, IDs: first, Unheeding: api.fleet.UnheedingRevocations(kind), Warnings: api.fleet.StreamWarnings(kind), Compared: known.result(r.Context()),
	})
}

// inForce says where a revocation counts. Zones have no part in control plane
// tokens, and the revision, which is what zones hold, does not move with them.
func inForce(kind cptoken.Kind) string {
	if kind.AtZones() {
		return apitypes.AtZones
	}
	return apitypes.AtGlobal
}

// whatToRevoke reads a revocation by ids or by token.
func (api *API) whatToRevoke(body apitypes.RevokeRequest) (kind cptoken.Kind, mesh string, ids []cptoken.RevokedID, err error) {
	if body.Token != "" {
		if len(body.IDs) > 0 {
			return "", "", nil, federation.InvalidField("ids", "a token says itself which id it has: send the one or the other")
		}
		return api.tokenToRevoke(body)
	}
	if kind, err = api.kindAndMesh(body.Kind, body.Mesh); err != nil {
		return "", "", nil, err
	}
	if len(body.IDs) == 0 {
		return "", "", nil, federation.InvalidField("ids", "are missing: send ids, or a token")
	}
	unique, err := idlist.Unique("ids", body.IDs)
	if err != nil {
		return "", "", nil, err
	}
	return kind, body.Mesh, idsOf(unique), nil
}

// tokenToRevoke verifies a token and returns what revokes it. Verified is only
// that it was signed here: one that has expired, was revoked, or that no Meridian zone
// accepts for its dates, its claims or its key's bounds may be revoked, since Kuma zones
// may accept it, and bounds may change. Were a forged one taken, anybody could have the
// list grow, with any id on it.
func (api *API) tokenToRevoke(body apitypes.RevokeRequest) (kind cptoken.Kind, mesh string, ids []cptoken.RevokedID, err error) {
	token, err := cptoken.Parse(body.Token)
	if err != nil {
		return "", "", nil, badToken(err)
	}
	if body.Kind != "" {
		wanted, err := cptoken.ParseKind("kind", body.Kind)
		if err != nil {
			return "", "", nil, err
		}
		if token.Claims.Kind == "" {
			token.Claims.Kind = wanted // claims of several kinds: its key decides
		}
		if wanted != token.Claims.Kind {
			return "", "", nil, federation.InvalidField("kind", "the token is not a %s", wanted.TokenName())
		}
	}
	if kind = token.Claims.Kind; kind == "" {
		return "", "", nil, federation.InvalidField("kind", "its claims do not tell what the token is for").
			WithHint("name the kind of the key that signed it")
	}
	if kind.PerMesh() {
		mesh = token.Claims.Mesh
	}
	if body.Mesh != "" && body.Mesh != mesh {
		return "", "", nil, federation.InvalidField("mesh", "the token belongs to another mesh")
	}
	if err := api.signedHere(token); err != nil {
		return "", "", nil, badToken(err)
	}
	revoked := cptoken.RevokedID{ID: token.RevocationID(), Expires: api.keepUntil(token)}
	if len(revoked.ID) > cptoken.MaxIDLen {
		return "", "", nil, federation.InvalidField("token", "its id has more than %d bytes", cptoken.MaxIDLen)
	}
	return kind, mesh, []cptoken.RevokedID{revoked}, nil
}

// keepUntil is when the revocation of a verified token may be forgotten, in Unix
// seconds: when the token, and every renewal of it, has expired. It is 0, never,
// where another token can have the same id and live longer: one of a key whose
// private half others have or had.
func (api *API) keepUntil(token *cptoken.Token) int64 {
	claims := token.Claims
	if claims.ExpiresAt.IsZero() || api.othersSign(token) {
		return 0
	}
	return clock.Last(claims.ExpiresAt, claims.RenewableUntil).Unix()
}

// othersSign reports whether somebody else than this cluster may sign tokens with
// the key of a verified token: the key is registered or was imported.
func (api *API) othersSign(token *cptoken.Token) bool {
	id := cptoken.GrantOf(api.store.View(), token).Key
	if serial, ok := cptoken.ParseSerialKID(id.KID); ok && id.Kind == cptoken.ControlPlane {
		_, imported := api.store.ControlPlaneKey(serial)
		return imported
	}
	key, known := api.store.Key(id)
	return !known || key.Imported || key.Registered != nil
}

// signedHere refuses a token that no key of this cluster signed.
func (api *API) signedHere(token *cptoken.Token) error {
	if token.Claims.Kind == cptoken.ControlPlane {
		return issue.SignedControlPlane(token, api.store)
	}
	return cptoken.Signed(api.store.View(), token.Claims.Kind, token)
}

// badToken refuses a token that was not issued here. It is the request that is
// wrong, not the caller, whose own token is another one.
func badToken(err error) error {
	e := federation.AsError(err)
	refused := federation.InvalidField("token", "%s", e.Error()).WithReason(e.Reason)
	if cptoken.Reason(e.Reason) == cptoken.UnknownKey {
		return refused.WithHint("a token whose key was removed is refused everywhere already; another global's token can be revoked only there")
	}
	return refused.WithHint("only a token that was issued here can be revoked; one of which only the id is left is revoked by its id")
}

func (api *API) postWithdraw(a *act, w http.ResponseWriter, r *http.Request) error {
	var body apitypes.WithdrawRequest
	done, err := api.readList(a, w, r, &body)
	defer done()
	if err != nil {
		return err
	}
	kind, err := api.kindAndMesh(body.Kind, body.Mesh)
	if err != nil {
		return err
	}
	if len(body.IDs) == 0 {
		return federation.InvalidField("ids", "are missing")
	}
	ids, err := idlist.Unique("ids", body.IDs)
	if err != nil {
		return err
	}
	a.note(slog.String("kind", string(kind)), slog.String("mesh", body.Mesh), slog.Int("ids", len(ids)), slog.String("first", ids[0]))
	c, err := api.store.Withdraw(r.Context(), a.origin("withdraw", append([]string{string(kind), body.Mesh}, ids...)...), kind, body.Mesh, ids)
	if err != nil {
		return err
	}
	a.note(slog.Uint64("withdrawn", c.Changed), slog.String("revision", c.Revision.String()))
	named, first := firstIDs(ids)
	return reply(w, http.StatusOK, apitypes.WithdrawResult{
		Kind: string(kind), Mesh: body.Mesh, Withdrawn: int(c.Changed), Revision: c.Revision.String(), InForce: inForce(kind),
		Named: named, IDs: first,
	})
}

func revocationJSON(rev raftstore.Revocation) apitypes.Revocation {
	j := apitypes.Revocation{ID: rev.ID, Reason: rev.Reason, By: rev.By, At: stamp(rev.At), Index: rev.Index}
	if rev.Expires != 0 {
		expires := time.Unix(rev.Expires, 0).UTC()
		j.Expires = &expires
	}
	return j
}
