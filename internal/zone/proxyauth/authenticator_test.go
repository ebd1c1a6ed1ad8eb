package proxyauth

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/zone/resource"
)

// newAuth returns an authenticator of zone west, and its keyring.
func newAuth(t *testing.T, source keyring.Source, s keyring.Settings, edit func(*Config)) *Authenticator {
	t.Helper()
	if err := s.Complete(); err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.New(keyring.Config{Source: source, Settings: s})
	if err != nil {
		t.Fatal(err)
	}
	clock := func() time.Time { return testNow }
	cfg := Config{Zone: "west", Settings: s, Keyring: ring,
		Verifier: cptoken.NewVerifier(cptoken.VerifierOptions{Now: clock}), Now: clock}
	if edit != nil {
		edit(&cfg)
	}
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

var (
	egress  = Proxy{Type: cptoken.TypeEgress, Name: "egress-1"}
	backend = Proxy{Type: cptoken.TypeDataplane, Mesh: "default", Name: "backend-1", Tags: map[string][]string{"kuma.io/service": {"backend"}}}
)

func zoneClaims(scopes ...string) map[string]any {
	return map[string]any{"Zone": "west", "Scope": scopes}
}

func meshClaims() map[string]any { return map[string]any{"Mesh": "default"} }

func boolean(b bool) *bool { return &b }

// TestMethods holds each method against what proxies may present to it.
func TestMethods(t *testing.T) {
	zoneToken := sign(t, globalKey(), "1", registered(zoneClaims("egress", "dataplane")))
	dpToken := sign(t, globalKey(), "1", registered(meshClaims()))
	tagged := sign(t, globalKey(), "1", registered(map[string]any{"Mesh": "default", "Tags": map[string]any{"kuma.io/service": []string{"backend"}}}))
	listening := func(kind string) Proxy {
		r, err := resource.ParseRequest([]byte(`{"type":"Dataplane","mesh":"default","name":"backend-1","networking":{"address":"10.0.0.1",` +
			`"inbound":[{"port":80,"tags":{"kuma.io/service":"backend"}}],"listeners":[{"type":"` + kind + `","port":10001}]}}`))
		if err != nil {
			t.Fatal(err)
		}
		return ProxyOf(r)
	}
	zoneProxy, zoneIngress := listening("ZoneEgress"), listening("ZoneIngress")
	type types = keyring.AuthnSettings
	of := func(zoneProxy, dataplane keyring.Method) types {
		return types{ZoneProxy: keyring.ZoneProxySettings{Type: zoneProxy}, DPProxy: keyring.DPProxySettings{Type: dataplane}}
	}
	for name, test := range map[string]struct {
		authn  types
		proxy  Proxy
		token  string
		method keyring.Method
		reason string
	}{
		"defaults, egress":           {types{}, egress, zoneToken, keyring.ZoneToken, ""},
		"defaults, data plane":       {types{}, backend, dpToken, keyring.DataplaneToken, ""},
		"a newline behind it":        {types{}, backend, dpToken + "\n", keyring.DataplaneToken, ""},
		"no token":                   {types{}, backend, "", "", "missing_token"},
		"an empty file":              {types{}, egress, " \n", "", "missing_token"},
		"two tokens":                 {types{}, backend, dpToken + "\n" + dpToken, "", "malformed"},
		"the other's token":          {types{}, backend, zoneToken, "", "wrong_kind"},
		"ingress with egress":        {types{}, Proxy{Type: cptoken.TypeIngress}, zoneToken, "", "out_of_scope"},
		"data plane by zone token":   {of("", keyring.ZoneToken), backend, zoneToken, keyring.ZoneToken, ""},
		"a zone proxy":               {types{}, zoneProxy, dpToken, keyring.DataplaneToken, ""},
		"a zone proxy, by tags":      {types{}, zoneProxy, tagged, "", "wrong_type"},
		"an egress by zone token":    {of("", keyring.ZoneToken), zoneProxy, zoneToken, keyring.ZoneToken, ""},
		"an ingress by zone token":   {of("", keyring.ZoneToken), zoneIngress, zoneToken, "", "out_of_scope"},
		"a zone proxy's account":     {of("", keyring.ServiceAccountToken), zoneProxy, "sa", "", "wrong_type"},
		"zone token, a dp token":     {of("", keyring.ZoneToken), backend, dpToken, "", "wrong_kind"},
		"none":                       {of(keyring.None, ""), egress, "", keyring.None, ""},
		"none, whatever":             {of(keyring.None, ""), egress, "x y", keyring.None, ""},
		"none of the other's":        {of(keyring.None, ""), backend, "", "", "missing_token"},
		"service account":            {of("", keyring.ServiceAccountToken), backend, "sa", keyring.ServiceAccountToken, ""},
		"service account, bad token": {of("", keyring.ServiceAccountToken), backend, "no", "", "bad_account"},
	} {
		t.Run(name, func(t *testing.T) {
			var counted []string
			test.authn.ServiceAccountToken.Audience = "meridian-zone"
			test.authn.ServiceAccountToken.ServiceAccounts = []keyring.AccountEntry{{Account: "demo/backend-1", Services: []string{"backend"}}}
			a := newAuth(t, newCopy(t), keyring.Settings{Authn: test.authn}, func(c *Config) {
				c.Reviewer = reviewer{}
				c.Verified = func(labels ...string) { counted = labels }
			})
			admission, err := a.Authenticate(t.Context(), test.proxy, test.token)
			if reason := string(cptoken.ReasonOf(err)); reason != test.reason || (err == nil) != (test.reason == "") {
				t.Fatalf("%v, want reason %q", err, test.reason)
			}
			if want := test.reason; want != "" && (len(counted) != 2 || counted[1] != want) {
				t.Errorf("counted %q", counted)
			}
			if err != nil {
				if len(test.token) > 100 && strings.Contains(err.Error(), strings.TrimSpace(test.token)) {
					t.Error("the error repeats the token")
				}
				return
			}
			if admission.Method != test.method || admission.Zone != "west" || counted[1] != "accepted" {
				t.Errorf("%+v, counted %q", admission, counted)
			}
			if err := admission.Grant.Check(a.Keyring().View(), testNow); err != nil {
				t.Errorf("the grant does not hold: %v", err)
			}
			ends := !admission.Expires.IsZero()
			if err := admission.Grant.Check(a.Keyring().View(), testNow.Add(48*time.Hour)); (err != nil) != ends {
				t.Errorf("the grant two days later: %v", err)
			}
		})
	}
}

// reviewer believes the token "sa".
type reviewer struct{}

func (reviewer) Review(_ context.Context, token string, p Proxy) (Account, error) {
	if token != "sa" {
		return Account{}, federation.Errorf(federation.Unauthenticated, "no such account").WithReason("bad_account")
	}
	return Account{Namespace: "demo", Name: p.Name, Expires: testNow.Add(time.Hour)}, nil
}

func (r reviewer) Identify(ctx context.Context, token string) (Account, error) {
	return r.Review(ctx, token, Proxy{})
}

func TestReviewerIsRequired(t *testing.T) {
	s := keyring.Settings{Auth: keyring.AuthSettings{Type: keyring.ServiceAccountToken}}
	s.Authn.ServiceAccountToken.Audience = "meridian-zone"
	if err := s.Complete(); err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.New(keyring.Config{Source: newCopy(t), Settings: s})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Zone: "west", Settings: s, Keyring: ring}); federation.CodeOf(err) != federation.Invalid {
		t.Errorf("without a reviewer: %v", err)
	}
}

func TestProxyValidate(t *testing.T) {
	a := newAuth(t, newCopy(t), keyring.Settings{}, nil)
	for _, p := range []Proxy{{}, {Type: "gateway"}, {Type: cptoken.TypeDataplane}, {Type: cptoken.TypeDataplane, Mesh: "A B"}} {
		if _, err := a.Authenticate(t.Context(), p, "x"); federation.CodeOf(err) != federation.Invalid {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

func TestStaleRefusesEverybody(t *testing.T) {
	heard := testNow.Add(-2 * time.Hour)
	for _, method := range []keyring.Method{keyring.None, keyring.ZoneToken} {
		s := keyring.Settings{Authn: keyring.AuthnSettings{ZoneProxy: keyring.ZoneProxySettings{Type: method}}}
		a := newAuth(t, newCopy(t), s, func(c *Config) {
			c.MaxStale, c.Contact = time.Hour, func() time.Time { return heard }
		})
		if _, err := a.Authenticate(t.Context(), egress, "x"); cptoken.ReasonOf(err) != cptoken.Stale {
			t.Errorf("%s: %v", method, err)
		}
	}
}

// TestStaleFailsClosed tells of clocks that were set while the zone was cut off: where
// the age cannot be told, the zone refuses.
func TestStaleFailsClosed(t *testing.T) {
	disk := func(at time.Time) time.Time { return at.Round(0) } // has no monotonic reading
	start := time.Now()
	for name, tt := range map[string]struct {
		contact, now time.Time
		stale        bool
	}{
		"never":                               {time.Time{}, start, true},
		"of this process, now":                {start, start, false},
		"of this process, too old":            {start, start.Add(2 * time.Hour), true},
		"of this process, in time":            {start, start.Add(30 * time.Minute), false},
		"of the disk, in time":                {disk(start), start.Add(30 * time.Minute), false},
		"of the disk, too old":                {disk(start), start.Add(2 * time.Hour), true},
		"written when the clock was ahead":    {disk(start.Add(24 * time.Hour)), start, true},
		"written a moment ahead of now":       {disk(start.Add(time.Millisecond)), start, true},
		"the wall clock alone says it is old": {disk(start.Add(-2 * time.Hour)), start, true},
	} {
		a := newAuth(t, newCopy(t), keyring.Settings{}, func(c *Config) {
			c.MaxStale, c.Contact, c.Now = time.Hour, func() time.Time { return tt.contact }, func() time.Time { return tt.now }
		})
		err := a.Stale()
		if (err != nil) != tt.stale || tt.stale && cptoken.ReasonOf(err) != cptoken.Stale {
			t.Errorf("%s: %v, want stale %t", name, err, tt.stale)
		}
	}
}

// TestOneTokenIsPresented, before anybody else is asked about it.
func TestOneTokenIsPresented(t *testing.T) {
	for credential, want := range map[string]string{"": "missing_token", " \n": "missing_token", "a b": "malformed", "a\nb": "malformed", "a\tb\r": "malformed", " a\r\n": ""} {
		for _, method := range []keyring.Method{keyring.ZoneToken, keyring.DataplaneToken, keyring.ServiceAccountToken} {
			token, err := oneToken(credential, method)
			reason := ""
			if err != nil {
				reason = federation.AsError(err).Reason
			}
			if reason != want || want == "" && token != "a" {
				t.Errorf("%q, %s: %q, %s %v", credential, method, token, reason, err)
			}
		}
	}
}

func TestFromHeader(t *testing.T) {
	for value, want := range map[string]string{"tok": "tok", "Bearer tok": "tok", "bearer  tok ": "tok", "": "", "tok\n": "tok"} {
		if got, err := FromHeader([]string{value}); err != nil || got != want {
			t.Errorf("%q: %q, %v", value, got, err)
		}
	}
	if got, err := FromHeader(nil); err != nil || got != "" {
		t.Errorf("none: %q, %v", got, err)
	}
	_, err := FromHeader([]string{"tok", "tok"})
	var refusal *cptoken.Refusal
	if !errors.As(err, &refusal) || refusal.Reason != cptoken.Malformed {
		t.Errorf("two headers: %v", err)
	}
}

// TestAWorkloadIsThatOfTheResourcesLabel: a token that names one proves no proxy whose
// resource does not.
func TestAWorkloadIsThatOfTheResourcesLabel(t *testing.T) {
	claims := meshClaims()
	claims["Workload"] = "backend"
	token := sign(t, globalKey(), "1", registered(claims))
	a := newAuth(t, newCopy(t), keyring.Settings{}, nil)
	for name, tt := range map[string]struct {
		labels map[string]string
		reason cptoken.Reason
	}{
		"it":              {map[string]string{cptoken.WorkloadLabel: "backend", "other": "x"}, ""},
		"another":         {map[string]string{cptoken.WorkloadLabel: "payments"}, cptoken.WrongWorkload},
		"in another case": {map[string]string{cptoken.WorkloadLabel: "Backend"}, cptoken.WrongWorkload},
		"an empty one":    {map[string]string{cptoken.WorkloadLabel: ""}, cptoken.WrongWorkload},
		"another label":   {map[string]string{"kuma.io/Workload": "backend", "workload": "backend"}, cptoken.WrongWorkload},
		"no label":        {nil, cptoken.WrongWorkload},
	} {
		p := backend
		p.Labels = tt.labels
		if _, err := a.Authenticate(t.Context(), p, token); cptoken.ReasonOf(err) != tt.reason || (err == nil) != (tt.reason == "") {
			t.Errorf("%s: %v, want %q", name, err, tt.reason)
		}
	}
}
