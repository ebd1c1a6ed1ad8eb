package issue

import (
	"crypto/rand"
	"encoding/binary"
	"strings"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// Ref names a signing key for good: no other key of the kind and mesh ever gets
// the same serial.
type Ref struct {
	Kind   cptoken.Kind
	Mesh   string
	Serial uint64 // from 1
}

// KID is the kid of the tokens that the key signs.
func (r Ref) KID() string { return cptoken.SerialKID(r.Serial) }

// KeyID is the name under which verifiers know the key.
func (r Ref) KeyID() cptoken.KeyID { return cptoken.KeyID{Kind: r.Kind, Mesh: r.Mesh, KID: r.KID()} }

// String returns "<kind>/<serial>" or "<kind>/<mesh>/<serial>".
func (r Ref) String() string { return r.KeyID().String() }

// Validate checks that the kind is known, has a mesh exactly where it must, and
// that the serial is not 0.
func (r Ref) Validate() error {
	if !r.Kind.Valid() {
		return federation.InvalidField("kind", "%.40q is not a kind of token", r.Kind)
	}
	if err := r.Kind.ValidateScope(r.Mesh); err != nil {
		return err
	}
	if r.Serial == 0 {
		return federation.InvalidField("serial", "must be greater than 0")
	}
	return nil
}

// Sealed is key material under AES-256-GCM (NIST SP 800-38D), bound to the cluster and
// the Ref that it was sealed for: it does not open for another.
type Sealed struct {
	SealKeyID  string
	Nonce      []byte
	Ciphertext []byte
}

// Labels of the additional data: what was sealed for one use opens for no other.
const (
	sealLabel    = "meridian/seal/v2"
	unboundLabel = "meridian/seal/v1"
	checkLabel   = "meridian/seal-check/v1"
)

// checkText is what a check value holds. It is no secret.
const checkText = "meridian seal check"

// additional returns the additional data for ref: each text behind its length, so
// that no two refs run into the same bytes.
func additional(label string, ref Ref) []byte {
	var b []byte
	for _, s := range []string{label, string(ref.Kind), ref.Mesh} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	return binary.BigEndian.AppendUint64(b, ref.Serial)
}

// sealedFor is the additional data of a signing key. Its first form names no cluster.
func sealedFor(cluster string, ref Ref) []byte {
	if cluster == "" {
		return additional(unboundLabel, ref)
	}
	return append(additional(sealLabel, ref), cluster...)
}

// Seal encrypts material under the active seal key, for ref in that cluster alone.
// Without a cluster it is bound to ref only, as members of the first feature levels
// have it.
func (s *SealKeys) Seal(cluster string, ref Ref, material []byte) (Sealed, error) {
	return s.seal(sealedFor(cluster, ref), material)
}

func (s *SealKeys) seal(aad, plain []byte) (Sealed, error) {
	key := s.keys[0]
	nonce := make([]byte, key.aead().NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return Sealed{}, federation.Errorf(federation.Internal, "no random bytes for a nonce: %w", err)
	}
	return Sealed{SealKeyID: key.id, Nonce: nonce, Ciphertext: key.aead().Seal(nil, nonce, plain, aad)}, nil
}

// Open decrypts what Seal made for that cluster and ref. The error names ids of seal
// keys, never bytes.
func (s *SealKeys) Open(cluster string, ref Ref, sealed Sealed) ([]byte, error) {
	return s.open("the key "+ref.String(), sealedFor(cluster, ref), sealed)
}

func (s *SealKeys) open(what string, aad []byte, sealed Sealed) ([]byte, error) {
	key := s.find(sealed.SealKeyID)
	if key == nil {
		return nil, federation.Errorf(federation.Internal, "%s is sealed under the seal key %.16q, this node has %s",
			what, sealed.SealKeyID, strings.Join(s.IDs(), ", ")).
			WithReason("unknown_seal_key").
			WithHint("add the cluster's seal key to the file that --seal-key-file names")
	}
	if len(sealed.Nonce) != key.aead().NonceSize() {
		return nil, damaged(what, key.id)
	}
	plain, err := key.aead().Open(nil, sealed.Nonce, sealed.Ciphertext, aad)
	if err != nil {
		return nil, damaged(what, key.id)
	}
	return plain, nil
}

func damaged(what, id string) *federation.Error {
	return federation.Errorf(federation.Internal, "%s does not open under the seal key %s: it is damaged, or was sealed for another key or cluster", what, id).
		WithReason("damaged_seal").
		WithHint("restore the data folder from a backup, or remove it and let the node join again")
}

// NewCheck returns a known text sealed under the active seal key. Kept beside the
// keys, it tells at start whether a node has the right seal key.
func (s *SealKeys) NewCheck() (Sealed, error) {
	return s.seal(additional(checkLabel, Ref{}), []byte(checkText))
}

// VerifyCheck returns an error unless what NewCheck made opens with these keys.
func (s *SealKeys) VerifyCheck(sealed Sealed) error {
	plain, err := s.open("the cluster's check value", additional(checkLabel, Ref{}), sealed)
	if err == nil && string(plain) != checkText {
		return damaged("the cluster's check value", sealed.SealKeyID)
	}
	return err
}
