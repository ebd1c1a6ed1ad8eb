package issue

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"

	"github.com/golang-jwt/jwt/v5"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// Sizes of key material.
const (
	rsaBits      = 2048 // of keys that are made here
	symmetricLen = 32   // bytes of symmetric keys that are made here
	minSymmetric = 32   // bytes of imported ones: as much as SHA-256 has (RFC 7518, section 3.2)
	maxSymmetric = 4096
)

// SigningKey is a key with its private part. It is immutable, safe for concurrent
// use, and prints as its Ref whatever the verb.
type SigningKey struct {
	ref Ref
	// secret is a function because fmt follows pointers in unexported fields, past
	// every method that would hide what they point to; of a function it shows the
	// address.
	secret func() *secret
}

// secret is an RSA key with its precomputed values, or a symmetric key.
type secret struct {
	material []byte
	rsa      *rsa.PrivateKey // nil: symmetric
	public   []byte
	header   string // of the tokens that the key signs, encoded
}

// Generate makes a new key: RSA, or random bytes where the kind is ControlPlane.
func Generate(ref Ref) (*SigningKey, error) {
	if err := ref.Validate(); err != nil {
		return nil, err
	}
	if ref.Kind == cptoken.ControlPlane {
		material := make([]byte, symmetricLen)
		if _, err := rand.Read(material); err != nil {
			return nil, federation.Errorf(federation.Internal, "no random bytes for the key %s: %w", ref, err)
		}
		return symmetric(ref, material), nil
	}
	key, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "the key %s cannot be made: %w", ref, err)
	}
	return asymmetric(ref, key)
}

// FromMaterial returns the key whose Material this is.
func FromMaterial(ref Ref, material []byte) (*SigningKey, error) {
	if err := ref.Validate(); err != nil {
		return nil, err
	}
	if ref.Kind == cptoken.ControlPlane {
		if len(material) < minSymmetric || len(material) > maxSymmetric {
			return nil, federation.Errorf(federation.Internal, "the key %s has %d bytes, want %d to %d", ref, len(material), minSymmetric, maxSymmetric)
		}
		return symmetric(ref, bytes.Clone(material)), nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(material)
	key, ok := parsed.(*rsa.PrivateKey)
	if err != nil || !ok {
		// The parser's error is dropped: it may quote what it read.
		return nil, notMaterial(ref)
	}
	k, err := asymmetric(ref, key)
	if err != nil {
		return nil, err
	}
	// The parser passes over what follows the key.
	if !bytes.Equal(k.secret().material, material) {
		return nil, notMaterial(ref)
	}
	return k, nil
}

func notMaterial(ref Ref) error {
	return federation.Errorf(federation.Internal, "the material of the key %s is not an RSA key in PKCS#8", ref)
}

func newKey(ref Ref, s *secret) *SigningKey {
	return &SigningKey{ref: ref, secret: func() *secret { return s }}
}

func symmetric(ref Ref, material []byte) *SigningKey {
	return newKey(ref, &secret{
		material: material,
		header:   encodeHeader(cptoken.AlgHS256, ref.KID()),
	})
}

func asymmetric(ref Ref, key *rsa.PrivateKey) (*SigningKey, error) {
	if err := cptoken.CheckRSA(&key.PublicKey); err != nil {
		return nil, federation.Errorf(federation.Invalid, "the key %s: %w", ref, err)
	}
	if err := key.Validate(); err != nil {
		return nil, federation.Errorf(federation.Invalid, "the key %s is not a sound RSA key", ref)
	}
	key.Precompute()
	material, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, federation.Errorf(federation.Invalid, "the key %s has no PKCS#8 form", ref)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, federation.Errorf(federation.Invalid, "the public part of the key %s cannot be written: %w", ref, err)
	}
	return newKey(ref, &secret{
		material: material, rsa: key, public: public,
		header: encodeHeader(cptoken.AlgRS256, ref.KID()),
	}), nil
}

// Ref returns the key's name.
func (k *SigningKey) Ref() Ref { return k.ref }

// Alg returns the algorithm that the key signs with: "RS256", or "HS256" where
// the kind is ControlPlane.
func (k *SigningKey) Alg() string {
	if k.secret().rsa == nil {
		return cptoken.AlgHS256
	}
	return cptoken.AlgRS256
}

// Material returns a copy of the private key, in PKCS#8 (RFC 5208, DER), or of
// the symmetric key's bytes. It is for sealing alone.
func (k *SigningKey) Material() []byte { return bytes.Clone(k.secret().material) }

// PublicDER returns a copy of the public part as SubjectPublicKeyInfo (RFC 5280,
// DER), nil for a symmetric key.
func (k *SigningKey) PublicDER() []byte { return bytes.Clone(k.secret().public) }

// Public returns the key as verifiers hold it, in the given state. A symmetric
// key has no public part: the error is Invalid.
func (k *SigningKey) Public(state cptoken.KeyState) (*cptoken.PublicKey, error) {
	return cptoken.NewPublicKey(k.ref.KeyID(), k.Alg(), state, k.secret().public, nil)
}

// Fingerprint returns 32 bytes by which operators tell keys apart. Of an RSA key
// it is the SHA-256 of PublicDER, as of the public key. Of a symmetric key it is a
// keyed hash of the material that differs from cluster to cluster, so that no one
// can see in it that two clusters share a key.
func (k *SigningKey) Fingerprint(clusterID string) []byte {
	if k.secret().rsa != nil {
		sum := sha256.Sum256(k.secret().public)
		return sum[:]
	}
	mac := hmac.New(sha256.New, k.secret().material)
	mac.Write(binary.BigEndian.AppendUint32([]byte("meridian/fingerprint/v1 "), uint32(len(clusterID))))
	mac.Write([]byte(clusterID))
	return mac.Sum(nil)
}

// probe is what Check signs. It has no dot, so that its signature is no token's.
const probe = "meridian signing key self-test"

// Check signs a probe and verifies it with the public part that everybody else
// has, pub in the form of PublicDER; of a symmetric key pub must be empty. It finds
// private material that does not belong to the key that zones were given.
func (k *SigningKey) Check(pub []byte) error {
	if !bytes.Equal(pub, k.secret().public) {
		return federation.Errorf(federation.Internal, "the private part of the key %s does not belong to its public part", k.ref)
	}
	signature, err := k.sign(probe)
	if err != nil {
		return err
	}
	if k.secret().rsa == nil {
		err = jwt.SigningMethodHS256.Verify(probe, signature, k.secret().material)
	} else {
		err = jwt.SigningMethodRS256.Verify(probe, signature, &k.secret().rsa.PublicKey)
	}
	if err != nil {
		return federation.Errorf(federation.Internal, "what the key %s signs does not verify: %w", k.ref, err)
	}
	return nil
}

// sign returns the signature over input.
func (k *SigningKey) sign(input string) (signature []byte, err error) {
	if k.secret().rsa == nil {
		signature, err = jwt.SigningMethodHS256.Sign(input, k.secret().material)
	} else {
		signature, err = jwt.SigningMethodRS256.Sign(input, k.secret().rsa)
	}
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "the key %s cannot sign: %w", k.ref, err)
	}
	return signature, nil
}

// String returns the key's name, never its material.
func (k SigningKey) String() string { return "signing key " + k.ref.String() }

// Format prints String for every verb.
func (k SigningKey) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// LogValue logs String.
func (k SigningKey) LogValue() slog.Value { return slog.StringValue(k.String()) }
