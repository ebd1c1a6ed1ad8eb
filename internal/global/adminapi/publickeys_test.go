package adminapi

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// offlineKey makes a private key and the body that registers its public part.
func (e *env) offlineKey(edit func(*apitypes.PublicKey)) (private []byte, body string) {
	e.Helper()
	private, err := issue.GeneratePEM()
	if err != nil {
		e.Fatal(err)
	}
	return private, e.registration(private, edit)
}

func (e *env) registration(private []byte, edit func(*apitypes.PublicKey)) string {
	e.Helper()
	public, err := issue.PublicPEM("key", private)
	if err != nil {
		e.Fatal(err)
	}
	k := apitypes.PublicKey{Type: apitypes.TypePublicKey, Key: string(public)}
	if edit != nil {
		edit(&k)
	}
	data, err := json.Marshal(k)
	if err != nil {
		e.Fatal(err)
	}
	return string(data)
}

// offline signs a token that nobody was asked for.
func (e *env) offline(private []byte, kid string, c cptoken.Claims, life time.Duration) string {
	e.Helper()
	key, err := issue.ReadOffline("key", c.Kind, c.Mesh, private)
	if err != nil {
		e.Fatal(err)
	}
	token, _, err := key.IssueWithKID(kid, c, life, time.Now())
	if err != nil {
		e.Fatal(err)
	}
	return token
}

// TestRegisteredKeyIsBounded registers a key and holds tokens of it against each of
// its bounds.
func TestRegisteredKeyIsBounded(t *testing.T) {
	e := newEnv(t)
	const path = "/v1/public-keys/zone-token/ci-1"
	private, body := e.offlineKey(func(k *apitypes.PublicKey) { k.Zones, k.MaxLifetime = []string{"west"}, "24h" })
	e.want(404, "GET", path, "", nil)
	e.want(201, "PUT", path, body, nil)
	e.want(200, "PUT", path, body, nil)
	var got apitypes.PublicKey
	e.read(e.want(200, "GET", path, "", nil).Body.Bytes(), &got)
	if got.KID != "ci-1" || got.Kind != "zone" || got.MaxLifetime != "24h0m0s" || strings.Join(got.Scopes, ",") != "egress,ingress" ||
		!strings.HasPrefix(got.Key, "-----BEGIN RSA PUBLIC KEY-----") || got.Fingerprint == "" {
		t.Errorf("the key is %+v", got)
	}
	west := cptoken.Claims{Kind: cptoken.Zone, Zone: "west"}
	for name, tt := range map[string]struct {
		kid    string
		claims cptoken.Claims
		life   time.Duration
		want   cptoken.Reason
	}{
		"within the bounds":    {"ci-1", west, time.Hour, ""},
		"another zone":         {"ci-1", cptoken.Claims{Kind: cptoken.Zone, Zone: "east"}, time.Hour, cptoken.NotAllowed},
		"a control plane":      {"ci-1", cptoken.Claims{Kind: cptoken.Zone, Zone: "west", Scope: []cptoken.Scope{cptoken.ScopeCP}}, time.Hour, cptoken.NotAllowed},
		"too long":             {"ci-1", west, 25 * time.Hour, cptoken.NotAllowed},
		"another kid":          {"ci-2", west, time.Hour, cptoken.UnknownKey},
		"another kind's token": {"ci-1", cptoken.Claims{Kind: cptoken.Dataplane, Mesh: "default"}, time.Hour, cptoken.UnknownKey},
	} {
		token := e.offline(private, tt.kid, tt.claims, tt.life)
		if _, err := e.verify(tt.claims.Kind, token); cptoken.ReasonOf(err) != tt.want {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	stranger, _ := e.offlineKey(nil)
	if _, err := e.verify(cptoken.Zone, e.offline(stranger, "ci-1", west, time.Hour)); cptoken.ReasonOf(err) != cptoken.BadSignature {
		t.Errorf("signed by an unregistered key: %v", err)
	}

	// The bounds are replaced as a whole.
	e.want(200, "PUT", path, e.registration(private, func(k *apitypes.PublicKey) { k.Zones = []string{"east"} }), nil)
	if _, err := e.verify(cptoken.Zone, e.offline(private, "ci-1", west, 100*time.Hour)); cptoken.ReasonOf(err) != cptoken.NotAllowed {
		t.Errorf("for west, after its bounds became east: %v", err)
	}

	// Revoked as any other, by the token or by its id.
	token := e.offline(private, "ci-1", cptoken.Claims{Kind: cptoken.Zone, Zone: "east"}, 100*time.Hour)
	if _, err := e.verify(cptoken.Zone, token); err != nil {
		t.Errorf("for east: %v", err)
	}
	e.want(200, "POST", "/v1/revocations", `{"token":"`+token+`"}`, nil)
	if _, err := e.verify(cptoken.Zone, token); cptoken.ReasonOf(err) != cptoken.Revoked {
		t.Errorf("revoked: %v", err)
	}

	var change apitypes.KeyChange
	e.read(e.want(200, "DELETE", path, "", nil).Body.Bytes(), &change)
	if !strings.Contains(change.CutOff, "every zone-token that was signed with key ci-1") {
		t.Errorf("cut off: %q", change.CutOff)
	}
	e.want(404, "DELETE", path, "", nil)
	if _, err := e.verify(cptoken.Zone, e.offline(private, "ci-1", cptoken.Claims{Kind: cptoken.Zone, Zone: "east"}, time.Hour)); cptoken.ReasonOf(err) != cptoken.UnknownKey {
		t.Errorf("after the key was deleted: %v", err)
	}
	e.want(409, "PUT", path, body, nil) // the kid is spent
}

// The answer to a registration was lost, and the same request comes again.
func TestARegistrationIsRepeated(t *testing.T) {
	e := newEnv(t)
	const path = "/v1/public-keys/zone-token/ci-1"
	private, body := e.offlineKey(nil)
	id := uuid.NewString()
	e.want(201, "PUT", path, body, nil, "X-Request-Id", id)
	e.want(200, "PUT", path, body, nil, "X-Request-Id", id)
	e.want(200, "PUT", path, body, nil, "X-Request-Id", id)

	// Other bounds twice, and the first ones again: what was acknowledged is so.
	narrow := e.registration(private, func(k *apitypes.PublicKey) { k.Zones = []string{"west"} })
	for _, b := range []string{narrow, narrow, body, narrow} {
		e.want(200, "PUT", path, b, nil, "X-Request-Id", id)
		var got, asked apitypes.PublicKey
		e.read(e.want(200, "GET", path, "", nil).Body.Bytes(), &got)
		e.read([]byte(b), &asked)
		if strings.Join(got.Zones, ",") != strings.Join(asked.Zones, ",") {
			t.Errorf("the key is bound to %q, want %q", got.Zones, asked.Zones)
		}
	}
}

func (e *env) read(data []byte, into any) {
	e.Helper()
	if err := json.Unmarshal(data, into); err != nil {
		e.Fatalf("%v: %s", err, data)
	}
}

// TestRegisteredDataplaneKey is bounded by its mesh, and goes with it.
func TestRegisteredDataplaneKey(t *testing.T) {
	e := newEnv(t)
	e.want(201, "PUT", "/meshes/shop", `{}`, nil)
	private, body := e.offlineKey(nil)
	const path = "/v1/public-keys/dataplane-token/ci-1"
	e.want(400, "PUT", path, body, nil)
	e.want(400, "PUT", path+"?mesh=nowhere", body, nil)
	e.want(201, "PUT", path+"?mesh=shop", body, nil)
	shop := e.offline(private, "ci-1", cptoken.Claims{Kind: cptoken.Dataplane, Mesh: "shop"}, time.Hour)
	if _, err := e.verify(cptoken.Dataplane, shop); err != nil {
		t.Error(err)
	}
	other := e.offline(private, "ci-1", cptoken.Claims{Kind: cptoken.Dataplane, Mesh: "default"}, time.Hour)
	if _, err := e.verify(cptoken.Dataplane, other); cptoken.ReasonOf(err) != cptoken.UnknownKey {
		t.Errorf("for another mesh: %v", err)
	}
	var list apitypes.List[apitypes.PublicKey]
	e.read(e.want(200, "GET", "/v1/public-keys", "", nil).Body.Bytes(), &list)
	if list.Total != 1 || list.Items[0].Mesh != "shop" {
		t.Errorf("the list is %+v", list)
	}
	e.want(200, "DELETE", "/meshes/shop", "", nil)
	if _, err := e.verify(cptoken.Dataplane, shop); cptoken.ReasonOf(err) != cptoken.UnknownKey {
		t.Errorf("after its mesh was deleted: %v", err)
	}
}

func TestRegisteringRefuses(t *testing.T) {
	e := newEnv(t)
	private, body := e.offlineKey(nil)
	bounded := func(edit func(*apitypes.PublicKey)) string { return e.registration(private, edit) }
	for name, tt := range map[string]struct{ path, body string }{
		"a user's key":        {"user-token/ci", body},
		"a control plane's":   {"control-plane-token/ci", body},
		"no kind":             {"token/ci", body},
		"a kid of digits":     {"zone-token/12", body},
		"a mesh":              {"zone-token/ci?mesh=default", body},
		"a private key":       {"zone-token/ci", bounded(func(k *apitypes.PublicKey) { k.Key = string(private) })},
		"no key":              {"zone-token/ci", bounded(func(k *apitypes.PublicKey) { k.Key = "" })},
		"another kid":         {"zone-token/ci", bounded(func(k *apitypes.PublicKey) { k.KID = "cd" })},
		"another kind":        {"zone-token/ci", bounded(func(k *apitypes.PublicKey) { k.Kind = "dataplane-token" })},
		"another type":        {"zone-token/ci", bounded(func(k *apitypes.PublicKey) { k.Type = "Zone" })},
		"no zone":             {"zone-token/ci", bounded(func(k *apitypes.PublicKey) { k.Zones = []string{"A"} })},
		"no scope":            {"zone-token/ci", bounded(func(k *apitypes.PublicKey) { k.Scopes = []string{"admin"} })},
		"no lifetime":         {"zone-token/ci", bounded(func(k *apitypes.PublicKey) { k.MaxLifetime = "30d" })},
		"scopes of dataplane": {"dataplane-token/ci?mesh=default", bounded(func(k *apitypes.PublicKey) { k.Scopes = []string{"egress"} })},
	} {
		w := e.want(400, "PUT", "/v1/public-keys/"+tt.path, tt.body, nil)
		if strings.Contains(w.Body.String(), "MII") || strings.Contains(e.log.take(), "PRIVATE KEY") {
			t.Errorf("%s: key material in the answer or the log", name)
		}
	}
	e.want(201, "PUT", "/v1/public-keys/zone-token/ci", body, nil)
	_, other := e.offlineKey(nil)
	e.want(409, "PUT", "/v1/public-keys/zone-token/ci", other, nil)
	e.want(404, "DELETE", "/v1/public-keys/zone-token/cd", "", nil)
	e.want(400, "DELETE", "/v1/public-keys/zone-token/1", "", nil) // the global's own are no registered ones
}

// TestIssuerDisabled: the settings leave a kind to others.
func TestIssuerDisabled(t *testing.T) {
	e := newEnv(t, func(c *Config) { c.NotIssued = []cptoken.Kind{cptoken.Zone} })
	w := e.want(409, "POST", "/tokens/zone", `{"zone":"west"}`, nil)
	for _, want := range []string{"issuer_disabled", "zoneToken.enableIssuer: false", "--signing-key-path"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%q is missing in %s", want, w.Body)
		}
	}
	e.want(200, "POST", "/tokens/dataplane", `{"mesh":"default"}`, nil)
	e = newEnv(t, func(c *Config) { c.NotIssued = []cptoken.Kind{cptoken.Dataplane} })
	e.want(409, "POST", "/tokens/dataplane", `{"mesh":"default"}`, nil)
	e.want(200, "POST", "/tokens/zone", `{"zone":"west"}`, nil)
}

// TestWhichRegisteredKeysAreInTheSets: who registers a key is told whether zones publish it in
// their key sets, and what keeps it out, in the words that a zone's status has.
func TestWhichRegisteredKeysAreInTheSets(t *testing.T) {
	e := newEnv(t)
	all := map[string]struct {
		bounds func(*apitypes.PublicKey)
		why    string
	}{
		"no-bounds": {func(k *apitypes.PublicKey) { k.AllowNoExpiry, k.AllowNoID = true, true }, ""},
		"zones":     {func(k *apitypes.PublicKey) { k.Zones = []string{"west"} }, "west"},
		"scopes":    {func(k *apitypes.PublicKey) { k.Scopes = []string{"egress"} }, "egress"},
		"lifetime":  {func(k *apitypes.PublicKey) { k.MaxLifetime = "1h" }, "1h0m0s"},
	}
	for kid, k := range all {
		_, body := e.offlineKey(func(p *apitypes.PublicKey) { p.Kind, p.KID = "zone-token", kid; k.bounds(p) })
		e.want(201, "PUT", "/v1/public-keys/zone-token/"+kid, json.RawMessage(body), nil)
	}
	var list struct {
		Items []apitypes.PublicKey `json:"items"`
	}
	e.want(200, "GET", "/v1/public-keys", nil, &list)
	if len(list.Items) != len(all) {
		t.Fatalf("%d keys", len(list.Items))
	}
	for _, k := range list.Items {
		if want := all[k.KID].why; (k.NotInKeySet == "") != (want == "") || !strings.Contains(k.NotInKeySet, want) {
			t.Errorf("%s: not in key sets because %q, want %q", k.KID, k.NotInKeySet, want)
		}
	}
}
