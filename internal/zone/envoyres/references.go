package envoyres

import (
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
)

// Reference is something that a resource relies on.
type Reference struct {
	Key
	// All means every resource of the kind whose name begins with that of the key.
	All bool
}

// Covers reports whether the reference is to this resource.
func (r Reference) Covers(k Key) bool {
	return r.Kind == k.Kind && (r.Name == k.Name || r.All && strings.HasPrefix(k.Name, r.Name))
}

// subscriptions are the fields that make Envoy ask for another resource where they are set,
// and the reference that their message then is.
var subscriptions = map[protoreflect.FullName]func(m protoreflect.Message) Reference{
	"envoy.config.cluster.v3.Cluster.eds_cluster_config":                                             endpointsOf,
	"envoy.config.cluster.v3.Filter.config_discovery":                                                named(types.ExtensionConfig, "name"),
	"envoy.config.core.v3.EnvoyInternalAddress.server_listener_name":                                 named(types.Listener, "server_listener_name"),
	"envoy.config.listener.v3.Filter.config_discovery":                                               named(types.ExtensionConfig, "name"),
	"envoy.config.listener.v3.ListenerFilter.config_discovery":                                       named(types.ExtensionConfig, "name"),
	"envoy.config.route.v3.RouteConfiguration.vhds":                                                  virtualHostsOf,
	"envoy.config.route.v3.ScopedRouteConfiguration.route_configuration_name":                        named(types.Route, "route_configuration_name"),
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter.config_discovery":        named(types.ExtensionConfig, "name"),
	"envoy.extensions.filters.network.http_connection_manager.v3.Rds.config_source":                  named(types.Route, "route_config_name"),
	"envoy.extensions.filters.network.http_connection_manager.v3.ScopedRds.scoped_rds_config_source": every(types.ScopedRoute),
	"envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig.sds_config":                           named(types.Secret, "name"),
}

// named returns a function for messages that have the name of a resource in a field.
func named(kind Kind, field protoreflect.Name) func(protoreflect.Message) Reference {
	return func(m protoreflect.Message) Reference {
		return Reference{Key: Key{kind, m.Get(m.Descriptor().Fields().ByName(field)).String()}}
	}
}

func every(kind Kind) func(protoreflect.Message) Reference {
	return func(protoreflect.Message) Reference { return Reference{Key: Key{Kind: kind}, All: true} }
}

// endpointsOf is what a cluster of the type EDS asks for.
func endpointsOf(m protoreflect.Message) Reference {
	c, ok := m.Interface().(*cluster.Cluster)
	if !ok || c.GetType() != cluster.Cluster_EDS {
		return Reference{}
	}
	name := c.GetEdsClusterConfig().GetServiceName()
	if name == "" {
		name = c.GetName()
	}
	return Reference{Key: Key{types.Endpoint, name}}
}

// virtualHostsOf is what a route configuration with VHDS asks for.
func virtualHostsOf(m protoreflect.Message) Reference {
	return Reference{Key: Key{types.VirtualHost, m.Get(m.Descriptor().Fields().ByName("name")).String() + "/"}, All: true}
}

// clusters are the fields that name a cluster and do not say so in their names.
var clusters = map[protoreflect.FullName]bool{
	"envoy.extensions.clusters.composite.v3.ClusterConfig.ClusterEntry.name":                    true,
	"envoy.config.route.v3.WeightedCluster.ClusterWeight.name":                                  true,
	"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight.name": true,
}

// nothing are the fields that look like a reference to something that a zone serves, and
// what they are.
var nothing = map[protoreflect.FullName]string{
	"envoy.config.cluster.v3.Cluster.CustomClusterType.name":                                     "an extension",
	"envoy.config.cluster.v3.Cluster.EdsClusterConfig.eds_config":                                "a subscription of the whole cluster, see eds_cluster_config",
	"envoy.config.cluster.v3.Cluster.TransportSocketMatch.name":                                  "a name for statistics",
	"envoy.config.cluster.v3.Cluster.lrs_server":                                                 "where load is reported",
	"envoy.config.cluster.v3.Cluster.name":                                                       "the name of the resource",
	"envoy.config.cluster.v3.Filter.name":                                                        "the name of a filter, see config_discovery",
	"envoy.config.core.v3.ExtensionConfigSource.config_source":                                   "see config_discovery",
	"envoy.config.core.v3.Node.cluster":                                                          "what a proxy calls itself",
	"envoy.config.endpoint.v3.ClusterLoadAssignment.cluster_name":                                "the name of the resource",
	"envoy.config.endpoint.v3.ClusterStats.cluster_name":                                         "a report of load",
	"envoy.config.endpoint.v3.ClusterStats.cluster_service_name":                                 "a report of load",
	"envoy.config.endpoint.v3.LedsClusterLocalityConfig.leds_config":                             "LEDS, which is not served",
	"envoy.config.listener.v3.Listener.FcdsConfig.config_source":                                 "FCDS, which is not served",
	"envoy.config.route.v3.RouteAction.cluster_header":                                           "a header",
	"envoy.config.route.v3.RouteAction.cluster_specifier_plugin":                                 "a plugin",
	"envoy.config.route.v3.Vhds.config_source":                                                   "a subscription of the whole route configuration, see vhds",
	"envoy.config.route.v3.VirtualCluster.name":                                                  "a name for statistics",
	"envoy.config.route.v3.RouteAction.RequestMirrorPolicy.cluster_header":                       "a header",
	"envoy.config.route.v3.WeightedCluster.ClusterWeight.cluster_header":                         "a header",
	"envoy.data.accesslog.v3.AccessLogCommon.upstream_cluster":                                   "an entry of a log",
	"envoy.extensions.clusters.aggregate.v3.AggregateClusterResource.config_source":              "lists of clusters, which are not served",
	"envoy.extensions.filters.http.fault.v3.HTTPFault.upstream_cluster":                          "a condition",
	"envoy.extensions.filters.network.http_connection_manager.v3.ScopedRoutes.rds_config_source": "see ScopedRouteConfiguration",
	"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.OnDemand.odcds_config":               "clusters that are asked for when a connection needs them",
}

// naming reports whether a field names a cluster.
func naming(field protoreflect.FieldDescriptor) bool {
	if field.Kind() != protoreflect.StringKind || field.IsMap() {
		return false
	}
	full := field.FullName()
	return clusters[full] || strings.Contains(string(field.Name()), "cluster") && nothing[full] == ""
}

// Verdict says what a field is taken for, "" where nobody has said it.
func Verdict(field protoreflect.FieldDescriptor) string {
	switch {
	case naming(field):
		return "names a cluster"
	case subscriptions[field.FullName()] != nil:
		return "asks for a resource"
	case nothing[field.FullName()] != "":
		return "none: " + nothing[field.FullName()]
	}
	return ""
}

// referencesOf finds what a message refers to, each thing once.
func referencesOf(message proto.Message) []Reference {
	c := collector{seen: map[Reference]bool{}}
	c.message(message.ProtoReflect())
	return c.list
}

type collector struct {
	list []Reference
	seen map[Reference]bool
}

func (c *collector) add(r Reference) {
	if (r.Name != "" || r.All) && !c.seen[r] {
		c.seen[r] = true
		c.list = append(c.list, r)
	}
}

func (c *collector) message(m protoreflect.Message) {
	switch m.Descriptor().FullName() {
	case "google.protobuf.Any":
		if packed, ok := m.Interface().(*anypb.Any); ok {
			if inner, err := packed.UnmarshalNew(); err == nil {
				c.message(inner.ProtoReflect())
			}
		}
		return
	case "google.protobuf.Struct":
		if values, ok := m.Interface().(*structpb.Struct); ok {
			c.untyped(values.GetFields())
		}
	case "google.protobuf.Value":
		if s := m.Descriptor().Fields().ByName("string_value"); m.Has(s) {
			c.add(Reference{Key: Key{types.Cluster, m.Get(s).String()}})
		}
	}
	m.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if reference := subscriptions[field.FullName()]; reference != nil {
			c.add(reference(m))
		}
		c.field(field, v)
		return true
	})
}

// untyped are the subscriptions in a message of a type that is not linked, by the names that
// their fields have in JSON and in Envoy's definitions.
func (c *collector) untyped(fields map[string]*structpb.Value) {
	for _, s := range []struct {
		kind  Kind
		of    []string // one of them is set
		names []string // one of them has the name
	}{
		{types.Secret, []string{"sdsConfig", "sds_config"}, []string{"name"}},
		{types.ExtensionConfig, []string{"configDiscovery", "config_discovery"}, []string{"name"}},
		{types.Route, []string{"configSource", "config_source"}, []string{"routeConfigName", "route_config_name"}},
	} {
		for _, of := range s.of {
			for _, name := range s.names {
				if fields[of].GetStructValue() != nil {
					c.add(Reference{Key: Key{s.kind, fields[name].GetStringValue()}})
				}
			}
		}
	}
}

// field looks at a field that is set.
func (c *collector) field(field protoreflect.FieldDescriptor, v protoreflect.Value) {
	one := func(v protoreflect.Value) {}
	switch {
	case naming(field):
		one = func(v protoreflect.Value) { c.add(Reference{Key: Key{types.Cluster, v.String()}}) }
	case field.IsMap() && field.MapValue().Message() != nil, !field.IsMap() && field.Message() != nil:
		one = func(v protoreflect.Value) { c.message(v.Message()) }
	}
	switch {
	case field.IsMap():
		v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool { one(v); return true })
	case field.IsList():
		for i := range v.List().Len() {
			one(v.List().Get(i))
		}
	default:
		one(v)
	}
}
