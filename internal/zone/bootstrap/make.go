package bootstrap

import (
	"cmp"
	"encoding/json"
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
	ends, err := in.controlPlanes()
	if err != nil {
		return nil, err
	}
	node, err := in.node()
	if err != nil {
		return nil, err
	}
	clusters := []any{}
	if !in.FollowsFile() {
		clusters = append(clusters, in.adsCluster(ends))
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
				"grpcServices": []any{in.adsService(ends[0])},
			},
		},
	}
	out["statsConfig"] = object{"statsTags": statsTags}
	out["overloadManager"] = overload(in.Request.Resources.MaxHeapSizeBytes)
	text, err := yaml.Marshal(out)
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "writing the bootstrap: %w", err)
	}
	return text, nil
}

// FollowsFile reports whether Envoy is to read the token's file with the gRPC library that can.
func (in *Input) FollowsFile() bool {
	return in.TokenPath && in.Request.DataplaneTokenPath != "" && in.Request.Agent == nil
}

// ofToday reports whether the proxy is a kuma-dp of 2.14 or later. Its readiness asks
// Envoy, on a pipe in its work directory.
func (in *Input) ofToday() bool {
	return kuma.AtLeast(in.Request.KumaDP(), 2, 14)
}

const (
	// kumaAdminSocket is where kuma-dp looks for Envoy's admin interface, in its work directory.
	kumaAdminSocket = "kuma-envoy-admin.sock"
	// maxSocketPath is the longest path of a Unix socket on Linux.
	maxSocketPath = 107
	// featureDelta is said by a kuma-dp whose Envoy is to be given changes only.
	featureDelta = "feature-delta-grpc"
)

// admin is where Envoy's admin interface listens: on loopback, or for a kuma-dp of today
// and for our agent on the pipe where that looks for it. Two of those on one host do not
// collide.
func (in *Input) admin() object {
	if agent := in.Request.Agent; agent != nil && agent.AdminSocket != "" {
		return pipeAt(agent.AdminSocket)
	}
	if pipe, ok := in.pipe(kumaAdminSocket); ok {
		return pipe
	}
	return object{"socketAddress": object{"address": "127.0.0.1", "portValue": in.adminPort()}}
}

// pipe is the address of a socket in the work directory of a kuma-dp of today.
func (in *Input) pipe(name string) (address object, ok bool) {
	pipe := path.Join(in.Request.Workdir, name)
	return pipeAt(pipe), in.ofToday() && path.IsAbs(pipe) && len(pipe) <= maxSocketPath
}

func pipeAt(path string) object { return object{"pipe": object{"path": path}} }

// fromADS has Envoy take its listeners or clusters from the zone. Envoy must not call itself
// ready after 15 s without an answer. A kuma-dp before 2.14 does not ask Envoy, and is left as
// it is with Kuma.
func (in *Input) fromADS() object {
	source := object{"ads": object{}, "resourceApiVersion": "V3"}
	if in.ofToday() || in.Request.Agent != nil {
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

// statsTags are the parts of the names of Envoy's figures that are labels to those who know
// kuma-dp's, beside the ones that Envoy has by itself.
var statsTags = []any{
	object{"tagName": "name", "regex": `^grpc\.((.+)\.)`},
	object{"tagName": "status", "regex": `^grpc.*streams_closed(_([0-9]+))`},
	object{"tagName": "kafka_name", "regex": `^kafka(\.(\S*[0-9]))\.`},
	object{"tagName": "kafka_type", "regex": `^kafka\..*\.(.*)`},
	object{"tagName": "worker", "regex": `(worker_([0-9]+)\.)`},
	object{"tagName": "listener", "regex": `((.+?)\.)rbac\.`},
}

// maxConnections is how many Envoy takes at once from those who call it, as Envoy's own
// documentation advises for one that strangers reach.
const maxConnections = 50_000

// overload has Envoy bound its connections, and shed load before it takes more memory than
// its machine gives it: heap bytes, 0 where that is not known.
func overload(heap uint64) object {
	monitors := []any{object{
		"name": "envoy.resource_monitors.global_downstream_max_connections",
		"typedConfig": object{
			"@type":                          "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
			"maxActiveDownstreamConnections": strconv.Itoa(maxConnections),
		},
	}}
	out := object{"refreshInterval": "0.25s"}
	if heap > 0 {
		action := func(name string, at float64) object {
			return object{"name": name, "triggers": []any{object{
				"name": "envoy.resource_monitors.fixed_heap", "threshold": object{"value": at},
			}}}
		}
		monitors = append(monitors, object{
			"name": "envoy.resource_monitors.fixed_heap",
			"typedConfig": object{
				"@type":            "type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
				"maxHeapSizeBytes": strconv.FormatUint(heap, 10),
			},
		})
		out["actions"] = []any{
			action("envoy.overload_actions.shrink_heap", 0.95),
			action("envoy.overload_actions.stop_accepting_requests", 0.98),
		}
	}
	out["resourceMonitors"] = monitors
	return out
}
