package agent

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

const pemKey = "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----"

func TestBlot(t *testing.T) {
	in := `{
		"initialMetadata": [{"key": "Authorization", "value": "short"}, {"key": "x", "value": "y"}],
		"header": {"key": "cookie", "value": "id=1"},
		"tls": {"privateKey": {"inlineString": "k"}, "certificateChain": {"inlineString": "-----BEGIN CERTIFICATE-----"}},
		"file": {"private_key": {"filename": "/key.pem"}},
		"genericSecret": {"secret": {"inlineBytes": "c2VjcmV0"}},
		"text": "before ` + tokenA + ` after",
		"bytes": "` + base64.StdEncoding.EncodeToString([]byte(tokenA)) + `",
		"pem": ` + string(must(json.Marshal(pemKey))) + `,
		"list": ["Bearer ` + tokenB + `", 1, true, null]
	}`
	want := `{
		"initialMetadata": [{"key": "Authorization", "value": "[token]"}, {"key": "x", "value": "y"}],
		"header": {"key": "cookie", "value": "[token]"},
		"tls": {"privateKey": {"inlineString": "[secret]"}, "certificateChain": {"inlineString": "-----BEGIN CERTIFICATE-----"}},
		"file": {"private_key": {"filename": "/key.pem"}},
		"genericSecret": {"secret": {"inlineBytes": "[secret]"}},
		"text": "before [token] after",
		"bytes": "[secret]",
		"pem": "[secret]",
		"list": ["Bearer [token]", 1, true, null]
	}`
	var got, expected any
	_ = json.Unmarshal([]byte(in), &got)
	_ = json.Unmarshal([]byte(want), &expected)
	if got = blot(got); !reflect.DeepEqual(got, expected) {
		t.Errorf("got %s", must(json.Marshal(got)))
	}
}

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

func must(data []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return data
}
