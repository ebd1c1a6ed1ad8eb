package cluster

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apitypes"
	globalnode "github.com/meridiankds/meridian/internal/global/node"
	"github.com/meridiankds/meridian/internal/keyring"
	zonenode "github.com/meridiankds/meridian/internal/zone/node"
	"github.com/meridiankds/meridian/internal/zone/proxyauth"
	"github.com/meridiankds/meridian/internal/zone/sessions"
)

// openssl is the only tool that some keys and tokens of a test are made with.
type openssl struct {
	t    *testing.T
	path string
	dir  string
}

func newOpenSSL(t *testing.T) *openssl {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("skipped: there is no openssl here, so no token of its making was shown to a zone")
	}
	return &openssl{t, path, t.TempDir()}
}

func (o *openssl) run(in string, args ...string) []byte {
	o.t.Helper()
	cmd := exec.CommandContext(o.t.Context(), o.path, args...)
	cmd.Stdin = bytes.NewReader([]byte(in))
	out, err := cmd.Output()
	if err != nil {
		o.t.Fatalf("openssl %s: %v", args[0], err)
	}
	return out
}

// key makes a private key and returns its file and its public part, as PKCS#1 or as
// SubjectPublicKeyInfo.
func (o *openssl) key(name string, pkcs1 bool) (file, public string) {
	o.t.Helper()
	file = filepath.Join(o.dir, name+".pem")
	o.run("", "genrsa", "-out", file, "2048")
	form := "-pubout"
	if pkcs1 {
		form = "-RSAPublicKey_out"
	}
	return file, string(o.run("", "rsa", "-in", file, form))
}

// token makes a JWT of the claims and nothing else.
func (o *openssl) token(file, kid string, claims map[string]any) string {
	o.t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		o.t.Fatal(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	input := enc([]byte(`{"alg":"RS256","typ":"JWT","kid":"`+kid+`"}`)) + "." + enc(payload)
	return input + "." + enc(o.run(input, "dgst", "-sha256", "-sign", file, "-binary"))
}

// TestOfflineTokens: keys and tokens of openssl alone are accepted where the public
// key is in the settings of one zone, at that zone alone, and where it is registered
// at the global, at every zone and within its bounds; those of a stranger nowhere.
func TestOfflineTokens(t *testing.T) {
	ssl := newOpenSSL(t)
	static, staticPublic := ssl.key("static", true)
	registered, registeredPublic := ssl.key("registered", false)
	stranger, _ := ssl.key("stranger", false)
	keyFile := filepath.Join(ssl.dir, "static-public.pem")
	if err := os.WriteFile(keyFile, []byte(staticPublic), 0o600); err != nil {
		t.Fatal(err)
	}

	g := StartGlobal(t, slog.New(slog.DiscardHandler))
	g.ConfigureZone = func(c *zonenode.Config) {
		if c.Zone == "west" {
			c.Authn.Authn.ZoneProxy.ZoneToken.Validator.PublicKeys = []keyring.PublicKey{{KID: "key-1", KeyFile: keyFile}}
		}
	}
	west, east := g.StartZone("west", g.KDS()), g.StartZone("east", g.KDS())
	g.want(t, 201, "PUT", "/v1/public-keys/zone-token/ci-1", apitypes.PublicKey{
		Key: registeredPublic, Zones: []string{"west", "east"}, MaxLifetime: "1h",
	}, nil)
	west.WaitCurrent(g)
	east.WaitCurrent(g)

	claims := func(zone string, more ...any) map[string]any {
		all := map[string]any{"Zone": zone, "Scope": []string{"egress"}}
		for i := 0; i < len(more); i += 2 {
			all[more[i].(string)] = more[i+1]
		}
		return all
	}
	now := time.Now().Unix()
	full := func(life int64) []any {
		return []any{"iat", now, "exp", now + life, "jti", "0d4cd35c-8b5e-4ba4-8b8c-0b3d6f6bb5c4"}
	}
	bare := ssl.token(static, "key-1", claims("west"))
	west.Expect("bare, of its own key", bare, "egress", Accepted)
	west.Expect("bare, of its own key", bare, "ingress", Refused("out_of_scope"))
	east.Expect("of west's own key", ssl.token(static, "key-1", claims("east")), "egress", Refused("unknown_key"))
	west.Expect("of the global's key", g.ZoneToken("west"), "egress", Accepted)
	west.Expect("registered", ssl.token(registered, "ci-1", claims("west", full(600)...)), "egress", Accepted)
	east.Expect("registered", ssl.token(registered, "ci-1", claims("east", full(600)...)), "egress", Accepted)
	west.Expect("registered, too long", ssl.token(registered, "ci-1", claims("west", full(7200)...)), "egress", Verdict{403, "not_allowed"})
	west.Expect("registered, bare", ssl.token(registered, "ci-1", claims("west")), "egress", Refused("missing_expiry"))
	for _, kid := range []string{"key-1", "ci-1", "1"} {
		west.Expect("a stranger's as "+kid, ssl.token(stranger, kid, claims("west", full(600)...)), "egress", Refused("bad_signature"))
	}
	west.Expect("a stranger's", ssl.token(stranger, "key-9", claims("west")), "egress", Refused("unknown_key"))

	// A session of the zone's own key ends when its token is revoked, by its hash.
	admission, err := west.Node.Auth().Authenticate(t.Context(), proxyauth.Proxy{Type: cptoken.TypeEgress}, bare)
	if err != nil {
		t.Fatal(err)
	}
	session, err := west.Node.Sessions().Open(t.Context(), sessions.Opening{Grant: admission.Grant, Subject: admission.Subject()})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	g.want(t, 200, "POST", "/v1/revocations", apitypes.RevokeRequest{Kind: "zone", IDs: []string{admission.TokenID}}, nil)
	<-session.Context().Done()
	west.Expect("bare, revoked", bare, "egress", Refused("revoked"))

	// Another key in the file takes over, and ends what the former one opened.
	other := ssl.token(static, "key-1", claims("west", "jti", "another"))
	west.Expect("before the file is replaced", other, "egress", Accepted)
	if admission, err = west.Node.Auth().Authenticate(t.Context(), proxyauth.Proxy{Type: cptoken.TypeEgress}, other); err != nil {
		t.Fatal(err)
	}
	second, err := west.Node.Sessions().Open(t.Context(), sessions.Opening{Grant: admission.Grant, Subject: admission.Subject()})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if err := os.WriteFile(keyFile, []byte(registeredPublic), 0o600); err != nil {
		t.Fatal(err)
	}
	<-second.Context().Done()
	west.Expect("after the file was replaced", other, "egress", Refused("bad_signature"))

	// A deleted key reaches every zone too.
	g.want(t, 200, "DELETE", "/v1/public-keys/zone-token/ci-1", nil, nil)
	east.WaitCurrent(g)
	east.Expect("of a deleted key", ssl.token(registered, "ci-1", claims("east", full(600)...)), "egress", Refused("unknown_key"))
}

// TestOfflineControlPlaneToken: a key in a global's own settings vouches for the
// control plane of a zone only where its scopes say so, and until it is taken out.
func TestOfflineControlPlaneToken(t *testing.T) {
	ssl := newOpenSSL(t)
	private, public := ssl.key("cp", false)
	key := keyring.PublicKey{KID: "key-1", Key: public}
	var settings keyring.Settings
	var mu sync.Mutex
	set := func(keys ...keyring.PublicKey) {
		mu.Lock()
		defer mu.Unlock()
		settings = keyring.Settings{}
		settings.Authn.ZoneProxy.ZoneToken.Validator.PublicKeys = keys
		if err := settings.Complete(); err != nil {
			t.Error(err)
		}
	}
	set(key)
	g := StartGlobal(t, slog.New(slog.DiscardHandler), func(g *Global) {
		g.Configure = func(c *globalnode.Config) {
			c.Authn = settings
			c.ReloadAuthn = func() (keyring.Settings, error) {
				mu.Lock()
				defer mu.Unlock()
				return settings, nil
			}
		}
	})
	z := g.StartZone("west", g.KDS())
	Eventually(t, "the zone is online", func() bool { return z.Node.Link().Connected })
	z.Stop()
	z.Token = ssl.token(private, "key-1", map[string]any{"Zone": "west", "Scope": []string{"cp"}})
	z.Start()
	Eventually(t, "a key of proxies lets no control plane in", func() bool { return z.Node.Link().LastReason == "not_allowed" })
	key.Scopes = []cptoken.Scope{cptoken.ScopeCP}
	set(key)
	Eventually(t, "the key lets the control plane in", func() bool { return z.Node.Link().Connected })
	set()
	Eventually(t, "the key was taken out, and the session with it", func() bool { return !z.Node.Link().Connected })
}

// TestMeshKeysComeAndGo: a mesh is made with a key that its zones get, and deleted
// with it.
func TestMeshKeysComeAndGo(t *testing.T) {
	g := StartGlobal(t, slog.New(slog.DiscardHandler))
	z := g.StartZone("west", g.KDS())
	z.WaitCurrent(g)
	Eventually(t, "the zone is online", func() bool { _, ok := g.open("west"); return ok })
	g.want(t, 201, "PUT", "/meshes/shop", map[string]any{}, nil)
	var token string
	Eventually(t, "the key of the mesh signs", func() bool {
		r, err := g.ask("POST", "/tokens/dataplane", apitypes.DataplaneTokenRequest{Mesh: "shop"})
		token = string(r.body)
		return err == nil && r.status == 200
	})
	z.WaitCurrent(g)
	shop := map[string]any{"token": token, "proxyType": "dataplane", "mesh": "shop", "name": "dp1"}
	if v := z.Present(shop); v != Accepted {
		t.Errorf("in its mesh: %+v", v)
	}
	shop["mesh"] = "default"
	if v := z.Present(shop); v.Reason != string(cptoken.WrongMesh) {
		t.Errorf("in another mesh: %+v", v)
	}
	shop["mesh"] = "shop"
	g.want(t, 200, "DELETE", "/meshes/shop", nil, nil)
	z.WaitCurrent(g)
	if v := z.Present(shop); v.Reason != string(cptoken.UnknownKey) {
		t.Errorf("after its mesh was deleted: %+v", v)
	}
	if r := g.want(t, 400, "POST", "/tokens/dataplane", apitypes.DataplaneTokenRequest{Mesh: "shop"}, nil); len(r.body) == 0 {
		t.Error("no reason")
	}
}
