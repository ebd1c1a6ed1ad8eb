package proxyauth

import (
	"context"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/net/preauth"
)

// Plausible returns why a credential can be no proxy's of this zone, or nil: what a
// caller sends besides is not worth reading then. Whether it is this proxy's is for
// Authenticate.
func (a *Authenticator) Plausible(ctx context.Context, credential string) error {
	methods := [...]keyring.Method{a.cfg.Settings.Method(cptoken.TypeDataplane), a.cfg.Settings.Method(cptoken.TypeIngress)}
	var refusal error
	kind := ""
	for _, method := range methods {
		if method == keyring.None {
			return nil
		}
		token, err := oneToken(credential, method)
		if err == nil {
			err = a.plausible(ctx, method, token)
		}
		if err == nil {
			return nil
		}
		// What is said of the method that the token is of tells most.
		if refusal == nil || cptoken.ReasonOf(refusal) == cptoken.WrongKind {
			refusal, kind = err, kindOf(method)
		}
	}
	a.Count(kind, refusal)
	return refusal
}

func (a *Authenticator) plausible(ctx context.Context, method keyring.Method, token string) error {
	switch method {
	case keyring.ZoneToken:
		_, err := a.cfg.Verifier.Verify(a.cfg.Keyring.View(), cptoken.Zone, token)
		return err
	case keyring.DataplaneToken:
		_, err := a.cfg.Verifier.Verify(a.cfg.Keyring.View(), cptoken.Dataplane, token)
		return err
	}
	_, err := a.cfg.Reviewer.Identify(ctx, token)
	return err
}

// Identity is whose quota the proxy counts against: its type, mesh or zone, and name,
// or its token where it says no name. All that a policy of none admits share one.
func (a *Admission) Identity() preauth.Identity {
	switch {
	case a.Method == keyring.None:
		return preauth.Identity{Kind: preauth.Proxy, Name: "none", Unproven: true}
	case a.Proxy.Name == "":
		return preauth.Identity{Kind: preauth.Proxy, Name: a.Subject() + " " + a.TokenID}
	}
	return preauth.Identity{Kind: preauth.Proxy, Name: a.Subject()}
}
