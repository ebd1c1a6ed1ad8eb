package kds_test

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/test/kdstest"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/kdspb"
	"github.com/meridiankds/meridian/kds/kuma"
)

// stockTypes is what a zone of Kuma 2.8.8 subscribes to.
const stockTypes = `CircuitBreaker Config ExternalService FaultInjection GlobalSecret HealthCheck
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
	md := append(as(zone), kds.MDKDSVersion, "v3", kds.MDVersion, "unknown", kds.MDFeatures, "zone-ping-health", kds.MDFeatures, "hash-suffix")
	for _, method := range everyMethod {
		if method == kds.RPCHealthCheck {
			if err := callOnce(t, conn, method, md...); err != nil {
				t.Fatalf("%s: %v", method, err)
			}
			continue
		}
		r := openRaw(t, conn, method, md...)
		if method == kds.RPCGlobalToZone {
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
	types := strings.Fields(stockTypes)
	if len(types) != 39 {
		t.Fatalf("%d types", len(types))
	}
	subscribeAll(t, sync, "west", types)

	s := m.session(t, "west")
	if s.Instance != "vm-729d" || s.Meridian || s.Full || !s.Online() || s.Version != "unknown" {
		t.Errorf("session %+v", s)
	}
	// Changes of ours are none of its business, and its streams stay open.
	m.source.Add("later")
	sync.send(&discovery.DeltaDiscoveryRequest{
		Node: &core.Node{Id: "west"}, TypeUrl: "AnotherVersionsType", ResourceNamesSubscribe: []string{"*"},
	})
	if resp := sync.must(); resp.GetTypeUrl() != "AnotherVersionsType" {
		t.Errorf("got %v", resp)
	}
	kdstest.Eventually(t, "its 6 calls to be admitted", func() bool { return m.Stats().Authenticated == 6 })
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

// recordedLine is a line of a recording: what one side sent on one call.
type recordedLine struct {
	Dir, Method, Err string
	Msg              json.RawMessage
}

// recording reads the recording of a zone that joined Kuma's global, where it is at
// hand.
func recording(t *testing.T) (lines []recordedLine) {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "shared", "interop", "kuma-zone-join.jsonl"))
	if err != nil {
		t.Skipf("no recording to play: %v", err)
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var line recordedLine
		if err := json.Unmarshal(in.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// TestRecordedZone plays what a recorded zone sent. Each type is answered as the
// recorded global answered it, with the same state: but for private keys, which are
// not sent, and types that are not served, of which there is nothing.
func TestRecordedZone(t *testing.T) {
	lines := recording(t)
	m, c := startKuma(t, nil)
	c.change(func(p *fakePicture) {
		p.keys = []*cptoken.PublicKey{zoneKey(t, "3", cptoken.Active)}
		p.revoke(cptoken.Dataplane, "default", "aaaa")
	})
	recorded := map[string]any{}
	for _, line := range lines {
		var head struct{ TypeUrl string }
		if line.Dir != "global->zone" || line.Method != kds.RPCGlobalToZone || line.Err != "" || json.Unmarshal(line.Msg, &head) != nil {
			continue
		}
		if _, later := recorded[head.TypeUrl]; !later {
			recorded[head.TypeUrl] = shapeOf(t, line.Msg)
		}
	}
	sync, _ := kumaZone(t, m, "west")
	answered := 0
	for _, line := range lines {
		if line.Dir != "zone->global" || line.Method != kds.RPCGlobalToZone {
			continue
		}
		req := new(discovery.DeltaDiscoveryRequest)
		if err := protojson.Unmarshal(line.Msg, req); err != nil {
			t.Fatal(err)
		}
		sync.send(req)
		if req.GetResponseNonce() != "" {
			continue // of the recorded global's answers: means nothing here
		}
		answered++
		resp := sync.must()
		if resp.GetTypeUrl() != req.GetTypeUrl() {
			t.Fatalf("%s was answered with %v", req.GetTypeUrl(), resp)
		}
		if !slices.Contains(kuma.Types[:], req.GetTypeUrl()) {
			if len(resp.GetResources()) != 0 {
				t.Errorf("%s: %v", req.GetTypeUrl(), resp)
			}
			continue
		}
		if req.GetTypeUrl() == kuma.TypeGlobalSecret {
			// The recorded global had the list of a mesh among its secrets alone; a global
			// secret of its name is for zones since 2.10.
			n := len(resp.GetResources())
			if resp.Resources = slices.DeleteFunc(resp.GetResources(), listOfMesh(t)); len(resp.GetResources()) != n-1 {
				t.Errorf("%d of %d global secrets are the list of a mesh, want one", n-len(resp.GetResources()), n)
			}
		}
		text, err := protojson.Marshal(resp)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := shapeOf(t, text), recorded[req.GetTypeUrl()]; !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n%v\nrecorded:\n%v", req.GetTypeUrl(), got, want)
		}
	}
	if answered != 39 {
		t.Errorf("the recording has %d subscriptions, want 39", answered)
	}
	if s := m.session(t, "west"); !s.Online() || s.Nack != "" {
		t.Errorf("session %+v", s)
	}
}

// listOfMesh reports whether a resource is the list of revoked ids of a mesh.
func listOfMesh(t *testing.T) func(*discovery.Resource) bool {
	return func(r *discovery.Resource) bool {
		var k kdspb.KumaResource
		if err := r.GetResource().UnmarshalTo(&k); err != nil {
			t.Fatal(err)
		}
		return strings.HasPrefix(k.GetMeta().GetName(), "dataplane-token-revocations-")
	}
}

// shapeOf is an answer with all taken out that must differ from one global to
// another, and private keys.
func shapeOf(t *testing.T, text []byte) any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	delete(m, "nonce")
	var kept []any
	list, _ := m["resources"].([]any)
	for _, r := range list {
		r := r.(map[string]any)
		r["version"] = len(r["version"].(string))
		inner := r["resource"].(map[string]any)
		name := inner["meta"].(map[string]any)["name"].(string)
		if strings.HasPrefix(name, "dataplane-token-signing-key-") {
			continue
		}
		spec := inner["spec"].(map[string]any)
		if _, there := spec["config"]; there {
			spec["config"] = "<config>"
		}
		if data, there := spec["data"].(string); there && len(data) > 100 {
			spec["data"] = data[:40] // the same first line
		}
		kept = append(kept, r)
	}
	m["resources"] = kept
	return m
}
