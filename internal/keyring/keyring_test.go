package keyring

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

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
	k, err := New(Config{
		Source: &fakeSource{}, Settings: s, Reload: func() (Settings, error) { return now, nil },
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
	write(publicPEM(otherKey()))
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
	write(publicPEM(otherKey()))
	now.Authn.ZoneProxy.ZoneToken.Validator.PublicKeys = nil
	now.Authn.ZoneProxy.Type = None
	k.Check()
	if got := k.View().Key(id); got != nil || replaced != 2 || !strings.Contains(log.String(), "takes a restart") {
		t.Fatalf("the list was emptied: %v, %d, log %s", got, replaced, log.String())
	}
}

// A view passes on what the global revoked and cut off, for its own keys too.
func TestViewKeepsWhatTheGlobalTookBack(t *testing.T) {
	var s Settings
	s.Authn.ZoneProxy.ZoneToken.Validator.PublicKeys = []PublicKey{{KID: "key-1", Key: publicPEM(ownKey())}}
	source := &fakeSource{revoked: "lost", cut: time.Unix(1_800_000_000, 0)}
	k, err := New(Config{Source: source, Settings: s})
	if err != nil {
		t.Fatal(err)
	}
	v := k.View()
	if v == source.View() || v.Key(cptoken.KeyID{Kind: cptoken.Zone, KID: "key-1"}) == nil {
		t.Fatal("the view lacks the own key")
	}
	if !v.Revoked(cptoken.Zone, "", "lost") || v.Revoked(cptoken.Zone, "", "kept") || !v.CutOff(cptoken.Zone, "", "key-1").Equal(source.cut) {
		t.Error("the view does not answer what the global's does")
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
	if _, err := New(Config{Source: &fakeSource{}, Settings: twice}); federation.CodeOf(err) != federation.Invalid {
		t.Errorf("one kid twice: %v", err)
	}
	missing := zone(ValidatorSettings{PublicKeys: []PublicKey{{KID: "k", KeyFile: filepath.Join(t.TempDir(), "none.pem")}}})
	if _, err := New(Config{Source: &fakeSource{}, Settings: missing}); federation.CodeOf(err) != federation.Invalid {
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

// What the global pruned is pruned for the zone's own keys too: their revocations are the
// global's.
func TestThePruningTimeIsTheGlobals(t *testing.T) {
	at := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
	settings := Settings{}
	settings.Authn.ZoneProxy.ZoneToken.Validator.PublicKeys = []PublicKey{{KID: "own", Key: publicPEM(newKey())}}
	if err := settings.Complete(); err != nil {
		t.Fatal(err)
	}
	ring, err := New(Config{Source: &fakeSource{pruned: at}, Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	if got := ring.View().Pruned(); !got.Equal(at) {
		t.Errorf("pruned at %s, want %s", got, at)
	}
}

// TestPublicKeysThatOthersMayWrite: whose tokens are believed would be theirs to say.
func TestPublicKeysThatOthersMayWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "public.pem")
	if err := os.WriteFile(path, []byte(publicPEM(ownKey())), 0o600); err != nil {
		t.Fatal(err)
	}
	var s Settings
	s.Authn.DPProxy.DPToken.Validator.PublicKeys = []PublicKey{{KID: "key-1", Mesh: "default", KeyFile: path}}
	if err := s.Complete(); err != nil {
		t.Fatal(err)
	}
	for mode := os.FileMode(0o600); mode <= 0o607; mode++ {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := New(Config{Source: &fakeSource{}, Settings: s})
		if want := mode&0o2 == 0; (err == nil) != want || !want && !strings.Contains(err.Error(), path) {
			t.Errorf("mode %#o: %v", mode, err)
		}
	}
}
