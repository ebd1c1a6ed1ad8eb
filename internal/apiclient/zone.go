package apiclient

import (
	"context"
	"net/http"
	"time"

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

// ZoneStatus is the answer of a zone's GET /v1/status.
type ZoneStatus struct {
	Zone     string `json:"zone"`
	Instance string `json:"instance"`
	Version  string `json:"version"`
	// Cluster is "" and Revision "none" while the zone knows nothing and refuses
	// every token; Empty says so.
	Cluster  string     `json:"cluster"`
	Revision string     `json:"revision"`
	Empty    bool       `json:"empty"`
	Global   ZoneGlobal `json:"global"`
	// Authentication is how proxies prove who they are.
	Authentication ZoneAuthentication `json:"authentication"`
	Keys           []ZoneKey          `json:"keys"`
	// Revocations counts revoked ids by kind of token.
	Revocations map[string]int `json:"revocations"`
	CutOffs     int            `json:"cutOffs"`
	Unwritten   string         `json:"unwritten,omitempty"`
	NotHeld     []string       `json:"notHeld,omitempty"`
	// Certificates are those that the zone uses.
	Certificates []apitypes.Certificate `json:"certificates"`
}

// ZoneAuthentication is how proxies prove to a zone who they are: zoneToken, dpToken,
// serviceAccountToken or none.
type ZoneAuthentication struct {
	ZoneProxy      string   `json:"zoneProxy"`
	DPProxy        string   `json:"dpProxy"`
	IgnoredSecrets []string `json:"ignoredSecrets,omitempty"`
}

// ZoneGlobal is what a zone knows of its global.
type ZoneGlobal struct {
	Connected  bool       `json:"connected"`
	Address    string     `json:"address,omitempty"`
	Member     string     `json:"member,omitempty"`
	Kind       string     `json:"kind,omitempty"`  // "meridian" or "kuma"
	Since      *time.Time `json:"since,omitempty"` // connected, or not connected, since
	LastError  string     `json:"lastError,omitempty"`
	LastHeard  *time.Time `json:"lastHeard,omitempty"`
	AgeSeconds *float64   `json:"ageSeconds,omitempty"`
	MaxStale   string     `json:"maxStale,omitempty"`
	Stale      bool       `json:"stale"`
}

// ZoneKey is a public key that a zone verifies tokens with.
type ZoneKey struct {
	Kind        string `json:"kind"`
	Mesh        string `json:"mesh,omitempty"`
	KID         string `json:"kid"`
	State       string `json:"state"`
	Alg         string `json:"alg"`
	Fingerprint string `json:"fingerprint"`
	Registered  bool   `json:"registered,omitempty"`
	Static      bool   `json:"static,omitempty"` // of the zone's own settings
	// NotInKeySet says why the zone's key sets leave the key out; "" where they have it.
	NotInKeySet string `json:"notInKeySet,omitempty"`
}

// Status asks the zone for its state.
func (z *Zone) Status(ctx context.Context) (ZoneStatus, error) {
	return get[ZoneStatus](ctx, z.c, "the status", nil, "v1", "status")
}

// DataplaneToken has the zone ask the global for a dataplane token, in the name of
// the user whose token the target has.
func (z *Zone) DataplaneToken(ctx context.Context, r apitypes.DataplaneTokenRequest) (Issued, error) {
	return z.c.issue(ctx, "dataplane", r)
}

// ZoneProxies is the answer of a zone's GET /v1/proxies.
type ZoneProxies struct {
	Total int         `json:"total"`
	Items []ZoneProxy `json:"items"`
}

// ZoneProxy is an open connection of a proxy.
type ZoneProxy struct {
	Type      string               `json:"type"`
	Mesh      string               `json:"mesh,omitempty"`
	Name      string               `json:"name"`
	Tags      map[string][]string  `json:"tags,omitempty"`
	Identity  Identity             `json:"identity"`
	Remote    string               `json:"remote"`
	Protocol  string               `json:"protocol"`
	Version   string               `json:"version,omitempty"`
	Since     time.Time            `json:"since"`
	Resources []ZoneProxyResources `json:"resources"`
}

// ZoneProxyResources is how far a proxy is with a type of resource.
type ZoneProxyResources struct {
	Type         string    `json:"type"`
	Sent         string    `json:"sent"`
	Nonce        string    `json:"nonce"`
	Acknowledged string    `json:"acknowledged,omitempty"`
	Refused      string    `json:"refused,omitempty"` // why; empty: it was not
	At           time.Time `json:"at"`
}

// Proxies asks the zone who is connected.
func (z *Zone) Proxies(ctx context.Context) (ZoneProxies, error) {
	return get[ZoneProxies](ctx, z.c, "the proxies", nil, "v1", "proxies")
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

// AuthenticateRequest is the body of POST /v1/authenticate: a token, and which
// proxy its holder says it is.
type AuthenticateRequest struct {
	Token     string              `json:"token"`
	ProxyType string              `json:"proxyType,omitempty"` // ingress, egress or dataplane
	Mesh      string              `json:"mesh,omitempty"`
	Name      string              `json:"name,omitempty"`
	Tags      map[string][]string `json:"tags,omitempty"`
	Labels    map[string]string   `json:"labels,omitempty"` // of the proxy's resource
	// Require states who the holder must be, in place of the other members.
	Require map[string]string `json:"require,omitzero"`
}

// Identity is what an accepted token proves.
type Identity struct {
	Method string              `json:"method"`
	Kind   string              `json:"kind,omitempty"`
	Zone   string              `json:"zone"`
	Scope  []string            `json:"scope,omitempty"`
	Mesh   string              `json:"mesh,omitempty"`
	Name   string              `json:"name,omitempty"`
	Tags   map[string][]string `json:"tags,omitempty"`
	// Workload is the label kuma.io/workload that the proxy must have.
	Workload string `json:"workload,omitempty"`
	// ServiceAccount is namespace/name.
	ServiceAccount string     `json:"serviceAccount,omitempty"`
	ID             string     `json:"jti,omitempty"`
	Expires        *time.Time `json:"expires,omitempty"` // nil: never
	Revision       string     `json:"revision"`          // what the zone knew when it decided
	// Proved lists what of this the token proves; the rest is the proxy's own word.
	Proved []string `json:"proved"`
}

// Authenticate asks the zone whether it accepts a token. A refusal is an error
// for which [Refused] is true; its Reason is the typed one.
func (p *Proxies) Authenticate(ctx context.Context, r AuthenticateRequest) (Identity, error) {
	var id Identity
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
