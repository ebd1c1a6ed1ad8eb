package node

import (
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/zone/proxyauth"
	"github.com/meridiankds/meridian/internal/zone/sessions"
	"github.com/meridiankds/meridian/keysync"
)

// cacheBytes bounds the memory of verified signatures.
const cacheBytes = 16 << 20

// keySource is the zone's copy of what the global sent, as the keyring joins it with
// the zone's own keys.
type keySource struct{ copy *keysync.Store }

// View implements keyring.Source.
func (k keySource) View() cptoken.View { return k.copy.View() }

// Changed implements keyring.Source.
func (k keySource) Changed() <-chan struct{} { return k.copy.Changed() }

// authenticate makes what decides over proxies, and over the sessions that an
// admission opened: both see the same keys.
func (n *Node) authenticate() (err error) {
	log := n.cfg.Logger.With("component", "authn")
	n.verifier = cptoken.NewVerifier(cptoken.VerifierOptions{Now: n.cfg.Now, CacheBytes: cacheBytes})
	n.keyring, err = keyring.New(keyring.Config{
		Source: keySource{n.store}, Settings: n.cfg.Authn, Reload: n.cfg.ReloadAuthn, Logger: log,
		Replaced: func() { n.sessions.Judge() },
	})
	if err != nil {
		return err
	}
	n.sessions = sessions.New(sessions.Config{
		Source: n.keyring, Logger: n.cfg.Logger.With("component", "sessions"), Now: n.cfg.Now,
	})
	reviewer, err := n.cfg.reviewer()
	if err != nil {
		return err
	}
	n.auth, err = proxyauth.New(proxyauth.Config{
		Zone: n.cfg.Zone, Settings: n.cfg.Authn, Keyring: n.keyring, Verifier: n.verifier, Reviewer: reviewer,
		MaxStale: n.cfg.MaxStale,
		Contact: func() time.Time {
			_, at := n.store.Contact()
			return at
		},
		Verified: n.metrics.Counter("tokens_verified_total", "What proxies presented, by kind and result.", "kind", "result").Add,
		Misstated: n.metrics.Counter("misconfigured_statements_total",
			"Requests refused because what is stated about their callers is a mistake, by key, value and route.", "key", "value", "route").Add,
		Logger: log, Now: n.cfg.Now,
	})
	return err
}

// Sessions is where whoever serves proxies registers what an admission opened.
func (n *Node) Sessions() *sessions.Registry { return n.sessions }

// Auth decides over the proxies of this zone.
func (n *Node) Auth() *proxyauth.Authenticator { return n.auth }

// Keyring is every key that verifies tokens here.
func (n *Node) Keyring() *keyring.Keyring { return n.keyring }
