package kds_test

import (
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/test/kdstest"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/kdspb"
	"github.com/meridiankds/meridian/kds/kuma"
)

// fakeCatalog is a state that zones of Kuma's are shown.
type fakeCatalog struct {
	mu      sync.Mutex
	now     *fakePicture
	changed chan struct{}
	stale   bool
	taken   int // lists that were read out
}

type fakePicture struct {
	of     *fakeCatalog
	rev    federation.Revision
	meshes []string
	keys   []*cptoken.PublicKey
	lists  map[kuma.ListID]*[]string
}

func newCatalog(t testing.TB) *fakeCatalog {
	c := &fakeCatalog{changed: make(chan struct{})}
	c.now = &fakePicture{of: c, rev: kdstest.Revision(1, 1), meshes: []string{"default", "prod"}, lists: map[kuma.ListID]*[]string{}}
	c.now.keys = []*cptoken.PublicKey{zoneKey(t, "1", cptoken.Active)}
	return c
}

func zoneKey(t testing.TB, kid string, state cptoken.KeyState) *cptoken.PublicKey {
	return kdstest.Key(t, cptoken.KeyID{Kind: cptoken.Zone, KID: kid}, state, nil)
}

// change makes the next picture and returns its revision.
func (c *fakeCatalog) change(f func(p *fakePicture)) federation.Revision {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := *c.now
	next.rev.Index++
	next.meshes, next.keys = slices.Clone(next.meshes), slices.Clone(next.keys)
	lists := map[kuma.ListID]*[]string{}
	for id, l := range next.lists {
		lists[id] = l
	}
	next.lists = lists
	f(&next)
	c.now = &next
	c.wake()
	return next.rev
}

func (c *fakeCatalog) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// revoke makes ids the list of a kind and mesh.
func (p *fakePicture) revoke(kind cptoken.Kind, mesh string, ids ...string) {
	p.lists[kuma.ListID{Kind: kind, Mesh: mesh}] = &ids
	if len(ids) == 0 {
		delete(p.lists, kuma.ListID{Kind: kind, Mesh: mesh})
	}
}

func (c *fakeCatalog) Picture() kds.Picture {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeCatalog) WatchPicture() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

func (c *fakeCatalog) Fresh() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.stale
}

func (c *fakeCatalog) lag(stale bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stale = stale
	c.wake()
}

func (p *fakePicture) Head() (string, federation.Revision) { return kdstest.Cluster, p.rev }
func (p *fakePicture) Meshes() []string                    { return p.meshes }

func (p *fakePicture) Keys(kind cptoken.Kind) []*cptoken.PublicKey {
	return slices.DeleteFunc(slices.Clone(p.keys), func(k *cptoken.PublicKey) bool { return k.ID.Kind != kind })
}

func (p *fakePicture) Revoked(kind cptoken.Kind, mesh string) (any, iter.Seq[[]byte]) {
	l := p.lists[kuma.ListID{Kind: kind, Mesh: mesh}]
	if l == nil {
		return nil, nil
	}
	return l, func(yield func([]byte) bool) {
		p.of.mu.Lock()
		p.of.taken++
		p.of.mu.Unlock()
		for _, id := range *l {
			if !yield([]byte(id)) {
				return
			}
		}
	}
}

// standIn is a zone control plane of Kuma's as far as this stream goes: it keeps
// what it is sent, the first answer to a type replacing what it had of it.
type standIn struct {
	*raw
	zone string
	has  map[string]map[string]string // by type and key: data
	seen map[string]bool
}

// joinKuma opens the streams of a zone of Kuma's and subscribes to types.
func joinKuma(t *testing.T, m *member, zone string, types ...string) *standIn {
	t.Helper()
	sync, _ := kumaZone(t, m, zone)
	z := &standIn{raw: sync, zone: zone, has: map[string]map[string]string{}, seen: map[string]bool{}}
	for _, typ := range types {
		z.send(firstRequest(zone, typ))
	}
	return z
}

// next takes the next answer and does not acknowledge it.
func (z *standIn) next() *discovery.DeltaDiscoveryResponse {
	z.t.Helper()
	resp := z.must()
	typ := resp.GetTypeUrl()
	if !z.seen[typ] {
		z.seen[typ], z.has[typ] = true, map[string]string{}
	}
	if id := resp.GetControlPlane().GetIdentifier(); id != "global" {
		z.t.Errorf("%s: control plane %q", typ, id)
	}
	for _, r := range resp.GetResources() {
		key, data := z.read(typ, r)
		z.has[typ][key] = data
	}
	for _, key := range resp.GetRemovedResources() {
		if _, there := z.has[typ][key]; !there {
			z.t.Errorf("%s: %q is removed and was never there", typ, key)
		}
		delete(z.has[typ], key)
	}
	return resp
}

// read takes a resource apart as strictly as it was recorded.
func (z *standIn) read(typ string, r *discovery.Resource) (key, data string) {
	z.t.Helper()
	var k kdspb.KumaResource
	if err := r.GetResource().UnmarshalTo(&k); err != nil {
		z.t.Fatalf("%s: %v", typ, err)
	}
	meta := k.GetMeta()
	if r.GetName() != "" || len(r.GetVersion()) != 64 || meta.GetLabels()[kuma.LabelOrigin] != "global" || meta.GetVersion() != "" {
		z.t.Errorf("%s %s: name %q, version %q, meta %v", typ, meta.GetName(), r.GetName(), r.GetVersion(), meta)
	}
	config, secret := &kdspb.Config{}, &kdspb.Secret{}
	var spec proto.Message = secret
	switch typ {
	case kuma.TypeConfig:
		spec = config
	case kuma.TypeMesh:
		spec = &kdspb.Mesh{}
	}
	if err := k.GetSpec().UnmarshalTo(spec); err != nil {
		z.t.Fatalf("%s %s: %v", typ, meta.GetName(), err)
	}
	return meta.GetName() + "." + meta.GetMesh(), config.GetConfig() + string(secret.GetData().GetValue())
}

// ack acknowledges an answer.
func (z *standIn) ack(resp *discovery.DeltaDiscoveryResponse) {
	z.t.Helper()
	req := ackOf(resp)
	req.Node = &core.Node{Id: z.zone}
	z.send(req)
}

// nack refuses one.
func (z *standIn) nack(resp *discovery.DeltaDiscoveryResponse, why string) {
	z.t.Helper()
	req := ackOf(resp)
	req.ErrorDetail = &rpcstatus.Status{Code: 13, Message: why}
	z.send(req)
}

// take takes and acknowledges n answers.
func (z *standIn) take(n int) (last *discovery.DeltaDiscoveryResponse) {
	z.t.Helper()
	for range n {
		last = z.next()
		z.ack(last)
	}
	return last
}

// holds wants a type to be just these resources, given as "key=data" or "key".
func (z *standIn) holds(typ string, want ...string) {
	z.t.Helper()
	var got []string
	for key, data := range z.has[typ] {
		if data != "" {
			key += "=" + data
		}
		got = append(got, key)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		z.t.Errorf("%s: has %q, want %q", typ, got, want)
	}
}

// held waits until the member knows that the zone holds a revision.
func (m *member) held(t *testing.T, zone string, rev federation.Revision) {
	t.Helper()
	kdstest.Eventually(t, fmt.Sprintf("%s to hold %s", zone, rev), func() bool {
		s := m.session(t, zone)
		return s.Full && s.Acked == rev
	})
}
