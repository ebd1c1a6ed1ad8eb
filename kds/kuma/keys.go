package kuma

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"math/big"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// publicKey makes a public key of what Kuma's global sends as a key: the public half,
// or the private key, of which only the modulus and the exponent are read and
// nothing is kept. data may be PEM or DER, PKCS#1, PKCS#8 or SubjectPublicKeyInfo.
// The caller wipes it.
func publicKey(id cptoken.KeyID, state cptoken.KeyState, data []byte) (*cptoken.PublicKey, error) {
	der := data
	if block, _ := pem.Decode(data); block != nil {
		der = block.Bytes
		defer clear(block.Bytes)
	}
	pub := rsaPublic(der)
	if pub == nil {
		return nil, federation.Errorf(federation.Invalid, "key %s: neither an RSA public key nor an RSA private key", id)
	}
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, federation.Errorf(federation.Invalid, "key %s: %w", id, err)
	}
	return cptoken.NewPublicKey(id, cptoken.AlgRS256, state, spki, nil)
}

// rsaPublic returns the public half of whatever RSA key der is, or nil.
func rsaPublic(der []byte) *rsa.PublicKey {
	if pub, err := x509.ParsePKCS1PublicKey(der); err == nil {
		return pub
	}
	if pub, err := x509.ParsePKIXPublicKey(der); err == nil {
		key, _ := pub.(*rsa.PublicKey)
		return key
	}
	// PKCS#8 (RFC 5958) wraps PKCS#1.
	var wrapped struct {
		Version   int
		Algorithm asn1.RawValue
		Key       []byte
	}
	if _, err := asn1.Unmarshal(der, &wrapped); err == nil {
		defer clear(wrapped.Key)
		der = wrapped.Key
	}
	// RSAPrivateKey (RFC 8017, appendix A.1.2) begins with what is public; what comes
	// behind it, the private exponent first of all, is not decoded.
	var head struct {
		Version int
		N       *big.Int
		E       int
	}
	if _, err := asn1.Unmarshal(der, &head); err != nil || head.Version != 0 || head.N.Sign() <= 0 || head.E <= 0 {
		return nil
	}
	return &rsa.PublicKey{N: head.N, E: head.E}
}
