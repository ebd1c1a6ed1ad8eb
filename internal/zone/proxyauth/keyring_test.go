package proxyauth

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// ownSettings have the zone's own key under the kid "key-1", for both kinds.
func ownSettings(secrets bool) Settings {
	var s Settings
	s.Authn.ZoneProxy.ZoneToken.Validator = ValidatorSettings{
		UseSecrets: boolean(secrets), PublicKeys: []PublicKey{{KID: "key-1", Key: publicPEM(ownKey())}},
	}
	s.Authn.DPProxy.DPToken.Validator = ValidatorSettings{
		UseSecrets: boolean(secrets), PublicKeys: []PublicKey{{KID: "key-1", Mesh: "default", Key: publicPEM(ownKey())}},
	}
	return s
}

// TestKeysTogetherAndAlone plays the settings of the users' documents: secrets and
// the zone's own keys together, and either alone; with nothing in the tokens but
// the claims that are documented.
func TestKeysTogetherAndAlone(t *testing.T) {
	bare := map[string]string{
		"egress":     sign(t, ownKey(), "key-1", zoneClaims("egress", "ingress")),
		"data plane": sign(t, ownKey(), "key-1", meshClaims()),
	}
	full := map[string]string{
		"egress":     sign(t, globalKey(), "1", registered(zoneClaims("egress", "ingress"))),
		"data plane": sign(t, globalKey(), "1", registered(meshClaims())),
	}
	proxies := map[string]Proxy{"egress": egress, "data plane": backend}
	for name, test := range map[string]struct {
		settings         Settings
		ofGlobal, ofZone string
	}{
		"secrets alone": {Settings{}, "", "unknown_key"},
		"both":          {ownSettings(true), "", ""},
		"own alone":     {ownSettings(false), "unknown_key", ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAuth(t, newCopy(t), test.settings, nil)
			for what, p := range proxies {
				if _, err := a.Authenticate(t.Context(), p, full[what]); string(cptoken.ReasonOf(err)) != test.ofGlobal {
					t.Errorf("%s with a token of the global's: %v, want %q", what, err, test.ofGlobal)
				}
				if _, err := a.Authenticate(t.Context(), p, bare[what]); string(cptoken.ReasonOf(err)) != test.ofZone {
					t.Errorf("%s with a token of the zone's own key: %v, want %q", what, err, test.ofZone)
				}
			}
		})
	}
}

// TestOwnKeysAreRevocable revokes a token of the zone's own key, by its hash as it
// has no jti, and one that has.
func TestOwnKeysAreRevocable(t *testing.T) {
	source := newCopy(t)
	a := newAuth(t, source, ownSettings(false), nil)
	for _, claims := range []map[string]any{zoneClaims("egress"), registered(zoneClaims("egress"))} {
		token := sign(t, ownKey(), "key-1", claims)
		admission, err := a.Authenticate(t.Context(), egress, token)
		if err != nil {
			t.Fatal(err)
		}
		source.revoke(admission.TokenID)
		if _, err := a.Authenticate(t.Context(), egress, token); cptoken.ReasonOf(err) != cptoken.Revoked {
			t.Errorf("revoked as %s: %v", admission.TokenID, err)
		}
		if err := admission.Grant.Check(a.Keyring().View(), testNow); cptoken.ReasonOf(err) != cptoken.Revoked {
			t.Errorf("what it opened: %v", err)
		}
	}
}

func TestOwnKeyBounds(t *testing.T) {
	s := ownSettings(false)
	key := &s.Authn.ZoneProxy.ZoneToken.Validator.PublicKeys[0]
	key.AllowNoID, key.MaxLifetime = boolean(false), "30m"
	a := newAuth(t, newCopy(t), s, nil)
	cp := registered(zoneClaims("cp"))
	cp["exp"] = testNow.Unix() + 1800
	if _, err := a.cfg.Verifier.Verify(a.Keyring().View(), cptoken.Zone, sign(t, ownKey(), "key-1", cp)); cptoken.ReasonOf(err) != cptoken.NotAllowed {
		t.Errorf("for a control plane: %v", err)
	}
	claims := registered(zoneClaims("egress"))
	for want, edit := range map[cptoken.Reason]func(){
		cptoken.NotAllowed:    func() {},
		"":                    func() { claims["exp"] = testNow.Unix() + 1800 },
		cptoken.MissingID:     func() { claims["exp"] = testNow.Unix() + 1800; delete(claims, "jti") },
		cptoken.MissingExpiry: func() { delete(claims, "exp") },
	} {
		claims = registered(zoneClaims("egress"))
		edit()
		if _, err := a.Authenticate(t.Context(), egress, sign(t, ownKey(), "key-1", claims)); cptoken.ReasonOf(err) != want {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestKeyringFollowsItsFiles replaces a key file, the list, and both by rubbish.
func TestKeyringFollowsItsFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "public.pem")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(publicPEM(ownKey()))
	var s Settings
	s.Authn.ZoneProxy.ZoneToken.Validator.PublicKeys = []PublicKey{{KID: "key-1", KeyFile: path}}
	if err := s.Complete(); err != nil {
		t.Fatal(err)
	}
	now, replaced := s, 0
	var log bytes.Buffer
	k, err := NewKeyring(KeyringConfig{
		Source: newCopy(t), Settings: s, Reload: func() (Settings, error) { return now, nil },
		Replaced: func() { replaced++ }, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	id := cptoken.KeyID{Kind: cptoken.Zone, KID: "key-1"}
	first := k.View().Key(id)
	k.Check()
	if first == nil || replaced != 0 || k.View() != k.View() {
		t.Fatalf("at start: %v, replaced %d times", first, replaced)
	}
	write(publicPEM(globalKey()))
	k.Check()
	second := k.View().Key(id)
	if second == nil || second.Fingerprint() == first.Fingerprint() || replaced != 1 {
		t.Fatalf("the file was replaced: %v, %d", second, replaced)
	}
	write("rubbish")
	for range 3 {
		k.Check()
	}
	if got := k.View().Key(id); got != second || strings.Count(log.String(), "cannot be used") != 1 || strings.Contains(log.String(), "rubbish") {
		t.Fatalf("rubbish: %v, log %s", got, log.String())
	}
	write(publicPEM(globalKey()))
	now.Authn.ZoneProxy.ZoneToken.Validator.PublicKeys = nil
	now.Authn.ZoneProxy.Type = None
	k.Check()
	if got := k.View().Key(id); got != nil || replaced != 2 || !strings.Contains(log.String(), "takes a restart") {
		t.Fatalf("the list was emptied: %v, %d, log %s", got, replaced, log.String())
	}
}

func TestSettingsRefused(t *testing.T) {
	good := publicPEM(ownKey())
	zone := func(v ValidatorSettings) Settings {
		var s Settings
		s.Authn.ZoneProxy.ZoneToken.Validator = v
		return s
	}
	dataplane := func(k PublicKey) Settings {
		var s Settings
		s.Authn.DPProxy.DPToken.Validator.PublicKeys = []PublicKey{k}
		return s
	}
	for name, s := range map[string]Settings{
		"unknown type":        {Authn: AuthnSettings{DPProxy: DPProxySettings{Type: "token"}}},
		"dpToken of ingress":  {Authn: AuthnSettings{ZoneProxy: ZoneProxySettings{Type: DataplaneToken}}},
		"unknown legacy type": {Auth: AuthSettings{Type: ZoneToken}},
		"contradiction":       {Auth: AuthSettings{Type: None}, Authn: AuthnSettings{ZoneProxy: ZoneProxySettings{Type: ZoneToken}}},
		"nothing verifies":    zone(ValidatorSettings{UseSecrets: boolean(false)}),
		"kid of digits":       zone(ValidatorSettings{PublicKeys: []PublicKey{{KID: "1", Key: good}}}),
		"no kid":              zone(ValidatorSettings{PublicKeys: []PublicKey{{Key: good}}}),
		"no key":              zone(ValidatorSettings{PublicKeys: []PublicKey{{KID: "k"}}}),
		"key and file":        zone(ValidatorSettings{PublicKeys: []PublicKey{{KID: "k", Key: good, KeyFile: "f"}}}),
		"a mesh":              zone(ValidatorSettings{PublicKeys: []PublicKey{{KID: "k", Key: good, Mesh: "default"}}}),
		"not a key":           zone(ValidatorSettings{PublicKeys: []PublicKey{{KID: "k", Key: "x"}}}),
		"a lifetime of days":  zone(ValidatorSettings{PublicKeys: []PublicKey{{KID: "k", Key: good, MaxLifetime: "30d"}}}),
		"too many":            zone(ValidatorSettings{PublicKeys: make([]PublicKey, MaxPublicKeys+1)}),
		"no mesh":             dataplane(PublicKey{KID: "k", Key: good}),
		"unknown scope":       zone(ValidatorSettings{PublicKeys: []PublicKey{{KID: "k", Key: good, Scopes: []cptoken.Scope{"all"}}}}),
		"scopes of dataplane": dataplane(PublicKey{KID: "k", Key: good, Mesh: "default", Scopes: []cptoken.Scope{"egress"}}),
	} {
		if err := s.Complete(); federation.CodeOf(err) != federation.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	twice := zone(ValidatorSettings{PublicKeys: []PublicKey{{KID: "k", Key: good}, {KID: "k", Key: good}}})
	if _, err := NewKeyring(KeyringConfig{Source: newCopy(t), Settings: twice}); federation.CodeOf(err) != federation.Invalid {
		t.Errorf("one kid twice: %v", err)
	}
	missing := zone(ValidatorSettings{PublicKeys: []PublicKey{{KID: "k", KeyFile: filepath.Join(t.TempDir(), "none.pem")}}})
	if _, err := NewKeyring(KeyringConfig{Source: newCopy(t), Settings: missing}); federation.CodeOf(err) != federation.Invalid {
		t.Errorf("no file: %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	for name, test := range map[string]struct {
		file     Settings
		env      map[string]string
		zone, dp Method
		fails    bool
	}{
		"nothing":            {Settings{}, nil, ZoneToken, DataplaneToken, false},
		"none":               {Settings{}, map[string]string{EnvAuthType: "none"}, None, None, false},
		"none over a file":   {Settings{Authn: AuthnSettings{ZoneProxy: ZoneProxySettings{Type: ZoneToken}}}, map[string]string{EnvAuthType: "none"}, None, None, false},
		"legacy file":        {Settings{Auth: AuthSettings{Type: None}}, nil, None, None, false},
		"over legacy file":   {Settings{Auth: AuthSettings{Type: None}}, map[string]string{EnvAuthType: "dpToken"}, ZoneToken, DataplaneToken, false},
		"one over legacy":    {Settings{Auth: AuthSettings{Type: None}}, map[string]string{envDPProxy: "dpToken"}, None, DataplaneToken, false},
		"empty says nothing": {Settings{Auth: AuthSettings{Type: None}}, map[string]string{EnvAuthType: ""}, None, None, false},
		"contradiction":      {Settings{}, map[string]string{EnvAuthType: "none", envDPProxy: "dpToken"}, "", "", true},
		"unknown":            {Settings{}, map[string]string{envZoneProxy: "off"}, "", "", true},
		"unknown legacy":     {Settings{}, map[string]string{EnvAuthType: "off"}, "", "", true},
		"not a boolean":      {Settings{}, map[string]string{envZoneIssuer: "maybe"}, "", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := test.file
			err := s.Override(func(name string) (string, bool) { v, ok := test.env[name]; return v, ok })
			if err == nil {
				err = s.Complete()
			}
			if (err != nil) != test.fails || err == nil && (s.Authn.ZoneProxy.Type != test.zone || s.Authn.DPProxy.Type != test.dp) {
				t.Errorf("%v, %s and %s", err, s.Authn.ZoneProxy.Type, s.Authn.DPProxy.Type)
			}
		})
	}
	var s Settings
	env := map[string]string{envZoneIssuer: "false", envUseTokenPath: "true", envDataplaneSecret: "true"}
	if err := s.Override(func(name string) (string, bool) { v, ok := env[name]; return v, ok }); err != nil {
		t.Fatal(err)
	}
	if s.Authn.ZoneProxy.ZoneToken.Issues() || !s.ReloadTokens() || !s.Authn.DPProxy.DPToken.Validator.Secrets() || !s.Authn.DPProxy.DPToken.Issues() {
		t.Errorf("%+v", s)
	}
}

func TestWarnsOfNone(t *testing.T) {
	var log bytes.Buffer
	s := Settings{Auth: AuthSettings{Type: None}}
	a := newAuth(t, newCopy(t), s, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	hours, ended := make(chan time.Time), make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { ended <- a.warn(ctx, hours) }()
	hours <- testNow
	hours <- testNow // taken once the first is dealt with
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "proxies are not authenticated"); n != 3 {
		t.Errorf("warned %d times, want at start and on two hours: %s", n, log.String())
	}
}
