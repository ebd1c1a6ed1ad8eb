package node

import (
	"context"
	"os"

	"github.com/meridiankds/meridian/internal/zone/proxyauth"
	"github.com/meridiankds/meridian/internal/zone/tokenreview"
)

// reviewer is who judges service account tokens; nil where no proxy has one.
func (c *Config) reviewer() (proxyauth.Reviewer, error) {
	if !c.Authn.Accounts() {
		return nil, nil
	}
	s := c.Authn.Authn.ServiceAccountToken
	r, err := tokenreview.New(tokenreview.Config{
		Audience: s.Audience, Kubeconfig: s.Kubeconfig, APIServer: s.APIServer, AllowUnbound: s.AllowUnbound,
		Getenv: os.Getenv, Logger: c.Logger.With("component", "tokenreview"), Now: c.Now,
	})
	if err != nil {
		return nil, err
	}
	return accounts{r}, nil
}

// accounts is the reviewer as the authenticator of proxies wants it: a token that
// is good must be this proxy's as well.
type accounts struct{ tokens *tokenreview.Reviewer }

// Review implements proxyauth.Reviewer.
func (a accounts) Review(ctx context.Context, token string, p proxyauth.Proxy) (proxyauth.Account, error) {
	id, err := a.tokens.Review(ctx, token)
	if err == nil {
		err = id.Check(tokenreview.Proxy{Name: p.Name, Labels: p.Labels})
	}
	if err != nil {
		return proxyauth.Account{}, err
	}
	return accountOf(id), nil
}

// Identify implements proxyauth.Reviewer.
func (a accounts) Identify(ctx context.Context, token string) (proxyauth.Account, error) {
	id, err := a.tokens.Review(ctx, token)
	if err != nil {
		return proxyauth.Account{}, err
	}
	return accountOf(id), nil
}

func accountOf(id tokenreview.Identity) proxyauth.Account {
	return proxyauth.Account{Namespace: id.Namespace, Name: id.ServiceAccount, Pod: id.Pod, ID: id.ID, Expires: id.ExpiresAt}
}
