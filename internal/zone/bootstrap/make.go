package bootstrap

import (
	"cmp"
	"encoding/json"
	"net"
	"net/netip"
	"path"
	"slices"
	"strconv"

	"sigs.k8s.io/yaml"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/yamldoc"
	"github.com/meridiankds/meridian/internal/zone/resource"
	"github.com/meridiankds/meridian/kds/kuma"
)

// DefaultAdminPort is where Envoy's admin interface listens, on loopback, for a
// proxy that does not say.
const DefaultAdminPort = 9901

// Input is what a bootstrap is made from.
type Input struct {
	Request  *Request
	Resource *resource.Resource
	// JSON is the resource for the node's metadata; nil leaves it out, for a proxy
	// that registered before.
	JSON []byte
	// Address is where the proxy reaches this zone, "host:port".
	Address string
	// CA is the PEM of the CA of this zone's certificate, for a proxy that brings
	// none.
	CA string
	// CheckHost has Envoy look for the host of Address in the certificate. It must
	// be in there.
	CheckHost bool
	// TokenPath has Envoy read the token from its file, at each connection, instead
	// of keeping the one of the request. Token is the one of the request, "" where
	// there is none.
	TokenPath bool
	Token     string
}

// object is a YAML map.
type object = map[string]any

// Make returns the bootstrap in YAML. It holds a token where Input has one.
func Make(in Input) ([]byte, error) {
	host, port, err := net.SplitHostPort(in.Address)
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "the address %q of this zone is none: %w", in.Address, err)
	}
	portNumber, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "the address %q of this zone has no port: %w", in.Address, err)
	}
	node, err := in.node()
	if err != nil {
		return nil, err
	}
	clusters := []any{}
	if !in.byPath() {
		clusters = append(clusters, in.adsCluster(host, uint32(portNumber)))
	}
	static := object{"clusters": clusters}
	if listeners := in.listeners(); len(listeners) > 0 {
		static["listeners"] = listeners
	}
	out := object{
		"node":            node,
		"admin":           object{"address": in.admin()},
		"staticResources": static,
		"dynamicResources": object{
			"ldsConfig": in.fromADS(),
			"cdsConfig": in.fromADS(),
			"adsConfig": object{
				"apiType": in.apiType(), "transportApiVersion": "V3", "setNodeOnFirstMessageOnly": true,
				"grpcServices": []any{in.adsService(host, port)},
			},
		},
	}
	if heap := in.Request.Resources.MaxHeapSizeBytes; heap > 0 {
		out["overloadManager"] = overload(heap)
	}
	text, err := yaml.Marshal(out)
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "writing the bootstrap: %w", err)
	}
	return text, nil
}

// byPath reports whether Envoy is to read the token's file.
func (in *Input) byPath() bool { return in.TokenPath && in.Request.DataplaneTokenPath != "" }

// ofToday reports whether the proxy is a kuma-dp of 2.14 or later. Its readiness asks
// Envoy, on a pipe in its work directory.
func (in *Input) ofToday() bool {
	return kuma.AtLeast(in.Request.KumaDP(), 2, 14)
}

const (
	// adminSocket is where kuma-dp looks for Envoy's admin interface, in its work directory.
	adminSocket = "kuma-envoy-admin.sock"
	// maxSocketPath is the longest path of a Unix socket on Linux.
	maxSocketPath = 107
	// featureDelta is said by a kuma-dp whose Envoy is to be given changes only.
	featureDelta = "feature-delta-grpc"
)

// admin is where Envoy's admin interface listens: on loopback, or for a kuma-dp of today
// on the pipe where that looks for it. Two of those on one host do not collide.
func (in *Input) admin() object {
	if pipe, ok := in.pipe(adminSocket); ok {
		return pipe
	}
	return object{"socketAddress": object{"address": "127.0.0.1", "portValue": in.adminPort()}}
}

// pipe is the address of a socket in the work directory of a kuma-dp of today.
func (in *Input) pipe(name string) (address object, ok bool) {
	pipe := path.Join(in.Request.Workdir, name)
	return object{"pipe": object{"path": pipe}}, in.ofToday() && path.IsAbs(pipe) && len(pipe) <= maxSocketPath
}

// fromADS has Envoy take its listeners or clusters from the zone. A kuma-dp of today is
// ready when its Envoy is, which therefore must not call itself so after 15 s without an
// answer.
func (in *Input) fromADS() object {
	source := object{"ads": object{}, "resourceApiVersion": "V3"}
	if in.ofToday() {
		source["initialFetchTimeout"] = "0s"
	}
	return source
}

func (in *Input) apiType() string {
	if slices.Contains(in.Request.Features, featureDelta) {
		return "DELTA_GRPC"
	}
	return "GRPC"
}

func (in *Input) adminPort() uint32 {
	return cmp.Or(in.Resource.AdminPort, in.Request.AdminPort, DefaultAdminPort)
}

// node says who the proxy is; the zone's ADS reads it.
func (in *Input) node() (object, error) {
	r, req := in.Resource, in.Request
	metadata := object{
		"dataplane.proxyType":  r.Kind.ProxyType(),
		"dataplane.admin.port": strconv.Itoa(int(in.adminPort())),
	}
	if in.JSON != nil {
		metadata["dataplane.resource"] = string(in.JSON)
	}
	if req.DNSPort > 0 {
		metadata["dataplane.dns.port"] = strconv.Itoa(int(req.DNSPort))
	}
	if req.ReadinessPort > 0 {
		metadata["dataplane.readinessReporter.port"] = strconv.Itoa(int(req.ReadinessPort))
	}
	if len(req.DynamicMetadata) > 0 {
		metadata["dynamicMetadata"] = req.DynamicMetadata
	}
	if len(req.Features) > 0 {
		metadata["features"] = req.Features
	}
	for name, text := range map[string]string{"workdir": req.Workdir, "systemCaPath": req.SystemCAPath, "operatingSystem": req.OperatingSystem} {
		if text != "" {
			metadata[name] = text
		}
	}
	for name, n := range map[string]*yamldoc.Node{"version": req.Version, "metricsResources": req.MetricsResources} {
		if n == nil || n.Kind == yamldoc.Null {
			continue
		}
		var v any
		if err := json.Unmarshal(n.CompactJSON(), &v); err != nil {
			return nil, federation.Errorf(federation.Internal, "handing on %s: %w", name, err)
		}
		metadata[name] = v
	}
	id := "." + r.Name
	cluster := r.Kind.ProxyType()
	if r.Kind == resource.Dataplane {
		id, cluster = r.Mesh+"."+r.Name, r.Name
		if services := r.Services(); len(services) > 0 {
			cluster = services[0]
			if len(r.Inbounds) > 0 && r.Inbounds[0].Tags[resource.ServiceTag] != "" {
				cluster = r.Inbounds[0].Tags[resource.ServiceTag]
			}
		}
	}
	return object{"id": id, "cluster": cluster, "metadata": metadata}, nil
}

const adsClusterName = "ads_cluster"

// adsService is how Envoy calls this zone: over the static cluster, with the token
// itself; or with the gRPC library that can read a file for each connection.
func (in *Input) adsService(host, port string) object {
	if !in.byPath() {
		service := object{"envoyGrpc": object{"clusterName": adsClusterName}}
		if in.Token != "" {
			service["initialMetadata"] = []any{object{"key": "authorization", "value": in.Token}}
		}
		return service
	}
	ssl := object{}
	if ca := in.trusted(); len(ca) > 0 {
		ssl["rootCerts"] = ca
	}
	return object{"googleGrpc": object{
		"targetUri":              net.JoinHostPort(host, port),
		"statPrefix":             adsClusterName,
		"channelCredentials":     object{"sslCredentials": ssl},
		"credentialsFactoryName": "envoy.grpc_credentials.file_based_metadata",
		"callCredentials": []any{object{"fromPlugin": object{
			"name": "envoy.grpc_credentials.file_based_metadata",
			"typedConfig": object{
				"@type":      "type.googleapis.com/envoy.config.grpc_credential.v3.FileBasedMetadataConfig",
				"secretData": object{"filename": in.Request.DataplaneTokenPath},
			},
		}}},
	}}
}

// trusted is the CA of this zone's certificate as an Envoy data source: the
// proxy's own, else the zone's, else the one of the proxy's machine.
func (in *Input) trusted() object {
	switch {
	case in.Request.CACert != "":
		return object{"inlineString": in.Request.CACert}
	case in.CA != "":
		return object{"inlineString": in.CA}
	case in.Request.SystemCAPath != "":
		return object{"filename": in.Request.SystemCAPath}
	}
	return nil
}

func (in *Input) adsCluster(host string, port uint32) object {
	ip, err := netip.ParseAddr(host)
	kind := "STATIC"
	if err != nil {
		kind = "STRICT_DNS"
	}
	validation := object{}
	if ca := in.trusted(); ca != nil {
		validation["trustedCa"] = ca
	}
	if in.CheckHost {
		san := object{"sanType": "DNS", "matcher": object{"exact": host}}
		if err == nil {
			san = object{"sanType": "IP_ADDRESS", "matcher": object{"exact": ip.String()}}
		}
		validation["matchTypedSubjectAltNames"] = []any{san}
	}
	tls := object{
		"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
		"commonTlsContext": object{
			"tlsParams":         object{"tlsMinimumProtocolVersion": "TLSv1_2", "tlsMaximumProtocolVersion": "TLSv1_3"},
			"alpnProtocols":     []any{"h2"},
			"validationContext": validation,
		},
	}
	if err != nil { // an address is no server name (RFC 6066, section 3)
		tls["sni"] = host
	}
	return object{
		"name":           adsClusterName,
		"type":           kind,
		"connectTimeout": "5s",
		"upstreamConnectionOptions": object{
			"tcpKeepalive": object{"keepaliveProbes": 3, "keepaliveTime": 10, "keepaliveInterval": 10},
		},
		"typedExtensionProtocolOptions": object{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": object{
			"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
			"explicitHttpConfig": object{"http2ProtocolOptions": object{
				"connectionKeepalive": object{"interval": "30s", "timeout": "10s"},
			}},
		}},
		"loadAssignment": object{
			"clusterName": adsClusterName,
			"endpoints": []any{object{"lbEndpoints": []any{object{"endpoint": object{"address": object{
				"socketAddress": object{"address": host, "portValue": port},
			}}}}}},
		},
		"transportSocket": object{"name": "envoy.transport_sockets.tls", "typedConfig": tls},
	}
}

// overload has Envoy shed load before it takes more memory than its machine gives it.
func overload(heap uint64) object {
	action := func(name string, at float64) object {
		return object{"name": name, "triggers": []any{object{
			"name": "envoy.resource_monitors.fixed_heap", "threshold": object{"value": at},
		}}}
	}
	return object{
		"refreshInterval": "0.25s",
		"resourceMonitors": []any{object{
			"name": "envoy.resource_monitors.fixed_heap",
			"typedConfig": object{
				"@type":            "type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
				"maxHeapSizeBytes": strconv.FormatUint(heap, 10),
			},
		}},
		"actions": []any{
			action("envoy.overload_actions.shrink_heap", 0.95),
			action("envoy.overload_actions.stop_accepting_requests", 0.98),
		},
	}
}
