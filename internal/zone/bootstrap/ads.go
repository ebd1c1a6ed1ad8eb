package bootstrap

import (
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/zone/envoyres"
)

const (
	adsClusterName = "ads_cluster"
	// pingEvery and pingTimeout find a zone that hangs, or a way to it that has gone.
	pingEvery, pingTimeout = 30, 10 // seconds
	// maxResponse is what Envoy's gRPC library takes in one response; its own default is 4 MiB.
	maxResponse = 64 << 20
)

// controlPlane is where the proxy finds a control plane of this zone.
type controlPlane struct {
	host string
	port uint32
}

// isIP reports whether the host is an address.
func (c controlPlane) isIP() bool {
	_, err := netip.ParseAddr(c.host)
	return err == nil
}

func (c controlPlane) String() string { return net.JoinHostPort(c.host, strconv.Itoa(int(c.port))) }

// controlPlanes are those of this zone: first the one that was asked, then the others that
// our agent knows.
func (in *Input) controlPlanes() (all []controlPlane, err error) {
	addresses := []string{in.Address}
	if in.Request.Agent != nil {
		addresses = append(addresses, in.Request.Agent.ControlPlanes...)
	}
	for _, address := range addresses {
		one, err := parseControlPlane(address)
		if err != nil {
			return nil, federation.Errorf(federation.Internal, "the address %q of this zone: %w", address, err)
		}
		if !slices.Contains(all, one) {
			all = append(all, one)
		}
	}
	return all, nil
}

func parseControlPlane(address string) (c controlPlane, err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return c, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return controlPlane{host, uint32(n)}, err
}

// adsService is how Envoy calls this zone: over the static cluster, with the token itself, or
// the one that the cluster adds; or with the gRPC library that reads a file for each
// connection.
func (in *Input) adsService(first controlPlane) object {
	if !in.FollowsFile() {
		service := object{"envoyGrpc": object{"clusterName": adsClusterName}}
		if in.Token != "" && in.Request.Agent == nil {
			service["initialMetadata"] = []any{object{"key": "authorization", "value": in.Token}}
		}
		return service
	}
	ssl := object{}
	if ca := in.trusted(); len(ca) > 0 {
		ssl["rootCerts"] = ca
	}
	milliseconds := func(s int) object { return object{"intValue": strconv.Itoa(s * 1000)} }
	return object{"googleGrpc": object{
		"targetUri":              first.String(),
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
		// Without these that library notices a zone that hangs after 20 minutes, and never takes
		// a response of more than 4 MiB.
		"channelArgs": object{"args": object{
			"grpc.keepalive_time_ms":    milliseconds(pingEvery),
			"grpc.keepalive_timeout_ms": milliseconds(pingTimeout),
			// Without these it sends two pings on a stream that is quiet and then one a minute, and
			// waits a minute for the answer.
			"grpc.http2.max_pings_without_data": object{"intValue": "0"},
			"grpc.http2.ping_timeout_ms":        milliseconds(pingTimeout),
			"grpc.max_receive_message_length":   object{"intValue": strconv.Itoa(maxResponse)},
		}},
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

// adsCluster is this zone as a cluster. Of several control planes Envoy takes another one
// where it cannot connect.
func (in *Input) adsCluster(ends []controlPlane) object {
	kind := "STATIC"
	if slices.ContainsFunc(ends, func(c controlPlane) bool { return !c.isIP() }) {
		kind = "STRICT_DNS"
	}
	protocol := object{
		"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
		"explicitHttpConfig": object{"http2ProtocolOptions": object{
			"connectionKeepalive": object{"interval": seconds(pingEvery), "timeout": seconds(pingTimeout)},
		}},
	}
	if agent := in.Request.Agent; agent != nil && in.Token != "" {
		protocol["httpFilters"] = addToken(agent.TokenFile)
	}
	var endpoints, matches []any
	for _, end := range ends {
		// By the name that stands for it: each has a certificate of its own.
		match := object{"control_plane": end.String()}
		endpoint := object{"endpoint": object{"address": object{"socketAddress": object{"address": end.host, "portValue": end.port}}}}
		if len(ends) > 1 {
			endpoint["metadata"] = object{"filterMetadata": object{"envoy.transport_socket_match": match}}
		}
		endpoints = append(endpoints, endpoint)
		matches = append(matches, object{"name": end.String(), "match": match, "transportSocket": in.tlsTo(end)})
	}
	cluster := object{
		"name":           adsClusterName,
		"type":           kind,
		"connectTimeout": "5s",
		"upstreamConnectionOptions": object{
			"tcpKeepalive": object{"keepaliveProbes": 3, "keepaliveTime": 10, "keepaliveInterval": 10},
		},
		"typedExtensionProtocolOptions": object{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol},
		"loadAssignment":                object{"clusterName": adsClusterName, "endpoints": []any{object{"lbEndpoints": endpoints}}},
	}
	if kind != "STATIC" {
		cluster["dnsLookupFamily"] = "ALL" // a name may have addresses of both families, and this zone listen on one
	}
	if len(ends) == 1 {
		cluster["transportSocket"] = in.tlsTo(ends[0])
	} else {
		cluster["transportSocketMatches"] = matches
	}
	return cluster
}

func seconds(n int) string { return strconv.Itoa(n) + "s" }

// tlsTo is how to prove a control plane of this zone.
func (in *Input) tlsTo(end controlPlane) object {
	validation := object{}
	if in.CheckHost || in.Request.Agent != nil { // the agent has checked it before it asked
		san := object{"sanType": "DNS", "matcher": object{"exact": end.host}}
		if ip, err := netip.ParseAddr(end.host); err == nil {
			san = object{"sanType": "IP_ADDRESS", "matcher": object{"exact": ip.String()}}
		}
		validation["matchTypedSubjectAltNames"] = []any{san}
	}
	common := object{
		"tlsParams":     object{"tlsMinimumProtocolVersion": "TLSv1_2", "tlsMaximumProtocolVersion": "TLSv1_3"},
		"alpnProtocols": []any{"h2"},
	}
	if agent := in.Request.Agent; agent != nil && agent.CAFile != "" {
		common["combinedValidationContext"] = object{
			"defaultValidationContext":         validation,
			"validationContextSdsSecretConfig": object{"name": envoyres.CASecret, "sdsConfig": fromFile(agent.CAFile)},
		}
	} else {
		if ca := in.trusted(); ca != nil {
			validation["trustedCa"] = ca
		}
		common["validationContext"] = validation
	}
	tls := object{
		"@type":            "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
		"commonTlsContext": common,
	}
	if !end.isIP() { // an address is no server name (RFC 6066, section 3)
		tls["sni"] = end.host
	}
	return object{"name": "envoy.transport_sockets.tls", "typedConfig": tls}
}

// addToken are the filters that put the token, as it is in its file at that moment, into each
// request.
func addToken(file string) []any {
	return []any{
		object{"name": "envoy.filters.http.credential_injector", "typedConfig": object{
			"@type":     "type.googleapis.com/envoy.extensions.filters.http.credential_injector.v3.CredentialInjector",
			"overwrite": true,
			"credential": object{"name": "envoy.http.injected_credentials.generic", "typedConfig": object{
				"@type":      "type.googleapis.com/envoy.extensions.http.injected_credentials.generic.v3.Generic",
				"credential": object{"name": envoyres.TokenSecret, "sdsConfig": fromFile(file)},
			}},
		}},
		object{"name": "envoy.filters.http.upstream_codec", "typedConfig": object{
			"@type": "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec",
		}},
	}
}

// fromFile is a source of secrets that Envoy reads again whenever the file is replaced.
func fromFile(path string) object {
	return object{"pathConfigSource": object{"path": path}, "resourceApiVersion": "V3"}
}
