package proxyport

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apierr"
)

// jwksPath is what the paths of key sets begin with: /v1/jwks/zone, and
// /v1/jwks/dataplane/MESH.
const jwksPath = "/v1/jwks/"

// jwksAge is how long a key set may be kept: a removed key is refused so long after
// its removal by who verifies with a copy.
const jwksAge = time.Minute

// jwk is a public key (RFC 7517; RFC 7518, section 6.3.1).
type jwk struct {
	Kty string `json:"kty"`
	Use string `json:"use"`
	Alg string `json:"alg"`
	Kid string `json:"kid"`
	N   string `json:"n"`
	E   string `json:"e"`
}

// jwks answers GET /v1/jwks/…: the keys that verify zone tokens, or the dataplane
// tokens of a mesh, with which this zone verifies them itself. A mesh that is not
// known has no set. Keys are public: nothing is asked of the caller. Keys whose bounds a
// set cannot state are left out.
func (s *Server) jwks(w http.ResponseWriter, r *http.Request) {
	kind, mesh, ofMesh := strings.Cut(strings.TrimPrefix(r.URL.Path, jwksPath), "/")
	switch {
	case cptoken.Kind(kind) == cptoken.Zone && !ofMesh:
	case cptoken.Kind(kind) == cptoken.Dataplane && federation.ValidateName("mesh", mesh) == nil:
	default:
		apierr.WriteError(w, federation.Errorf(federation.NotFound, "there is no key set at %.100q", r.URL.Path).
			WithHint("there is one at %szone, and one for each mesh at %sdataplane/MESH", jwksPath, jwksPath))
		return
	}
	if err := s.Unready(); err != nil { // an empty set would be believed for a minute
		apierr.WriteError(w, err)
		return
	}
	keys, known := s.publicKeys(cptoken.Kind(kind), mesh)
	if !known && mesh != "" {
		apierr.WriteError(w, federation.Errorf(federation.NotFound, "no key of a mesh %.80q is known here", mesh).
			WithHint("check the name of the mesh: global get meshes"))
		return
	}
	set := struct {
		Keys []jwk `json:"keys"`
	}{Keys: []jwk{}}
	for _, k := range keys {
		pub := k.RSA()
		set.Keys = append(set.Keys, jwk{
			Kty: "RSA", Use: "sig", Alg: k.Alg, Kid: k.ID.KID,
			N: base64.RawURLEncoding.EncodeToString(pub.N.Bytes()),
			E: base64.RawURLEncoding.EncodeToString(big.NewInt(int64(pub.E)).Bytes()),
		})
	}
	h := w.Header()
	h.Set("Content-Type", "application/jwk-set+json")
	h.Set("Cache-Control", fmt.Sprintf("public, max-age=%d", int(jwksAge.Seconds())))
	h.Set("X-Content-Type-Options", "nosniff")
	body, err := json.Marshal(set)
	if err != nil { // of strings alone
		apierr.WriteError(w, err)
		return
	}
	sum := sha256.Sum256(body)
	h.Set("ETag", `"`+base64.RawURLEncoding.EncodeToString(sum[:12])+`"`)
	// ServeContent answers If-None-Match and HEAD (RFC 9110, section 13).
	if r.Method == http.MethodGet {
		s.cfg.KeySets.Fetched(strings.TrimPrefix(r.URL.Path, jwksPath))
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// publicKeys are the keys of a kind and mesh that anybody may verify with: the
// global's, where they count here, and the zone's own. known reports whether there is
// any key of them, also one that a set cannot express.
func (s *Server) publicKeys(kind cptoken.Kind, mesh string) (keys []*cptoken.PublicKey, known bool) {
	ring := s.cfg.Auth.Keyring()
	view := ring.View() // the one that decides which of two keys of one kid counts
	all := slices.Concat(ring.Own(), s.cfg.Store.View().Keys())
	for _, k := range all {
		if k.ID.Kind == kind && k.ID.Mesh == mesh && view.Key(k.ID) == k {
			known = true
			if k.OutsideKeySets() == "" {
				keys = append(keys, k)
			}
		}
	}
	return keys, known
}
