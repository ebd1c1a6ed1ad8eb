package kds_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/test/kdstest"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/kuma"
	"github.com/meridiankds/meridian/kds/server"
)

// startKuma runs a server with a catalog.
func startKuma(t *testing.T, change func(*server.Config)) (*member, *fakeCatalog) {
	t.Helper()
	catalog := newCatalog(t)
	m := start(t, func(c *server.Config) {
		c.Catalog = catalog
		if change != nil {
			change(c)
		}
	})
	return m, catalog
}

const publicKey1 = "zone-token-signing-public-key-1."

func pemOfTest(t *testing.T) string { return string(zoneKey(t, "1", cptoken.Active).PEM()) }

// TestKumaZoneGetsResources: what a zone of Kuma's joins with, and every change that
// follows, in the form that was recorded.
func TestKumaZoneGetsResources(t *testing.T) {
	m, c := startKuma(t, nil)
	types := strings.Fields(stockTypes)
	z := joinKuma(t, m, "west", types...)
	z.take(len(types))
	pem := pemOfTest(t)
	if !strings.HasPrefix(pem, "-----BEGIN RSA PUBLIC KEY-----\n") {
		t.Fatalf("the key is %.40q", pem)
	}
	z.holds(kuma.TypeConfig, "kuma-cluster-id.="+kdstest.Cluster)
	z.holds(kuma.TypeMesh, "default.", "prod.")
	z.holds(kuma.TypeGlobalSecret, publicKey1+"="+pem)
	z.holds(kuma.TypeSecret)
	m.held(t, "west", kdstest.Revision(1, 1))

	rev := c.change(func(p *fakePicture) {
		p.revoke(cptoken.Dataplane, "default", "a-1", "b-2")
		p.revoke(cptoken.Zone, "", "z-1")
	})
	z.take(2)
	z.holds(kuma.TypeSecret, "dataplane-token-revocations-default.default=a-1,b-2")
	z.holds(kuma.TypeGlobalSecret, publicKey1+"="+pem, "zone-token-revocations.=z-1", "dataplane-token-revocations-default.=a-1,b-2")
	m.held(t, "west", rev)

	c.change(func(p *fakePicture) { p.keys = append(p.keys, zoneKey(t, "2", cptoken.Prepared)) })
	resp := z.take(1)
	if len(resp.GetResources()) != 1 {
		t.Errorf("a new key brought %d resources", len(resp.GetResources()))
	}
	z.holds(kuma.TypeGlobalSecret, publicKey1+"="+pem, "zone-token-signing-public-key-2.="+pem, "zone-token-revocations.=z-1", "dataplane-token-revocations-default.=a-1,b-2")

	rev = c.change(func(p *fakePicture) {
		p.keys = p.keys[1:]
		p.revoke(cptoken.Zone, "")
		p.revoke(cptoken.Dataplane, "default")
		p.meshes = []string{"default"}
	})
	z.take(3)
	z.holds(kuma.TypeMesh, "default.")
	z.holds(kuma.TypeSecret)
	z.holds(kuma.TypeGlobalSecret, "zone-token-signing-public-key-2.="+pem)
	m.held(t, "west", rev)

	// What concerns it not moves its revision without a word.
	rev = c.change(func(p *fakePicture) {
		p.keys = append(p.keys, kdstest.Key(t, cptoken.KeyID{Kind: cptoken.Dataplane, Mesh: "default", KID: "7"}, cptoken.Active, nil),
			kdstest.Key(t, cptoken.KeyID{Kind: cptoken.User, KID: "7"}, cptoken.Active, nil),
			kdstest.Key(t, cptoken.KeyID{Kind: cptoken.Zone, KID: "offline"}, cptoken.Retiring, &cptoken.Constraints{Zones: []string{"west"}}))
		p.revoke(cptoken.User, "", "u")
	})
	m.held(t, "west", rev)
	if s := m.session(t, "west"); s.Sent != uint64(len(types)+6) || s.Accepted != s.Sent || s.Rejected != 0 || !s.Online() || s.Nack != "" {
		t.Errorf("session %+v", s)
	}
}

// TestKumaVersionAndInstance: the version stands in the first request.
func TestKumaVersionAndInstance(t *testing.T) {
	m, _ := startKuma(t, nil)
	sync, _ := kumaZone(t, m, "west")
	req := firstRequest("west", kuma.TypeConfig)
	version, err := structpb.NewStruct(map[string]any{"kumaCp": map[string]any{"buildDate": "now", "version": "2.8.8"}})
	if err != nil {
		t.Fatal(err)
	}
	req.Node.Metadata.Fields["version"] = structpb.NewStructValue(version)
	sync.send(req)
	sync.must()
	if s := m.session(t, "west"); s.Version != "2.8.8" || s.Instance != "vm-729d" {
		t.Errorf("session %+v", s)
	}
}

// TestKumaRefusal: what a zone refused is told, not repeated, and made good by what
// follows.
func TestKumaRefusal(t *testing.T) {
	m, c := startKuma(t, nil)
	z := joinKuma(t, m, "west", kuma.TypeConfig, kuma.TypeMesh, kuma.TypeGlobalSecret, kuma.TypeSecret)
	z.take(4)
	m.held(t, "west", kdstest.Revision(1, 1))
	c.change(func(p *fakePicture) { p.revoke(cptoken.Zone, "", "one") })
	z.nack(z.next(), "no room\x1b[31m")
	kdstest.Eventually(t, "the refusal to be shown", func() bool { return m.session(t, "west").Nack == "GlobalSecret: no room?[31m" })
	kdstest.Eventually(t, "the refusal to be logged", func() bool { return strings.Contains(m.log.String(), "no room") })
	if s := m.session(t, "west"); s.Acked != kdstest.Revision(1, 1) || s.Rejected != 1 {
		t.Errorf("session %+v", s)
	}
	// Another type goes on, and the one that was refused is not sent again with it.
	c.change(func(p *fakePicture) { p.meshes = append(p.meshes, "third") })
	if resp := z.take(1); resp.GetTypeUrl() != kuma.TypeMesh {
		t.Fatalf("got %v", resp)
	}
	if s := m.session(t, "west"); s.Acked != kdstest.Revision(1, 1) {
		t.Errorf("session %+v", s)
	}
	rev := c.change(func(p *fakePicture) { p.revoke(cptoken.Zone, "", "one", "two") })
	z.take(1)
	z.holds(kuma.TypeGlobalSecret, publicKey1+"="+pemOfTest(t), "zone-token-revocations.=one,two")
	m.held(t, "west", rev)
	if s := m.session(t, "west"); s.Nack != "" {
		t.Errorf("session %+v", s)
	}
}

// TestKumaFirstRefusal: a zone that refuses the first answer is sent all of it
// once more when there is something new.
func TestKumaFirstRefusal(t *testing.T) {
	m, c := startKuma(t, nil)
	z := joinKuma(t, m, "west", kuma.TypeSecret)
	z.nack(z.next(), "not now")
	kdstest.Eventually(t, "the refusal to be shown", func() bool { return m.session(t, "west").Nack != "" })
	c.change(func(p *fakePicture) {
		p.revoke(cptoken.Dataplane, "default", "a")
		p.revoke(cptoken.Dataplane, "prod", "b")
	})
	z.take(1)
	z.holds(kuma.TypeSecret, "dataplane-token-revocations-default.default=a", "dataplane-token-revocations-prod.prod=b")
}

// TestKumaStrangeAcknowledgements: duplicates, unknown nonces, names beside a nonce
// and an acknowledgement that comes for nothing change nothing and end nothing.
func TestKumaStrangeAcknowledgements(t *testing.T) {
	m, c := startKuma(t, nil)
	z := joinKuma(t, m, "west", kuma.TypeGlobalSecret)
	first := z.next()
	for range 3 {
		z.ack(first)
	}
	z.ack(&discovery.DeltaDiscoveryResponse{TypeUrl: kuma.TypeGlobalSecret, Nonce: "no such nonce"})
	withNames := ackOf(first)
	withNames.ResourceNamesSubscribe = []string{"*"}
	z.send(withNames)
	z.nack(first, "too late to matter")
	z.ack(&discovery.DeltaDiscoveryResponse{TypeUrl: "HealthCheck", Nonce: "5"}) // never asked for: it is answered
	if resp := z.next(); resp.GetTypeUrl() != "HealthCheck" {
		t.Fatalf("got %v", resp)
	}
	c.change(func(p *fakePicture) { p.revoke(cptoken.Zone, "", "one") })
	resp := z.take(1)
	if resp.GetTypeUrl() != kuma.TypeGlobalSecret || len(resp.GetResources()) != 1 {
		t.Fatalf("got %v", resp)
	}
	// A second subscription begins anew.
	z.send(firstRequest("west", kuma.TypeGlobalSecret))
	if resp := z.take(1); len(resp.GetResources()) != 2 {
		t.Errorf("a second subscription brought %v", resp)
	}
	z.send(&discovery.DeltaDiscoveryRequest{TypeUrl: kuma.TypeGlobalSecret, ResourceNamesUnsubscribe: []string{"*"}})
	z.send(firstRequest("west", "Timeout"))
	z.take(1)
	c.change(func(p *fakePicture) { p.revoke(cptoken.Zone, "", "one", "two") })
	z.send(firstRequest("west", "Retry"))
	if resp := z.take(1); resp.GetTypeUrl() != "Retry" {
		t.Errorf("after it gave the type up, it was sent %v", resp)
	}
}

// TestKumaChangesGather: while a zone has an answer to give, changes gather, and one
// that never gives it is sent what changes later all the same.
func TestKumaChangesGather(t *testing.T) {
	m, c := startKuma(t, func(cfg *server.Config) { cfg.Limits.Ack = 50 * time.Millisecond })
	z := joinKuma(t, m, "west", kuma.TypeGlobalSecret)
	first := z.next()
	for i := range 20 {
		c.change(func(p *fakePicture) {
			p.revoke(cptoken.Zone, "", slices.Repeat([]string{"x"}, i+1)...)
		})
	}
	// It stays silent: after a while it is sent all that is new, in one answer; in more
	// where the changes themselves took such a while.
	resp, answers := z.next(), 1
	all := strings.Repeat("x,", 19) + "x"
	for ; z.has[kuma.TypeGlobalSecret]["zone-token-revocations."] != all; answers++ {
		resp = z.next()
	}
	if answers > 10 {
		t.Errorf("20 changes came in %d answers", answers)
	}
	z.holds(kuma.TypeGlobalSecret, publicKey1+"="+pemOfTest(t), "zone-token-revocations.="+all)
	z.ack(first) // late
	z.ack(resp)
	kdstest.Eventually(t, "the zone to be in step", func() bool { return m.session(t, "west").Full })
	if !strings.Contains(m.log.String(), "zone did not answer resources of Kuma's") {
		t.Error("the log does not tell")
	}
}

// TestKumaReconnect: a zone that comes back begins from nothing, with what there is
// then.
func TestKumaReconnect(t *testing.T) {
	m, c := startKuma(t, nil)
	z := joinKuma(t, m, "west", kuma.TypeGlobalSecret, kuma.TypeSecret)
	z.take(2)
	z.cancel()
	kdstest.Eventually(t, "the end of the session", func() bool { s := m.session(t, "west"); return !s.Online() })
	c.change(func(p *fakePicture) { p.keys = []*cptoken.PublicKey{zoneKey(t, "3", cptoken.Active)} })
	z = joinKuma(t, m, "west", kuma.TypeSecret, kuma.TypeGlobalSecret)
	z.take(2)
	z.holds(kuma.TypeGlobalSecret, "zone-token-signing-public-key-3.="+pemOfTest(t))
	m.held(t, "west", kdstest.Revision(1, 2))
	// Another start of the same zone has another instance; the former is forgotten.
	z.cancel()
	kdstest.Eventually(t, "the end of the session", func() bool { s := m.session(t, "west"); return !s.Online() })
	sync, _ := kumaZone(t, m, "west")
	again := firstRequest("west", kuma.TypeSecret)
	again.Node.Metadata.Fields["control-plane-id"] = structpb.NewStringValue("vm-0000")
	sync.send(again)
	sync.must()
	sync.cancel()
	kdstest.Eventually(t, "one session to be left", func() bool {
		all := m.Sessions()
		return len(all) == 1 && all[0].Instance == "vm-0000" && !all[0].Online()
	})
}

// TestKumaStaleMember: a member that has lost touch begins no zone of Kuma's with
// what may be old, and goes on with those that it has.
func TestKumaStaleMember(t *testing.T) {
	m, c := startKuma(t, nil)
	z := joinKuma(t, m, "east", kuma.TypeSecret)
	z.take(1)
	c.lag(true)
	z2 := joinKuma(t, m, "west", kuma.TypeSecret, "Timeout")
	if resp := z2.next(); resp.GetTypeUrl() != "Timeout" {
		t.Fatalf("a member that may be behind sent %v", resp)
	}
	c.change(func(p *fakePicture) { p.revoke(cptoken.Dataplane, "default", "a") })
	z.take(1)
	c.lag(false)
	z2.take(1)
	z2.holds(kuma.TypeSecret, "dataplane-token-revocations-default.default=a")
}

// TestKumaListLimit: a list that is longer than such a zone takes stops growing; the
// stream stays, and the operator is told.
func TestKumaListLimit(t *testing.T) {
	const room = 16 << 10
	m, c := startKuma(t, func(cfg *server.Config) { cfg.MaxKumaMessage = room })
	z := joinKuma(t, m, "west", kuma.TypeMesh, kuma.TypeSecret)
	z.take(2)
	ids := make([]string, 1000)
	for i := range ids {
		ids[i] = fmt.Sprintf("00000000-0000-4000-8000-%012d", i)
	}
	c.change(func(p *fakePicture) {
		p.revoke(cptoken.Dataplane, "default", ids...)
		p.revoke(cptoken.Dataplane, "prod", ids[:300]...)
	})
	first, second := z.next(), z.next()
	for _, resp := range []*discovery.DeltaDiscoveryResponse{first, second} {
		if n := len(resp.GetResources()); n != 1 {
			t.Errorf("an answer of %d resources", n)
		}
		z.ack(resp)
	}
	if z.has[kuma.TypeSecret]["dataplane-token-revocations-prod.prod"] != strings.Join(ids[:300], ",") {
		t.Error("the other mesh suffers")
	}
	list := strings.Split(z.has[kuma.TypeSecret]["dataplane-token-revocations-default.default"], ",")
	if len(list) < 350 || !slices.Equal(list, ids[:len(list)]) {
		t.Errorf("the zone has %d ids, not the first ones", len(list))
	}
	if got := m.Stats().KumaOmitted["dataplane-token-revocations-default"]; got != uint64(len(ids)-len(list)) {
		t.Errorf("%d ids are counted as left out, the zone has %d of %d", got, len(list), len(ids))
	}
	if n := strings.Count(m.log.String(), "longer than zones of Kuma's take"); n != 1 {
		t.Errorf("%d alarms: %s", n, m.log)
	}
	// One more changes nothing for the zone, and its stream is there.
	ids = append(ids, "00000000-0000-4000-8000-999999999999")
	c.change(func(p *fakePicture) { p.revoke(cptoken.Dataplane, "default", ids...); p.meshes = append(p.meshes, "z") })
	if resp := z.take(1); resp.GetTypeUrl() != kuma.TypeMesh {
		t.Errorf("got %v", resp)
	}
	c.change(func(p *fakePicture) { p.revoke(cptoken.Dataplane, "default", ids[:10]...) })
	z.take(1)
	kdstest.Eventually(t, "the alarm to end", func() bool { return len(m.Stats().KumaOmitted) == 0 })
}

// TestKumaResourcesAreShared: a change is made into resources once, for however many
// zones, and not at all where there are none.
func TestKumaResourcesAreShared(t *testing.T) {
	m, c := startKuma(t, nil)
	native := openRaw(t, dialRaw(t, m.addr), kds.RPCGlobalToZone, as("native")...)
	native.send(subscription("native", kds.ChangesType, ""))
	native.must()
	c.change(func(p *fakePicture) { p.revoke(cptoken.Zone, "", "a") })
	if c.taken != 0 {
		t.Fatal("a list is read out for nobody")
	}
	var zones []*standIn
	for i := range 20 {
		z := joinKuma(t, m, fmt.Sprintf("kuma-%d", i), kuma.TypeGlobalSecret)
		z.take(1)
		zones = append(zones, z)
	}
	c.change(func(p *fakePicture) { p.revoke(cptoken.Zone, "", "a", "b") })
	for _, z := range zones {
		z.take(1)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.taken != 2 {
		t.Errorf("a list was read out %d times for 2 contents", c.taken)
	}
}

// TestKumaUnaskedFor: what nobody asked for is dropped, and bounded.
func TestKumaUnaskedFor(t *testing.T) {
	m, _ := startKuma(t, func(cfg *server.Config) { cfg.Limits.Unasked = 10 })
	sync, others := kumaZone(t, m, "west")
	sync.send(firstRequest("west", kuma.TypeConfig))
	sync.must()
	for _, r := range others {
		for range 10 {
			_ = r.stream.SendMsg(&discovery.DeltaDiscoveryResponse{TypeUrl: "Dataplane", Nonce: "1", ControlPlane: &core.ControlPlane{Identifier: "west"}})
		}
		if _, err := r.recv(); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("a flood ended with %v", err)
		}
	}
	if m.Stats().Unasked != uint64(10*len(others)) {
		t.Errorf("%d unasked messages are counted", m.Stats().Unasked)
	}
	sync.send(firstRequest("west", kuma.TypeMesh))
	sync.must()
}
