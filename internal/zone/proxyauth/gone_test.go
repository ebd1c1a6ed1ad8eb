package proxyauth

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/keyring"
)

// unanswered is a reviewer whose API server answers nobody.
type unanswered struct{ asked chan struct{} }

func (u unanswered) Review(ctx context.Context, token string, _ Proxy) (Account, error) {
	return u.Identify(ctx, token)
}

func (u unanswered) Identify(ctx context.Context, _ string) (Account, error) {
	close(u.asked)
	<-ctx.Done()
	return Account{}, federation.Errorf(federation.Unavailable, "no answer").WithReason("review_unavailable").WithCause(ctx.Err())
}

// TestWhoAskedHasGone: neither this zone nor whom it asks is to blame, and the metric does
// not say so. Where this zone ended the call, that is why.
func TestWhoAskedHasGone(t *testing.T) {
	settings := keyring.Settings{Authn: keyring.AuthnSettings{DPProxy: keyring.DPProxySettings{Type: keyring.ServiceAccountToken}}}
	settings.Authn.ServiceAccountToken.Audience = "meridian-zone"
	full := federation.Errorf(federation.Unavailable, "too many").WithReason("too_many_unauthenticated")
	for name, tc := range map[string]struct {
		cause  error
		reason string
	}{"hung up": {nil, "canceled"}, "ended from here": {full, "too_many_unauthenticated"}, "for another reason": {errors.New("x"), "canceled"}} {
		for way, ask := range map[string]func(*Authenticator, context.Context) error{
			"prove": func(a *Authenticator, ctx context.Context) error {
				_, err := a.Prove(ctx, map[string]string{"proxyType": cptoken.TypeDataplane}, "x", "sa")
				return err
			},
			"authenticate": func(a *Authenticator, ctx context.Context) error {
				_, err := a.Authenticate(ctx, backend, "sa")
				return err
			},
		} {
			var counted []string
			u := unanswered{make(chan struct{})}
			a := newAuth(t, newCopy(t), settings, func(c *Config) {
				c.Reviewer, c.Verified = u, func(labels ...string) { counted = append(counted, labels[1]) }
			})
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() { <-u.asked; cancel(tc.cause) }()
			if err := federation.AsError(ask(a, ctx)); err.Code != federation.Unavailable || err.Reason != tc.reason || !slices.Equal(counted, []string{tc.reason}) {
				t.Errorf("%s, %s: %v %s, counted %v", name, way, err, err.Reason, counted)
			}
		}
	}
}
