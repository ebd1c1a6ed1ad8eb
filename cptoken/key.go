package cptoken

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strconv"
	"time"

	"github.com/meridiankds/meridian/federation"
)

// KeyID names a verification key: the key with this kid among those of a kind
// and, for dataplane tokens, a mesh.
type KeyID struct {
	Kind Kind
	Mesh string // only where Kind.PerMesh
	KID  string // a serial in decimal, or the kid of a registered public key
}

// SerialKID returns the kid of the signing key with the given serial.
func SerialKID(serial uint64) string { return strconv.FormatUint(serial, 10) }

// ParseSerialKID returns the serial that a kid names, if it names one: a decimal
// number without sign or leading zero.
func ParseSerialKID(kid string) (serial uint64, ok bool) {
	serial, err := strconv.ParseUint(kid, 10, 64)
	return serial, err == nil && SerialKID(serial) == kid
}

// ValidateKID checks the kid of a public key that is to be registered: 1 to
// MaxKIDLen of letters, digits, '-', '_' and '.', and not digits alone, which
// name the serials of keys that the global makes.
func ValidateKID(field, kid string) error {
	if kid == "" {
		return federation.InvalidField(field, "must not be empty")
	}
	if len(kid) > MaxKIDLen {
		return federation.InvalidField(field, "must have at most %d characters, has %d", MaxKIDLen, len(kid))
	}
	digits := true
	for i := 0; i < len(kid); i++ {
		c := kid[i]
		digit := c >= '0' && c <= '9'
		digits = digits && digit
		if !digit && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' && c != '.' {
			return federation.InvalidField(field, "%.80q is not a kid: use letters, digits, '-', '_' and '.'", kid)
		}
	}
	if digits {
		return federation.InvalidField(field, "%.80q looks like the serial of a key that the global made: add a letter", kid)
	}
	return nil
}

// KeyState is a step in the life of a key.
type KeyState string

// The life of a key, in order. A verifier accepts a key in every state but
// Removed.
const (
	Prepared KeyState = "prepared" // held everywhere, signs nothing
	Active   KeyState = "active"   // signs
	Retiring KeyState = "retiring" // verifies only
	Removed  KeyState = "removed"  // a tombstone
)

// Valid reports whether s is one of the four states.
func (s KeyState) Valid() bool {
	return s == Prepared || s == Active || s == Retiring || s == Removed
}

// AlgRS256 and AlgHS256 are the algorithms of RFC 7518 that Meridian signs with.
const (
	AlgRS256 = "RS256"
	AlgHS256 = "HS256"
)

// KnownAlgorithm reports whether alg is one of [Algorithms].
func KnownAlgorithm(alg string) bool { return slices.Contains(Algorithms[:], alg) }

// Key sizes in bits that are accepted. Below is too weak, above lets a stranger's
// key make a verification slow.
const (
	MinRSABits = 2048
	MaxRSABits = 8192
)

// Constraints bound what a registered public key (one whose private half Meridian
// never had) may vouch for. Keys that the global made have none.
type Constraints struct {
	// Zones that a zone token of this key may name; empty: any.
	Zones []string
	// Scopes that a zone token of this key may carry; empty: any.
	Scopes []Scope
	// MaxLifetime from iat to exp; 0: any.
	MaxLifetime time.Duration
	// AllowNoExpiry accepts tokens that have no exp.
	AllowNoExpiry bool
	// AllowNoID accepts tokens that have no jti. They are revoked by hash.
	AllowNoID bool
}

// PublicKey is a key that verifies tokens of one kind. It is immutable; make one
// with [NewPublicKey].
type PublicKey struct {
	ID    KeyID
	Alg   string // one of Algorithms
	State KeyState
	// Registered is nil for keys that the global made.
	Registered *Constraints

	der         []byte
	rsa         *rsa.PublicKey
	fingerprint [sha256.Size]byte
}

// NewPublicKey makes a key from its SubjectPublicKeyInfo (RFC 5280, DER). It
// returns an Invalid error where the algorithm is none of [Algorithms] or the key is
// not an RSA key that CheckRSA accepts. The key keeps a copy of der.
func NewPublicKey(id KeyID, alg string, state KeyState, der []byte, registered *Constraints) (*PublicKey, error) {
	if !KnownAlgorithm(alg) {
		return nil, federation.Errorf(federation.Invalid, "key %s: algorithm %.20q is not known", id, alg)
	}
	pub, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, federation.Errorf(federation.Invalid, "key %s: not a public key in SubjectPublicKeyInfo form: %w", id, err)
	}
	r, ok := pub.(*rsa.PublicKey)
	if !ok {
		return nil, federation.Errorf(federation.Invalid, "key %s: not an RSA key", id)
	}
	if err := CheckRSA(r); err != nil {
		return nil, federation.Errorf(federation.Invalid, "key %s: %w", id, err)
	}
	return &PublicKey{
		ID: id, Alg: alg, State: state, Registered: registered,
		der: bytes.Clone(der), rsa: r, fingerprint: sha256.Sum256(der),
	}, nil
}

// CheckRSA returns an error for a key that Meridian does not verify with: one of
// other than MinRSABits to MaxRSABits, or with an exponent below 65537, as FIPS
// 186-5 (appendix A.1.1) has it.
func CheckRSA(pub *rsa.PublicKey) error {
	if n := pub.N.BitLen(); n < MinRSABits || n > MaxRSABits {
		return federation.Errorf(federation.Invalid, "the RSA key has %d bits, want %d to %d", n, MinRSABits, MaxRSABits)
	}
	if pub.E < minRSAExponent || pub.E%2 == 0 {
		return federation.Errorf(federation.Invalid, "the RSA key's public exponent is %d, want an odd one of at least %d", pub.E, minRSAExponent)
	}
	return nil
}

const minRSAExponent = 1<<16 + 1

// DER returns the key's SubjectPublicKeyInfo. The caller must not change it.
func (k *PublicKey) DER() []byte { return k.der }

// RSA returns the key. The caller must not change it.
func (k *PublicKey) RSA() *rsa.PublicKey { return k.rsa }

// Fingerprint is the SHA-256 of DER.
func (k *PublicKey) Fingerprint() [sha256.Size]byte { return k.fingerprint }

// WithState returns a copy of k in the given state that shares its key material.
func (k *PublicKey) WithState(s KeyState) *PublicKey {
	c := *k
	c.State = s
	return &c
}

// Within returns a copy of k, a registered key, that vouches for what other's bounds allow
// too, and nil where that is nothing.
func (k *PublicKey) Within(other *PublicKey) *PublicKey {
	a, b := k.Registered, other.Registered
	c := *k
	switch {
	case b == nil:
		return k
	case a == nil:
		c.Registered = b
		return &c
	}
	c.Registered = &Constraints{
		Zones: common(a.Zones, b.Zones), Scopes: common(a.Scopes, b.Scopes), MaxLifetime: a.MaxLifetime,
		AllowNoExpiry: a.AllowNoExpiry && b.AllowNoExpiry, AllowNoID: a.AllowNoID && b.AllowNoID,
	}
	if a.MaxLifetime == 0 || b.MaxLifetime > 0 && b.MaxLifetime < a.MaxLifetime {
		c.Registered.MaxLifetime = b.MaxLifetime
	}
	if both := c.Registered; len(both.Zones) == 0 && len(a.Zones) > 0 || len(both.Scopes) == 0 && len(a.Scopes) > 0 {
		return nil
	}
	return &c
}

// common returns what both lists allow, of which an empty one allows all.
func common[T comparable](a, b []T) []T {
	if len(a) == 0 {
		return b
	}
	return slices.DeleteFunc(slices.Clone(a), func(v T) bool { return len(b) > 0 && !slices.Contains(b, v) })
}

// PEM returns the key as PKCS#1 ("RSA PUBLIC KEY", RFC 8017 appendix A.1.1), the
// form in which Kuma's users and programs have public keys.
func (k *PublicKey) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(k.rsa)})
}

// String returns "<kind>/<kid>" or "<kind>/<mesh>/<kid>", for messages.
func (id KeyID) String() string {
	if id.Mesh != "" {
		return string(id.Kind) + "/" + id.Mesh + "/" + id.KID
	}
	return string(id.Kind) + "/" + id.KID
}
