package issue

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
)

// TestOpenSSLTokensOfEveryFlow verifies tokens that openssl alone has signed, as others
// make them in each flow that the documents describe: online keys that were brought along,
// keys of which only the public part is known, and control plane tokens, with the claims
// of kumactl's tokens and with as few as the documents ask for.
func TestOpenSSLTokensOfEveryFlow(t *testing.T) {
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("skipped: there is no openssl here, so no token of its making was verified")
	}
	dir := t.TempDir()
	openssl := func(stdin string, args ...string) []byte {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), path, args...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("openssl %s: %v", args[0], err)
		}
		return out
	}
	private := filepath.Join(dir, "private.pem")
	openssl("", "genrsa", "-out", private, "2048")
	data, err := os.ReadFile(private)
	if err != nil {
		t.Fatal(err)
	}
	secret := openssl("", "rand", "32")
	enc := base64.RawURLEncoding.EncodeToString
	token := func(header string, claims map[string]any, sign func(input string) []byte) string {
		payload, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		input := enc([]byte(header)) + "." + enc(payload)
		return input + "." + enc(sign(input))
	}
	rs256 := func(kid string, claims map[string]any) string {
		return token(`{"alg":"RS256","kid":"`+kid+`","typ":"JWT"}`, claims, func(input string) []byte {
			return openssl(input, "dgst", "-sha256", "-sign", private, "-binary")
		})
	}
	hs256 := func(header string, claims map[string]any) string {
		return token(header, claims, func(input string) []byte {
			return openssl(input, "dgst", "-sha256", "-mac", "HMAC", "-macopt", "hexkey:"+hex.EncodeToString(secret), "-binary")
		})
	}
	now := time.Now()
	// dated has the dates and the id that kumactl writes.
	dated := func(life time.Duration, claims map[string]any) map[string]any {
		claims["iat"], claims["nbf"], claims["exp"] = now.Unix(), now.Add(-5*time.Minute).Unix(), now.Add(life).Unix()
		claims["jti"] = "d602fcb4-c4e4-44d6-8fad-1c40fb97c3ca"
		return claims
	}
	const tenYears = 87600 * time.Hour
	registered := func(kind cptoken.Kind, mesh string, c cptoken.Constraints) *cptoken.PublicKey {
		der, err := cptoken.ParsePublicPEM("key", openssl("", "rsa", "-in", private, "-pubout"))
		if err != nil {
			t.Fatal(err)
		}
		key, err := cptoken.NewPublicKey(cptoken.KeyID{Kind: kind, Mesh: mesh, KID: "key-1"}, cptoken.AlgRS256, cptoken.Retiring, der, &c)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	online := func(kind cptoken.Kind, mesh string) *cptoken.PublicKey {
		key, err := Import(Ref{Kind: kind, Mesh: mesh, Serial: 1}, data)
		if err != nil {
			t.Fatal(err)
		}
		public, err := key.Public(cptoken.Active)
		if err != nil {
			t.Fatal(err)
		}
		return public
	}
	zone := func() map[string]any { return map[string]any{"Zone": "west", "Scope": []string{"egress", "ingress"}} }
	dataplane := func() map[string]any {
		return map[string]any{"Name": "dp-echo-1", "Mesh": "default", "Tags": map[string][]string{"kuma.io/service": {"backend", "backend-admin"}}, "Type": ""}
	}
	free := cptoken.Constraints{AllowNoExpiry: true, AllowNoID: true}
	for name, flow := range map[string]struct {
		key    *cptoken.PublicKey
		claims map[string]any
	}{
		"a zone token, ten years":                {online(cptoken.Zone, ""), dated(tenYears, zone())},
		"a zone token, offline, 720h":            {registered(cptoken.Zone, "", free), dated(720*time.Hour, zone())},
		"a zone token, offline, bounded":         {registered(cptoken.Zone, "", cptoken.Constraints{MaxLifetime: 720 * time.Hour}), dated(720*time.Hour, zone())},
		"a zone token, offline, bare":            {registered(cptoken.Zone, "", free), zone()},
		"a dataplane token, ten years":           {online(cptoken.Dataplane, "default"), dated(tenYears, dataplane())},
		"a dataplane token, only its mesh":       {online(cptoken.Dataplane, "default"), dated(tenYears, map[string]any{"Name": "", "Mesh": "default", "Tags": nil, "Type": ""})},
		"a dataplane token with a workload":      {online(cptoken.Dataplane, "default"), dated(time.Hour, map[string]any{"Mesh": "default", "Workload": "backend"})},
		"a dataplane token, offline":             {registered(cptoken.Dataplane, "default", free), dated(720*time.Hour, dataplane())},
		"a dataplane token, offline, bare":       {registered(cptoken.Dataplane, "default", free), map[string]any{"Mesh": "default"}},
		"a user token, with an audience of none": {online(cptoken.User, ""), dated(time.Hour, map[string]any{"Name": "jane", "Groups": []string{"admin"}})},
	} {
		t.Run(name, func(t *testing.T) {
			kind := flow.key.ID.Kind
			c, err := cptoken.NewVerifier(cptoken.VerifierOptions{}).Verify(oneKey{flow.key}, kind, rs256(flow.key.ID.KID, flow.claims))
			if err != nil {
				t.Fatal(err)
			}
			if c.Kind != kind {
				t.Errorf("it is a %s", c.Kind)
			}
		})
	}
	key, err := Import(Ref{Kind: cptoken.ControlPlane, Serial: 1}, secret)
	if err != nil {
		t.Fatal(err)
	}
	keys := importedKey{key}
	for name, raw := range map[string]string{
		"a control plane token of the documents": hs256(`{"alg":"HS256","typ":"JWT"}`, map[string]any{"Zone": "west", "TokenSerialNumber": 1}),
		"a control plane token, ten years":       hs256(`{"alg":"HS256","kid":"1","typ":"JWT"}`, dated(tenYears, map[string]any{"Zone": "west", "TokenSerialNumber": 1})),
	} {
		t.Run(name, func(t *testing.T) {
			if c, err := VerifyControlPlane(raw, keys, everyKey(t), now); err != nil || c.Zone != "west" || c.TokenSerialNumber != 1 {
				t.Fatalf("%+v, %v", c, err)
			}
		})
	}
}

// importedKey is a control plane key that was brought along.
type importedKey struct{ key *SigningKey }

func (k importedKey) ControlPlaneKey(serial uint64) (*SigningKey, bool) {
	if serial != k.key.Ref().Serial {
		return nil, false
	}
	return k.key, true
}
