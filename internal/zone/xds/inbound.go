package xds

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/zone/envoyres"
	"github.com/meridiankds/meridian/internal/zone/resource"
)

// inbounds returns what a Dataplane gets for which the operator's folder has no listener:
// for each inbound a listener, and a cluster with the service behind it. Connections are
// passed on as they come, without TLS.
func inbounds(r *resource.Resource) (envoyres.Set, error) {
	set := envoyres.Set{}
	for i, in := range r.Inbounds {
		if callsItself(in) {
			return nil, federation.InvalidField(fmt.Sprintf("networking.inbound[%d].servicePort", i),
				"is %d, where the proxy itself listens on %s: it would connect to itself without end", in.ServicePort, in.Address).
				WithHint("state the service's own servicePort or serviceAddress, or another networking.address")
		}
		service := localCluster(in)
		l, err := inboundListener(in, service.GetName())
		if err != nil {
			return nil, err
		}
		for _, message := range []types.Resource{service, l} {
			one, err := envoyres.New(message)
			if err != nil {
				return nil, err
			}
			set[one.Key] = one
		}
	}
	return set, nil
}

// callsItself reports whether the service behind an inbound would be its listener.
func callsItself(in resource.Inbound) bool {
	service, err := netip.ParseAddr(in.ServiceAddress)
	if err != nil {
		if in.ServiceAddress != "localhost" {
			return in.ServicePort == in.Port && in.ServiceAddress == in.Address
		}
		service = netip.MustParseAddr("127.0.0.1")
	}
	bind := netip.MustParseAddr(bindOf(in))
	return in.ServicePort == in.Port && (bind == service || bind.IsUnspecified() && (service.IsLoopback() || service.IsUnspecified()))
}

// bindOf is the address of an inbound's listener, which needs one where the proxy has only a
// name.
func bindOf(in resource.Inbound) string {
	if _, err := netip.ParseAddr(in.Address); err != nil {
		return "0.0.0.0"
	}
	return in.Address
}

// connectTimeout is for a service on the same machine, or next to it.
const connectTimeout = 5 * time.Second

func localCluster(in resource.Inbound) *cluster.Cluster {
	name := "localhost:" + strconv.Itoa(int(in.ServicePort))
	if in.ServiceAddress != "127.0.0.1" {
		name = net.JoinHostPort(in.ServiceAddress, strconv.Itoa(int(in.ServicePort)))
	}
	kind := cluster.Cluster_STATIC
	if _, err := netip.ParseAddr(in.ServiceAddress); err != nil {
		kind = cluster.Cluster_STRICT_DNS
	}
	return &cluster.Cluster{
		Name:                 name,
		ConnectTimeout:       durationpb.New(connectTimeout),
		ClusterDiscoveryType: &cluster.Cluster_Type{Type: kind},
		LoadAssignment: &endpoint.ClusterLoadAssignment{
			ClusterName: name,
			Endpoints: []*endpoint.LocalityLbEndpoints{{LbEndpoints: []*endpoint.LbEndpoint{{
				HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: address(in.ServiceAddress, in.ServicePort)}},
			}}}},
		},
	}
}

func inboundListener(in resource.Inbound, service string) (*listener.Listener, error) {
	name := "inbound:" + net.JoinHostPort(in.Address, strconv.Itoa(int(in.Port)))
	filter, err := anypb.New(&tcpproxy.TcpProxy{
		StatPrefix:       fmt.Sprintf("inbound_%d", in.Port),
		ClusterSpecifier: &tcpproxy.TcpProxy_Cluster{Cluster: service},
	})
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "packing a filter: %w", err)
	}
	return &listener.Listener{
		Name:             name,
		Address:          address(bindOf(in), in.Port),
		TrafficDirection: core.TrafficDirection_INBOUND,
		FilterChains: []*listener.FilterChain{{Filters: []*listener.Filter{{
			Name:       "envoy.filters.network.tcp_proxy",
			ConfigType: &listener.Filter_TypedConfig{TypedConfig: filter},
		}}}},
	}, nil
}

func address(host string, port uint32) *core.Address {
	return &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
		Address: host, PortSpecifier: &core.SocketAddress_PortValue{PortValue: port},
	}}}
}

func formatVersion(major, minor, patch uint32) string {
	return fmt.Sprintf("%d.%d.%d", major, minor, patch)
}
