package cluster

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/zone/proxies"
	"github.com/meridiankds/meridian/raftstore"
)

const (
	secretURL = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
	routeURL  = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
)

// The resources as kuma-dp sends them, with the times of a resource that was never
// stored.
const (
	never       = `"creationTime":"0001-01-01T00:00:00Z","modificationTime":"0001-01-01T00:00:00Z"`
	twoInbounds = `{"type":"Dataplane","mesh":"default","name":%q,` + never + `,"networking":{"address":"10.0.0.1","inbound":[` +
		`{"port":8080,"servicePort":80,"tags":{"kuma.io/service":"backend","kuma.io/protocol":"http"}},` +
		`{"port":9090,"servicePort":90,"serviceAddress":"10.0.0.9","tags":{"kuma.io/service":"backend-admin"}}],` +
		`"outbound":[{"port":10001,"tags":{"kuma.io/service":"redis"}}]}}`
	zoneIngress = `{"type":"ZoneIngress","name":%q,` + never + `,"networking":{"address":"10.0.0.2","port":10001,"advertisedAddress":"192.0.2.1","advertisedPort":10001}}`
	zoneEgress  = `{"type":"ZoneEgress","name":%q,` + never + `,"networking":{"address":"10.0.0.3","port":10002}}`
)

var (
	twoClusters  = []string{"localhost:80", "10.0.0.9:90"}
	twoListeners = []string{"inbound:10.0.0.1:8080", "inbound:10.0.0.1:9090"}
)

// proxyBench is a zone that kuma-dps come to, and its global.
type proxyBench struct {
	g *Global
	z *Zone
}

// dataplane returns a kuma-dp for a Dataplane with a token of its own.
func (b proxyBench) dataplane(t testing.TB, name, address string) *kumaDP {
	return newKumaDP(t, b.z, address, kumaDP{
		proxyType: "dataplane", mesh: "default", name: name, resource: fmt.Sprintf(twoInbounds, name),
		token: b.g.Issue(cptoken.Claims{Kind: cptoken.Dataplane, Mesh: "default", Name: name, Tags: map[string][]string{
			"kuma.io/service": {"backend", "backend-admin"},
		}}, time.Hour),
	})
}

// envoy starts a kuma-dp and opens what its bootstrap names.
func (b proxyBench) envoy(t testing.TB, d *kumaDP, open openXDS) (xdsTest, adsOf) {
	t.Helper()
	a := readADS(t, d.start())
	ctx, conn := a.dial(t)
	stream, err := open(ctx, conn, a.node)
	if err != nil {
		t.Fatal(err)
	}
	return xdsTest{t, stream}, a
}

// listed returns the open connections of a proxy.
func (b proxyBench) listed(name string) (list []*proxies.Connection) {
	for _, c := range b.z.Node.Proxies().Proxies() {
		if c.ID.Name == name {
			list = append(list, c)
		}
	}
	return list
}

// kuma-dp and its Envoy get from a zone what they expect, for each type of proxy
// and in both forms of ADS, with nothing in hand but a token of the global's.
func TestKumaDP(t *testing.T) {
	g := StartGlobal(t, quiet)
	z := g.StartZone("west", g.KDS())
	z.WaitCurrent(g)
	b := proxyBench{g, z}
	dp := z.Node.Endpoints().DP
	for protocol, open := range protocols {
		t.Run("dataplane/"+protocol, func(t *testing.T) {
			name := "backend-" + protocol
			b.serve(t, b.dataplane(t, name, dp), open, "default."+name, "backend", twoClusters, twoListeners)
		})
		for _, scope := range []cptoken.Scope{cptoken.ScopeIngress, cptoken.ScopeEgress} {
			t.Run(string(scope)+"/"+protocol, func(t *testing.T) {
				d := b.zoneProxy(t, scope, string(scope)+"-"+protocol)
				b.serve(t, d, open, "."+d.name, string(scope), nil, nil)
			})
		}
		t.Run("late/"+protocol, func(t *testing.T) { b.testLate(t, open, "late-"+protocol) })
		t.Run("outOfOrder/"+protocol, func(t *testing.T) { b.testOutOfOrder(t, open, "order-"+protocol) })
		t.Run("twice/"+protocol, func(t *testing.T) { b.testTwice(t, open, "twice-"+protocol) })
		t.Run("refusal/"+protocol, func(t *testing.T) { b.testRefusal(t, open, "refusal-"+protocol) })
		t.Run("refusedOne/"+protocol, func(t *testing.T) { b.testRefusedOne(t, open, "refused-one-"+protocol) })
		t.Run("reconnect/"+protocol, func(t *testing.T) { b.testReconnect(t, open, "again-"+protocol) })
		t.Run("revoked/"+protocol, func(t *testing.T) { b.testRevoked(t, open, "revoked-"+protocol) })
	}
	t.Run("refused", b.testRefused)
	t.Run("mesh", func(t *testing.T) {
		d := b.zoneProxy(t, cptoken.ScopeIngress, "ingress-mesh")
		d.mesh = "default"
		readADS(t, d.start()).checkNode(t, d, ".ingress-mesh", "ingress")
	})
}

func (b proxyBench) zoneProxy(t testing.TB, scope cptoken.Scope, name string) *kumaDP {
	resource := map[cptoken.Scope]string{cptoken.ScopeIngress: zoneIngress, cptoken.ScopeEgress: zoneEgress}[scope]
	return newKumaDP(t, b.z, b.z.Node.Endpoints().DP, kumaDP{
		proxyType: string(scope), name: name, resource: fmt.Sprintf(resource, name), token: b.g.ZoneToken("west", scope),
	})
}

// serve is a start without incident.
func (b proxyBench) serve(t *testing.T, d *kumaDP, open openXDS, id, service string, clusters, listeners []string) {
	x, a := b.envoy(t, d, open)
	a.checkNode(t, d, id, service)
	x.want(clusterURL, clusters...)
	checkTargets(t, x.want(listenerURL, listeners...), clusters)
	Eventually(t, "both types to be acknowledged", func() bool {
		list := b.listed(d.name)
		return len(list) == 1 && len(list[0].Subscriptions()) == 2 &&
			!slices.ContainsFunc(list[0].Subscriptions(), func(s proxies.Subscription) bool { return s.Acknowledged != s.Sent })
	})
	if c := b.listed(d.name)[0]; c.ID.Type != d.proxyType || c.Version != "envoy 1.30.9" {
		t.Errorf("it is listed as %+v", c.ID)
	}
}

// A kuma-dp without a resource waits, by a 404 that is empty, until its Dataplane
// is there.
func (b proxyBench) testLate(t *testing.T, open openXDS, name string) {
	d := b.dataplane(t, name, b.z.Node.Endpoints().DP)
	resource := d.resource
	d.resource = ""
	for range 2 {
		if status, _, body := d.ask(); status != http.StatusNotFound || len(body) != 0 {
			t.Fatalf("not there yet: %d %q", status, body)
		}
	}
	other := *d
	other.resource = resource
	other.start()
	x, _ := b.envoy(t, d, open)
	x.want(clusterURL, twoClusters...)
	x.want(listenerURL, twoListeners...)
}

// Listeners may be asked for before clusters, and both before anything came.
func (b proxyBench) testOutOfOrder(t *testing.T, open openXDS, name string) {
	x, _ := b.envoy(t, b.dataplane(t, name, b.z.Node.Endpoints().DP), open)
	x.must(x.subscribe(listenerURL, received{}))
	x.must(x.subscribe(clusterURL, received{}))
	want := map[string]int{clusterURL: len(twoClusters), listenerURL: len(twoListeners)}
	for range 2 {
		r, err := x.receive()
		if err != nil || len(r.items) != want[r.url] || r.items == nil {
			t.Fatalf("%s with %d resources, %v", r.url, len(r.items), err)
		}
		delete(want, r.url)
		x.must(x.answer(r, ""))
	}
	x.quiet(secretURL)
}

// A request that comes twice does no harm: an acknowledgement is not answered at
// all, a subscription with the same again.
func (b proxyBench) testTwice(t *testing.T, open openXDS, name string) {
	x, _ := b.envoy(t, b.dataplane(t, name, b.z.Node.Endpoints().DP), open)
	r := x.want(clusterURL, twoClusters...)
	x.must(x.answer(r, ""))
	x.must(x.answer(r, ""))
	x.quiet(secretURL)
	x.must(x.subscribe(listenerURL, received{}))
	x.must(x.subscribe(listenerURL, received{}))
	x.must(x.subscribe(routeURL, received{}, "*"))
	seen := 0
	for {
		m, err := x.receive()
		if err != nil {
			t.Fatal(err)
		}
		x.must(x.answer(m, ""))
		if m.url == routeURL {
			break
		}
		if seen++; m.url != listenerURL || len(m.items) > len(twoListeners) || seen > 2 {
			t.Fatalf("answer %d: %s with %d resources", seen, m.url, len(m.items))
		}
	}
	if seen == 0 {
		t.Error("a subscription that came twice was not answered")
	}
}

// What Envoy refuses without a name is tried once more, each resource alone, and then held
// with what refers to it: the stream is quiet, and the zone keeps why.
func (b proxyBench) testRefusal(t *testing.T, open openXDS, name string) {
	const why = "no such cluster type"
	x, _ := b.envoy(t, b.dataplane(t, name, b.z.Node.Endpoints().DP), open)
	x.must(x.subscribe(clusterURL, received{}))
	r := x.next(clusterURL, twoClusters...)
	x.must(x.answer(r, why))
	alone := map[string]bool{}
	for range twoClusters {
		one, err := x.receive()
		names := slices.Collect(maps.Keys(namesOf(t, one)))
		if err != nil || one.url != clusterURL || len(names) != 1 || !slices.Contains(twoClusters, names[0]) || alone[names[0]] {
			t.Fatalf("%s with %q after %v, %v; want each cluster alone", one.url, names, alone, err)
		}
		alone[names[0]] = true
		x.must(x.answer(one, why))
	}
	x.quiet(secretURL)
	x.must(x.answer(r, why))
	x.quiet(routeURL)
	x.want(listenerURL) // each of them refers to a cluster that is refused
	list := b.listed(name)
	if len(list) != 1 || !slices.ContainsFunc(list[0].Subscriptions(), func(s proxies.Subscription) bool {
		return s.Refused == why && s.Acknowledged == ""
	}) {
		t.Errorf("%d connections, of which none tells of the refusal", len(list))
	}
}

// Of a refused response, what Envoy does not name is taken at once, with what refers to it.
func (b proxyBench) testRefusedOne(t *testing.T, open openXDS, name string) {
	x, _ := b.envoy(t, b.dataplane(t, name, b.z.Node.Endpoints().DP), open)
	x.must(x.subscribe(clusterURL, received{}))
	x.must(x.answer(x.next(clusterURL, twoClusters...), "Error adding/updating cluster(s) "+twoClusters[1]+": no such type"))
	x.must(x.answer(x.next(clusterURL, twoClusters[0]), ""))
	checkTargets(t, x.want(listenerURL, twoListeners[0]), twoClusters[:1])
	x.quiet(secretURL)
}

// A connection that drops is opened again with the same node, and with what Envoy
// still has, which does not come as news.
func (b proxyBench) testReconnect(t *testing.T, open openXDS, name string) {
	relay := NewRelay(t, b.z.Node.Endpoints().DP)
	d := b.dataplane(t, name, relay.Addr())
	a := readADS(t, d.start())
	ctx, conn := a.dial(t)
	stream, err := open(ctx, conn, a.node)
	if err != nil {
		t.Fatal(err)
	}
	x := xdsTest{t, stream}
	have := x.want(clusterURL, twoClusters...)
	relay.Cut()
	if m, err := x.receive(); err == nil {
		t.Fatalf("%s came over a connection that is cut", m.url)
	}
	Eventually(t, "the zone to forget the connection", func() bool { return len(b.listed(name)) == 0 })

	Eventually(t, "a new stream", func() bool {
		stream, err = open(ctx, conn, a.node)
		return err == nil
	})
	x = xdsTest{t, stream}
	x.must(x.subscribe(clusterURL, have))
	x.must(x.subscribe(listenerURL, received{}))
	for {
		r, err := x.receive()
		if err != nil {
			t.Fatal(err)
		}
		x.must(x.answer(r, ""))
		if r.url == listenerURL {
			break
		}
		// Delta says that Envoy is up to date. State of the world sends all of it once
		// more under the version that Envoy has, which changes nothing there.
		if _, all := x.xds.(*sotwXDS); r.url != clusterURL || !all && len(r.items) > 0 || all && r.version != have.version {
			t.Fatalf("%d of %s came again, as version %q behind %q", len(r.items), r.url, r.version, have.version)
		}
	}
	if n := len(b.listed(name)); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// A token that the global revokes ends its stream, with the reason; neither the
// stream that Envoy opens then nor a new bootstrap is to be had with it.
func (b proxyBench) testRevoked(t *testing.T, open openXDS, name string) {
	d := b.dataplane(t, name, b.z.Node.Endpoints().DP)
	a := readADS(t, d.start())
	ctx, conn := a.dial(t)
	start := func() xdsTest {
		stream, err := open(ctx, conn, a.node)
		if err != nil {
			t.Fatal(err)
		}
		return xdsTest{t, stream}
	}
	x := start()
	x.want(clusterURL, twoClusters...)
	parsed, err := cptoken.Parse(d.token)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.g.Node.Store().Revoke(t.Context(), raftstore.Origin{By: "test"}, cptoken.Dataplane, "default",
		[]cptoken.RevokedID{{ID: parsed.RevocationID(), Expires: parsed.Claims.ExpiresAt.Unix()}}, ""); err != nil {
		t.Fatal(err)
	}
	x.ends("revoked") // when the zone hears of it
	x = start()
	_ = x.subscribe(clusterURL, received{}) // the stream may be over already: receive tells why
	x.ends("revoked")
	status, header, body := d.ask()
	if status != http.StatusUnauthorized || !strings.HasPrefix(header.Get("Content-Type"), "text/plain") || !strings.HasPrefix(string(body), "revoked: ") {
		t.Errorf("%d %s: %q", status, header.Get("Content-Type"), body)
	}
}

// Whom the zone refuses it tells why, in text that kuma-dp prints and stops; never
// with the empty 404 that it waits after.
func (b proxyBench) testRefused(t *testing.T) {
	dp := b.z.Node.Endpoints().DP
	for want, change := range map[string]func() *kumaDP{
		"401 bad_signature": func() *kumaDP {
			d := b.dataplane(t, "refused-1", dp)
			other := b.dataplane(t, "refused-2", dp).token
			d.token = d.token[:strings.LastIndexByte(d.token, '.')] + other[strings.LastIndexByte(other, '.'):]
			return d
		},
		"403 wrong_name": func() *kumaDP {
			d := b.dataplane(t, "refused-3", dp)
			d.token = b.dataplane(t, "refused-4", dp).token
			return d
		},
		"403 out_of_scope": func() *kumaDP {
			d := b.zoneProxy(t, cptoken.ScopeIngress, "refused-5")
			d.token = b.g.ZoneToken("west", cptoken.ScopeEgress)
			return d
		},
		"403 wrong_zone": func() *kumaDP {
			d := b.zoneProxy(t, cptoken.ScopeEgress, "refused-6")
			d.token = b.g.ZoneToken("east", cptoken.ScopeEgress)
			return d
		},
	} {
		d := change()
		status, header, body := d.ask()
		got, _, _ := strings.Cut(fmt.Sprintf("%d %s", status, body), ":")
		if got != want || !strings.HasPrefix(header.Get("Content-Type"), "text/plain") || strings.Contains(string(body), d.token) {
			t.Errorf("%s: %d %q", want, status, body)
		}
	}
}
