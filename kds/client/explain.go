package client

import (
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/kds"
)

// aboutToken adds what the zone can tell by itself about the token that was refused: a
// global does not tell a stranger more than that it was.
func (c *Client) aboutToken(e *federation.Error) *federation.Error {
	if e.Code != federation.Unauthenticated || e.Reason == kds.ReasonMissingToken {
		return e
	}
	raw, err := c.readToken()
	if err != nil || raw == "" {
		return e
	}
	token, err := cptoken.Inspect(raw)
	if err != nil {
		return e
	}
	claims := &token.Claims
	switch {
	case claims.Kind == cptoken.Zone && claims.CheckControlPlane(claims.Zone) != nil:
		scopes := make([]string, len(claims.Scope))
		for i, s := range claims.Scope {
			scopes[i] = string(s)
		}
		return e.WithHint("the token in the file is a zone token of the scope %s, not cp: give a control plane token, global generate control-plane-token --zone %s",
			strings.Join(scopes, ","), c.cfg.Zone)
	case claims.Kind != cptoken.Zone && claims.Kind != cptoken.ControlPlane:
		return e.WithHint("the token in the file is a %s: give a control plane token, global generate control-plane-token --zone %s",
			claims.Kind.TokenName(), c.cfg.Zone)
	case claims.Zone != c.cfg.Zone:
		return e.WithHint("the token in the file names another zone, %.80q: give one of this zone, global generate control-plane-token --zone %s", claims.Zone, c.cfg.Zone)
	}
	return e
}

// throughProxy names the proxy that a connection went through that did not come about.
func throughProxy(e *federation.Error, address string, proxy func(*http.Request) (*url.URL, error)) *federation.Error {
	host, _, err := net.SplitHostPort(address)
	if err != nil || e.Code != federation.Unavailable {
		return e
	}
	u, err := proxy(&http.Request{URL: &url.URL{Scheme: "https", Host: address}})
	if err != nil || u == nil {
		return e
	}
	told := *e
	told.Detail += " (through the proxy " + u.Host + ")"
	return told.WithHint("HTTPS_PROXY names the proxy; NO_PROXY=%s goes there directly", host)
}
