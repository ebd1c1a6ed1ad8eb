package bootstrap

import (
	"cmp"
	"strings"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/yamldoc"
	"github.com/meridiankds/meridian/internal/zone/resource"
)

// MaxBytes bounds the body of a request: the proxy's resource, and room for a
// token, a certificate and what else there is.
const MaxBytes = resource.MaxBytes + 512<<10

// Request is the body of POST /bootstrap.
type Request struct {
	Mesh      string `json:"mesh"`
	Name      string `json:"name"`
	ProxyType string `json:"proxyType"` // "dataplane" or "", "ingress", "egress"

	DataplaneToken string `json:"dataplaneToken"`
	// DataplaneTokenPath is the token's file on the proxy's machine.
	DataplaneTokenPath string `json:"dataplaneTokenPath"`
	// DataplaneResource is the resource as JSON or YAML; "" for one that registered
	// before.
	DataplaneResource string `json:"dataplaneResource"`

	// Host is what the proxy calls its control plane; the Host of the HTTP request
	// is taken where it is "".
	Host   string `json:"host"`
	CACert string `json:"caCert"` // PEM; "" where the proxy knows none

	DynamicMetadata map[string]string `json:"dynamicMetadata"`
	AdminPort       uint32            `json:"adminPort"`
	DNSPort         uint32            `json:"dnsPort"`
	ReadinessPort   uint32            `json:"readinessPort"`
	OperatingSystem string            `json:"operatingSystem"`
	Features        []string          `json:"features"`
	Workdir         string            `json:"workdir"`
	SystemCAPath    string            `json:"systemCaPath"`
	Resources       struct {
		MaxHeapSizeBytes uint64 `json:"maxHeapSizeBytes"`
	} `json:"resources"`
	MetricsResources *yamldoc.Node `json:"metricsResources"`
	// Version is what the proxy's programs call theirs; it is handed on.
	Version *yamldoc.Node `json:"version"`
	// Agent is said by our own agent.
	Agent *Agent `json:"meridianAgent"`
}

// ParseRequest reads a body. Members that are not known are passed over. The error
// is for the proxy to read.
func ParseRequest(body []byte) (*Request, error) {
	root, err := yamldoc.Parse(body, MaxBytes)
	if err != nil {
		return nil, err
	}
	var r Request
	if err := yamldoc.Bind(root, &r, false); err != nil {
		return nil, err
	}
	if _, ok := resource.KindOf(r.ProxyType); !ok {
		return nil, federation.InvalidField("proxyType", "%.40q is not a type of proxy: use dataplane, ingress or egress", r.ProxyType)
	}
	const maxPort = 65535
	for _, p := range [...]struct {
		field string
		port  uint32
	}{{"adminPort", r.AdminPort}, {"dnsPort", r.DNSPort}, {"readinessPort", r.ReadinessPort}} {
		if p.port > maxPort {
			return nil, federation.InvalidField(p.field, "%d is not a port", p.port)
		}
	}
	if r.Agent != nil {
		if err := r.Agent.check(); err != nil {
			return nil, err
		}
	}
	return &r, nil
}

// KumaDP is the version that kuma-dp says it is, "" for another program.
func (r *Request) KumaDP() string {
	if version := r.Version.Get("kumaDp").Get("version"); version != nil && version.Kind == yamldoc.Text {
		return version.Text
	}
	return ""
}

// NodeID is what the proxy's Envoy calls itself.
func (r *Request) NodeID() string {
	if kind, _ := resource.KindOf(r.ProxyType); kind != resource.Dataplane {
		return "." + r.Name
	}
	return cmp.Or(r.Mesh, resource.DefaultMesh) + "." + r.Name
}

// Resource returns the resource of the request, nil where it has none. Where
// mesh, name or type are said twice they must agree.
func (r *Request) Resource() (*resource.Resource, error) {
	if strings.TrimSpace(r.DataplaneResource) == "" {
		return nil, nil
	}
	res, err := resource.ParseRequest([]byte(r.DataplaneResource))
	if err != nil {
		e := *federation.AsError(err)
		e.Detail = "dataplaneResource: " + e.Error()
		return nil, &e
	}
	kind, _ := resource.KindOf(r.ProxyType)
	switch {
	case res.Kind != kind:
		return nil, federation.InvalidField("proxyType", "is %s, the resource is a %s", kind.ProxyType(), res.Kind)
	case r.Name != "" && res.Name != r.Name:
		return nil, federation.InvalidField("name", "is %.80q, the resource's is %.80q", r.Name, res.Name)
	case kind == resource.Dataplane && r.Mesh != "" && res.Mesh != r.Mesh:
		return nil, federation.InvalidField("mesh", "is %.80q, the resource's is %.80q", r.Mesh, res.Mesh)
	}
	return res, nil
}
