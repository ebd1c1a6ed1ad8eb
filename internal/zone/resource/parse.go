package resource

import (
	"cmp"
	"strconv"

	"github.com/meridiankds/meridian/internal/yamldoc"
)

// ParseFile reads the resource of an operator's file, in YAML or JSON. A field
// that its kind does not have is an Invalid error.
func ParseFile(data []byte) (*Resource, error) { return parse(data, true) }

// ParseRequest reads the resource that a proxy sent. Fields that are not known
// are passed over.
func ParseRequest(data []byte) (*Resource, error) { return parse(data, false) }

func parse(data []byte, strict bool) (*Resource, error) {
	root, err := yamldoc.Parse(data, MaxBytes)
	if err != nil {
		return nil, err
	}
	if root.Kind != yamldoc.Map {
		return nil, yamldoc.At(root.Line, "", "a resource is a map with a type, is %s", root.Kind)
	}
	r := &Resource{}
	if t := root.Get("type"); t == nil || t.Kind != yamldoc.Text {
		return nil, yamldoc.At(root.Line, "type", "is missing: use Dataplane, ZoneIngress or ZoneEgress")
	} else if r.Kind = Kind(t.Text); r.Kind != Dataplane && r.Kind != ZoneIngress && r.Kind != ZoneEgress {
		return nil, yamldoc.At(t.Line, "type", "%.40q is not the type of a proxy: use Dataplane, ZoneIngress or ZoneEgress", t.Text)
	}
	switch r.Kind {
	case Dataplane:
		err = r.dataplane(root, strict)
	case ZoneIngress:
		err = r.ingress(root, strict)
	case ZoneEgress:
		err = r.egress(root, strict)
	}
	if err == nil {
		err = check{r, root}.all()
	}
	if err != nil {
		return nil, err
	}
	r.json = root.CompactJSON()
	return r, nil
}

// The documents as they are written. What is a *yamldoc.Node is accepted as it
// is, and of use to others than Meridian.
type (
	dataplaneDoc struct {
		Type             string            `json:"type"`
		Mesh             string            `json:"mesh"`
		Name             string            `json:"name"`
		Labels           map[string]string `json:"labels"`
		CreationTime     string            `json:"creationTime"`
		ModificationTime string            `json:"modificationTime"`
		Networking       struct {
			Address             string        `json:"address"`
			AdvertisedAddress   string        `json:"advertisedAddress"`
			Inbound             []inboundDoc  `json:"inbound"`
			Outbound            []outboundDoc `json:"outbound"`
			Gateway             *gatewayDoc   `json:"gateway"`
			Listeners           []listenerDoc `json:"listeners"`
			Admin               adminDoc      `json:"admin"`
			TransparentProxying *yamldoc.Node `json:"transparentProxying"`
		} `json:"networking"`
		Probes  *yamldoc.Node `json:"probes"`
		Metrics *yamldoc.Node `json:"metrics"`
	}
	inboundDoc struct {
		Name           string            `json:"name"`
		Address        string            `json:"address"`
		Port           uint32            `json:"port"`
		ServiceAddress string            `json:"serviceAddress"`
		ServicePort    uint32            `json:"servicePort"`
		Tags           map[string]string `json:"tags"`
		Health         *yamldoc.Node     `json:"health"`
		ServiceProbe   *yamldoc.Node     `json:"serviceProbe"`
		State          string            `json:"state"`
	}
	outboundDoc struct {
		Address    string            `json:"address"`
		Port       uint32            `json:"port"`
		Service    string            `json:"service"`
		Tags       map[string]string `json:"tags"`
		BackendRef *yamldoc.Node     `json:"backendRef"`
	}
	gatewayDoc struct {
		Type string            `json:"type"`
		Tags map[string]string `json:"tags"`
	}
	listenerDoc struct {
		Type    string `json:"type"`
		Name    string `json:"name"`
		Address string `json:"address"`
		Port    uint32 `json:"port"`
		State   string `json:"state"`
	}
	adminDoc struct {
		Port uint32 `json:"port"`
	}
	ingressDoc struct {
		Type             string            `json:"type"`
		Name             string            `json:"name"`
		Zone             string            `json:"zone"`
		Labels           map[string]string `json:"labels"`
		CreationTime     string            `json:"creationTime"`
		ModificationTime string            `json:"modificationTime"`
		Networking       struct {
			Address           string   `json:"address"`
			Port              uint32   `json:"port"`
			AdvertisedAddress string   `json:"advertisedAddress"`
			AdvertisedPort    uint32   `json:"advertisedPort"`
			Admin             adminDoc `json:"admin"`
		} `json:"networking"`
		AvailableServices []struct {
			Tags            map[string]string `json:"tags"`
			Instances       uint32            `json:"instances"`
			Mesh            string            `json:"mesh"`
			ExternalService bool              `json:"externalService"`
		} `json:"availableServices"`
	}
	egressDoc struct {
		Type             string            `json:"type"`
		Name             string            `json:"name"`
		Zone             string            `json:"zone"`
		Labels           map[string]string `json:"labels"`
		CreationTime     string            `json:"creationTime"`
		ModificationTime string            `json:"modificationTime"`
		Networking       struct {
			Address string   `json:"address"`
			Port    uint32   `json:"port"`
			Admin   adminDoc `json:"admin"`
		} `json:"networking"`
	}
)

func (r *Resource) dataplane(root *yamldoc.Node, strict bool) error {
	var d dataplaneDoc
	if err := yamldoc.Bind(root, &d, strict); err != nil {
		return err
	}
	r.Mesh, r.Name, r.Labels = cmp.Or(d.Mesh, DefaultMesh), d.Name, d.Labels
	r.Address, r.AdvertisedAddress = d.Networking.Address, d.Networking.AdvertisedAddress
	r.AdminPort = d.Networking.Admin.Port
	if t := d.Networking.TransparentProxying; t != nil && t.Kind == yamldoc.Map {
		r.TransparentProxy = true
	}
	for _, in := range d.Networking.Inbound {
		r.Inbounds = append(r.Inbounds, Inbound{
			Name: in.Name, Address: cmp.Or(in.Address, r.Address), Port: in.Port,
			ServiceAddress: cmp.Or(in.ServiceAddress, "127.0.0.1"), ServicePort: cmp.Or(in.ServicePort, in.Port),
			Tags: in.Tags,
		})
	}
	if g := d.Networking.Gateway; g != nil {
		r.Gateway = &Gateway{Type: cmp.Or(g.Type, "DELEGATED"), Tags: g.Tags}
	}
	for _, l := range d.Networking.Listeners {
		r.Listeners = append(r.Listeners, Listener{
			Name: cmp.Or(l.Name, strconv.Itoa(int(l.Port))), Kind: Kind(l.Type), Address: cmp.Or(l.Address, r.Address), Port: l.Port, State: l.State,
		})
	}
	return nil
}

func (r *Resource) ingress(root *yamldoc.Node, strict bool) error {
	var d ingressDoc
	if err := yamldoc.Bind(root, &d, strict); err != nil {
		return err
	}
	n := d.Networking
	r.Name, r.Zone, r.Labels = d.Name, d.Zone, d.Labels
	r.Address, r.Port, r.AdvertisedAddress, r.AdvertisedPort = n.Address, n.Port, n.AdvertisedAddress, n.AdvertisedPort
	r.AdminPort = n.Admin.Port
	return nil
}

func (r *Resource) egress(root *yamldoc.Node, strict bool) error {
	var d egressDoc
	if err := yamldoc.Bind(root, &d, strict); err != nil {
		return err
	}
	r.Name, r.Zone, r.Labels = d.Name, d.Zone, d.Labels
	r.Address, r.Port, r.AdminPort = d.Networking.Address, d.Networking.Port, d.Networking.Admin.Port
	return nil
}
