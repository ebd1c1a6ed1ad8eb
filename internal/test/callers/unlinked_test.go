package callers

import (
	"strings"
	"testing"
)

// TestEnvoyUnpacksWhatIsNotLinked: types that a zone passes on without a check work in a real
// Envoy, wherever they stand: filters of a listener and of a cluster, a route's own settings of one,
// an extension config, an access log and its format, a transport socket with a linked type inside.
func TestEnvoyUnpacksWhatIsNotLinked(t *testing.T) {
	const ext = "type.googleapis.com/envoy.extensions."
	state := func(value string) string {
		return "{'@type': " + ext + "filters.http.set_filter_state.v3.Config, on_request_headers: [{object_key: k, factory_key: envoy.string, " +
			"format_string: {text_format_source: {inline_string: " + value + "}}}]}"
	}
	list := func(r *rig) []string {
		l := r.listener("r1", "wrapped", never, ""+
			"        - {name: envoy.filters.http.on_demand, typed_config: {'@type': "+ext+"filters.http.on_demand.v3.OnDemand}}\n"+
			"        - {name: state, typed_config: "+state("of-the-listener")+"}\n"+
			"        - {name: loop, config_discovery: {config_source: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}, "+
			"type_urls: ["+ext+"filters.http.cdn_loop.v3.CdnLoopConfig]}}\n"+
			"        - {name: header, typed_config: {'@type': "+ext+"filters.http.header_mutation.v3.HeaderMutation, mutations: {response_mutations: "+
			"[{append: {header: {key: x-state, value: '%FILTER_STATE(k:PLAIN)%'}}}]}}}\n")
		l = strings.Replace(l, "        rds:", "        access_log:\n"+
			"        - name: otel\n          typed_config: {'@type': "+ext+"access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig, "+
			"common_config: {log_name: a, transport_api_version: V3, grpc_service: {envoy_grpc: {cluster_name: c1}}}}\n"+
			"        - name: stdout\n          typed_config: {'@type': "+ext+"access_loggers.stream.v3.StdoutAccessLog, "+
			"log_format: {text_format_source: {inline_string: '%CEL(request.path)%'}, formatters: [{name: envoy.formatter.cel, typed_config: {'@type': "+ext+"formatter.cel.v3.Cel}}]}}\n"+
			"        rds:", 1)
		l = strings.Replace(l, "  - filters:\n", "  - filters:\n    - {name: first, typed_config: {'@type': "+ext+"filters.network.set_filter_state.v3.Config, "+
			"on_new_connection: [{object_key: n, factory_key: envoy.string, format_string: {text_format_source: {inline_string: n}}}]}}\n", 1)
		route := strings.Replace(routes("r1", "c1"), "    routes:", "    typed_per_filter_config: {state: "+state("of-the-route")+"}\n    routes:", 1)
		c := r.static("c1", "one", "  transport_socket: {name: proxy, typed_config: {'@type': "+ext+"transport_sockets.http_11_proxy.v3.Http11ProxyUpstreamTransport, "+
			"transport_socket: {name: raw, typed_config: {'@type': "+ext+"transport_sockets.raw_buffer.v3.RawBuffer}}}}\n"+
			"  typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {'@type': "+ext+"upstreams.http.v3.HttpProtocolOptions, "+
			"explicit_http_config: {http_protocol_options: {}}, http_filters: [{name: codec, typed_config: {'@type': "+ext+"filters.http.upstream_codec.v3.UpstreamCodec}}]}}\n")
		loop := typed + "core.v3.TypedExtensionConfig\n  name: loop\n  typed_config: {'@type': " + ext + "filters.http.cdn_loop.v3.CdnLoopConfig, cdn_id: cdn}\n"
		return []string{l, route, c, loop}
	}
	inBothModes(t, func(t *testing.T, delta bool) {
		r := startRig(t, delta, list)
		r.reaches("one")
		resp, err := r.client().Get("http://127.0.0.1:" + r.port)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("X-State"); got != "of-the-route" {
			t.Errorf("the filter that is not linked has the state %q", got)
		}
		if !strings.Contains(r.config(), `"cdn_id":"cdn"`) {
			t.Error("the extension config did not arrive")
		}
		if n := strings.Count(r.zone.log.String(), "cannot check"); n != 1 {
			t.Errorf("told %d times:\n%s", n, r.zone.log)
		}
	})
}
