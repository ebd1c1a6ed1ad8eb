package bootstrap

import (
	"encoding/base64"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/grpc_credential/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/credential_injector/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/http/injected_credentials/generic/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"sigs.k8s.io/yaml"

	"github.com/meridiankds/meridian/federation"
	proxyres "github.com/meridiankds/meridian/internal/zone/resource"
)

var update = flag.Bool("update", false, "write the golden files anew")

const (
	backend = `{"type":"Dataplane","mesh":"default","name":"backend-1","creationTime":"0001-01-01T00:00:00Z","modificationTime":"0001-01-01T00:00:00Z","networking":{"address":"10.0.0.1","inbound":[{"port":8080,"servicePort":80,"tags":{"kuma.io/service":"backend","version":"1"}}],"transparentProxying":{"redirectPortInbound":15006},"admin":{"port":9902}},"new":{"field":[1]}}`
	ingress = `{"type":"ZoneIngress","name":"ingress-1","zone":"west","networking":{"address":"10.0.0.2","port":10001}}`
	egress  = `{"type":"ZoneEgress","name":"egress-1","networking":{"address":"10.0.0.3","port":10002}}`
	ca      = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
	token   = "eyJhbGciOiJSUzI1NiJ9.e30.c2ln"
)

// body is a request as kuma-dp sends it.
func body(t *testing.T, proxyType, mesh, name, resource string, more map[string]any) []byte {
	t.Helper()
	all := map[string]any{
		"mesh": mesh, "name": name, "proxyType": proxyType, "dataplaneToken": token, "dataplaneTokenPath": "/var/run/token",
		"dataplaneResource": resource, "host": "zone.example", "caCert": ca,
		"version": map[string]any{"kumaDp": map[string]any{"version": "2.8.8"}, "envoy": map[string]any{"version": "1.30.6", "kumaDpCompatible": true}},
		"dnsPort": 0, "readinessPort": 9300, "operatingSystem": "linux", "features": []string{"feature-tcp-accesslog-via-named-pipe"},
		"dynamicMetadata": map[string]string{}, "resources": map[string]any{"maxHeapSizeBytes": 0}, "workdir": "/tmp/kuma-dp",
		"metricsResources": map[string]any{"certPath": "", "keyPath": ""}, "systemCaPath": "/etc/ssl/certs/ca-certificates.crt", "somethingNew": true,
	}
	for k, v := range more {
		all[k] = v
	}
	data, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func input(t *testing.T, data []byte) Input {
	t.Helper()
	req, err := ParseRequest(data)
	if err != nil {
		t.Fatal(err)
	}
	res, err := req.Resource()
	if err != nil {
		t.Fatal(err)
	}
	return Input{Request: req, Resource: res, JSON: res.JSON(), Address: "zone.example:5678", CheckHost: true, Token: req.DataplaneToken}
}

func TestGolden(t *testing.T) {
	for name, make := range map[string]func() Input{
		"dataplane": func() Input {
			return input(t, body(t, "dataplane", "default", "backend-1", backend, map[string]any{
				"dnsPort": 15053, "dynamicMetadata": map[string]string{"team": "a"}, "resources": map[string]any{"maxHeapSizeBytes": 536870912},
			}))
		},
		// What a kuma-dp of 2.9.13 was seen to say.
		"dataplane-2.9": func() Input {
			return input(t, body(t, "dataplane", "payments", "old", `{"type":"Dataplane","mesh":"payments","name":"old","creationTime":"0001-01-01T00:00:00Z","modificationTime":"0001-01-01T00:00:00Z",`+
				`"networking":{"address":"127.0.0.1","inbound":[{"port":18001,"servicePort":18999,"tags":{"kuma.io/protocol":"http","kuma.io/service":"old"}}]}}`, map[string]any{
				"version": map[string]any{"kumaDp": map[string]any{"version": "2.9.13", "gitTag": "2.9.13", "gitCommit": "x", "buildDate": "x"},
					"envoy": map[string]any{"version": "1.40.0", "build": "x/1.40.0/Clean/RELEASE/BoringSSL", "kumaDpCompatible": false}},
				"dnsPort": 15054, "readinessPort": 19902, "appProbeProxyDisabled": true, "ipv6Enabled": true, "workdir": "/run/kuma-dp",
			}))
		},
		"ingress": func() Input {
			in := input(t, body(t, "ingress", "", "ingress-1", ingress, map[string]any{"caCert": ""}))
			in.Address, in.CA = "10.1.2.3:5678", "-----BEGIN CERTIFICATE-----\nzone's own\n-----END CERTIFICATE-----\n"
			return in
		},
		"egress-token-path": func() Input {
			in := input(t, body(t, "egress", "", "egress-1", egress, nil))
			in.TokenPath = true
			return in
		},
		"dataplane-2.14": func() Input {
			return input(t, body(t, "dataplane", "default", "backend-1", backend, map[string]any{
				"version":  map[string]any{"kumaDp": map[string]any{"version": "2.14.3"}, "envoy": map[string]any{"version": "1.37.1"}},
				"features": []string{"feature-tcp-accesslog-via-named-pipe", "feature-delta-grpc"}, "otelEnv": map[string]any{"a": "b"},
				"dataplaneConfig": map[string]any{"x": 1}, "ipv6Enabled": true, "spireResources": map[string]any{}, "appProbeProxyDisabled": true,
			}))
		},
		"dataplane-2.14-dns": func() Input {
			return input(t, body(t, "dataplane", "default", "backend-1", backend, map[string]any{
				"version":  map[string]any{"kumaDp": map[string]any{"version": "2.14.3"}, "envoy": map[string]any{"version": "1.37.1"}},
				"features": []string{"feature-embedded-dns"}, "dnsPort": 15053,
			}))
		},
		"agent": func() Input {
			return input(t, body(t, "dataplane", "default", "backend-1", backend, map[string]any{
				"features": []string{"feature-delta-grpc"}, "version": map[string]any{"kumaDp": map[string]any{"version": "0.1.0"}},
				"meridianAgent": map[string]any{
					"tokenFile": "/run/agent/token.json", "caFile": "/run/agent/ca.json", "adminSocket": "/run/agent/envoy-admin.sock",
					"controlPlanes": []string{"zone.example:5678", "10.9.8.7:5679"},
				},
			}))
		},
		"registered-before": func() Input {
			in := input(t, body(t, "dataplane", "default", "backend-1", backend, map[string]any{"caCert": ""}))
			in.JSON, in.Token, in.CheckHost = nil, "", false
			return in
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Make(make())
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(want) {
				t.Errorf("it is\n%s", got)
			}
			envoyTakes(t, got)
		})
	}
}

// envoyTakes holds a bootstrap against Envoy's own messages: every field and type
// exists, and every bound holds.
func envoyTakes(t *testing.T, text []byte) *bootstrapv3.Bootstrap {
	t.Helper()
	data, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	var b bootstrapv3.Bootstrap
	if err := protojson.Unmarshal(data, &b); err != nil {
		t.Fatalf("Envoy would not read it: %v", err)
	}
	if err := b.ValidateAll(); err != nil {
		t.Fatalf("Envoy would not take it: %v", err)
	}
	return &b
}

func TestWhatEnvoyReads(t *testing.T) {
	text, err := Make(input(t, body(t, "dataplane", "default", "backend-1", backend, nil)))
	if err != nil {
		t.Fatal(err)
	}
	b := envoyTakes(t, text)
	service := b.GetDynamicResources().GetAdsConfig().GetGrpcServices()[0]
	if md := service.GetInitialMetadata(); len(md) != 1 || md[0].GetKey() != "authorization" || md[0].GetValue() != token {
		t.Errorf("initial metadata %v", md)
	}
	if b.GetNode().GetId() != "default.backend-1" || b.GetNode().GetCluster() != "backend" || b.GetAdmin().GetAddress().GetSocketAddress().GetPortValue() != 9902 {
		t.Errorf("node %v, admin %v", b.GetNode(), b.GetAdmin())
	}
	fields := b.GetNode().GetMetadata().GetFields()
	r, err := proxyres.ParseRequest([]byte(fields["dataplane.resource"].GetStringValue()))
	if err != nil || r.String() != "Dataplane default/backend-1" || !strings.Contains(fields["dataplane.resource"].GetStringValue(), `"new":{"field":[1]}`) {
		t.Errorf("the resource was not handed on: %v", err)
	}
	if v := fields["version"].GetStructValue().GetFields()["kumaDp"].GetStructValue().GetFields()["version"].GetStringValue(); v != "2.8.8" {
		t.Errorf("version %q", v)
	}
}

func TestRequests(t *testing.T) {
	for name, tc := range map[string]struct {
		data string
		want string
	}{
		"nothing":                       {"", "the document is empty"},
		"a list":                        {"[]", "must be a map"},
		"a proxy type":                  {`{"proxyType":"gateway"}`, "proxyType: \"gateway\" is not a type of proxy"},
		"a port":                        {`{"dnsPort":70000}`, "dnsPort: 70000 is not a port"},
		"a wrong type":                  {`{"name":[1]}`, "name: must be text"},
		"twice":                         {`{"name":"a","name":"b"}`, "name: is given twice"},
		"another name":                  {`{"name":"b","dataplaneResource":` + quoted(backend) + `}`, "name: is \"b\", the resource's is \"backend-1\""},
		"another mesh":                  {`{"mesh":"m","dataplaneResource":` + quoted(backend) + `}`, "mesh: is \"m\", the resource's is \"default\""},
		"another type":                  {`{"proxyType":"ingress","dataplaneResource":` + quoted(backend) + `}`, "proxyType: is ingress, the resource is a Dataplane"},
		"an agent without a token file": {`{"meridianAgent":{}}`, "meridianAgent.tokenFile: must not be empty"},
		"a long socket":                 {`{"meridianAgent":{"tokenFile":"/t","adminSocket":"/` + strings.Repeat("s", 107) + `"}}`, "meridianAgent.adminSocket: is longer than the 107"},
		"a control plane without port":  {`{"meridianAgent":{"tokenFile":"/t","controlPlanes":["zone"]}}`, "meridianAgent.controlPlanes: \"zone\" is not HOST:PORT"},
		"a control plane of no host":    {`{"meridianAgent":{"tokenFile":"/t","controlPlanes":["a b:1"]}}`, "meridianAgent.controlPlanes: \"a b:1\" is not HOST:PORT"},
		"too many control planes":       {`{"meridianAgent":{"tokenFile":"/t","controlPlanes":[` + strings.Repeat(`"z:1",`, 16) + `"z:1"]}}`, "meridianAgent.controlPlanes: are 17"},
		"a bad request":                 {`{"dataplaneResource":"{\"type\":\"Dataplane\",\"name\":\"a\"}"}`, "dataplaneResource: line 1: networking.address"},
	} {
		req, err := ParseRequest([]byte(tc.data))
		if err == nil {
			_, err = req.Resource()
		}
		if federation.CodeOf(err) != federation.Invalid || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	if _, err := ParseRequest(make([]byte, MaxBytes+1)); federation.CodeOf(err) != federation.TooLarge {
		t.Errorf("too large: %v", err)
	}
	req, err := ParseRequest([]byte(`{"name":"a"}`))
	if err != nil || req.NodeID() != "default.a" {
		t.Errorf("%v, %v", req, err)
	}
	if r, err := req.Resource(); r != nil || err != nil {
		t.Errorf("a resource out of nothing: %v, %v", r, err)
	}
}

func quoted(s string) string {
	data, _ := json.Marshal(s)
	return string(data)
}

func TestAnswer(t *testing.T) {
	r, err := proxyres.ParseRequest([]byte(egress))
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(AnswerOf([]byte("node: {}\n"), r))
	want := `{"bootstrap":"` + base64.StdEncoding.EncodeToString([]byte("node: {}\n")) +
		`","kumaSidecarConfiguration":{"networking":{"isUsingTransparentProxy":false,"corefileTemplate":"","address":""},"metrics":{"aggregate":[]}}}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"mesh":"default","name":"backend-1","proxyType":"dataplane","dataplaneToken":"x","dataplaneResource":` + quoted(backend) + `,"dynamicMetadata":{"a":"b"},"version":{"kumaDp":{"version":"1"}}}`))
	f.Add([]byte(`{"proxyType":"ingress","dataplaneTokenPath":"/x","dataplaneResource":` + quoted(ingress) + `,"resources":{"maxHeapSizeBytes":"1"}}`))
	f.Add([]byte(`{"proxyType":"egress","meridianAgent":{"tokenFile":"/t","caFile":"/c","adminSocket":"/a","controlPlanes":["z:1","[::1]:2"]},"dataplaneResource":` + quoted(egress) + `}`))
	f.Add([]byte(`{"proxyType":"egress","caCert":"x","dnsPort":1,"readinessPort":2,"dataplaneResource":` + quoted(egress) + `}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		req, err := ParseRequest(data)
		var res *proxyres.Resource
		if err == nil {
			res, err = req.Resource()
		}
		if err != nil {
			if c := federation.CodeOf(err); c != federation.Invalid && c != federation.TooLarge {
				t.Fatalf("an error of code %s: %v", c, err)
			}
			return
		}
		if res == nil {
			return
		}
		for _, byPath := range []bool{false, true} {
			text, err := Make(Input{Request: req, Resource: res, JSON: res.JSON(), Address: "[::1]:5678", Token: "token", TokenPath: byPath})
			if err != nil {
				t.Fatal(err)
			}
			envoyReads(t, text)
		}
	})
}

// envoyReads is envoyTakes without the bounds: a proxy may call its node anything.
func envoyReads(t *testing.T, text []byte) {
	t.Helper()
	data, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	var b bootstrapv3.Bootstrap
	if err := protojson.Unmarshal(data, &b); err != nil {
		t.Fatalf("Envoy would not read it: %v\n%s", err, text)
	}
	if b.GetNode().GetId() == "" {
		t.Fatalf("no node: %s", text)
	}
}

// TestVersionsOfKumaDP: the pipe and what goes with it are for those that look for them,
// and where the path of a socket has room.
func TestVersionsOfKumaDP(t *testing.T) {
	for _, tt := range []struct {
		version any
		workdir string
		pipe    bool
	}{
		{"2.8.8", "/tmp/kuma-dp", false}, {"2.9.13", "/tmp/kuma-dp", false}, {"2.13.9", "/tmp/kuma-dp", false}, {"2.14.0", "/tmp/kuma-dp", true}, {"2.14.3", "/tmp/kuma-dp", true}, {"3.0.0", "/tmp/kuma-dp", true},
		{"2.14.3", "", false}, {"2.14.3", "relative/dir", false}, {"2.14.3", "/" + strings.Repeat("w", 120), false},
		{"unknown", "/tmp/kuma-dp", false}, {"", "/tmp/kuma-dp", false}, {7, "/tmp/kuma-dp", false}, {nil, "/tmp/kuma-dp", false},
	} {
		got, err := Make(input(t, body(t, "dataplane", "default", "backend-1", backend, map[string]any{
			"version": map[string]any{"kumaDp": map[string]any{"version": tt.version}}, "workdir": tt.workdir,
		})))
		if err != nil {
			t.Fatal(err)
		}
		pipe := strings.Contains(string(got), "path: "+tt.workdir+"/kuma-envoy-admin.sock")
		if pipe != tt.pipe || strings.Contains(string(got), "initialFetchTimeout: 0s") != (tt.version == "2.14.0" || tt.version == "2.14.3" || tt.version == "3.0.0") || pipe == strings.Contains(string(got), "portValue: 9902") {
			t.Errorf("version %v, work directory %.20q: a pipe %t\n%s", tt.version, tt.workdir, pipe, got)
		}
	}
}

// TestWhoAsksForRecordsIsAnswered: a kuma-dp that answers DNS itself, says so, and has room
// for the socket; its listener is there from its Envoy's start.
func TestWhoAsksForRecordsIsAnswered(t *testing.T) {
	for _, tt := range []struct {
		version, workdir, feature string
		served                    bool
	}{
		{"2.14.3", "/tmp/kuma-dp", "feature-embedded-dns", true}, {"3.0.0", "/tmp/kuma-dp", "feature-embedded-dns", true},
		{"2.14.3", "/tmp/kuma-dp", "feature-reuse-port", false}, {"2.13.9", "/tmp/kuma-dp", "feature-embedded-dns", false},
		{"2.14.3", "", "feature-embedded-dns", false}, {"2.14.3", "/" + strings.Repeat("w", 90), "feature-embedded-dns", false},
	} {
		got, err := Make(input(t, body(t, "dataplane", "default", "backend-1", backend, map[string]any{
			"version": map[string]any{"kumaDp": map[string]any{"version": tt.version}}, "workdir": tt.workdir, "features": []string{tt.feature},
		})))
		if err != nil {
			t.Fatal(err)
		}
		if served := strings.Contains(string(got), "path: "+tt.workdir+"/kuma-mesh-metric-config.sock"); served != tt.served {
			t.Errorf("%+v: %t\n%s", tt, served, got)
		}
	}
}
