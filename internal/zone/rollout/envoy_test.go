package rollout

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"

	"github.com/meridiankds/meridian/internal/zone/envoyres"
)

func pack(t testing.TB, m types.Resource) *envoyres.Resource {
	t.Helper()
	r, err := envoyres.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// edsCluster is a cluster whose endpoints are asked for as service.
func edsCluster(t testing.TB, name, service string, seconds int64) *envoyres.Resource {
	return pack(t, &cluster.Cluster{Name: name, ConnectTimeout: &durationpb.Duration{Seconds: seconds},
		ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_EDS},
		EdsClusterConfig:     &cluster.Cluster_EdsClusterConfig{ServiceName: service, EdsConfig: &core.ConfigSource{}}})
}

func staticCluster(t testing.TB, name string, seconds int64) *envoyres.Resource {
	return pack(t, &cluster.Cluster{Name: name, ConnectTimeout: &durationpb.Duration{Seconds: seconds}})
}

func assignment(t testing.TB, service string) *envoyres.Resource {
	return pack(t, &endpoint.ClusterLoadAssignment{ClusterName: service})
}

// routeTo is a route configuration with one cluster; note makes it another version.
func routeTo(t testing.TB, name, to, note string) *envoyres.Resource {
	return pack(t, &route.RouteConfiguration{Name: name, VirtualHosts: []*route.VirtualHost{{Name: "all" + note, Domains: []string{"*"},
		Routes: []*route.Route{{Match: &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: "/"}},
			Action: &route.Route_Route{Route: &route.RouteAction{ClusterSpecifier: &route.RouteAction_Cluster{Cluster: to}}}}}}}})
}

func listenerOf(t testing.TB, name, routes, note string) *envoyres.Resource {
	filter, err := anypb.New(&hcm.HttpConnectionManager{StatPrefix: name + note,
		RouteSpecifier: &hcm.HttpConnectionManager_Rds{Rds: &hcm.Rds{RouteConfigName: routes, ConfigSource: &core.ConfigSource{}}}})
	if err != nil {
		t.Fatal(err)
	}
	return pack(t, &listener.Listener{Name: name, Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{Address: "127.0.0.1"}}}, FilterChains: []*listener.FilterChain{{Filters: []*listener.Filter{{
		Name: "hcm", ConfigType: &listener.Filter_TypedConfig{TypedConfig: filter}}}}}})
}

// envoy stands for an Envoy at a stream. It does what an Envoy 1.40 was seen to do, and
// nothing else:
//
//   - a cluster that is new or changed warms until its assignment arrives behind it, and the
//     response that brought it is not acknowledged before. In the state of the world it asks
//     for the assignments again, with the names, version and nonce that it has; in delta it
//     asks only for names that it has not asked for.
//   - a response with a resource that it does not take is refused at once, and everything
//     else of the response is applied, removals too;
//   - a listener is acknowledged at once. It warms until its routes are there, and takes the
//     place of its predecessor then;
//   - what was waited for and is refused ends the wait as well.
type envoy struct {
	t     testing.TB
	s     *Stream
	now   time.Time
	delta bool
	// bad reports whether a resource is not taken.
	bad func(*envoyres.Resource) bool
	// sluggish kinds are not acknowledged.
	sluggish map[envoyres.Kind]bool

	have    map[envoyres.Key]*envoyres.Resource // clusters and listeners: those that serve
	warming map[envoyres.Key]*envoyres.Resource
	names   map[envoyres.Kind]map[string]bool // asked for
	version map[envoyres.Kind]string
	nonce   map[envoyres.Kind]string
	unacked []*Response // of clusters, until all are warm
	sent    []string    // what came, for messages
	lost    []string
}

func newEnvoy(t testing.TB, delta bool) *envoy {
	e := &envoy{t: t, delta: delta, now: time.Unix(1_000_000, 0), bad: func(*envoyres.Resource) bool { return false },
		have: map[envoyres.Key]*envoyres.Resource{}, warming: map[envoyres.Key]*envoyres.Resource{}, sluggish: map[envoyres.Kind]bool{},
		names: map[envoyres.Kind]map[string]bool{}}
	e.connect(nil)
	return e
}

// connect opens a new stream: what is warming goes on to.
func (e *envoy) connect(resume *Held) {
	e.s = NewStream(Options{Delta: e.delta, Drain: 10 * time.Second, Linger: time.Second, Resume: resume})
	e.nonce, e.unacked = map[envoyres.Kind]string{}, nil
	if e.version == nil || e.delta {
		e.version = map[envoyres.Kind]string{}
	}
}

// begin sends the first requests of a stream.
func (e *envoy) begin() {
	for _, k := range []envoyres.Kind{types.Cluster, types.Endpoint, types.Listener, types.Route} {
		wildcard := k == types.Cluster || k == types.Listener
		if !wildcard && len(e.names[k]) == 0 {
			continue
		}
		if !e.delta {
			e.request(k)
			continue
		}
		m := &Request{Kind: k, Initial: map[string]string{}}
		if !wildcard {
			m.Subscribe = sortedNames(e.names[k])
		}
		for key, r := range e.have {
			if key.Kind == k {
				m.Initial[key.Name] = r.Version
			}
		}
		e.s.Take(m, e.now)
	}
}

// request sends what an Envoy of the state of the world says of a kind.
func (e *envoy) request(k envoyres.Kind) {
	e.s.Take(&Request{Kind: k, Nonce: e.nonce[k], Version: e.version[k], Names: sortedNames(e.names[k])}, e.now)
}

// want changes what the proxy is to have, and lets everything happen that then happens
// without the time going on.
func (e *envoy) want(list ...*envoyres.Resource) {
	e.s.Want(envoyres.SetOf(list...))
	e.settle()
}

// settle takes everything that comes.
func (e *envoy) settle() (again time.Time) {
	for range 10_000 {
		r, at := e.s.Next(e.now)
		if r == nil {
			return at
		}
		e.receive(r)
	}
	e.t.Fatalf("no end of responses: %q", e.sent[len(e.sent)-10:])
	return again
}

// wait lets time go on until nothing more is due.
func (e *envoy) wait() {
	for range 1000 {
		at := e.settle()
		if at.IsZero() {
			return
		}
		e.now = at
	}
	e.t.Fatal("no end of waiting")
}

func (e *envoy) receive(r *Response) {
	text := envoyres.Key{Kind: r.Kind}.String()
	for _, one := range r.Resources {
		text += " +" + one.Name
	}
	for _, name := range r.Removed {
		text += " -" + name
	}
	e.sent = append(e.sent, text)
	if len(r.Resources) > 0 && len(r.Removed) > 0 {
		e.t.Errorf("a removal came with additions: %s", text)
	}
	if e.delta {
		e.nonce[r.Kind] = "" // only acknowledgements have one
	}
	refusal := ""
	arrived := map[string]bool{}
	for _, one := range r.Resources {
		arrived[one.Name] = true
		if e.bad(one) {
			refusal += one.Name + ": not taken; "
			continue
		}
		e.apply(one)
	}
	for key := range e.have {
		full := key.Kind == types.Cluster || key.Kind == types.Listener
		if key.Kind == r.Kind && (slices.Contains(r.Removed, key.Name) || !e.delta && full && !arrived[key.Name]) {
			delete(e.have, key)
			delete(e.warming, key)
		}
	}
	e.warmUp(r)
	e.watch(text)
	e.answer(r, refusal)
}

// apply takes a resource that is good.
func (e *envoy) apply(one *envoyres.Resource) {
	was := e.have[one.Key]
	if w := e.warming[one.Key]; w != nil {
		was = w
	}
	if was != nil && was.Version == one.Version && one.Kind != types.Endpoint {
		return
	}
	switch one.Kind {
	case types.Cluster, types.Listener:
		needs := e.needs(one)
		if needs.Name == "" || one.Kind == types.Listener && e.have[needs] != nil {
			e.have[one.Key] = one
		} else {
			e.warming[one.Key] = one
		}
		if needs.Name != "" {
			e.subscribe(needs)
		}
	default:
		e.have[one.Key] = one
	}
}

// needs is what a cluster or listener waits for.
func (e *envoy) needs(r *envoyres.Resource) (key envoyres.Key) {
	for _, reference := range r.References {
		if reference.Kind == types.Endpoint || r.Kind == types.Listener && reference.Kind == types.Route {
			return reference.Key
		}
	}
	return key
}

func (e *envoy) subscribe(key envoyres.Key) {
	if e.names[key.Kind] == nil {
		e.names[key.Kind] = map[string]bool{}
	}
	known := e.names[key.Kind][key.Name]
	e.names[key.Kind][key.Name] = true
	switch {
	case !e.delta:
		e.request(key.Kind)
	case !known:
		e.s.Take(&Request{Kind: key.Kind, Subscribe: []string{key.Name}}, e.now)
	}
}

// warmUp lets what waited for the resources of a response serve.
func (e *envoy) warmUp(r *Response) {
	for key, w := range e.warming {
		needs := e.needs(w)
		came := slices.ContainsFunc(r.Resources, func(one *envoyres.Resource) bool { return one.Key == needs })
		if came || slices.Contains(r.Removed, needs.Name) && r.Kind == needs.Kind {
			e.have[key] = w
			delete(e.warming, key)
		}
	}
}

func (e *envoy) answer(r *Response, refusal string) {
	if e.sluggish[r.Kind] {
		return
	}
	m := &Request{Kind: r.Kind, Nonce: r.Nonce, Refused: refusal != "", Detail: refusal, Names: sortedNames(e.names[r.Kind])}
	if r.Kind == types.Cluster && refusal == "" {
		e.unacked = append(e.unacked, r)
	} else {
		e.acknowledge(r, m)
	}
	if slices.ContainsFunc(sortedKeys(e.warming), func(k envoyres.Key) bool { return k.Kind == types.Cluster }) {
		return
	}
	for _, r := range e.unacked {
		e.acknowledge(r, &Request{Kind: r.Kind, Nonce: r.Nonce, Names: sortedNames(e.names[r.Kind])})
	}
	e.unacked = nil
}

func (e *envoy) acknowledge(r *Response, m *Request) {
	if !m.Refused {
		e.version[r.Kind] = r.Version
	}
	m.Version = e.version[r.Kind]
	if e.delta {
		m.Names = nil
	}
	e.nonce[r.Kind] = r.Nonce
	e.s.Take(m, e.now)
}

func sortedKeys(m map[envoyres.Key]*envoyres.Resource) []envoyres.Key {
	return slices.SortedFunc(maps.Keys(m), func(a, b envoyres.Key) int {
		if a.Kind != b.Kind {
			return int(a.Kind - b.Kind)
		}
		return len(a.Name) - len(b.Name)
	})
}

// watch sends a request through every listener that ever served, and notes those that are
// lost.
func (e *envoy) watch(after string) {
	for key, l := range e.have {
		if key.Kind != types.Listener || strings.HasPrefix(key.Name, probePrefix) {
			continue
		}
		r := e.have[e.needs(l)]
		if r == nil {
			e.lost = append(e.lost, fmt.Sprintf("%s has no routes after %q", key, after))
			continue
		}
		for _, reference := range r.References {
			if reference.Kind == types.Cluster && e.have[reference.Key] == nil {
				e.lost = append(e.lost, fmt.Sprintf("%s finds no %s after %q", key, reference.Key, after))
			}
		}
	}
}

// check fails where a request was lost.
func (e *envoy) check() {
	e.t.Helper()
	if len(e.lost) > 0 {
		e.t.Errorf("lost: %q\nsent: %q", e.lost, e.sent)
	}
}

// has fails unless the proxy has exactly these resources, and nothing warms.
func (e *envoy) has(list ...*envoyres.Resource) {
	e.t.Helper()
	want := envoyres.SetOf(list...)
	for key, r := range want {
		if h := e.have[key]; h == nil || h.Version != r.Version {
			e.t.Errorf("%s did not arrive; sent: %q", key, e.sent)
		}
	}
	for key := range e.have {
		if want[key] == nil && (key.Kind == types.Cluster || key.Kind == types.Listener) {
			e.t.Errorf("%s stayed; sent: %q", key, e.sent)
		}
	}
	if len(e.warming) > 0 {
		e.t.Errorf("%v warm for ever; sent: %q", sortedKeys(e.warming), e.sent)
	}
}

// aggregate is a cluster of other clusters.
func aggregate(t testing.TB, name string, of ...string) *envoyres.Resource {
	packed, err := anypb.New(&aggregatev3.ClusterConfig{Clusters: of})
	if err != nil {
		t.Fatal(err)
	}
	return pack(t, &cluster.Cluster{Name: name, ClusterDiscoveryType: &cluster.Cluster_ClusterType{
		ClusterType: &cluster.Cluster_CustomClusterType{Name: "envoy.clusters.aggregate", TypedConfig: packed}}})
}
