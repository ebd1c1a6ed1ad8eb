package issue

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

func TestOfflineKeyIsPKCS1(t *testing.T) {
	private, err := GeneratePEM()
	if err != nil {
		t.Fatal(err)
	}
	public, err := PublicPEM("key", private)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(private, []byte("-----BEGIN RSA PRIVATE KEY-----\n")) || !bytes.HasPrefix(public, []byte("-----BEGIN RSA PUBLIC KEY-----\n")) {
		t.Errorf("%.40s, %.40s", private, public)
	}
	verifyOffline(t, private, public)
}

// verifyOffline issues a token of each kind with the private key and verifies it
// with the public one.
func verifyOffline(t *testing.T, private, public []byte) {
	t.Helper()
	der, err := cptoken.ParsePublicPEM("key", public)
	if err != nil {
		t.Fatal(err)
	}
	for _, claims := range []cptoken.Claims{{Kind: cptoken.Zone, Zone: "west"}, {Kind: cptoken.Dataplane, Mesh: "default", Name: "dp1"}} {
		key, err := ReadOffline("key", claims.Kind, claims.Mesh, private)
		if err != nil {
			t.Fatal(err)
		}
		token, _, err := key.IssueWithKID("ci", claims, time.Hour, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		id := cptoken.KeyID{Kind: claims.Kind, Mesh: claims.Mesh, KID: "ci"}
		registered, err := cptoken.NewPublicKey(id, cptoken.AlgRS256, cptoken.Retiring, der, &cptoken.Constraints{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cptoken.NewVerifier(cptoken.VerifierOptions{}).Verify(oneKey{registered}, claims.Kind, token); err != nil {
			t.Errorf("%s: %v", claims.Kind, err)
		}
	}
}

// oneKey is a view of one key.
type oneKey struct{ key *cptoken.PublicKey }

func (v oneKey) Key(id cptoken.KeyID) *cptoken.PublicKey {
	if id == v.key.ID {
		return v.key
	}
	return nil
}
func (oneKey) Revoked(cptoken.Kind, string, string) bool     { return false }
func (oneKey) CutOff(cptoken.Kind, string, string) time.Time { return time.Time{} }

func (oneKey) Pruned() (none time.Time) { return none }

// TestOpenSSLKeys takes keys in every form in which openssl makes them.
func TestOpenSSLKeys(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("skipped: there is no openssl here, so none of its keys was read")
	}
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	run := func(args ...string) []byte {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), openssl, args...).Output()
		if err != nil {
			t.Fatalf("openssl %s: %v", args[0], err)
		}
		return out
	}
	run("genrsa", "-out", file("pkcs8.pem"), "2048")
	run("rsa", "-in", file("pkcs8.pem"), "-traditional", "-out", file("pkcs1.pem"))
	run("rsa", "-in", file("pkcs8.pem"), "-outform", "DER", "-out", file("key.der"))
	spki := run("rsa", "-in", file("pkcs8.pem"), "-pubout")
	pkcs1 := run("rsa", "-in", file("pkcs8.pem"), "-RSAPublicKey_out")
	for _, name := range []string{"pkcs8.pem", "pkcs1.pem", "key.der"} {
		private, err := os.ReadFile(file(name))
		if err != nil {
			t.Fatal(err)
		}
		for _, public := range [][]byte{spki, pkcs1} {
			verifyOffline(t, private, public)
		}
		if ours, err := PublicPEM("key", private); err != nil || !bytes.Equal(ours, pkcs1) {
			t.Errorf("%s: our public key is not openssl's: %v\n%s\n%s", name, err, ours, pkcs1)
		}
	}
	run("rsa", "-in", file("pkcs8.pem"), "-aes128", "-passout", "pass:x", "-out", file("sealed.pem"))
	run("genrsa", "-out", file("small.pem"), "1024")
	for name, want := range map[string]string{"sealed.pem": "is encrypted", "small.pem": "1024 bits"} {
		private, err := os.ReadFile(file(name))
		if err != nil {
			t.Fatal(err)
		}
		_, err = ReadOffline("key", cptoken.Zone, "", private)
		if e := federation.AsError(err); e == nil || e.Code != federation.Invalid || !strings.Contains(e.Detail, want) || e.Fields[0].Field != "key" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOfflineIsForProxiesAlone(t *testing.T) {
	private, err := GeneratePEM()
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []cptoken.Kind{cptoken.ControlPlane, cptoken.User} {
		if _, err := ReadOffline("key", kind, "", private); federation.CodeOf(err) != federation.Invalid {
			t.Errorf("%s: %v", kind, err)
		}
	}
	for _, data := range []string{"", "rubbish", string(private) + string(private)} {
		if _, err := ReadOffline("key", cptoken.Zone, "", []byte(data)); federation.CodeOf(err) != federation.Invalid || strings.Contains(err.Error(), "MII") {
			t.Errorf("%.20q: %v", data, err)
		}
	}
}
