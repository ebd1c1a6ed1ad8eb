package callers

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/test/testlog"
	"github.com/meridiankds/meridian/internal/zone/node"
)

// patience bounds what a test waits for: machines may be busy.
const patience = 2 * time.Minute

var signer = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// kid names the key of the tests, which stands in the zone's settings.
const kid = "test-key"

// sign makes a token; a claim of value nil is left out.
func sign(t *testing.T, claims map[string]any) string {
	t.Helper()
	now := time.Now()
	all := map[string]any{"jti": uuid.NewString(), "iat": now.Unix(), "nbf": now.Unix() - 300, "exp": now.Unix() + 3600}
	for name, v := range claims {
		if all[name] = v; v == nil {
			delete(all, name)
		}
	}
	payload, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding
	input := enc.EncodeToString([]byte(`{"alg":"RS256","kid":"`+kid+`","typ":"JWT"}`)) + "." + enc.EncodeToString(payload)
	sum := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPKCS1v15(rand.Reader, signer(), crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + enc.EncodeToString(sig)
}

// journal is a log that a test may read while the zone runs.
type journal = testlog.Log

// zone is a running zone west that holds the key of the tests for zone tokens and for
// the meshes payments and default.
type zone struct {
	address string // of the port for proxies, host:port
	ca      string // file
	log     *journal
	stop    func()
}

func startZone(t *testing.T) *zone { return startZoneWith(t, "") }

// startZoneAt starts a zone where a former one was.
func startZoneAt(t *testing.T, address string) *zone { return startZoneOf(t, "", address) }

// startZoneWith starts a zone that serves the resources of a directory, unless that is "".
func startZoneWith(t *testing.T, xdsDir string) *zone { return startZoneOf(t, xdsDir, "127.0.0.1:0") }

func startZoneOf(t *testing.T, xdsDir, address string) *zone {
	t.Helper()
	dir, err := os.MkdirTemp("", "callers")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	public := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&signer().PublicKey)}))
	var settings keyring.Settings
	settings.Authn.ZoneProxy.ZoneToken.Validator.PublicKeys = []keyring.PublicKey{{KID: kid, Key: public}}
	settings.Authn.DPProxy.DPToken.Validator.PublicKeys = []keyring.PublicKey{{KID: kid, Mesh: "payments", Key: public}, {KID: kid, Mesh: "default", Key: public}}
	log := &journal{}
	n, err := node.New(node.Config{
		Zone: "west", DataDir: dir, Globals: []string{"127.0.0.1:1"}, GlobalPlain: true, DPAddr: address, Version: "test",
		XDSDir: xdsDir, Authn: settings, Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	<-n.Ready()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	e := n.Endpoints()
	return &zone{address: strings.TrimPrefix(e.DP, "https://"), ca: e.CAFile, log: log, stop: stop}
}
