package proxyauth

import (
	"context"
	"strings"

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
		// What is said of the method that the token is of tells most: it is that of the key
		// that signed it or, where no key did, the one that it names itself.
		if refusal == nil || cptoken.ReasonOf(refusal) == cptoken.WrongKind || kindOf(method) == saidKind(credential) {
			refusal, kind = err, kindOf(method)
		}
	}
	a.Count(kind, refusal)
	return refusal
}

// saidKind is the kind that a token's claims are of, which proves nothing: it chooses the
// refusal that is shown. It is "" where they cannot be read.
func saidKind(credential string) string {
	token, err := cptoken.Inspect(strings.TrimSpace(credential))
	if err != nil {
		return ""
	}
	return string(token.Claims.Kind)
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

// Named reports whether what was presented is for one proxy alone, by its name.
func (a *Admission) Named() bool {
	switch {
	case a.Account != nil:
		return a.Account.Pod != ""
	case a.Claims != nil:
		return a.Claims.Kind == cptoken.Dataplane && a.Claims.Name != ""
	}
	return false
}

// Identity is whose quota the proxy counts against: what was presented names it, or it is
// the described proxy as the holder of this token, which may be that of many proxies. A
// name that is only said would be a way to use up another proxy's quota. All that a
// policy of none admits share one.
func (a *Admission) Identity() preauth.Identity {
	switch {
	case a.Method == keyring.None:
		return preauth.Identity{Kind: preauth.Proxy, Name: "none", Unproven: true}
	case a.Named() && a.Account != nil:
		return preauth.Identity{Kind: preauth.Proxy, Name: "pod " + a.Account.Namespace + "/" + a.Account.Pod}
	case a.Named():
		return preauth.Identity{Kind: preauth.Proxy, Name: cptoken.TypeDataplane + " " + a.Claims.Mesh + "/" + a.Claims.Name}
	}
	token := "token " + a.TokenID + " of " + a.Grant.Key.String()
	if a.Account != nil {
		token = "account " + a.Account.Namespace + "/" + a.Account.Name
	}
	return preauth.Identity{Kind: preauth.Proxy, Name: a.Subject(), Shared: token}
}
