package adminapi

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/global/paging"
	"github.com/meridiankds/meridian/internal/global/secretname"
	"github.com/meridiankds/meridian/raftstore"
)

// maxShown is how many ids a list may have to be shown as one secret: beyond it
// the answer would be megabytes that no editor opens. GET /v1/revocations pages.
const maxShown = 100_000

// revocationPage is how many revocations are read from the store at once.
const revocationPage = 4096

// secretPlace is the mesh of a request's path, "" for the global secrets.
func (api *API) secretPlace(a *act, r *http.Request) (mesh string, err error) {
	if r.PathValue("mesh") == "" {
		return "", nil
	}
	m, err := api.mesh(a, r)
	return m.Name, err
}

// secret finds what the path names. A name that stands for nothing is reported as
// unknown.
func (api *API) secret(a *act, r *http.Request) (ref secretname.Ref, known bool, err error) {
	mesh, err := api.secretPlace(a, r)
	if err != nil {
		return secretname.Ref{}, false, err
	}
	ref, known = secretname.Parse(mesh, r.PathValue("name"))
	if known {
		a.note(slog.String("secret", ref.Name()))
	}
	return ref, known, nil
}

func (api *API) listSecrets(a *act, w http.ResponseWriter, r *http.Request) error {
	mesh, err := api.secretPlace(a, r)
	if err != nil {
		return err
	}
	list, err := paging.List(r, api.secrets(mesh), func(ref secretname.Ref) apitypes.Secret {
		s, _, _ := api.show(ref) // it was there a moment ago; one that went shows empty
		if !ref.IsKey() {
			s.Data = nil // a list may be megabytes; reading the one secret shows it
		}
		return s
	})
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, list)
}

// secrets returns the secrets of a mesh, or the global ones: of each kind the keys
// by serial, then the list if there is anything on it.
func (api *API) secrets(mesh string) []secretname.Ref {
	var refs []secretname.Ref
	for _, k := range api.store.Keys() {
		if k.ID.Mesh == mesh && k.Serial != 0 && k.State != cptoken.Removed {
			refs = append(refs, secretname.Ref{Kind: k.ID.Kind, Mesh: mesh, Serial: k.Serial})
		}
	}
	for _, kind := range cptoken.Kinds {
		if kind.PerMesh() == (mesh != "") && api.store.RevocationCount(kind, mesh) > 0 {
			refs = append(refs, secretname.Ref{Kind: kind, Mesh: mesh})
		}
	}
	slices.SortFunc(refs, func(a, b secretname.Ref) int {
		return cmp.Or(
			cmp.Compare(slices.Index(cptoken.Kinds[:], a.Kind), slices.Index(cptoken.Kinds[:], b.Kind)),
			cmp.Compare(a.Serial-1, b.Serial-1), // a list, serial 0, wraps around to the end
		)
	})
	return refs
}

func (api *API) getSecret(a *act, w http.ResponseWriter, r *http.Request) error {
	ref, known, err := api.secret(a, r)
	if err != nil {
		return err
	}
	if !known || ref.AddOnly {
		return unknownSecret()
	}
	s, etag, err := api.show(ref)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", etag)
	return reply(w, http.StatusOK, s)
}

func unknownSecret() error {
	return notFound("there is no such secret; see: global get global-secrets, and global get secrets --mesh MESH")
}

// show renders a secret and its entity tag.
func (api *API) show(ref secretname.Ref) (s apitypes.Secret, etag string, err error) {
	s = apitypes.Secret{Type: secretType(ref.Mesh), Mesh: ref.Mesh, Name: ref.Name()}
	if ref.IsKey() {
		k, ok := api.store.Key(ref.KeyID())
		if !ok || k.State == cptoken.Removed {
			return s, "", unknownSecret()
		}
		s.Data = publicPart(k)
		s.CreationTime, s.ModificationTime = stamp(k.Created), stamp(clock.Last(k.Created, k.Prepared, k.Active, k.Retiring))
		return s, entityTag(s.Data), nil
	}
	list, err := api.wholeList(ref)
	if err != nil {
		return s, "", err
	}
	if len(list.ids) == 0 {
		return s, "", unknownSecret()
	}
	s.Data = []byte(strings.Join(list.ids, ","))
	s.CreationTime, s.ModificationTime = stamp(list.first), stamp(list.last)
	return s, entityTag(s.Data), nil
}

func secretType(mesh string) string {
	if mesh == "" {
		return apitypes.TypeGlobalSecret
	}
	return apitypes.TypeSecret
}

// fingerprintPrefix begins what is shown of a key that has no public part. It is
// refused as key material: whoever copies what was shown into another cluster
// would otherwise sign there with a key that everybody can read here.
const fingerprintPrefix = "fingerprint:"

// publicPart is what may be shown of a key.
func publicPart(k raftstore.Key) []byte {
	if k.Public != nil {
		return k.Public.PEM()
	}
	return []byte(fingerprintPrefix + hex.EncodeToString(k.Fingerprint))
}

// entityTag is a strong validator (RFC 9110, section 8.8.3) of what was shown.
func entityTag(data []byte) string {
	sum := sha256.Sum256(data)
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}

// revokedList is a list of revoked ids as a secret shows it.
type revokedList struct {
	ids         []string // sorted
	first, last time.Time
}

// wholeList reads a whole list, if it is not too long to be shown.
func (api *API) wholeList(ref secretname.Ref) (*revokedList, error) {
	if n := api.store.RevocationCount(ref.Kind, ref.Mesh); n > maxShown {
		return nil, federation.Errorf(federation.TooLarge, "%s has %d ids, more than a secret can show", ref.Name(), n).
			WithHint("read it in pages from GET /v1/revocations?kind=%s&mesh=%s", ref.Kind, ref.Mesh)
	}
	l := &revokedList{}
	for after := ""; ; {
		batch := api.store.Revocations(ref.Kind, ref.Mesh, after, revocationPage)
		for _, rev := range batch {
			l.ids = append(l.ids, rev.ID)
			l.first, l.last = clock.First(l.first, rev.At), clock.Last(l.last, rev.At)
		}
		if len(batch) < revocationPage {
			slices.Sort(l.ids)
			return l, nil
		}
		after = batch[len(batch)-1].ID
	}
}
