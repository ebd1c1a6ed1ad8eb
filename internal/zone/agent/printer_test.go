package agent

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

func TestPrinterAsJSONAndOfUnknownExtensions(t *testing.T) {
	out := &buffer{}
	p := NewPrinter(out, true)
	resp := &discovery.DiscoveryResponse{TypeUrl: clusters, VersionInfo: "1", Resources: []*anypb.Any{{TypeUrl: "type.googleapis.com/nobody.Knows", Value: []byte("abc")}}}
	for range 2 {
		if _, err := p.Response(resp); err != nil {
			t.Fatal(err)
		}
	}
	want := `{"resources":[{"@type":"type.googleapis.com/nobody.Knows","bytes":3,"note":"not shown: it holds an extension that this program does not know"}],"type":"` + clusters + `","version":"1"}` + "\n"
	if out.String() != want {
		t.Errorf("got %s", out)
	}
	if err := p.Bootstrap([]byte("a: [")); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}

func TestReferences(t *testing.T) {
	var documents []any
	_ = json.Unmarshal([]byte(`[
		{"@type": "`+clusters+`", "name": "a", "type": "EDS"},
		{"@type": "`+clusters+`", "name": "b", "type": "EDS", "edsClusterConfig": {"serviceName": "c"},
		 "transportSocket": {"typedConfig": {"commonTlsContext": {"tlsCertificateSdsSecretConfigs": [{"name": "cert", "sdsConfig": {"ads": {}}}]}}}},
		{"@type": "`+clusters+`", "name": "d", "type": "STATIC"},
		{"@type": "`+listeners+`", "filterChains": [{"filters": [{"typedConfig": {"rds": {"routeConfigName": "r"}}}]}]}
	]`), &documents)
	want := map[string][]string{endpoints: {"a", "c"}, secrets: {"cert"}, routes: {"r"}}
	if got := references(documents); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
}
