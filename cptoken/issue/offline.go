package issue

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// Offline issuing: a private key that no global ever has signs tokens, and
// verifiers have its public part under a kid of the operator's choice.

// GeneratePEM makes an RSA key of 2048 bits and returns it as PEM of PKCS#1, block
// type "RSA PRIVATE KEY". It is kept nowhere else.
func GeneratePEM() ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "the key cannot be made: %w", err)
	}
	der := x509.MarshalPKCS1PrivateKey(key)
	defer clear(der)
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: der}), nil
}

// PublicPEM returns the public part of a private key as PEM of PKCS#1, block type
// "RSA PUBLIC KEY". The private key is read as [ReadOffline] reads it.
func PublicPEM(field string, private []byte) ([]byte, error) {
	key, err := readOffline(field, private)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey)}), nil
}

// ReadOffline reads a private key, PEM or DER of PKCS#1 or PKCS#8 and not
// encrypted, that is to sign tokens of a kind and mesh with
// [SigningKey.IssueWithKID]. Only zone and dataplane tokens are issued so. The
// error is Invalid, on the field.
func ReadOffline(field string, kind cptoken.Kind, mesh string, private []byte) (*SigningKey, error) {
	if kind != cptoken.Zone && kind != cptoken.Dataplane {
		return nil, federation.InvalidField("kind", "a %s is issued by the global alone", kind.TokenName())
	}
	// The serial is in no token: IssueWithKID puts the kid in its place.
	ref := Ref{Kind: kind, Mesh: mesh, Serial: 1}
	if err := ref.Validate(); err != nil {
		return nil, err
	}
	key, err := readOffline(field, private)
	if err != nil {
		return nil, err
	}
	return asymmetric(ref, key)
}

func readOffline(field string, private []byte) (*rsa.PrivateKey, error) {
	if len(private) > maxImport {
		return nil, federation.InvalidField(field, "has more than %d bytes", maxImport)
	}
	der, err := privateDER(private)
	if err != nil {
		return nil, onField(field, err)
	}
	key, err := parseRSA(der)
	if err != nil {
		return nil, onField(field, err)
	}
	if err := cptoken.CheckRSA(&key.PublicKey); err != nil {
		return nil, federation.InvalidField(field, "%s", federation.AsError(err).Detail)
	}
	if key.Validate() != nil {
		return nil, federation.InvalidField(field, "is not a sound RSA key")
	}
	return key, nil
}

// onField is an import's error on another field.
func onField(field string, err error) error {
	e := federation.AsError(err)
	if len(e.Fields) == 0 {
		return err
	}
	return federation.InvalidField(field, "%s", e.Fields[0].Reason)
}
