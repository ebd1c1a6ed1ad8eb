package xds

import (
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/zone/proxies"
	"github.com/meridiankds/meridian/internal/zone/resource"
)

// The members of a node's metadata that say who it is, as bootstraps have them.
const (
	metaType     = "dataplane.proxyType"
	metaResource = "dataplane.resource"
)

// resourceOf returns what a node says of itself, or said when it registered.
func (s *Server) resourceOf(node *core.Node) (*resource.Resource, error) {
	if node.GetId() == "" {
		return nil, federation.InvalidField("node.id", "must not be empty").WithHint("get a bootstrap from /bootstrap, or write one as docs/proxies.md shows")
	}
	fields := node.GetMetadata().GetFields()
	proxyType := fields[metaType].GetStringValue()
	kind, ok := resource.KindOf(proxyType)
	if !ok {
		return nil, federation.InvalidField("node.metadata."+metaType, "%.40q is not a type of proxy: use dataplane, ingress or egress", proxyType)
	}
	text := fields[metaResource].GetStringValue()
	if _, isText := fields[metaResource].GetKind().(*structpb.Value_StringValue); fields[metaResource] != nil && !isText {
		return nil, federation.InvalidField("node.metadata."+metaResource, "must be text").
			WithHint("put the resource into quotes, as JSON: '{\"type\":\"Dataplane\",…}'")
	}
	if text == "" {
		if r := s.cfg.Proxies.Find(kind.ProxyType(), node.GetId()); r != nil {
			return r, nil
		}
		return nil, federation.Errorf(federation.NotFound, "no %s is registered as %.80q, and its node has no %s", kind, node.GetId(), metaResource).
			WithReason("not_registered").WithHint("call /bootstrap first, or put the resource into the metadata of the node")
	}
	r, err := resource.ParseRequest([]byte(text))
	if err != nil {
		e := *federation.AsError(err)
		e.Detail = metaResource + ": " + e.Error()
		return nil, &e
	}
	if r.Kind != kind {
		return nil, federation.InvalidField("node.metadata."+metaType, "says %s, the resource is a %s", kind.ProxyType(), r.Kind)
	}
	if want := proxies.IDOf(r).NodeID(); node.GetId() != want {
		return nil, federation.InvalidField("node.id", "is %.80q, the resource's is %.80q", node.GetId(), want)
	}
	if r.Zone != "" && r.Zone != s.cfg.Zone {
		return nil, cptoken.Refuse(cptoken.WrongZone, "the %s says that it is of zone %s, this is zone %s", r.Kind, r.Zone, s.cfg.Zone).
			WithHint("connect it to its own zone, or correct its resource")
	}
	return r, nil
}

// versionOf is what a node calls itself.
func versionOf(node *core.Node) string {
	name := node.GetUserAgentName()
	if v := node.GetUserAgentBuildVersion().GetVersion(); v != nil {
		return clip(name) + " " + formatVersion(v.GetMajorNumber(), v.GetMinorNumber(), v.GetPatch())
	}
	return clip(strings.TrimSpace(name + " " + node.GetUserAgentVersion()))
}
