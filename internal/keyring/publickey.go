package keyring

import (
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/disk"
)

// MaxPublicKeys bounds the public keys that a zone's settings list for a kind.
const MaxPublicKeys = 256

// Where public keys stand in the settings.
const (
	zoneKeys      = "dpServer.authn.zoneProxy.zoneToken.validator.publicKeys"
	dataplaneKeys = "dpServer.authn.dpProxy.dpToken.validator.publicKeys"
)

// PublicKey is one of validator.publicKeys: a key whose private half issues tokens
// elsewhere. Its tokens may lack exp and jti unless it says otherwise: users were
// promised that a token with nothing but the claims of its kind will do.
type PublicKey struct {
	// KID is what the tokens' header has; not digits alone, which are the global's
	// own keys.
	KID string `json:"kid"`
	// Mesh is that of dataplane tokens.
	Mesh string `json:"mesh,omitempty"`
	// Key is the key in PEM, or KeyFile the file that holds it.
	Key     string `json:"key,omitempty"`
	KeyFile string `json:"keyFile,omitempty"`

	// Scopes that zone tokens may carry; absent: ingress, egress and dataplane. With
	// cp the key vouches for control planes of zones, where a global has it.
	Scopes []cptoken.Scope `json:"scopes,omitempty"`
	// AllowNoExpiry and AllowNoID say whether tokens may lack exp and jti; absent:
	// true.
	AllowNoExpiry *bool `json:"allowNoExpiry,omitempty"`
	AllowNoID     *bool `json:"allowNoID,omitempty"`
	// MaxLifetime bounds the time from iat to exp, a duration such as 720h; tokens
	// then need both. Absent: any.
	MaxLifetime string `json:"maxLifetime,omitempty"`
}

// validate checks what can be checked without reading a file.
func (k PublicKey) validate(where string, perMesh bool) error {
	if err := cptoken.ValidateKID(where+".kid", k.KID); err != nil {
		return err
	}
	switch {
	case perMesh:
		if err := federation.ValidateName(where+".mesh", k.Mesh); err != nil {
			return err
		}
	case k.Mesh != "":
		return federation.InvalidField(where+".mesh", "a zone token belongs to no mesh")
	}
	if perMesh && len(k.Scopes) > 0 {
		return federation.InvalidField(where+".scopes", "a dataplane token has none")
	}
	for i, s := range k.Scopes {
		if !s.Valid() {
			return federation.InvalidField(where+".scopes["+strconv.Itoa(i)+"]", "%.40q is not a scope: use ingress, egress, dataplane or cp", s)
		}
	}
	if (k.Key == "") == (k.KeyFile == "") {
		return federation.InvalidField(where, "needs exactly one of key and keyFile")
	}
	if k.Key != "" {
		if _, err := cptoken.ParsePublicPEM(where+".key", []byte(k.Key)); err != nil {
			return err
		}
	}
	_, err := k.lifetime(where)
	return err
}

func (k PublicKey) lifetime(where string) (time.Duration, error) {
	if k.MaxLifetime == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(k.MaxLifetime)
	if err != nil || d < time.Second {
		return 0, federation.InvalidField(where+".maxLifetime", "%.40q is not a duration of 1s or more: write it like 720h", k.MaxLifetime)
	}
	return d, nil
}

// read returns the key, of the file if it stands in one.
func (k PublicKey) read(kind cptoken.Kind, where string) (*cptoken.PublicKey, error) {
	if err := k.validate(where, kind.PerMesh()); err != nil {
		return nil, err
	}
	field, data := where+".key", []byte(k.Key)
	if k.KeyFile != "" {
		field = where + ".keyFile"
		var err error
		if data, err = readKeyFile(field, k.KeyFile); err != nil {
			return nil, err
		}
	}
	der, err := cptoken.ParsePublicPEM(field, data)
	if err != nil {
		return nil, err
	}
	lifetime, err := k.lifetime(where)
	if err != nil {
		return nil, err
	}
	return cptoken.NewPublicKey(cptoken.KeyID{Kind: kind, Mesh: k.Mesh, KID: k.KID}, cptoken.AlgRS256, cptoken.Retiring, der,
		&cptoken.Constraints{
			Scopes:        k.scopes(kind),
			MaxLifetime:   lifetime,
			AllowNoExpiry: k.AllowNoExpiry == nil || *k.AllowNoExpiry,
			AllowNoID:     k.AllowNoID == nil || *k.AllowNoID,
		})
}

// scopes are those that tokens may carry: none that lets a control plane join unless
// it was written out.
func (k PublicKey) scopes(kind cptoken.Kind) []cptoken.Scope {
	if kind == cptoken.Zone && len(k.Scopes) == 0 {
		return []cptoken.Scope{cptoken.ScopeIngress, cptoken.ScopeEgress, cptoken.ScopeDataplane}
	}
	return k.Scopes
}

func readKeyFile(field, path string) ([]byte, error) {
	f, err := disk.Open(path)
	if err != nil {
		return nil, federation.InvalidField(field, "cannot be read: %v", err).WithHint("name a file that this user may read")
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, federation.InvalidField(field, "cannot be read: %v", err)
	}
	if err := disk.CheckWritten("public key of "+field, path, info); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, cptoken.MaxPublicPEM+1))
	if err != nil {
		return nil, federation.InvalidField(field, "cannot be read: %v", err)
	}
	return data, nil
}

// ownKeys are a zone's own keys and what they stand beside. It is immutable.
type ownKeys struct {
	keys map[cptoken.KeyID]*cptoken.PublicKey
	// alone are the kinds of which the global's keys do not count.
	alone map[cptoken.Kind]bool
}

// load reads every public key that the settings name. An error leaves nothing.
func (s *Settings) load() (*ownKeys, error) {
	own := &ownKeys{keys: map[cptoken.KeyID]*cptoken.PublicKey{}, alone: map[cptoken.Kind]bool{}}
	for _, of := range []struct {
		kind  cptoken.Kind
		where string
		token TokenSettings
	}{
		{cptoken.Zone, zoneKeys, s.Authn.ZoneProxy.ZoneToken},
		{cptoken.Dataplane, dataplaneKeys, s.Authn.DPProxy.DPToken},
	} {
		if err := of.token.validate(of.where); err != nil {
			return nil, err
		}
		own.alone[of.kind] = !of.token.Validator.Secrets()
		for i, k := range of.token.Validator.PublicKeys {
			where := of.where + "[" + strconv.Itoa(i) + "]"
			key, err := k.read(of.kind, where)
			if err != nil {
				return nil, err
			}
			if own.keys[key.ID] != nil {
				return nil, federation.InvalidField(where+".kid", "%s stands twice", key.ID)
			}
			own.keys[key.ID] = key
		}
	}
	return own, nil
}

// none reports whether the global's keys are all that counts.
func (o *ownKeys) none() bool {
	return len(o.keys) == 0 && !o.alone[cptoken.Zone] && !o.alone[cptoken.Dataplane]
}

// same reports whether both verify the same tokens.
func (o *ownKeys) same(other *ownKeys) bool {
	if len(o.keys) != len(other.keys) {
		return false
	}
	for kind, alone := range o.alone {
		if other.alone[kind] != alone {
			return false
		}
	}
	for id, k := range o.keys {
		twin := other.keys[id]
		if twin == nil || twin.Fingerprint() != k.Fingerprint() || !sameBounds(twin.Registered, k.Registered) {
			return false
		}
	}
	return true
}

func sameBounds(a, b *cptoken.Constraints) bool {
	return slices.Equal(a.Scopes, b.Scopes) && a.AllowNoExpiry == b.AllowNoExpiry && a.AllowNoID == b.AllowNoID && a.MaxLifetime == b.MaxLifetime
}
