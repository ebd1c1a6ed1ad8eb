package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"sigs.k8s.io/yaml"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/raftstore"
)

const (
	proxyResource = `{"type":"Dataplane","mesh":"default","name":"backend-1","networking":{"address":"10.0.0.1","inbound":[{"port":8080,"servicePort":80,"tags":{"kuma.io/service":"backend"}}]}}`
	clusterURL    = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	listenerURL   = "type.googleapis.com/envoy.config.listener.v3.Listener"
)

// envoy is a stand-in for kuma-dp and its Envoy: it asks for a bootstrap, and does
// over ADS what that says.
type envoy struct {
	t   testing.TB
	ads discovery.AggregatedDiscoveryService_StreamAggregatedResourcesClient
}

// startEnvoy starts one with a token, as its file has it.
func startEnvoy(t testing.TB, z *Zone, token string) *envoy {
	t.Helper()
	ends := z.Node.Endpoints()
	pool, err := tlsutil.LoadPool(ends.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	trust := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	node, authorization := bootstrapOf(t, ends.DP, trust, token)
	conn, err := grpc.NewClient(ends.DP, grpc.WithTransportCredentials(credentials.NewTLS(trust)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	t.Cleanup(cancel)
	ads, err := discovery.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(metadata.AppendToOutgoingContext(ctx, "authorization", authorization))
	if err != nil {
		t.Fatal(err)
	}
	e := &envoy{t, ads}
	e.ask(&discovery.DiscoveryRequest{Node: node, TypeUrl: clusterURL})
	e.take(clusterURL)
	return e
}

// bootstrapOf asks for a bootstrap and reads from it what Envoy would.
func bootstrapOf(t testing.TB, address string, trust *tls.Config, token string) (*core.Node, string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"mesh": "default", "name": "backend-1", "proxyType": "dataplane", "dataplaneToken": token, "dataplaneResource": proxyResource})
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: Patience, Transport: &http.Transport{TLSClientConfig: trust, DisableKeepAlives: true}}
	resp, err := client.Post("https://"+address+"/bootstrap", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ Bootstrap []byte }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != 200 {
		t.Fatalf("%d, %v", resp.StatusCode, err)
	}
	data, err := yaml.YAMLToJSON(answer.Bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	var b struct {
		Node             json.RawMessage
		DynamicResources struct {
			AdsConfig struct {
				GrpcServices []struct{ InitialMetadata []struct{ Key, Value string } }
			}
		}
	}
	if err := json.Unmarshal(data, &b); err != nil {
		t.Fatal(err)
	}
	node := &core.Node{}
	if err := protojson.Unmarshal(b.Node, node); err != nil {
		t.Fatal(err)
	}
	return node, b.DynamicResources.AdsConfig.GrpcServices[0].InitialMetadata[0].Value
}

func (e *envoy) ask(m *discovery.DiscoveryRequest) {
	e.t.Helper()
	_ = e.ads.Send(m) // why it failed is for Recv to tell
}

// take receives a response of the type with one resource, and acknowledges it.
func (e *envoy) take(url string) {
	e.t.Helper()
	m, err := e.ads.Recv()
	if err != nil || m.GetTypeUrl() != url || len(m.GetResources()) != 1 {
		e.t.Fatalf("%v, %v", m, err)
	}
	e.ask(&discovery.DiscoveryRequest{TypeUrl: url, VersionInfo: m.GetVersionInfo(), ResponseNonce: m.GetNonce()})
}

// A revocation that the zone has acknowledged has ended the stream of who holds
// the token: what the Envoy asks for afterwards is not sent. The stream of the
// rotated token, made before, goes on; so does everybody else's.
func TestARevokedProxyGetsNothingMore(t *testing.T) {
	g := StartGlobal(t, quiet)
	z := g.StartZone("west", g.KDS())
	z.WaitCurrent(g)
	claims := cptoken.Claims{Kind: cptoken.Dataplane, Mesh: "default", Name: "backend-1", Tags: map[string][]string{"kuma.io/service": {"backend"}}}
	old := g.Issue(claims, time.Hour)
	first, rotated := startEnvoy(t, z, old+"\n"), startEnvoy(t, z, g.Issue(claims, time.Hour))
	if n := len(z.Node.Proxies().Proxies()); n != 2 {
		t.Errorf("%d connections are listed", n)
	}

	parsed, err := cptoken.Parse(old)
	if err != nil {
		t.Fatal(err)
	}
	change, err := g.Node.Store().Revoke(t.Context(), raftstore.Origin{By: "test"}, cptoken.Dataplane, "default",
		[]cptoken.RevokedID{{ID: parsed.RevocationID(), Expires: parsed.Claims.ExpiresAt.Unix()}}, "")
	if err != nil {
		t.Fatal(err)
	}
	z.WaitFor(change.Revision)
	first.ask(&discovery.DiscoveryRequest{TypeUrl: listenerURL})
	m, err := first.ads.Recv()
	if err == nil {
		t.Fatalf("sent behind the revocation: %v", m)
	}
	if code, reason := endOf(err); code != codes.Unauthenticated || reason != "revoked" {
		t.Errorf("the stream ended with %v", err)
	}
	rotated.ask(&discovery.DiscoveryRequest{TypeUrl: listenerURL})
	rotated.take(listenerURL)
	Eventually(t, "the revoked connection to be gone", func() bool { return len(z.Node.Proxies().Proxies()) == 1 })
	if left := z.Node.Proxies().Proxies()[0]; left.Admission.TokenID == "" || left.ID.Name != "backend-1" {
		t.Errorf("left is %+v", left)
	}
	// The global goes away, and nothing changes for who is connected.
	g.Stop()
	rotated.ask(&discovery.DiscoveryRequest{TypeUrl: clusterURL, ResponseNonce: "nonsense"})
	if left := z.Node.Proxies().Proxies(); len(left) != 1 || left[0].Check() != nil {
		t.Error("a proxy lost its stream because the global is away")
	}
}
