package cptoken

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"

	"github.com/meridiankds/meridian/federation"
)

// MaxPublicPEM bounds a public key in PEM, in bytes: a key of MaxRSABits and
// comments around it stay inside.
const MaxPublicPEM = 16 << 10

// ParsePublicPEM reads the one RSA public key in data, PEM of PKCS#1 ("RSA PUBLIC
// KEY", RFC 8017) or of SubjectPublicKeyInfo ("PUBLIC KEY", RFC 5280), and returns
// it as SubjectPublicKeyInfo in DER, as [NewPublicKey] takes it. Anything else is
// an Invalid error on the field; a private key is refused by that name, and never
// repeated.
func ParsePublicPEM(field string, data []byte) ([]byte, error) {
	if len(data) > MaxPublicPEM {
		return nil, federation.InvalidField(field, "has %d bytes, at most %d are read", len(data), MaxPublicPEM)
	}
	block, rest := pem.Decode(data)
	switch {
	case block == nil:
		return nil, federation.InvalidField(field, "is not a public key in PEM").WithHint(publicKeyHint)
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, federation.InvalidField(field, "has something behind the key: give one key alone")
	case strings.HasSuffix(block.Type, "PRIVATE KEY"):
		return nil, federation.InvalidField(field, "is a private key, which belongs with whoever issues tokens alone").WithHint(publicKeyHint)
	}
	pub, err := parsePublic(block)
	if err != nil {
		return nil, federation.InvalidField(field, "is a %.40q, want an RSA PUBLIC KEY or PUBLIC KEY that holds an RSA key", block.Type).
			WithHint(publicKeyHint)
	}
	if err := CheckRSA(pub); err != nil {
		return nil, federation.InvalidField(field, "%s", federation.AsError(err).Detail)
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, federation.InvalidField(field, "has no SubjectPublicKeyInfo form")
	}
	return der, nil
}

// publicKeyHint says how to come by a public key.
const publicKeyHint = "make it of the private key: global generate public-key --signing-key-path key-private.pem"

func parsePublic(block *pem.Block) (*rsa.PublicKey, error) {
	switch block.Type {
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "PUBLIC KEY":
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		if pub, ok := parsed.(*rsa.PublicKey); ok {
			return pub, nil
		}
	}
	return nil, federation.Errorf(federation.Invalid, "not an RSA public key")
}
