package proxyauth

import (
	"context"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/keyring"
)

// warnEvery is how often it is said that proxies are believed without proof.
const warnEvery = time.Hour

// Unproven lists the types of proxies that are believed without proof.
func (a *Authenticator) Unproven() []string {
	var types []string
	for _, t := range []string{cptoken.TypeDataplane, cptoken.TypeIngress, cptoken.TypeEgress} {
		if a.cfg.Settings.Method(t) == keyring.None {
			types = append(types, t)
		}
	}
	return types
}

// Run warns at start and on each hour, until ctx ends, where proxies are believed
// without proof. It returns nil.
func (a *Authenticator) Run(ctx context.Context) error {
	ticker := time.NewTicker(warnEvery)
	defer ticker.Stop()
	return a.warn(ctx, ticker.C)
}

// warn is Run with the hours told.
func (a *Authenticator) warn(ctx context.Context, hours <-chan time.Time) error {
	types := a.Unproven()
	if len(types) == 0 {
		return nil
	}
	for {
		a.cfg.Logger.Warn("proxies are not authenticated: any of them can say that it is any other, and receive what is meant for that one",
			"proxyTypes", types, "hint", "set "+keyring.ZoneProxyType+" and "+keyring.DPProxyType+", and unset "+keyring.EnvAuthType)
		select {
		case <-ctx.Done():
			return nil
		case <-hours:
		}
	}
}

// Settings returns how proxies of this zone authenticate.
func (a *Authenticator) Settings() keyring.Settings { return a.cfg.Settings }

// Keyring returns the keys of this zone.
func (a *Authenticator) Keyring() *keyring.Keyring { return a.cfg.Keyring }

// MaxStale returns for how long the global may stay unheard; 0: for ever.
func (a *Authenticator) MaxStale() time.Duration { return a.cfg.MaxStale }

// Age returns how long ago the zone last had everything that the global had. ok is
// false if it never did, or if that cannot be told: the record lies in the future,
// so that the clock was wrong when it was written or is wrong now.
func (a *Authenticator) Age() (age time.Duration, ok bool) {
	return clock.Age(a.cfg.Contact(), a.cfg.Now())
}

// Stale returns the refusal of everybody if the zone may not decide any more.
func (a *Authenticator) Stale() error {
	if a.cfg.MaxStale <= 0 {
		return nil
	}
	age, ok := a.Age()
	if ok && age <= a.cfg.MaxStale {
		return nil
	}
	said := "has never had"
	switch {
	case ok:
		said = "last had " + age.Round(time.Second).String() + " ago"
	case !a.cfg.Contact().IsZero():
		said = "cannot tell when it last had"
	}
	refusal := cptoken.Refuse(cptoken.Stale, "this zone %s everything that the global has, and refuses after %s", said, a.cfg.MaxStale)
	if !ok && !a.cfg.Contact().IsZero() {
		return refusal.WithHint("the time that it recorded lies in the future: check this machine's clock; contact with the global ends this")
	}
	return refusal.WithHint("bring the zone's connection to the global back; zone status shows what is wrong with it")
}
