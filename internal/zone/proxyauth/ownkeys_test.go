package proxyauth

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/keyring"
)

// ownSettings have the zone's own key under the kid "key-1", for both kinds.
func ownSettings(secrets bool) keyring.Settings {
	var s keyring.Settings
	s.Authn.ZoneProxy.ZoneToken.Validator = keyring.ValidatorSettings{
		UseSecrets: boolean(secrets), PublicKeys: []keyring.PublicKey{{KID: "key-1", Key: publicPEM(ownKey())}},
	}
	s.Authn.DPProxy.DPToken.Validator = keyring.ValidatorSettings{
		UseSecrets: boolean(secrets), PublicKeys: []keyring.PublicKey{{KID: "key-1", Mesh: "default", Key: publicPEM(ownKey())}},
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
		settings         keyring.Settings
		ofGlobal, ofZone string
	}{
		"secrets alone": {keyring.Settings{}, "", "unknown_key"},
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

func TestWarnsOfNone(t *testing.T) {
	var log bytes.Buffer
	s := keyring.Settings{Auth: keyring.AuthSettings{Type: keyring.None}}
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
