package xdsdir

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	typev3 "github.com/cncf/xds/go/xds/type/v3"
	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/zone/envoyres"
)

// aCluster is a file with a cluster that has more below its name, from line 4 on.
func aCluster(more string) string {
	return "resources:\n- '@type': type.googleapis.com/envoy.config.cluster.v3.Cluster\n  name: a\n" + more
}

const (
	extensions  = "type.googleapis.com/envoy.extensions."
	proxySocket = extensions + "transport_sockets.http_11_proxy.v3.Http11ProxyUpstreamTransport"
)

// TestTypesThatAreNotLinked: they are passed on whole, with what they have inside, and named.
func TestTypesThatAreNotLinked(t *testing.T) {
	f := newFolder(t, map[string]string{"all/a.yaml": aCluster(`  transport_socket:
    name: proxy
    typed_config:
      big: 9007199254740993
      small: 9007199254740991
      half: 0.5
      transport_socket:
        name: tls
        typed_config: {'@type': ` + extensions + `transport_sockets.tls.v3.UpstreamTlsContext, sni: b, common_tls_context: {tls_certificate_sds_secret_configs: [{name: s, sds_config: {ads: {}}}]}}
      '@type': ` + proxySocket + `
`)})
	if p := f.dir.Problems(); len(p) != 0 {
		t.Fatal(p)
	}
	set, err := f.dir.For(egress)
	if err != nil {
		t.Fatal(err)
	}
	r := set[envoyres.Key{Kind: types.Cluster, Name: "a"}]
	if secret := (envoyres.Reference{Key: envoyres.Key{Kind: types.Secret, Name: "s"}}); !slices.Contains(r.References, secret) {
		t.Errorf("it refers to %v, and not to its secret", r.References)
	}
	c := r.Message.(*cluster.Cluster)
	var wrapped typev3.TypedStruct
	if err := c.GetTransportSocket().GetTypedConfig().UnmarshalTo(&wrapped); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"big": "9007199254740993", "small": 9007199254740991.0, "half": 0.5, "transport_socket": map[string]any{
		"name": "tls", "typed_config": map[string]any{"@type": extensions + "transport_sockets.tls.v3.UpstreamTlsContext", "sni": "b",
			"common_tls_context": map[string]any{"tls_certificate_sds_secret_configs": []any{map[string]any{"name": "s", "sds_config": map[string]any{"ads": map[string]any{}}}}}}}}
	if got := wrapped.GetValue().AsMap(); wrapped.GetTypeUrl() != proxySocket || !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %s", wrapped.GetTypeUrl(), protojson.Format(wrapped.GetValue()))
	}
	if got := f.dir.Unchecked(); len(got) != 1 || got[0] != "all/a.yaml: line 13: "+strings.TrimPrefix(proxySocket, typePrefix)+" is passed on unchecked" {
		t.Errorf("unchecked: %q", got)
	}
	f.write("all/b.yaml", clusters("b"))
	f.dir.Check()
	if n := strings.Count(f.log.String(), "cannot check"); n != 1 {
		t.Errorf("told %d times: %s", n, f.log.String())
	}
}

// TestWhereNothingIsWrapped: a misspelt type, also inside of one that nobody checks, and a type
// where Envoy unpacks none, are refused with their line.
func TestWhereNothingIsWrapped(t *testing.T) {
	config := func(name string) string { return "{name: x, typed_config: {'@type': " + name + "}}" }
	for name, tc := range map[string]struct{ more, want, hint string }{
		"misspelt":            {"  transport_socket:\n    name: x\n    typed_config:\n      '@type': " + strings.Replace(proxySocket, "proxy", "porxy", 1) + "\n", "line 7: resources[0].transport_socket.typed_config: ", "did you mean " + proxySocket},
		"misspelt inside":     {"  transport_socket:\n    name: x\n    typed_config:\n      '@type': " + proxySocket + "\n      a:\n      - b: {'@type': " + extensions + "made.up.v3.Thing}\n", "line 9: resources[0].transport_socket.typed_config.a[0].b: ", "look the type up"},
		"misspelt at its end": {"  transport_socket: " + config(proxySocket+"s") + "\n", "line 4: ", "did you mean " + proxySocket},
		"a type of v2":        {"  transport_socket: " + config("type.googleapis.com/envoy.config.accesslog.v2.FileAccessLog") + "\n", "line 4: ", "look the type up"},
		"cluster_type":        {"  cluster_type: " + config(extensions+"clusters.mcp_multicluster.v3.ClusterConfig") + "\n", "line 4: resources[0].cluster_type.typed_config: envoy.extensions.clusters.mcp_multicluster.v3.ClusterConfig is not linked into this program, and Envoy takes nothing else in cluster_type", "linked.go"},
		"a resolver":          {"  typed_dns_resolver_config: " + config(extensions+"filters.http.wasm.v3.Wasm") + "\n", "nothing else in typed_dns_resolver_config", "linked.go"},
		"a sink of events":    {"  health_checks:\n  - {timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}, event_logger: [" + config(extensions+"filters.http.wasm.v3.Wasm") + "]}\n", "nothing else in event_logger", "linked.go"},
	} {
		f := newFolder(t, map[string]string{"all/x.yaml": aCluster(tc.more)})
		p := f.dir.Problems()
		if len(p) != 1 || !strings.Contains(p[0].Error(), tc.want) || !strings.Contains(federation.AsError(p[0]).Hint, tc.hint) {
			t.Errorf("%s: %v, hint %v, want %q, %q", name, p, federation.AsError(p[0]), tc.want, tc.hint)
		}
	}
}

// TestBoundsNameTheirLine: of a field deep inside, in a list, in a map, behind another message,
// and of one that is missing.
func TestBoundsNameTheirLine(t *testing.T) {
	for want, text := range map[string]string{
		"line 6: resources[0].loadAssignment.endpoints[1].load_balancing_weight: invalid LocalityLbEndpoints.LoadBalancingWeight": aCluster("  loadAssignment:\n    cluster_name: a\n    endpoints: [{}, {load_balancing_weight: 0}]\n"),
		"line 4: resources[0].load_assignment: invalid ClusterLoadAssignment.ClusterName":                                         aCluster("  load_assignment:\n    endpoints: []\n"),
		"line 7: resources[0].typed_extension_protocol_options[b].common_http_protocol_options.max_headers_count: invalid": aCluster("  typed_extension_protocol_options:\n    b:\n      '@type': " + extensions + "upstreams.http.v3.HttpProtocolOptions\n" +
			"      common_http_protocol_options: {max_headers_count: 0}\n      explicit_http_config: {http_protocol_options: {}}\n"),
		"line 4: resources[0].transport_socket.name: invalid TransportSocket.Name": aCluster("  transport_socket: {name: ''}\n"),
	} {
		f := newFolder(t, map[string]string{"all/x.yaml": text})
		if p := f.dir.Problems(); len(p) != 1 || !strings.Contains(p[0].Error(), want) {
			t.Errorf("%v, want %s", p, want)
		}
	}
}
