package issue

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

func TestGenerateAndBack(t *testing.T) {
	for kind, key := range testKeys() {
		back, err := FromMaterial(key.Ref(), key.Material())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(back.PublicDER(), key.PublicDER()) || !bytes.Equal(back.Material(), key.Material()) || back.Ref() != key.Ref() {
			t.Errorf("%s does not come back from its material", kind)
		}
		if err := key.Check(back.PublicDER()); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		symmetric := kind == cptoken.ControlPlane
		if symmetric != (key.PublicDER() == nil) || symmetric != (key.Alg() == "HS256") {
			t.Errorf("%s: %s, public part %d bytes", kind, key.Alg(), len(key.PublicDER()))
		}
		m := key.Material()
		m[0] ^= 1
		if bytes.Equal(m, key.Material()) {
			t.Error("Material hands out the key's own bytes")
		}
	}
	if n := len(testKeys()[cptoken.ControlPlane].Material()); n != 32 {
		t.Errorf("a control plane key of %d bytes", n)
	}
	if n := testKeys()[cptoken.Zone].secret().rsa.N.BitLen(); n != 2048 {
		t.Errorf("an RSA key of %d bits", n)
	}
	if _, err := testKeys()[cptoken.ControlPlane].Public(cptoken.Active); err == nil {
		t.Error("a symmetric key has a public part")
	}
}

func TestRefsAreChecked(t *testing.T) {
	material := testKeys()[cptoken.Zone].Material()
	for field, refs := range map[string][]Ref{
		"kind":   {{Serial: 1}, {Kind: "zones", Serial: 1}},
		"mesh":   {{Kind: cptoken.Zone, Mesh: "default", Serial: 1}, {Kind: cptoken.Dataplane, Serial: 1}, {Kind: cptoken.Dataplane, Mesh: "A B", Serial: 1}},
		"serial": {{Kind: cptoken.Zone}, {Kind: cptoken.ControlPlane}},
	} {
		for _, ref := range refs {
			_, err := Generate(ref)
			invalid(t, "Generate", err, field)
			_, err = FromMaterial(ref, material)
			invalid(t, "FromMaterial", err, field)
			_, err = Import(ref, material)
			invalid(t, "Import", err, field)
		}
	}
}

func TestCheckFindsTheWrongPublicPart(t *testing.T) {
	zone, user, cp := testKeys()[cptoken.Zone], testKeys()[cptoken.User], testKeys()[cptoken.ControlPlane]
	for what, err := range map[string]error{
		"another key's": zone.Check(user.PublicDER()),
		"none":          zone.Check(nil),
		"a symmetric's": cp.Check(zone.PublicDER()),
	} {
		if federation.CodeOf(err) != federation.Internal {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestFingerprint(t *testing.T) {
	zone, cp := testKeys()[cptoken.Zone], testKeys()[cptoken.ControlPlane]
	want := sha256.Sum256(zone.PublicDER())
	if !bytes.Equal(zone.Fingerprint("a"), want[:]) {
		t.Error("an RSA key's is not the SHA-256 of its public part")
	}
	a, b := cp.Fingerprint("cluster-a"), cp.Fingerprint("cluster-b")
	if len(a) != 32 || bytes.Equal(a, b) || !bytes.Equal(a, cp.Fingerprint("cluster-a")) {
		t.Error("a symmetric key's must depend on the cluster and on nothing else")
	}
	plain := sha256.Sum256(cp.Material())
	if bytes.Equal(a, plain[:]) {
		t.Error("a symmetric key's is its plain hash")
	}
}

func TestFromMaterialRefuses(t *testing.T) {
	good := testKeys()[cptoken.Zone].Material()
	for what, m := range map[string][]byte{"nothing": nil, "noise": bytes.Repeat([]byte{7}, 300), "cut": good[:len(good)-9], "a tail": append(bytes.Clone(good), 1, 2)} {
		if _, err := FromMaterial(zoneRef, m); federation.CodeOf(err) != federation.Internal {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, n := range []int{0, 31, 4097} {
		if _, err := FromMaterial(cpRef, make([]byte, n)); err == nil {
			t.Errorf("a control plane key of %d bytes", n)
		}
	}
}

func TestImportRSA(t *testing.T) {
	key := testKeys()[cptoken.Zone]
	pkcs1 := x509.MarshalPKCS1PrivateKey(key.secret().rsa)
	armour := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	for what, data := range map[string][]byte{
		"PKCS#8 DER": key.Material(), "PKCS#1 DER": pkcs1,
		"PKCS#8 PEM": armour("PRIVATE KEY", key.Material()), "PKCS#1 PEM": armour("RSA PRIVATE KEY", pkcs1),
		"PEM with blanks": append([]byte("\n\n"), append(armour("PRIVATE KEY", key.Material()), "\n \n"...)...),
	} {
		got, err := Import(zoneRef, data)
		if err != nil || !bytes.Equal(got.PublicDER(), key.PublicDER()) || !bytes.Equal(got.Material(), key.Material()) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestImportRSARefuses(t *testing.T) {
	key := testKeys()[cptoken.Zone]
	armour := func(kind string, der []byte, headers map[string]string) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der, Headers: headers})
	}
	good := armour("PRIVATE KEY", key.Material(), nil)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecDER, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	for what, test := range map[string]struct {
		data []byte
		says string
	}{
		"nothing":          {nil, "not a sound RSA"},
		"noise":            {bytes.Repeat([]byte("ab"), 500), "not a sound RSA"},
		"too large":        {make([]byte, maxImport+1), "at most"},
		"the public key":   {key.PublicDER(), "public key"},
		"public PEM":       {armour("PUBLIC KEY", key.PublicDER(), nil), "PUBLIC KEY"},
		"public PKCS#1":    {armour("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&key.secret().rsa.PublicKey), nil), "PUBLIC KEY"},
		"a certificate":    {armour("CERTIFICATE", key.PublicDER(), nil), "CERTIFICATE"},
		"an EC key":        {armour("PRIVATE KEY", ecDER, nil), "not an RSA key"},
		"two keys":         {append(bytes.Clone(good), good...), "one key alone"},
		"a tail":           {append(bytes.Clone(good), "x"...), "one key alone"},
		"damaged PEM":      {good[:len(good)-40], "damaged PEM"},
		"encrypted PKCS#8": {armour("ENCRYPTED PRIVATE KEY", key.Material(), nil), "encrypted"},
		"encrypted PKCS#1": {armour("RSA PRIVATE KEY", key.Material(), map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}), "encrypted"},
		"1024 bits":        {weakRSA(t), "2048"},
		"wrong primes":     {brokenRSA(t, key.secret().rsa), "RSA"},
	} {
		_, err := Import(zoneRef, test.data)
		invalid(t, what, err, "data")
		if !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %q in it", what, err, test.says)
		}
	}
}

// weakRSA returns a sound key of 1,024 bits, which crypto/rsa does not make.
func weakRSA(t *testing.T) []byte {
	t.Helper()
	one := big.NewInt(1)
	for {
		p, err := rand.Prime(rand.Reader, 512)
		if err != nil {
			t.Fatal(err)
		}
		q, err := rand.Prime(rand.Reader, 512)
		if err != nil {
			t.Fatal(err)
		}
		p1, q1, e := new(big.Int).Sub(p, one), new(big.Int).Sub(q, one), big.NewInt(65537)
		d := new(big.Int).ModInverse(e, new(big.Int).Mul(p1, q1))
		if d == nil {
			continue
		}
		der, err := asn1.Marshal(struct {
			Version                  int
			N, E, D, P, Q, DP, DQ, C *big.Int
		}{0, new(big.Int).Mul(p, q), e, d, p, q, new(big.Int).Mod(d, p1), new(big.Int).Mod(d, q1), new(big.Int).ModInverse(q, p)})
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
}

func brokenRSA(t *testing.T, key *rsa.PrivateKey) []byte {
	t.Helper()
	der := x509.MarshalPKCS1PrivateKey(key)
	der[len(der)/2] ^= 1
	return der
}

func TestImportSymmetric(t *testing.T) {
	for _, n := range []int{32, 33, 4096} {
		data := make([]byte, n)
		if _, err := rand.Read(data); err != nil {
			t.Fatal(err)
		}
		key, err := Import(cpRef, data)
		if err != nil || !bytes.Equal(key.Material(), data) {
			t.Errorf("%d bytes: %v", n, err)
		}
		data[0] ^= 1
		if bytes.Equal(key.Material(), data) {
			t.Error("the key shares the caller's bytes")
		}
	}
	rsaKey := testKeys()[cptoken.Zone]
	pkcs1 := x509.MarshalPKCS1PublicKey(&rsaKey.secret().rsa.PublicKey)
	for what, data := range map[string][]byte{
		"nothing": nil, "31 bytes": make([]byte, 31), "4097 bytes": make([]byte, 4097),
		"a public key":            rsaKey.PublicDER(),
		"a public key, PKCS#1":    pkcs1,
		"a public key, PEM":       pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: rsaKey.PublicDER()}),
		"a public key, as others": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs1}),
	} {
		_, err := Import(cpRef, data)
		invalid(t, what, err, "data")
	}
	// Older programs used an RSA private key's bytes as the secret.
	if _, err := Import(cpRef, rsaKey.Material()); err != nil {
		t.Errorf("the bytes of a private key: %v", err)
	}
}
