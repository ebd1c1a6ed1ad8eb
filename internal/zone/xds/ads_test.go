package xds

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/zone/proxies"
)

func TestTheRightTokenGetsResources(t *testing.T) {
	b := newBench(t, nil)
	stream := b.open(b.dial(), sign(t, backendClaims)+" ")
	stream.ask(&discovery.DiscoveryRequest{Node: backendNode(), TypeUrl: clusterType})
	clusters := stream.next()
	var c cluster.Cluster
	if len(clusters.GetResources()) != 1 || clusters.GetResources()[0].UnmarshalTo(&c) != nil || c.GetName() != "localhost:80" {
		t.Fatalf("clusters %v", clusters)
	}
	stream.ack(clusters)
	stream.ask(&discovery.DiscoveryRequest{TypeUrl: listenerType})
	if listeners := stream.next(); len(listeners.GetResources()) != 1 || listeners.GetTypeUrl() != listenerType {
		t.Fatalf("listeners %v", listeners)
	}
	// A type that nobody serves is never answered, and does no harm.
	stream.ask(&discovery.DiscoveryRequest{TypeUrl: "type.googleapis.com/made.up.Type", VersionInfo: "x"})

	eventually(t, "the acknowledgement", func() bool {
		list := b.proxies.Proxies()
		return len(list) == 1 && len(list[0].Subscriptions()) == 2 && list[0].Subscriptions()[0].Acknowledged == clusters.GetVersionInfo()
	})
	p := b.proxies.Proxies()[0]
	if p.ID.NodeID() != "default.backend-1" || p.Admission.TokenID != "id-1" || p.Admission.Claims.Name != "backend-1" || p.Protocol != "ads" {
		t.Errorf("listed as %+v", p)
	}
	stream.cancel()
	eventually(t, "the proxy to be gone", func() bool { return len(b.proxies.Proxies()) == 0 })
	// Its end is an ordinary one.
	eventually(t, "the end in the log", func() bool { return strings.Contains(b.log.String(), "proxy disconnected") })
	if log := b.log.String(); !strings.Contains(log, `reason="the proxy ended the stream"`) || strings.Contains(log, "internal error") {
		t.Errorf("the log says %s", log)
	}
}

func TestEachWrongTokenHasItsReason(t *testing.T) {
	// There are more refusals than lines in a second, in any order: each has its own.
	var seconds atomic.Int64
	b := newBench(t, func(c *Config, _ *keyring.Settings) {
		c.Now = func() time.Time { return time.Unix(seconds.Add(1), 0) }
	})
	conn := b.dial()
	ingress := `{"type":"ZoneIngress","name":"in-1","networking":{"address":"10.0.0.1","port":10001}}`
	two := strings.Replace(backend, `"inbound":[`, `"inbound":[{"port":8081,"tags":{"kuma.io/service":"admin"}},`, 1)
	with := func(name string, v any) string {
		claims := map[string]any{name: v}
		for n, v := range backendClaims {
			if n != name {
				claims[n] = v
			}
		}
		return sign(t, claims)
	}
	good := sign(t, backendClaims)
	b.copy.revoke(true, "revoked")
	for name, tc := range map[string]struct {
		tokens []string
		node   *core.Node
		code   codes.Code
		reason string
	}{
		"no token":            {nil, backendNode(), codes.Unauthenticated, "missing_token"},
		"an empty file":       {[]string{" "}, backendNode(), codes.Unauthenticated, "missing_token"},
		"two tokens":          {[]string{good, good}, backendNode(), codes.Unauthenticated, "malformed"},
		"two in one":          {[]string{good + " " + good}, backendNode(), codes.Unauthenticated, "malformed"},
		"no JWT":              {[]string{"hello"}, backendNode(), codes.Unauthenticated, "malformed"},
		"another signature":   {[]string{good[:len(good)-8] + "AAAAAAAA"}, backendNode(), codes.Unauthenticated, "bad_signature"},
		"expired":             {[]string{with("exp", 1000)}, backendNode(), codes.Unauthenticated, "expired"},
		"revoked":             {[]string{with("jti", "revoked")}, backendNode(), codes.Unauthenticated, "revoked"},
		"another name":        {[]string{with("Name", "backend-2")}, backendNode(), codes.PermissionDenied, "wrong_name"},
		"another mesh":        {[]string{with("Mesh", "other")}, backendNode(), codes.Unauthenticated, "unknown_key"},
		"another tag":         {[]string{with("Tags", map[string][]string{"kuma.io/service": {"web"}})}, backendNode(), codes.PermissionDenied, "tag_mismatch"},
		"a second service":    {[]string{good}, node("default.backend-1", "dataplane", two), codes.PermissionDenied, "tag_mismatch"},
		"a type of proxy":     {[]string{with("Type", "ingress")}, backendNode(), codes.PermissionDenied, "wrong_type"},
		"a zone token":        {[]string{sign(t, map[string]any{"Zone": "west", "Scope": []string{"ingress"}})}, backendNode(), codes.Unauthenticated, "wrong_kind"},
		"as an ingress":       {[]string{good}, node(".in-1", "ingress", ingress), codes.Unauthenticated, "wrong_kind"},
		"out of scope":        {[]string{sign(t, map[string]any{"Zone": "west", "Scope": []string{"egress"}})}, node(".in-1", "ingress", ingress), codes.PermissionDenied, "out_of_scope"},
		"another zone":        {[]string{sign(t, map[string]any{"Zone": "east", "Scope": []string{"ingress"}})}, node(".in-1", "ingress", ingress), codes.PermissionDenied, "wrong_zone"},
		"not registered":      {[]string{good}, node("default.backend-9", "dataplane", ""), codes.NotFound, "not_registered"},
		"no node":             {[]string{good}, nil, codes.InvalidArgument, ""},
		"another node id":     {[]string{good}, node("default.backend-2", "dataplane", backend), codes.InvalidArgument, ""},
		"another type":        {[]string{good}, node("default.backend-1", "ingress", backend), codes.InvalidArgument, ""},
		"an unknown type":     {[]string{good}, node("default.backend-1", "gateway", backend), codes.InvalidArgument, ""},
		"a resource of 10 MB": {[]string{good}, node("default.backend-1", "dataplane", backend+strings.Repeat(" ", 10<<20)), codes.ResourceExhausted, ""},
		"no resource":         {[]string{good}, node("default.backend-1", "dataplane", "{"), codes.InvalidArgument, ""},
		"zone of an ingress":  {[]string{sign(t, map[string]any{"Zone": "west", "Scope": []string{"ingress"}})}, node(".in-1", "ingress", strings.Replace(ingress, `"networking"`, `"zone":"east","networking"`, 1)), codes.PermissionDenied, "wrong_zone"},
	} {
		before, counted := b.refused.Load(), int64(1)
		if tc.code == codes.ResourceExhausted {
			counted = 0 // nothing was decided
		}
		stream := b.open(conn, tc.tokens...)
		stream.ask(&discovery.DiscoveryRequest{Node: tc.node, TypeUrl: clusterType})
		if code, reason, text := stream.ends(); code != tc.code || reason != tc.reason || text == "" {
			t.Errorf("%s: %s %q %q, want %s %q", name, code, reason, text, tc.code, tc.reason)
		}
		if n := b.refused.Load() - before; n != counted {
			t.Errorf("%s: counted %d times, want %d", name, n, counted)
		}
	}
	if len(b.proxies.Proxies()) != 0 {
		t.Error("a refused proxy is listed")
	}
	log := b.log.String()
	if !strings.Contains(log, "reason=wrong_name") || !strings.Contains(log, "node=default.backend-1") || !strings.Contains(log, "remote=127.0.0.1") {
		t.Error("the log does not tell who was refused, and why")
	}
	if strings.Contains(log, good[:40]) || strings.Contains(log, "eyJ") {
		t.Error("the log has a token")
	}
	// Nothing else was disturbed.
	stream := b.open(conn, good)
	stream.ask(&discovery.DiscoveryRequest{Node: backendNode(), TypeUrl: clusterType})
	stream.next()
}

func TestARevokedTokenLosesItsStream(t *testing.T) {
	b := newBench(t, nil)
	conn := b.dial()
	stream, other := b.open(conn, sign(t, backendClaims)), b.open(conn, sign(t, map[string]any{"jti": "id-2", "Mesh": "default"}))
	stream.ask(&discovery.DiscoveryRequest{Node: backendNode(), TypeUrl: clusterType})
	other.ask(&discovery.DiscoveryRequest{Node: node("default.web-1", "dataplane", strings.ReplaceAll(backend, "backend", "web")), TypeUrl: clusterType})
	stream.ack(stream.next())
	other.ack(other.next())
	b.copy.revoke(true, "id-1")
	if code, reason, _ := stream.ends(); code != codes.Unauthenticated || reason != "revoked" {
		t.Errorf("ended with %s %q", code, reason)
	}
	eventually(t, "the proxy to be gone", func() bool { return len(b.proxies.Proxies()) == 1 })
	other.ask(&discovery.DiscoveryRequest{TypeUrl: listenerType})
	other.next()
}

// The zone knows of the revocation, and nobody was told yet: what the proxy asks
// for then must not be sent.
func TestNothingIsSentBehindARevocation(t *testing.T) {
	b := newBench(t, nil)
	stream := b.open(b.dial(), sign(t, backendClaims))
	stream.ask(&discovery.DiscoveryRequest{Node: backendNode(), TypeUrl: clusterType})
	stream.ack(stream.next())
	b.copy.revoke(false, "id-1")
	stream.ask(&discovery.DiscoveryRequest{TypeUrl: listenerType})
	if code, reason, _ := stream.ends(); code != codes.Unauthenticated || reason != "revoked" {
		t.Errorf("ended with %s %q", code, reason)
	}
}

func TestAnExpiredTokenLosesItsStream(t *testing.T) {
	b := newBench(t, nil)
	hurry(t, 2*time.Second, func(d time.Duration) bool {
		claims := map[string]any{"exp": time.Now().Add(d).Unix()}
		for n, v := range backendClaims {
			claims[n] = v
		}
		stream := b.open(b.dial(), sign(t, claims))
		stream.ask(&discovery.DiscoveryRequest{Node: backendNode(), TypeUrl: clusterType})
		m, err := stream.Recv()
		if err != nil {
			return false
		}
		stream.ack(m)
		if code, reason, _ := stream.ends(); code != codes.Unauthenticated || reason != "expired" {
			t.Errorf("ended with %s %q", code, reason)
		}
		return true
	})
}

func TestTheNodeCannotChange(t *testing.T) {
	b := newBench(t, nil)
	stream := b.open(b.dial(), sign(t, backendClaims))
	stream.ask(&discovery.DiscoveryRequest{Node: backendNode(), TypeUrl: clusterType})
	stream.next()
	stream.ask(&discovery.DiscoveryRequest{Node: &core.Node{Id: "default.backend-2"}, TypeUrl: listenerType})
	if code, reason, _ := stream.ends(); code != codes.InvalidArgument || reason != "node_changed" {
		t.Errorf("ended with %s %q", code, reason)
	}
}

func TestARefusalIsNotSentAgain(t *testing.T) {
	counted := make(chan string, 4)
	b := newBench(t, func(c *Config, _ *keyring.Settings) { c.Refused = func(kind string) { counted <- kind } })
	stream := b.open(b.dial(), sign(t, backendClaims))
	stream.ask(&discovery.DiscoveryRequest{Node: backendNode(), TypeUrl: clusterType})
	m := stream.next()
	stream.ask(&discovery.DiscoveryRequest{TypeUrl: clusterType, ResponseNonce: m.GetNonce(), ErrorDetail: &rpcstatus.Status{Message: "no such cluster type"}})
	eventually(t, "the refusal", func() bool {
		list := b.proxies.Proxies()
		return len(list) == 1 && list[0].Subscriptions()[0].Refused == "no such cluster type" && list[0].Subscriptions()[0].Acknowledged == ""
	})
	// What comes next is the answer to the next question.
	stream.ask(&discovery.DiscoveryRequest{TypeUrl: listenerType})
	if m := stream.next(); m.GetTypeUrl() != listenerType {
		t.Errorf("sent again: %v", m)
	}
	eventually(t, "the refusal in the log", func() bool { return strings.Contains(b.log.String(), "no such cluster type") })
	if kind := <-counted; kind != "Cluster" {
		t.Errorf("a refused %q is counted", kind)
	}
	eventually(t, "the proxy to count as one that refuses", func() bool {
		counts := b.proxies.Counts()
		return counts.Refusing == 1 && counts.Connected["dataplane"] == 1
	})
	stream.CloseSend()
	eventually(t, "nobody to be left", func() bool {
		counts := b.proxies.Counts()
		return counts.Refusing == 0 && counts.Connected["dataplane"] == 0
	})
}

// TestAResourceThatIsNoText is refused aloud: it would be passed over for the one that
// registered before.
func TestAResourceThatIsNoText(t *testing.T) {
	b := newBench(t, nil)
	n := backendNode()
	n.Metadata.Fields[metaResource] = structpb.NewStructValue(&structpb.Struct{})
	stream := b.open(b.dial(), sign(t, backendClaims))
	stream.ask(&discovery.DiscoveryRequest{Node: n, TypeUrl: clusterType})
	if code, _, message := stream.ends(); code != codes.InvalidArgument || !strings.Contains(message, "dataplane.resource: must be text") {
		t.Errorf("ended with %s %q", code, message)
	}
}

func TestDelta(t *testing.T) {
	b := newBench(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+sign(t, backendClaims))
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(b.dial()).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(m *discovery.DeltaDiscoveryRequest) {
		t.Helper()
		if err := stream.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	ask(&discovery.DeltaDiscoveryRequest{Node: backendNode(), TypeUrl: clusterType})
	m, err := stream.Recv()
	if err != nil || len(m.GetResources()) != 1 || m.GetResources()[0].GetName() != "localhost:80" {
		t.Fatalf("%v, %v", m, err)
	}
	ask(&discovery.DeltaDiscoveryRequest{TypeUrl: clusterType, ResponseNonce: m.GetNonce(), ErrorDetail: &rpcstatus.Status{Message: "no"}})
	ask(&discovery.DeltaDiscoveryRequest{TypeUrl: listenerType})
	if m, err = stream.Recv(); err != nil || m.GetTypeUrl() != listenerType {
		t.Fatalf("%v, %v", m, err)
	}
	b.copy.revoke(true, "id-1")
	if _, err := stream.Recv(); err == nil {
		t.Error("a message came behind the revocation")
	} else if code, reason, _ := endOf(err); code != codes.Unauthenticated || reason != "revoked" {
		t.Errorf("ended with %s %q", code, reason)
	}
}

// TestWhoHangsUpIsNoDefect: however a proxy goes away, and whichever form of ADS it spoke,
// the log does not send its reader to look for an error of this program.
func TestWhoHangsUpIsNoDefect(t *testing.T) {
	b := newBench(t, nil)
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+sign(t, backendClaims)), patience)
	defer cancel()
	admitted := 0
	for _, goAway := range []func(conn *grpc.ClientConn, call context.CancelFunc, stream grpc.ClientStream){
		func(conn *grpc.ClientConn, _ context.CancelFunc, _ grpc.ClientStream) { conn.Close() },
		func(_ *grpc.ClientConn, call context.CancelFunc, _ grpc.ClientStream) { call() },
		func(_ *grpc.ClientConn, _ context.CancelFunc, stream grpc.ClientStream) { _ = stream.CloseSend() },
	} {
		for _, first := range []proto.Message{
			nil, &discovery.DiscoveryRequest{Node: backendNode(), TypeUrl: clusterType}, &discovery.DeltaDiscoveryRequest{Node: backendNode(), TypeUrl: clusterType},
		} {
			conn := b.dial()
			call, end := context.WithCancel(ctx)
			defer end()
			var stream grpc.ClientStream
			var err error
			if _, delta := first.(*discovery.DeltaDiscoveryRequest); delta {
				stream, err = discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(call)
			} else {
				stream, err = discovery.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(call)
			}
			if err == nil && first != nil {
				admitted++
				err = stream.SendMsg(first)
			}
			if _, ok := first.(*discovery.DiscoveryRequest); ok && err == nil {
				err = stream.RecvMsg(new(discovery.DiscoveryResponse))
			} else if first != nil && err == nil {
				err = stream.RecvMsg(new(discovery.DeltaDiscoveryResponse))
			}
			if err != nil {
				t.Fatal(err)
			}
			goAway(conn, end, stream)
		}
	}
	for strings.Count(b.log.String(), "proxy disconnected") < admitted {
		if ctx.Err() != nil {
			t.Fatalf("not all of %d streams ended:\n%s", admitted, b.log)
		}
		time.Sleep(time.Millisecond)
	}
	b.stop()
	if log := b.log.String(); strings.Contains(log, "internal error") || strings.Contains(log, "ERROR") {
		t.Errorf("the log says\n%s", log)
	}
}

func TestRotation(t *testing.T) {
	b := newBench(t, nil)
	old := b.open(b.dial(), sign(t, backendClaims))
	old.ask(&discovery.DiscoveryRequest{Node: backendNode(), TypeUrl: clusterType})
	old.ack(old.next())
	// The new token's connection is made while the old one's is open.
	fresh := map[string]any{"jti": "id-2", "Mesh": "default"}
	next := b.open(b.dial(), sign(t, fresh))
	next.ask(&discovery.DiscoveryRequest{Node: backendNode(), TypeUrl: clusterType})
	next.ack(next.next())
	b.copy.revoke(true, "id-1")
	if _, reason, _ := old.ends(); reason != "revoked" {
		t.Errorf("the old one ended with %q", reason)
	}
	next.ask(&discovery.DiscoveryRequest{TypeUrl: listenerType})
	next.next()
}

// TestStreamsBeyondThoseOfAProxy: one too many is refused, and ends none of the others.
func TestStreamsBeyondThoseOfAProxy(t *testing.T) {
	b := newBench(t, nil)
	conn := b.dial()
	for range proxies.MaxPerName {
		stream := b.open(conn, sign(t, backendClaims))
		stream.ask(&discovery.DiscoveryRequest{Node: backendNode(), TypeUrl: clusterType})
		stream.ack(stream.next())
	}
	over := b.open(conn, sign(t, backendClaims))
	over.ask(&discovery.DiscoveryRequest{Node: backendNode(), TypeUrl: clusterType})
	if code, reason, _ := over.ends(); code != codes.Unavailable || reason != proxies.TooMany {
		t.Errorf("ended with %s %q", code, reason)
	}
	if n := len(b.proxies.Proxies()); n != proxies.MaxPerName {
		t.Errorf("%d connections", n)
	}
}

func TestNoFirstRequest(t *testing.T) {
	hurry(t, 500*time.Millisecond, func(d time.Duration) bool {
		b := newBench(t, func(c *Config, _ *keyring.Settings) { c.Limits = Limits{FirstRequest: d} })
		silent := b.open(b.dial(), sign(t, backendClaims))
		good := b.open(b.dial(), sign(t, backendClaims))
		good.ask(&discovery.DiscoveryRequest{Node: backendNode(), TypeUrl: clusterType})
		if _, err := good.Recv(); err != nil {
			return false
		}
		if _, reason, _ := silent.ends(); reason != "no_first_request" {
			t.Errorf("ended with %q", reason)
		}
		return true
	})
}

// TestNoMessageIsReadWithoutAToken: what a stream presents is verified before its first
// message, which need not come.
func TestNoMessageIsReadWithoutAToken(t *testing.T) {
	b := newBench(t, nil)
	for name, tc := range map[string]struct {
		tokens []string
		reason string
	}{
		"none":    {nil, "missing_token"},
		"garbage": {[]string{"garbage"}, "malformed"},
	} {
		if code, reason, _ := b.open(b.dial(), tc.tokens...).ends(); code != codes.Unauthenticated || reason != tc.reason {
			t.Errorf("%s: ended with %s %q", name, code, reason)
		}
	}
}

func TestStoppingEndsStreams(t *testing.T) {
	b := newBench(t, nil)
	stream := b.open(b.dial(), sign(t, backendClaims))
	stream.ask(&discovery.DiscoveryRequest{Node: backendNode(), TypeUrl: clusterType})
	stream.ack(stream.next())
	go b.stop()
	if code, reason, _ := stream.ends(); code != codes.Unavailable || reason != "stopping" {
		t.Errorf("ended with %s %q", code, reason)
	}
	b.stop()
}

func clusterFile(names ...string) string {
	text := "resources:\n"
	for _, name := range names {
		text += fmt.Sprintf("- {'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster, name: %s, connect_timeout: 5s}\n", name)
	}
	return text
}

func TestTheFolderIsFollowed(t *testing.T) {
	path := t.TempDir()
	write := func(at, text string) {
		t.Helper()
		name := filepath.Join(path, at)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	const mine = "dataplane/meshes/default/services/backend/clusters.yaml"
	write(mine, clusterFile("a", "b"))
	b := newBench(t, func(c *Config, _ *keyring.Settings) { c.Dir = openDir(t, path) })
	stream := b.open(b.dial(), sign(t, backendClaims))
	stream.ask(&discovery.DiscoveryRequest{Node: backendNode(), TypeUrl: clusterType})
	names := func(m *discovery.DiscoveryResponse) (list []string) {
		for _, r := range m.GetResources() {
			var c cluster.Cluster
			if err := r.UnmarshalTo(&c); err != nil {
				t.Fatal(err)
			}
			list = append(list, c.GetName())
		}
		return list
	}
	// The folder has no listener: that of the inbound stays, and the cluster behind it.
	m := stream.next()
	if got := names(m); len(got) != 3 {
		t.Fatalf("clusters %v", got)
	}
	stream.ack(m)
	stream.ask(&discovery.DiscoveryRequest{TypeUrl: listenerType})
	if m := stream.next(); len(m.GetResources()) != 1 || m.GetVersionInfo() == "" {
		t.Fatalf("listeners %v", m)
	} else {
		stream.ack(m)
	}
	// What nobody has is answered all the same: Envoy waits for it.
	stream.ask(&discovery.DiscoveryRequest{TypeUrl: secretType, ResourceNames: []string{"nobody's"}})
	if m := stream.next(); len(m.GetResources()) != 0 || m.GetVersionInfo() == "" {
		t.Fatalf("secrets %v", m)
	} else {
		stream.ack(m)
	}
	write(mine, "resources: [") // changes nothing
	write("dataplane/meshes/default/proxies/backend-2/a.yaml", clusterFile("other"))
	write(mine, clusterFile("a", "c"))
	for range 5 { // the additions come first, the removals behind them
		if m = stream.next(); m.GetTypeUrl() != clusterType {
			t.Fatalf("sent %v", m)
		}
		stream.ack(m)
		if got := names(m); len(got) == 3 && !slices.Contains(got, "b") {
			return
		}
	}
	t.Errorf("the change did not come: %v", names(m))
}

// TestZoneProxiesAreDataplanes: a Dataplane with a listener gets what stands in the folder
// of that type, by a token without tags; what proves a service proves no listener.
func TestZoneProxiesAreDataplanes(t *testing.T) {
	path := t.TempDir()
	for kind, name := range map[string]string{"ingress": "in", "egress": "out"} {
		dir := filepath.Join(path, "dataplane/meshes/default/listeners", kind)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(clusterFile(name)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := newBench(t, func(c *Config, _ *keyring.Settings) { c.Dir = openDir(t, path) })
	zoneProxy := node("default.backend-1", "dataplane",
		strings.Replace(backend, `"networking":{`, `"networking":{"listeners":[{"type":"ZoneIngress","port":10001}],`, 1))
	stream := b.open(b.dial(), sign(t, map[string]any{"Mesh": "default", "Name": "backend-1"}))
	stream.ask(&discovery.DiscoveryRequest{Node: zoneProxy, TypeUrl: clusterType})
	var got []string
	for _, r := range stream.next().GetResources() { // its inbound's too: the folder has no listener
		var c cluster.Cluster
		if err := r.UnmarshalTo(&c); err != nil {
			t.Fatal(err)
		}
		got = append(got, c.GetName())
	}
	if slices.Sort(got); !slices.Equal(got, []string{"in", "localhost:80"}) {
		t.Errorf("it gets %v", got)
	}
	stream = b.open(b.dial(), sign(t, backendClaims))
	stream.ask(&discovery.DiscoveryRequest{Node: zoneProxy, TypeUrl: clusterType})
	if _, err := stream.Recv(); !strings.Contains(status.Convert(err).Message(), string(cptoken.WrongType)) {
		t.Errorf("with a token of a service: %v", err)
	}
}

// TestAsksForWithoutEnd: a proxy whose requests each ask for little, and for other names every
// time, whether it takes them back, is told that they do not exist, or answers nothing.
func TestAsksForWithoutEnd(t *testing.T) {
	for name, next := range map[string]func(m *discovery.DeltaDiscoveryRequest, names, former []string){
		"subscribes": func(m *discovery.DeltaDiscoveryRequest, names, _ []string) { m.ResourceNamesSubscribe = names },
		"and unsubscribes": func(m *discovery.DeltaDiscoveryRequest, names, former []string) {
			m.ResourceNamesSubscribe, m.ResourceNamesUnsubscribe = names, former
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+sign(t, backendClaims)), patience)
			defer cancel()
			stream, err := discovery.NewAggregatedDiscoveryServiceClient(b.dial()).DeltaAggregatedResources(ctx)
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() {
				for {
					if _, err := stream.Recv(); err != nil {
						ended <- err
						return
					}
				}
			}()
			node := backendNode()
			var former []string
			for i := range 2 * maxAllNames / 5000 {
				names := make([]string, 5000)
				for n := range names {
					names[n] = fmt.Sprintf("%d/%d", i, n)
				}
				m := &discovery.DeltaDiscoveryRequest{Node: node, TypeUrl: endpointType}
				next(m, names, former)
				if err := stream.Send(m); err != nil {
					break // what ended it is received
				}
				node, former = nil, names
			}
			if err := stream.CloseSend(); err != nil {
				t.Error(err)
			}
			err = <-ended
			if code, _, _ := endOf(err); code != codes.ResourceExhausted || !strings.Contains(err.Error(), "at most 50000") {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}
