package statement_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	authz "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/zone/proxies"
	"github.com/meridiankds/meridian/internal/zone/proxyauth"
	"github.com/meridiankds/meridian/internal/zone/proxyport"
	"github.com/meridiankds/meridian/internal/zone/statement"
	"github.com/meridiankds/meridian/internal/zone/xds"
)

var signer = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// sign makes a token of the claims with kid "1".
func sign(t *testing.T, claims map[string]any) string {
	t.Helper()
	now := time.Now()
	all := map[string]any{"jti": "id-1", "iat": now.Unix(), "nbf": now.Unix() - 300, "exp": now.Unix() + 3600}
	for name, v := range claims {
		all[name] = v
	}
	payload, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding
	input := enc.EncodeToString([]byte(`{"alg":"RS256","kid":"1","typ":"JWT"}`)) + "." + enc.EncodeToString(payload)
	sum := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPKCS1v15(rand.Reader, signer(), crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + enc.EncodeToString(sig)
}

// keys are what the zone west holds: zone keys, and those of the meshes default and
// payments.
type keys map[cptoken.KeyID]*cptoken.PublicKey

func (k keys) View() cptoken.View                              { return k }
func (k keys) Changed() <-chan struct{}                        { return nil }
func (k keys) Key(id cptoken.KeyID) *cptoken.PublicKey         { return k[id] }
func (keys) Revoked(cptoken.Kind, string, string) bool         { return false }
func (keys) CutOff(cptoken.Kind, string, string) (t time.Time) { return t }

func (keys) Pruned() (none time.Time) { return none }

// reviewer knows the service accounts of the tests, whose tokens are their names, with the
// entries that the zone's settings have for them.
type reviewer map[string]*statement.Entry

func (r reviewer) Review(ctx context.Context, token string, _ proxyauth.Proxy) (proxyauth.Account, error) {
	return r.Identify(ctx, token)
}

func (r reviewer) Identify(_ context.Context, token string) (proxyauth.Account, error) {
	if _, ok := r[token]; !ok {
		return proxyauth.Account{}, federation.Errorf(federation.Unauthenticated, "no such account").WithReason("bad_account")
	}
	return proxyauth.Account{Namespace: "demo", Name: token}, nil
}

// world is a zone whose proxies authenticate in some way.
type world struct {
	zoneProxy, dataplane keyring.Method
	envoy                *xds.Server
	http                 http.Handler
}

func newWorld(t *testing.T, zoneProxy, dataplane keyring.Method, accounts reviewer) *world {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&signer().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	held := keys{}
	for _, id := range []cptoken.KeyID{{Kind: cptoken.Zone, KID: "1"}, {Kind: cptoken.Dataplane, Mesh: "default", KID: "1"}, {Kind: cptoken.Dataplane, Mesh: "payments", KID: "1"}} {
		if held[id], err = cptoken.NewPublicKey(id, cptoken.AlgRS256, cptoken.Active, der, nil); err != nil {
			t.Fatal(err)
		}
	}
	settings := keyring.Settings{}
	settings.Authn.ZoneProxy.Type, settings.Authn.DPProxy.Type = zoneProxy, dataplane
	settings.Authn.ServiceAccountToken.Audience = "meridian-zone"
	for name, e := range accounts {
		if e != nil {
			settings.Authn.ServiceAccountToken.ServiceAccounts = append(settings.Authn.ServiceAccountToken.ServiceAccounts,
				keyring.AccountEntry{Account: "demo/" + name, ProxyTypes: e.Types, Mesh: e.Mesh, Services: e.Services})
		}
	}
	if err := settings.Complete(); err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.New(keyring.Config{Source: held, Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	auth, err := proxyauth.New(proxyauth.Config{Zone: "west", Settings: settings, Keyring: ring, Reviewer: accounts,
		Verifier: cptoken.NewVerifier(cptoken.VerifierOptions{CacheBytes: 1 << 20})})
	if err != nil {
		t.Fatal(err)
	}
	registry := proxies.New(proxies.Config{})
	return &world{zoneProxy: zoneProxy, dataplane: dataplane,
		envoy: xds.New(xds.Config{Zone: "west", Auth: auth, Proxies: registry}),
		http:  proxyport.New(proxyport.Config{Zone: "west", Auth: auth, Proxies: registry}).Proxies()}
}

// answer is what a way to ask comes back with: the reason is "" for a yes.
type answer struct {
	status int
	reason string
	proved []string
}

// ways are all in which an operator's statement is put to a zone. Each is given all
// tokens at once.
var ways = map[string]func(t *testing.T, w *world, stated map[string]string, tokens []string) []answer{
	"ext_authz": func(t *testing.T, w *world, stated map[string]string, tokens []string) (all []answer) {
		for _, token := range tokens {
			headers := map[string]string{}
			if token != "" {
				headers["authorization"] = "Bearer " + token
			}
			r, err := w.envoy.Check(t.Context(), &authz.CheckRequest{Attributes: &authz.AttributeContext{
				ContextExtensions: stated,
				Request:           &authz.AttributeContext_Request{Http: &authz.AttributeContext_HttpRequest{Headers: headers}},
			}})
			if err != nil {
				t.Fatal(err)
			}
			one := answer{status: 200, reason: r.GetStatus().GetMessage()}
			if denied := r.GetDeniedResponse(); denied != nil {
				one.status = int(denied.GetStatus().GetCode())
			}
			if (one.status == 200) != (r.GetStatus().GetCode() == 0 && r.GetOkResponse() != nil) {
				t.Fatalf("an answer that is neither yes nor no: %v", r)
			}
			for _, v := range r.GetDynamicMetadata().GetFields()["proved"].GetListValue().GetValues() {
				one.proved = append(one.proved, v.GetStringValue())
			}
			all = append(all, one)
		}
		return all
	},
	"authenticate": func(t *testing.T, w *world, stated map[string]string, tokens []string) (all []answer) {
		for _, token := range tokens {
			var id apitypes.Identity
			status, reason := w.post(t, "/v1/authenticate", apitypes.AuthenticateRequest{Token: token, Require: stated}, &id)
			all = append(all, answer{status, reason, id.Proved})
		}
		return all
	},
	"batch": func(t *testing.T, w *world, stated map[string]string, tokens []string) (all []answer) {
		request, out := proxyport.BatchRequest{}, proxyport.BatchAnswer{}
		for _, token := range tokens {
			request.Requests = append(request.Requests, apitypes.AuthenticateRequest{Token: token, Require: stated})
		}
		if status, reason := w.post(t, "/v1/authenticate/batch", request, &out); status != 200 || len(out.Results) != len(tokens) {
			t.Fatalf("%d %s: %d results", status, reason, len(out.Results))
		}
		for _, r := range out.Results {
			one := answer{status: r.Status}
			if r.Error != nil {
				one.reason = r.Error.Reason
			}
			if r.Identity != nil {
				one.proved = r.Identity.Proved
			}
			all = append(all, one)
		}
		return all
	},
	"authorize": func(t *testing.T, w *world, stated map[string]string, tokens []string) []answer {
		return w.authorize(t, "/v1/authorize?"+queryOf(stated), nil, tokens)
	},
	"below authorize": func(t *testing.T, w *world, stated map[string]string, tokens []string) []answer {
		return w.authorize(t, "/v1/authorize/orders?name=somebody", []string{queryOf(stated)}, tokens)
	},
}

// queryOf writes a statement as a query.
func queryOf(stated map[string]string) string {
	values := url.Values{}
	for key, value := range stated {
		values.Set(key, value)
	}
	return values.Encode()
}

// authorize asks as a proxy does, with the statements of a header.
func (w *world) authorize(t *testing.T, target string, header, tokens []string) (all []answer) {
	t.Helper()
	for _, token := range tokens {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		r.Header["X-Meridian-Require"] = header
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		out := httptest.NewRecorder()
		w.http.ServeHTTP(out, r)
		one := answer{status: out.Code, reason: out.Header().Get("X-Meridian-Reason")}
		if (one.status == 200) != (one.reason == "" && out.Header().Get("X-Meridian-Zone") == "west") {
			t.Fatalf("an answer that is neither yes nor no: %d %v", out.Code, out.Header())
		}
		all = append(all, one)
	}
	return all
}

// post sends a request whose "require" is there even where it states nothing.
func (w *world) post(t *testing.T, path string, body, into any) (status int, reason string) {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	out := httptest.NewRecorder()
	w.http.ServeHTTP(out, httptest.NewRequest(http.MethodPost, path, bytes.NewReader(data)))
	if out.Code != http.StatusOK {
		var e struct{ Reason string }
		if err := json.Unmarshal(out.Body.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		return out.Code, e.Reason
	}
	if err := json.Unmarshal(out.Body.Bytes(), into); err != nil {
		t.Fatal(err)
	}
	return out.Code, ""
}
