package proxyport

import (
	"net/http"
	"time"

	"github.com/meridiankds/meridian/internal/apierr"
	"github.com/meridiankds/meridian/internal/zone/proxies"
)

// Proxies is the answer to GET /v1/proxies: the connections that are open, ordered
// by type, mesh and name.
type Proxies struct {
	Total int     `json:"total"`
	Items []Proxy `json:"items"`
}

// Proxy is an open connection of a proxy.
type Proxy struct {
	Type     string              `json:"type"` // dataplane, ingress or egress
	Mesh     string              `json:"mesh,omitempty"`
	Name     string              `json:"name"`
	Tags     map[string][]string `json:"tags,omitempty"`
	Identity *Identity           `json:"identity"` // what it proved, as /v1/authenticate answers
	Remote   string              `json:"remote"`
	Protocol string              `json:"protocol"` // ads or delta-ads
	Version  string              `json:"version,omitempty"`
	Since    time.Time           `json:"since"`
	// Resources is how far it is with each type of resource that it asked for.
	Resources []ProxyResources `json:"resources"`
}

// ProxyResources is how far a proxy is with a type of resource.
type ProxyResources struct {
	Type         string    `json:"type"`
	Sent         string    `json:"sent"` // version
	Nonce        string    `json:"nonce"`
	Acknowledged string    `json:"acknowledged,omitempty"`
	Refused      string    `json:"refused,omitempty"` // why it refused what was sent last
	At           time.Time `json:"at"`
}

func (s *Server) proxies(w http.ResponseWriter, _ *http.Request) {
	out := Proxies{Items: []Proxy{}}
	for _, c := range s.cfg.Proxies.Proxies() {
		out.Items = append(out.Items, proxyOf(c))
	}
	out.Total = len(out.Items)
	apierr.WriteJSON(w, http.StatusOK, out)
}

func proxyOf(c *proxies.Connection) Proxy {
	p := Proxy{
		Type: c.ID.Type, Mesh: c.ID.Mesh, Name: c.ID.Name, Tags: c.Resource.Tags(), Identity: identityOf(c.Admission),
		Remote: c.Remote, Protocol: c.Protocol, Version: c.Version, Since: c.Since.UTC(), Resources: []ProxyResources{},
	}
	for _, sub := range c.Subscriptions() {
		p.Resources = append(p.Resources, ProxyResources{
			Type: sub.Type, Sent: sub.Sent, Nonce: sub.SentNonce, Acknowledged: sub.Acknowledged, Refused: sub.Refused, At: sub.At.UTC(),
		})
	}
	return p
}
