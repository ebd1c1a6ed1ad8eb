package apiclient

import (
	"context"
	"net/http"
	"net/url"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// Zone is a client of a zone's HTTP API.
type Zone struct{ c *client }

// NewZone returns a client of the target; agent is what it calls itself,
// "zone/<version>". Nothing is dialled before the first call.
func NewZone(t Target, agent string) (*Zone, error) {
	c, err := newClient(t, agent)
	if err != nil {
		return nil, err
	}
	return &Zone{c}, nil
}

// Status asks the zone for its state.
func (z *Zone) Status(ctx context.Context) (apitypes.ZoneStatus, error) {
	return get[apitypes.ZoneStatus](ctx, z.c, "the status", nil, "v1", "status")
}

// DataplaneToken has the zone ask the global for a dataplane token, in the name of
// the user whose token the target has.
func (z *Zone) DataplaneToken(ctx context.Context, r apitypes.DataplaneTokenRequest) (Issued, error) {
	return z.c.issue(ctx, "dataplane", r)
}

// Proxies asks the zone who is connected.
func (z *Zone) Proxies(ctx context.Context) (apitypes.ZoneProxies, error) {
	return get[apitypes.ZoneProxies](ctx, z.c, "the proxies", nil, "v1", "proxies")
}

// ProxyConfigs returns what the connections of proxies of a name have and are to have. An
// empty type or mesh means any.
func (z *Zone) ProxyConfigs(ctx context.Context, proxyType, mesh, name string) (apitypes.ZoneProxyConfigs, error) {
	query := url.Values{"name": {name}}
	for key, value := range map[string]string{"type": proxyType, "mesh": mesh} {
		if value != "" {
			query.Set(key, value)
		}
	}
	return get[apitypes.ZoneProxyConfigs](ctx, z.c, "the configuration", query, "v1", "proxies", "config")
}

// Proxies is a client of the port on which a zone authenticates proxies.
type Proxies struct{ c *client }

// NewProxies returns a client of the target, as [NewZone] does.
func NewProxies(t Target, agent string) (*Proxies, error) {
	c, err := newClient(t, agent)
	if err != nil {
		return nil, err
	}
	return &Proxies{c}, nil
}

// Authenticate asks the zone whether it accepts a token. A refusal is an error
// for which [Refused] is true; its Reason is the typed one.
func (p *Proxies) Authenticate(ctx context.Context, r apitypes.AuthenticateRequest) (apitypes.Identity, error) {
	var id apitypes.Identity
	err := p.c.do(ctx, call{method: http.MethodPost, path: []string{"v1", "authenticate"}, body: r, into: &id})
	if err == nil {
		err = p.c.complete(id)
	}
	return id, err
}

// Refused reports whether err is a zone's verdict on a token, as opposed to a
// zone that could not be asked.
func Refused(err error) bool {
	e := federation.AsError(err)
	return e != nil && e.Reason != ""
}
