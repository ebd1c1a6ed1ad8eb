package cptoken_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

func TestParsePublicPEM(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	spki := func(pub any) []byte {
		der, err := x509.MarshalPKIXPublicKey(pub)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	pkcs1 := block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&key.PublicKey))
	for name, data := range map[string][]byte{
		"PKCS#1": pkcs1, "SPKI": block("PUBLIC KEY", spki(&key.PublicKey)), "a comment before it": append([]byte("of the CI\n"), pkcs1...),
	} {
		der, err := cptoken.ParsePublicPEM("key", data)
		if err != nil || !bytes.Equal(der, spki(&key.PublicKey)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, data := range map[string][]byte{
		"nothing": nil, "text": []byte("key"), "two": append(bytes.Clone(pkcs1), pkcs1...),
		"a private key": block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)),
		"1024 bits":     block("PUBLIC KEY", spki(&small.PublicKey)),
		"a curve":       block("PUBLIC KEY", spki(&curve.PublicKey)),
		"damaged":       block("PUBLIC KEY", []byte("x")), "a certificate": block("CERTIFICATE", spki(&key.PublicKey)),
		"huge": append(bytes.Repeat([]byte("x"), cptoken.MaxPublicPEM), pkcs1...),
	} {
		_, err := cptoken.ParsePublicPEM("key", data)
		e := federation.AsError(err)
		if e == nil || e.Code != federation.Invalid || len(e.Fields) != 1 || e.Fields[0].Field != "key" {
			t.Errorf("%s: %v", name, err)
		}
		if name == "a private key" && (!strings.Contains(e.Detail, "private") || strings.Contains(e.Detail, "MII")) {
			t.Errorf("%s: %s", name, e.Detail)
		}
	}
}
