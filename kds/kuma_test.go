package kds

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
)

// kumaTypes is what a zone of Kuma 2.8.8 subscribes to.
const kumaTypes = `CircuitBreaker Config ExternalService FaultInjection GlobalSecret HealthCheck
HostnameGenerator Mesh MeshAccessLog MeshCircuitBreaker MeshExternalService MeshFaultInjection MeshGateway
MeshGatewayRoute MeshHTTPRoute MeshHealthCheck MeshLoadBalancingStrategy MeshMetric MeshPassthrough
MeshProxyPatch MeshRateLimit MeshRetry MeshService MeshTCPRoute MeshTimeout MeshTrace MeshTrafficPermission
ProxyTemplate RateLimit Retry Secret ServiceInsight Timeout TrafficLog TrafficPermission TrafficRoute
TrafficTrace VirtualOutbound ZoneIngress`

// kumaZone opens the six calls that a zone of Kuma's makes, as it makes them:
// at once, compressed, without a feature or header of ours.
func kumaZone(t *testing.T, m *member, zone string) (sync *raw, others []*raw) {
	t.Helper()
	conn := dialRaw(t, m.addr, grpc.WithDefaultCallOptions(grpc.UseCompressor(gzip.Name)))
	md := append(as(zone), mdKDSVersion, "v3", mdVersion, "unknown", mdFeatures, "zone-ping-health", mdFeatures, "hash-suffix")
	for _, method := range everyMethod {
		if method == methodHealthCheck {
			if err := callOnce(t, conn, method, md...); err != nil {
				t.Fatalf("%s: %v", method, err)
			}
			continue
		}
		r := openRaw(t, conn, method, md...)
		if method == methodGlobalToZone {
			sync = r
			continue
		}
		others = append(others, r)
	}
	return sync, others
}

func firstRequest(zone, typeURL string) *discovery.DeltaDiscoveryRequest {
	req := subscription(zone, typeURL, "")
	req.Node = &core.Node{Id: zone, Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{
		"config":           structpb.NewStringValue(strings.Repeat(`{"mode":"zone"}`, 550)),
		"control-plane-id": structpb.NewStringValue("vm-729d"),
	}}}
	return req
}

// TestStockZone: a zone of Kuma's gets an empty answer to each of its 39 types
// and stays connected.
func TestStockZone(t *testing.T) {
	m := start(t, nil)
	sync, others := kumaZone(t, m, "west")
	types := strings.Fields(kumaTypes)
	if len(types) != 39 {
		t.Fatalf("%d types", len(types))
	}
	subscribeAll(t, sync, "west", types)

	s := m.session(t, "west")
	if s.Instance != "vm-729d" || s.Meridian || s.Full || !s.Online() || s.Version != "unknown" {
		t.Errorf("session %+v", s)
	}
	// Changes of ours are none of its business, and its streams stay open.
	m.source.add("later")
	sync.send(&discovery.DeltaDiscoveryRequest{
		Node: &core.Node{Id: "west"}, TypeUrl: "AnotherVersionsType", ResourceNamesSubscribe: []string{"*"},
	})
	if resp := sync.must(); resp.GetTypeUrl() != "AnotherVersionsType" {
		t.Errorf("got %v", resp)
	}
	if n := len(m.registry.all("west")); n != 5 {
		t.Errorf("%d streams are open, want 5", n)
	}
	for _, r := range others {
		// It answers what nobody asked for: dropped unread.
		if err := r.stream.SendMsg(&discovery.DeltaDiscoveryResponse{TypeUrl: "Dataplane"}); err != nil {
			t.Errorf("%v", err)
		}
		if err := r.stream.CloseSend(); err != nil {
			t.Error(err)
		}
		if _, err := r.recv(); err == nil {
			t.Error("a stream that should be silent was written to")
		}
	}
}

// subscribeAll sends a first request for each type and acknowledges each answer.
func subscribeAll(t *testing.T, r *raw, zone string, types []string) {
	t.Helper()
	for _, typ := range types {
		r.send(firstRequest(zone, typ))
	}
	answered := map[string]bool{}
	nonces := map[string]bool{}
	for range types {
		resp := r.must()
		if len(resp.GetResources()) != 0 || len(resp.GetRemovedResources()) != 0 || resp.GetControlPlane().GetIdentifier() != "global" {
			t.Fatalf("%s: got %v", resp.GetTypeUrl(), resp)
		}
		if answered[resp.GetTypeUrl()] || resp.GetNonce() == "" || nonces[resp.GetNonce()] {
			t.Fatalf("%s: nonce %q, answered before: %v", resp.GetTypeUrl(), resp.GetNonce(), answered[resp.GetTypeUrl()])
		}
		answered[resp.GetTypeUrl()], nonces[resp.GetNonce()] = true, true
		ack := ackOf(resp)
		ack.Node = &core.Node{Id: zone}
		r.send(ack)
	}
	for _, typ := range types {
		if !answered[typ] {
			t.Errorf("%s was not answered", typ)
		}
	}
}

// TestRecordedZone plays what a recorded zone sent, where the recording is at
// hand.
func TestRecordedZone(t *testing.T) {
	path := filepath.Join("..", "..", "shared", "interop", "kuma-zone-join.jsonl")
	f, err := os.Open(path)
	if err != nil {
		t.Skipf("no recording to play: %v", err)
	}
	defer f.Close()
	m := start(t, nil)
	sync, _ := kumaZone(t, m, "west")
	subscriptions := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var line struct {
			Dir, Method string
			Msg         json.RawMessage
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if line.Dir != "zone->global" || line.Method != methodGlobalToZone {
			continue
		}
		req := new(discovery.DeltaDiscoveryRequest)
		if err := protojson.Unmarshal(line.Msg, req); err != nil {
			t.Fatal(err)
		}
		sync.send(req)
		if req.GetResponseNonce() == "" {
			subscriptions++
			if resp := sync.must(); resp.GetTypeUrl() != req.GetTypeUrl() || len(resp.GetResources()) != 0 {
				t.Fatalf("%s was answered with %v", req.GetTypeUrl(), resp)
			}
		}
	}
	if subscriptions != 39 {
		t.Errorf("the recording has %d subscriptions, want 39", subscriptions)
	}
	if s := m.session(t, "west"); !s.Online() || s.Nack != "" {
		t.Errorf("session %+v", s)
	}
}
