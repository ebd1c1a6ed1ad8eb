package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"reflect"
	"strconv"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3" // and so has it
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3" // a bootstrap has it packed
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"sigs.k8s.io/yaml"
)

// kumaDP stands in for kuma-dp: it asks for a bootstrap in kuma-dp's own words, and
// knows no more of the zone than where its port for proxies is and which CA it has.
type kumaDP struct {
	t       testing.TB
	address string // of the zone's port for proxies, or of a relay to it
	caPEM   string

	proxyType, mesh, name, token string
	resource                     string // JSON; "" sends none
}

// newKumaDP returns one that reaches the zone at an address.
func newKumaDP(t testing.TB, z *Zone, address string, p kumaDP) *kumaDP {
	t.Helper()
	pem, err := os.ReadFile(z.Node.Endpoints().CAFile)
	if err != nil {
		t.Fatal(err)
	}
	p.t, p.address, p.caPEM = t, address, string(pem)
	return &p
}

// ask sends POST /bootstrap with every field that kuma-dp sends, and returns the
// answer as it came.
func (d *kumaDP) ask() (status int, header http.Header, body []byte) {
	d.t.Helper()
	request, err := json.Marshal(map[string]any{
		"mesh": d.mesh, "name": d.name, "proxyType": d.proxyType,
		"dataplaneToken": d.token, "dataplaneTokenPath": "/tmp/kuma-dp/token", "dataplaneResource": d.resource,
		"host": "127.0.0.1", "caCert": d.caPEM,
		"version": map[string]any{
			"kumaDp": map[string]any{"version": "2.8.8", "gitTag": "", "gitCommit": "", "buildDate": ""},
			"envoy":  map[string]any{"version": "1.30.9", "build": "", "kumaDpCompatible": true},
		},
		"dynamicMetadata": map[string]string{"team": "a"}, "dnsPort": 0, "readinessPort": 9902, "operatingSystem": "linux",
		"features":  []string{"feature-tcp-accesslog-via-named-pipe"},
		"resources": map[string]any{"maxHeapSizeBytes": 0}, "workdir": "/tmp/kuma-dp",
		"metricsResources": map[string]any{"certPath": "", "keyPath": ""}, "systemCaPath": "/etc/ssl/certs/ca-certificates.crt",
	})
	if err != nil {
		d.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(d.caPEM)) {
		d.t.Fatal("kuma-dp has no CA")
	}
	trust := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	client := &http.Client{Timeout: Patience, Transport: &http.Transport{TLSClientConfig: trust, DisableKeepAlives: true}}
	resp, err := client.Post("https://"+d.address+"/bootstrap", "application/json", bytes.NewReader(request))
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer)); err != nil {
		d.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, body
}

// sidecar is the second half of the answer, of which kuma-dp needs every member.
const sidecar = `{"networking":{"isUsingTransparentProxy":false,"corefileTemplate":"","address":""},"metrics":{"aggregate":[]}}`

// start asks for a bootstrap, which must be given, and reads it as strictly as
// Envoy does: a member that its messages do not have is an error.
func (d *kumaDP) start() *bootstrapv3.Bootstrap {
	d.t.Helper()
	status, _, body := d.ask()
	if status != http.StatusOK {
		d.t.Fatalf("%d: %s", status, body)
	}
	var answer map[string]json.RawMessage
	if err := json.Unmarshal(body, &answer); err != nil || len(answer) != 2 {
		d.t.Fatalf("an answer of %d members, %v", len(answer), err)
	}
	if got := string(answer["kumaSidecarConfiguration"]); got != sidecar {
		d.t.Errorf("kumaSidecarConfiguration is %s, want %s", got, sidecar)
	}
	var text []byte // base64
	if err := json.Unmarshal(answer["bootstrap"], &text); err != nil {
		d.t.Fatal(err)
	}
	data, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		d.t.Fatal(err)
	}
	b := &bootstrapv3.Bootstrap{}
	if err := protojson.Unmarshal(data, b); err != nil {
		d.t.Fatal(err)
	}
	return b
}

// adsOf is what a bootstrap says of the control plane.
type adsOf struct {
	address  string
	trust    *tls.Config
	metadata metadata.MD
	node     *core.Node
}

// readADS follows a bootstrap as Envoy does: from the ADS service to its static
// cluster, from there to an address and the CA to trust.
func readADS(t testing.TB, b *bootstrapv3.Bootstrap) adsOf {
	t.Helper()
	dynamic := b.GetDynamicResources()
	if dynamic.GetCdsConfig().GetAds() == nil || dynamic.GetLdsConfig().GetAds() == nil {
		t.Error("clusters and listeners do not come over ADS")
	}
	config := dynamic.GetAdsConfig()
	if config.GetApiType() != core.ApiConfigSource_GRPC || config.GetTransportApiVersion() != core.ApiVersion_V3 || len(config.GetGrpcServices()) != 1 {
		t.Fatalf("ADS is configured as %v", config.GetApiType())
	}
	service := config.GetGrpcServices()[0]
	out := adsOf{metadata: metadata.MD{}, node: b.GetNode()}
	for _, m := range service.GetInitialMetadata() {
		out.metadata.Append(m.GetKey(), m.GetValue())
	}
	for _, c := range b.GetStaticResources().GetClusters() {
		if c.GetName() != service.GetEnvoyGrpc().GetClusterName() {
			continue
		}
		socket := c.GetLoadAssignment().GetEndpoints()[0].GetLbEndpoints()[0].GetEndpoint().GetAddress().GetSocketAddress()
		out.address = net.JoinHostPort(socket.GetAddress(), strconv.Itoa(int(socket.GetPortValue())))
		up := &tlsv3.UpstreamTlsContext{}
		if err := c.GetTransportSocket().GetTypedConfig().UnmarshalTo(up); err != nil {
			t.Fatal(err)
		}
		validation := up.GetCommonTlsContext().GetValidationContext()
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(validation.GetTrustedCa().GetInlineString())) {
			t.Fatal("the bootstrap trusts no CA")
		}
		names := validation.GetMatchTypedSubjectAltNames()
		if len(names) != 1 {
			t.Fatalf("the certificate is to have one of %d names", len(names))
		}
		out.trust = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12, ServerName: names[0].GetMatcher().GetExact()}
	}
	if out.address == "" {
		t.Fatalf("no static cluster %q", service.GetEnvoyGrpc().GetClusterName())
	}
	return out
}

// dial connects as the bootstrap says. The context of its streams has the metadata.
func (a adsOf) dial(t testing.TB) (context.Context, *grpc.ClientConn) {
	t.Helper()
	conn, err := grpc.NewClient(a.address, grpc.WithTransportCredentials(credentials.NewTLS(a.trust)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	t.Cleanup(cancel)
	return metadata.NewOutgoingContext(ctx, a.metadata), conn
}

// checkNode holds the node against what the zone's ADS and its operators read.
func (a adsOf) checkNode(t testing.TB, d *kumaDP, id, cluster string) {
	t.Helper()
	if a.address != d.address {
		t.Errorf("ads_cluster is at %s, kuma-dp reached the zone at %s", a.address, d.address)
	}
	if got := a.metadata.Get("authorization"); len(got) != 1 || got[0] != d.token {
		t.Errorf("%d authorizations, or not the token as it is", len(got))
	}
	if a.node.GetId() != id || a.node.GetCluster() != cluster {
		t.Errorf("the node is %q of %q, want %q of %q", a.node.GetId(), a.node.GetCluster(), id, cluster)
	}
	meta := a.node.GetMetadata().AsMap()
	if meta["dataplane.proxyType"] != d.proxyType || meta["dataplane.admin.port"] != "9901" {
		t.Errorf("the node's metadata are %v", meta)
	}
	version, _ := meta["version"].(map[string]any)
	kumaDP, _ := version["kumaDp"].(map[string]any)
	if kumaDP["version"] != "2.8.8" {
		t.Errorf("the node's version is %v", version)
	}
	text, _ := meta["dataplane.resource"].(string)
	var got, want map[string]any
	if json.Unmarshal([]byte(text), &got) != nil || json.Unmarshal([]byte(d.resource), &want) != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("dataplane.resource is %s, want %s", text, d.resource)
	}
}
