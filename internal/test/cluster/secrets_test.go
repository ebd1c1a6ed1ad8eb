package cluster

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/raftstore"
)

// needles are the forms in which a secret would show: the key's own bytes as they
// are, in base64 at each of the three alignments, and in hexadecimal.
type needles map[string][]byte

// add takes a secret of 16 bytes or more.
func (n needles) add(name string, secret []byte) {
	n[name] = secret
	n[name+" in hexadecimal"] = []byte(hex.EncodeToString(secret))
	for shift := range 3 {
		// Cut where the encoding depends on what stands before or behind.
		whole := secret[shift : shift+(len(secret)-shift)/3*3]
		n[name+" in base64"+string(rune('0'+shift))] = []byte(base64.RawStdEncoding.EncodeToString(whole))
		n[name+" in base64url"+string(rune('0'+shift))] = []byte(base64.RawURLEncoding.EncodeToString(whole))
	}
}

// addKey takes the private halves of a signing key, so that another encoding of
// the same key is found too.
func (n needles) addKey(t *testing.T, name string, material []byte) {
	t.Helper()
	parsed, err := x509.ParsePKCS8PrivateKey(material)
	if err != nil {
		n.add(name, material) // a symmetric key is its bytes
		return
	}
	key := parsed.(*rsa.PrivateKey)
	n.add(name+"'s exponent", key.D.Bytes())
	for i, p := range key.Primes {
		n.add(name+"'s prime "+string(rune('0'+i)), p.Bytes())
	}
}

// search reports the secrets that are found in data.
func (n needles) search(t *testing.T, where string, data []byte) (found int) {
	t.Helper()
	for name, needle := range n {
		if bytes.Contains(data, needle) {
			t.Errorf("%s holds %s", where, name)
			found++
		}
	}
	return found
}

// secretsOf collects every private key of a global, and its seal key.
func secretsOf(t *testing.T, g *Global) needles {
	t.Helper()
	n := signingKeysOf(t, g)
	seal, err := os.ReadFile(filepath.Join(g.Dir, "seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(seal)))
	if err != nil {
		t.Fatal(err)
	}
	n.add("the seal key", raw)
	return n
}

// signingKeysOf collects every key with which a global signs.
func signingKeysOf(t *testing.T, g *Global) needles {
	t.Helper()
	n := needles{}
	for _, key := range g.Node.Store().Keys() {
		if key.State != cptoken.Active {
			continue
		}
		signer, err := g.Node.Store().Signer(key.ID.Kind, key.ID.Mesh)
		if err != nil {
			t.Fatal(err)
		}
		n.addKey(t, key.ID.String(), signer.Material())
	}
	if len(n) < 30 {
		t.Fatalf("%d needles only: the search would prove nothing", len(n))
	}
	return n
}

// searchFolder searches every file of a folder but those that are left out.
func (n needles) searchFolder(t *testing.T, dir string, without ...string) (files int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		for _, name := range without {
			if d.Name() == name {
				return nil
			}
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		n.search(t, path, data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestPrivateKeysStayAtTheGlobal looks for every private key in everything that
// leaves a global's memory: its files, the KDS conversation, the zone's files,
// the logs of both and the answers of the API.
func TestPrivateKeysStayAtTheGlobal(t *testing.T) {
	logs := &journal{}
	g := StartGlobal(t, slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug})), PlainKDS)
	relay := NewRelay(t, g.KDS())
	west := g.StartZone("west", relay.Addr())
	west.WaitCurrent(g)
	ctx, by, store := context.Background(), raftstore.Origin{By: "test"}, g.Node.Store()
	secrets := secretsOf(t, g)
	key, err := store.PrepareKey(ctx, by, cptoken.Zone, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.ActivateKey(ctx, by, key.ID); err != nil {
		t.Fatal(err)
	}
	for name, needle := range secretsOf(t, g) {
		secrets[name] = needle
	}
	west.WaitCurrent(g)
	west.Expect("a token of the new key", g.ZoneToken("west", cptoken.ScopeEgress), "egress", Accepted)

	for _, path := range []string{"/global-secrets", "/global-secrets/zone-token-signing-key-2", "/global-secrets/control-plane-signing-key-0001",
		"/meshes/default/secrets", "/v1/keys", "/v1/status"} {
		resp, err := http.Get("http://" + g.Node.Endpoints().API + path)
		if err != nil {
			t.Fatal(err)
		}
		var answer bytes.Buffer
		_, err = answer.ReadFrom(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("GET %s: %d, %v", path, resp.StatusCode, err)
		}
		secrets.search(t, "the answer to GET "+path, answer.Bytes())
	}
	west.Stop()
	g.Stop()

	heard := relay.Heard()
	if !bytes.Contains(heard, key.Public.DER()) {
		t.Fatal("the recorded conversation does not hold the public key: the search would prove nothing")
	}
	secrets.search(t, "the KDS conversation", heard)
	if files := secrets.searchFolder(t, g.Dir, "seal.key"); files < 4 {
		t.Errorf("searched %d files of the global only", files)
	}
	if files := secrets.searchFolder(t, west.Dir); files < 2 {
		t.Errorf("searched %d files of the zone only", files)
	}
	logged := []byte(logs.String())
	secrets.search(t, "the logs", logged)
	if len(logged) == 0 || bytes.Contains(logged, []byte("eyJ")) {
		t.Error("the logs are empty or hold a token")
	}
}

// TestTheSearchFindsWhatItLooksFor keeps the test above honest.
func TestTheSearchFindsWhatItLooksFor(t *testing.T) {
	secret := []byte("0123456789abcdefghijklmnopqrstuv")
	n := needles{}
	n.add("it", secret)
	for name, data := range map[string][]byte{
		"raw":            append([]byte("xx"), secret...),
		"hexadecimal":    []byte("x" + hex.EncodeToString(secret) + "x"),
		"base64":         []byte(base64.StdEncoding.EncodeToString(secret)),
		"base64 shifted": []byte(base64.StdEncoding.EncodeToString(append([]byte("x"), secret...))),
		"base64 twice":   []byte(base64.URLEncoding.EncodeToString(append([]byte("xy"), append(secret, "tail"...)...))),
	} {
		quiet := &testing.T{}
		if n.search(quiet, name, data) == 0 {
			t.Errorf("%s is not found", name)
		}
	}
	if n.search(&testing.T{}, "nothing", []byte(hex.EncodeToString([]byte("another secret of the same size.")))) != 0 {
		t.Error("found what is not there")
	}
}
