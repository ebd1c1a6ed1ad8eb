package cluster

import (
	"context"
	"slices"
	"strings"
	"testing"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// received is a response of either form of ADS.
type received struct {
	url, nonce, version string
	items               []*anypb.Any
	versions            map[string]string // delta: by name
}

// xds is a stream of either form of ADS, with Envoy's habits.
type xds interface {
	// subscribe is the first request of a type: for everything, or for names. Have
	// is what Envoy kept from an earlier stream, the zero value for nothing.
	subscribe(url string, have received, names ...string) error
	// answer acknowledges, or refuses where why is not "".
	answer(r received, why string) error
	receive() (received, error)
}

// openXDS opens a stream as a bootstrap says.
type openXDS func(ctx context.Context, conn *grpc.ClientConn, node *core.Node) (xds, error)

// protocols are the two forms.
var protocols = map[string]openXDS{"sotw": openSotW, "delta": openDelta}

// identity has the node in a stream's first request alone, where Envoy adds what it
// is to what its bootstrap says.
type identity struct{ node *core.Node }

func (i *identity) once() *core.Node {
	if i.node == nil {
		return nil
	}
	node := proto.CloneOf(i.node)
	i.node = nil
	node.UserAgentName = "envoy"
	node.UserAgentVersionType = &core.Node_UserAgentBuildVersion{UserAgentBuildVersion: &core.BuildVersion{
		Version: &typev3.SemanticVersion{MajorNumber: 1, MinorNumber: 30, Patch: 9},
	}}
	return node
}

func refusal(why string) *rpcstatus.Status {
	if why == "" {
		return nil
	}
	return &rpcstatus.Status{Code: 13, Message: why}
}

type sotwXDS struct {
	identity
	stream   discovery.AggregatedDiscoveryService_StreamAggregatedResourcesClient
	accepted map[string]string // version by type
	names    map[string][]string
}

func openSotW(ctx context.Context, conn *grpc.ClientConn, node *core.Node) (xds, error) {
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx)
	return &sotwXDS{identity{node}, stream, map[string]string{}, map[string][]string{}}, err
}

func (s *sotwXDS) subscribe(url string, have received, names ...string) error {
	s.accepted[url], s.names[url] = have.version, names
	return s.stream.Send(&discovery.DiscoveryRequest{Node: s.once(), TypeUrl: url, VersionInfo: have.version, ResourceNames: names})
}

func (s *sotwXDS) answer(r received, why string) error {
	if why == "" {
		s.accepted[r.url] = r.version
	}
	return s.stream.Send(&discovery.DiscoveryRequest{
		TypeUrl: r.url, ResourceNames: s.names[r.url], VersionInfo: s.accepted[r.url], ResponseNonce: r.nonce, ErrorDetail: refusal(why),
	})
}

func (s *sotwXDS) receive() (received, error) {
	m, err := s.stream.Recv()
	return received{url: m.GetTypeUrl(), nonce: m.GetNonce(), version: m.GetVersionInfo(), items: m.GetResources()}, err
}

type deltaXDS struct {
	identity
	stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
}

func openDelta(ctx context.Context, conn *grpc.ClientConn, node *core.Node) (xds, error) {
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	return &deltaXDS{identity{node}, stream}, err
}

func (s *deltaXDS) subscribe(url string, have received, names ...string) error {
	return s.stream.Send(&discovery.DeltaDiscoveryRequest{Node: s.once(), TypeUrl: url, InitialResourceVersions: have.versions, ResourceNamesSubscribe: names})
}

func (s *deltaXDS) answer(r received, why string) error {
	return s.stream.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: r.url, ResponseNonce: r.nonce, ErrorDetail: refusal(why)})
}

func (s *deltaXDS) receive() (received, error) {
	m, err := s.stream.Recv()
	r := received{url: m.GetTypeUrl(), nonce: m.GetNonce(), version: m.GetSystemVersionInfo(), versions: map[string]string{}}
	for _, item := range m.GetResources() {
		r.items = append(r.items, item.GetResource())
		r.versions[item.GetName()] = item.GetVersion()
	}
	return r, err
}

// xdsTest is an open stream in a test.
type xdsTest struct {
	t testing.TB
	xds
}

// want subscribes to everything of a type and returns what it gets, acknowledged.
func (x xdsTest) want(url string, names ...string) received {
	x.t.Helper()
	x.must(x.subscribe(url, received{}))
	r := x.next(url, names...)
	x.must(x.answer(r, ""))
	return r
}

// next receives a response of a type with exactly these resources.
func (x xdsTest) next(url string, names ...string) received {
	x.t.Helper()
	r, err := x.receive()
	if err != nil {
		x.t.Fatalf("waiting for %s: %v", url, err)
	}
	got := namesOf(x.t, r)
	if r.url != url || r.nonce == "" || len(got) != len(names) {
		x.t.Fatalf("got %s with %q, want %s with %q", r.url, got, url, names)
	}
	for _, name := range names {
		if got[name] == nil {
			x.t.Fatalf("got %s with %q, want %q", r.url, got, names)
		}
	}
	return r
}

// must fails the test where something could not be sent.
func (x xdsTest) must(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatal(err)
	}
}

// quiet asks for something else, whose answer must be the next message: nothing of
// what was sent before it is answered.
func (x xdsTest) quiet(url string) {
	x.t.Helper()
	x.must(x.subscribe(url, received{}, "*"))
	x.must(x.answer(x.next(url), ""))
}

// ends waits until the stream ends, which must be before anything else comes.
func (x xdsTest) ends(want string) {
	x.t.Helper()
	m, err := x.receive()
	if err == nil {
		x.t.Fatalf("%s came, where the stream should have ended", m.url)
	}
	if code, reason := endOf(err); code != codes.Unauthenticated || reason != want {
		x.t.Errorf("the stream ended with %v", err)
	}
}

// endOf returns why the zone ended a stream.
func endOf(err error) (code codes.Code, reason string) {
	st := grpcstatus.Convert(err)
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			reason = strings.ToLower(info.GetReason())
		}
	}
	return st.Code(), reason
}

// namesOf returns the resources by name. A listener leads to a cluster.
func namesOf(t testing.TB, r received) map[string]proto.Message {
	t.Helper()
	out := map[string]proto.Message{}
	for _, item := range r.items {
		m, err := item.UnmarshalNew()
		if err != nil {
			t.Fatal(err)
		}
		switch m := m.(type) {
		case *cluster.Cluster:
			out[m.GetName()] = m
		case *listener.Listener:
			out[m.GetName()] = m
		default:
			t.Fatalf("a %T came", m)
		}
	}
	return out
}

// checkTargets has each listener pass connections on to one of the clusters, and
// every cluster be reached.
func checkTargets(t testing.TB, listeners received, clusters []string) {
	t.Helper()
	var targets []string
	for _, m := range namesOf(t, listeners) {
		proxy := &tcpproxy.TcpProxy{}
		if err := m.(*listener.Listener).GetFilterChains()[0].GetFilters()[0].GetTypedConfig().UnmarshalTo(proxy); err != nil {
			t.Fatal(err)
		}
		targets = append(targets, proxy.GetCluster())
	}
	slices.Sort(targets)
	if want := slices.Sorted(slices.Values(clusters)); !slices.Equal(targets, want) {
		t.Errorf("the listeners lead to %q, want %q", targets, want)
	}
}
