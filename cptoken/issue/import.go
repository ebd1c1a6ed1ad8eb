package issue

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// maxImport bounds a key that an operator brings, in bytes: an RSA key of
// MaxRSABits in PEM stays inside.
const maxImport = 16 << 10

// Import reads a key that was made elsewhere. An RSA key may be PEM or DER, PKCS#1
// or PKCS#8, not encrypted. Where the kind is ControlPlane, data are the key's
// bytes as they are, 32 to 4096. The error is Invalid, on the field "data".
func Import(ref Ref, data []byte) (*SigningKey, error) {
	if err := ref.Validate(); err != nil {
		return nil, err
	}
	if ref.Kind == cptoken.ControlPlane {
		return importSymmetric(ref, data)
	}
	if len(data) > maxImport {
		return nil, importError("has %d bytes, at most %d are read", len(data), maxImport)
	}
	der, err := privateDER(data)
	if err != nil {
		return nil, err
	}
	key, err := parseRSA(der)
	if err != nil {
		return nil, err
	}
	imported, err := asymmetric(ref, key)
	if err != nil {
		return nil, importError("%s", federation.AsError(err).Detail)
	}
	return imported, nil
}

// importSymmetric takes any bytes but a public key, which everybody knows: tokens
// signed with one are the oldest forgery there is.
func importSymmetric(ref Ref, data []byte) (*SigningKey, error) {
	if len(data) < minSymmetric || len(data) > maxSymmetric {
		return nil, importError("has %d bytes, a control plane key has %d to %d", len(data), minSymmetric, maxSymmetric)
	}
	der := data
	if block, _ := pem.Decode(data); block != nil {
		der = block.Bytes
	}
	if isPublic(der) {
		return nil, importError("is a public key or certificate: a control plane key must be secret")
	}
	return symmetric(ref, bytes.Clone(data)), nil
}

func isPublic(der []byte) bool {
	if _, err := x509.ParsePKIXPublicKey(der); err == nil {
		return true
	}
	if _, err := x509.ParsePKCS1PublicKey(der); err == nil {
		return true
	}
	_, err := x509.ParseCertificate(der)
	return err == nil
}

// privateDER takes the one key out of PEM, or data as they are.
func privateDER(data []byte) ([]byte, error) {
	block, rest := pem.Decode(data)
	if block == nil {
		if bytes.Contains(data, []byte("-----BEGIN")) {
			return nil, importError("is damaged PEM")
		}
		return data, nil
	}
	switch {
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, importError("has something behind the key: give one key alone")
	case strings.Contains(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != "":
		return nil, importError("is encrypted: decrypt it first, for example with openssl pkey")
	case block.Type != "RSA PRIVATE KEY" && block.Type != "PRIVATE KEY":
		return nil, importError("is a %.40q, want an RSA PRIVATE KEY or PRIVATE KEY", block.Type)
	}
	return block.Bytes, nil
}

// parseRSA reads PKCS#8 or PKCS#1. The parsers' errors are dropped: they may quote
// what they read.
func parseRSA(der []byte) (*rsa.PrivateKey, error) {
	if parsed, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		key, ok := parsed.(*rsa.PrivateKey)
		if !ok {
			return nil, importError("is not an RSA key")
		}
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	if isPublic(der) {
		return nil, importError("is a public key: a signing key is the private one")
	}
	return nil, importError("is not a sound RSA private key in PKCS#1 or PKCS#8")
}

func importError(format string, args ...any) *federation.Error {
	return federation.InvalidField("data", format, args...)
}
