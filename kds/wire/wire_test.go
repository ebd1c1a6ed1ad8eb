package wire

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/test/kdstest"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/kdspb"
)

// decodeBatch reads all parts of a batch as a zone does.
func decodeBatch(t testing.TB, b *Batch) []cptoken.Part {
	t.Helper()
	var parts []cptoken.Part
	for i, raw := range b.Parts {
		var resp discovery.DeltaDiscoveryResponse
		if err := proto.Unmarshal(raw, &resp); err != nil {
			t.Fatal(err)
		}
		p, err := DecodePart(&resp)
		if err != nil {
			t.Fatalf("part %d: %v", i, err)
		}
		if want := fmt.Sprintf("%s#%d", b.To, i); resp.GetNonce() != want {
			t.Fatalf("part %d has nonce %q, want %q", i, resp.GetNonce(), want)
		}
		parts = append(parts, p)
	}
	return parts
}

// TestControlPlaneKindStays: what zones do not hold is not sent, even where a
// source has it by mistake.
func TestControlPlaneKindStays(t *testing.T) {
	id := cptoken.KeyID{Kind: cptoken.ControlPlane, KID: "1"}
	d := cptoken.Delta{Cluster: kdstest.Cluster, To: kdstest.Revision(1, 9), Full: true, Changes: slices.Values([]cptoken.Change{
		{Index: 2, Key: kdstest.Key(t, id, cptoken.Active, nil)},
		{Index: 3, RemovedKey: &id},
		{Index: 4, Revoked: &cptoken.RevokedRun{Kind: cptoken.ControlPlane, IDs: []cptoken.RevokedID{{ID: "x"}}}},
		{Index: 5, CutOff: &cptoken.CutOff{CutOffID: cptoken.CutOffID{Kind: cptoken.ControlPlane}}},
		{Index: 6},
	})}
	b, err := Encode(d, kds.MaxPart)
	if err != nil {
		t.Fatal(err)
	}
	if p := decodeBatch(t, b); len(p) != 1 || len(p[0].Changes) != 0 {
		t.Errorf("got %+v", p)
	}
}

// TestAnyRunTravels: whatever the ids, the parts keep their bound and the ids
// come back, each with its own expiry.
func TestAnyRunTravels(t *testing.T) {
	id := rapid.OneOf(
		rapid.StringMatching(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`),
		rapid.StringMatching(`[0-9A-F]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`),
		rapid.StringMatching(`[!-~]{1,128}`),
	)
	rapid.Check(t, func(t *rapid.T) {
		runs := rapid.SliceOfN(rapid.MapOfN(id, rapid.Int64Range(0, 1<<40), 1, 50), 0, 30).Draw(t, "runs")
		var changes []cptoken.Change
		want := map[string]int64{}
		for i, run := range runs {
			c := cptoken.Change{Index: uint64(i + 1), Revoked: &cptoken.RevokedRun{Kind: cptoken.Zone}}
			for id, expires := range run {
				c.Revoked.IDs = append(c.Revoked.IDs, cptoken.RevokedID{ID: id, Expires: expires})
				want[fmt.Sprint(i, id)] = expires
			}
			changes = append(changes, c)
		}
		const maxPart = 16 << 10
		b, err := Encode(cptoken.Delta{Cluster: kdstest.Cluster, To: kdstest.Revision(1, 1000), Full: true, Changes: slices.Values(changes)}, maxPart)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int64{}
		for i, raw := range b.Parts {
			if len(raw) > maxPart {
				t.Fatalf("part %d has %d bytes", i, len(raw))
			}
			var resp discovery.DeltaDiscoveryResponse
			if err := proto.Unmarshal(raw, &resp); err != nil {
				t.Fatal(err)
			}
			p, err := DecodePart(&resp)
			if err != nil {
				t.Fatal(err)
			}
			if p.Number != uint32(i) || p.Last != (i == len(b.Parts)-1) {
				t.Fatalf("part %d is number %d, last %v", i, p.Number, p.Last)
			}
			for _, c := range p.Changes {
				for _, id := range c.Revoked.IDs {
					got[fmt.Sprint(c.Index-1, id.ID)] = id.Expires
				}
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %d ids, want %d", len(got), len(want))
		}
	})
}

func TestLargeRunIsCut(t *testing.T) {
	c := kdstest.Revoke(2)
	for i := range 2*kds.MaxRun + 1 {
		c.Revoked.IDs = append(c.Revoked.IDs, cptoken.RevokedID{ID: fmt.Sprint(i)})
	}
	b, err := Encode(cptoken.Delta{Cluster: kdstest.Cluster, To: kdstest.Revision(1, 2), Full: true, Changes: slices.Values([]cptoken.Change{c})}, kds.MaxPart)
	if err != nil {
		t.Fatal(err)
	}
	p := decodeBatch(t, b)[0]
	if len(p.Changes) != 3 || len(p.Changes[2].Revoked.IDs) != 1 || p.Changes[2].Index != 2 {
		t.Errorf("%d changes", len(p.Changes))
	}
}

// TestZoneRefusesMalformedChanges holds every way in which a part can be wrong.
func TestZoneRefusesMalformedChanges(t *testing.T) {
	valid := func() *kdspb.Changes {
		return &kdspb.Changes{
			Cluster: kdstest.Cluster, History: kdstest.History(1).ID, HistoryCreatedMs: kdstest.History(1).Created,
			From: 1, To: 9, Last: true,
		}
	}
	if _, err := partFromWire(valid()); err != nil {
		t.Fatal(err)
	}
	zone := &kdspb.KeyRef{Kind: "zone", Kid: "1"}
	change := func(c *kdspb.Change) func(*kdspb.Changes) {
		if c.Index == 0 {
			c.Index = 5
		}
		return func(m *kdspb.Changes) { m.Changes = append(m.Changes, c) }
	}
	ids := func(m *kdspb.Ids) func(*kdspb.Changes) {
		return change(&kdspb.Change{What: &kdspb.Change_Revoked{Revoked: m}})
	}
	key := func(m *kdspb.Key) func(*kdspb.Changes) {
		return change(&kdspb.Change{What: &kdspb.Change_Key{Key: m}})
	}
	many := make([]string, kds.MaxRun+1)
	for i := range many {
		many[i] = "x"
	}
	for name, spoil := range map[string]func(*kdspb.Changes){
		"no cluster":           func(m *kdspb.Changes) { m.Cluster = "" },
		"endless cluster":      func(m *kdspb.Changes) { m.Cluster = strings.Repeat("c", 65) },
		"no history":           func(m *kdspb.Changes) { m.History = "" },
		"history of nonsense":  func(m *kdspb.Changes) { m.History = "../../etc/passwd" },
		"negative creation":    func(m *kdspb.Changes) { m.HistoryCreatedMs = -1 },
		"leads back":           func(m *kdspb.Changes) { m.From = 10 },
		"full from somewhere":  func(m *kdspb.Changes) { m.Full = true },
		"change of the past":   change(&kdspb.Change{Index: 1, What: &kdspb.Change_RemovedKey{RemovedKey: zone}}),
		"change of the future": change(&kdspb.Change{Index: 10, What: &kdspb.Change_RemovedKey{RemovedKey: zone}}),
		"says nothing":         change(&kdspb.Change{}),
		"control plane key":    change(&kdspb.Change{What: &kdspb.Change_RemovedKey{RemovedKey: &kdspb.KeyRef{Kind: "control-plane", Kid: "1"}}}),
		"no kid":               change(&kdspb.Change{What: &kdspb.Change_RemovedKey{RemovedKey: &kdspb.KeyRef{Kind: "zone"}}}),
		"endless kid":          change(&kdspb.Change{What: &kdspb.Change_RemovedKey{RemovedKey: &kdspb.KeyRef{Kind: "zone", Kid: strings.Repeat("k", 257)}}}),
		"mesh of a zone key":   change(&kdspb.Change{What: &kdspb.Change_RemovedKey{RemovedKey: &kdspb.KeyRef{Kind: "zone", Mesh: "m", Kid: "1"}}}),
		"dataplane, no mesh":   change(&kdspb.Change{What: &kdspb.Change_CutOffWithdrawn{CutOffWithdrawn: &kdspb.KeyRef{Kind: "dataplane"}}}),
		"cut-off of nothing":   change(&kdspb.Change{What: &kdspb.Change_CutOff{CutOff: &kdspb.CutOff{}}}),
		"key without DER":      key(&kdspb.Key{Id: zone, Alg: "RS256", State: "active"}),
		"removed key":          key(&kdspb.Key{Id: zone, Alg: "RS256", Der: kdstest.DER(), State: "removed"}),
		"key of no state":      key(&kdspb.Key{Id: zone, Alg: "RS256", Der: kdstest.DER()}),
		"negative lifetime":    key(&kdspb.Key{Id: zone, Alg: "RS256", Der: kdstest.DER(), State: "active", Registered: &kdspb.Constraints{MaxLifetimeS: -1}}),
		"endless lifetime":     key(&kdspb.Key{Id: zone, Alg: "RS256", Der: kdstest.DER(), State: "active", Registered: &kdspb.Constraints{MaxLifetimeS: 1 << 62}}),
		"empty run":            ids(&kdspb.Ids{Kind: "zone"}),
		"run too long":         ids(&kdspb.Ids{Kind: "zone", Others: many}),
		"half a UUID":          ids(&kdspb.Ids{Kind: "zone", Uuids: make([]byte, 24)}),
		"expiries do not fit":  ids(&kdspb.Ids{Kind: "zone", Others: []string{"a", "b"}, ExpiresS: []int64{1}}),
		"empty id":             ids(&kdspb.Ids{Kind: "zone", Others: []string{""}}),
		"id too long":          ids(&kdspb.Ids{Kind: "zone", Others: []string{strings.Repeat("i", cptoken.MaxIDLen+1)}}),
	} {
		t.Run(name, func(t *testing.T) {
			m := valid()
			spoil(m)
			_, err := partFromWire(m)
			if c := federation.CodeOf(err); c != federation.Invalid && c != federation.TooLarge {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestZoneRefusesMalformedResponses(t *testing.T) {
	b, err := Encode(cptoken.Delta{Cluster: kdstest.Cluster, To: kdstest.Revision(1, 2), Full: true}, kds.MaxPart)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*discovery.DeltaDiscoveryResponse){
		"no resource":     func(r *discovery.DeltaDiscoveryResponse) { r.Resources = nil },
		"two":             func(r *discovery.DeltaDiscoveryResponse) { r.Resources = append(r.Resources, r.Resources[0]) },
		"a removal":       func(r *discovery.DeltaDiscoveryResponse) { r.RemovedResources = []string{"changes"} },
		"another name":    func(r *discovery.DeltaDiscoveryResponse) { r.Resources[0].Name = "secrets" },
		"another type":    func(r *discovery.DeltaDiscoveryResponse) { r.Resources[0].Resource.TypeUrl = "x/Secret" },
		"another version": func(r *discovery.DeltaDiscoveryResponse) { r.Resources[0].Version = "none" },
		"not protobuf":    func(r *discovery.DeltaDiscoveryResponse) { r.Resources[0].Resource.Value = []byte{0xff} },
		"no resource in":  func(r *discovery.DeltaDiscoveryResponse) { r.Resources[0].Resource = nil },
	} {
		t.Run(name, func(t *testing.T) {
			var resp discovery.DeltaDiscoveryResponse
			if err := proto.Unmarshal(b.Parts[0], &resp); err != nil {
				t.Fatal(err)
			}
			spoil(&resp)
			if _, err := DecodePart(&resp); federation.CodeOf(err) != federation.Invalid {
				t.Errorf("got %v", err)
			}
		})
	}
}

// FuzzRequest: no input makes the server's parser panic, and what it accepts is
// what protobuf reads.
func FuzzRequest(f *testing.F) {
	req := subscription("west", kds.ChangesType, "c/none")
	req.ResponseNonce = "n"
	seed, err := proto.Marshal(req)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte{0x0a, 0x80, 0x80, 0x80, 0x80, 0x08})
	f.Fuzz(func(t *testing.T, b []byte) {
		limits := kds.DefaultLimits()
		r := NewRequest(&limits, true)
		if r.decode(b) != nil {
			return
		}
		var want discovery.DeltaDiscoveryRequest
		if proto.Unmarshal(b, &want) != nil {
			return // stricter than we are about what we do not read
		}
		if r.TypeURL != want.GetTypeUrl() || r.Nonce != want.GetResponseNonce() || r.NodeID != want.GetNode().GetId() ||
			r.Subscribe != len(want.GetResourceNamesSubscribe()) || r.Refused != (want.ErrorDetail != nil) {
			t.Errorf("read %+v of %v", r, &want)
		}
	})
}

// TestConfigDumpIsDropped: what a zone says about itself is not kept but for its
// control plane's id.
func TestConfigDumpIsDropped(t *testing.T) {
	req := subscription("west", "Mesh", "")
	req.Node = &core.Node{Id: "west", Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{
		"config":           structpb.NewStringValue(strings.Repeat("{}", 200_000)),
		"control-plane-id": structpb.NewStringValue("cp-7"),
		"features":         structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{structpb.NewStringValue("x")}}),
	}}}
	body, err := proto.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	limits := kds.DefaultLimits()
	var r Request
	allocs := testing.AllocsPerRun(100, func() {
		r = *NewRequest(&limits, false)
		if err := r.decode(body); err != nil {
			t.Fatal(err)
		}
	})
	if r.NodeID != "west" || r.Instance != "cp-7" || r.TypeURL != "Mesh" || r.Subscribe != 1 {
		t.Errorf("read %+v", r)
	}
	if allocs > 10 {
		t.Errorf("%v allocations for a request of %d bytes", allocs, len(body))
	}
}

// TestStoreOfAZone: of the first request of a stream the kind of store is read, and
// whatever else stands in the configuration is no error.
func TestStoreOfAZone(t *testing.T) {
	limits := kds.DefaultLimits()
	for config, want := range map[string]string{
		`{"mode":"zone","store":{"type":"postgres","postgres":{"host":"db"}}}`: "postgres",
		`{"store":{"type":"a\nb"}}`: "a?b", `{"store":{"type":"` + strings.Repeat("x", 33) + `"}}`: "",
		`{"store":7}`: "", `{`: "", "": "", strings.Repeat("[", 100_000): "",
	} {
		req := subscription("west", "Mesh", "")
		req.Node.Metadata = &structpb.Struct{Fields: map[string]*structpb.Value{"config": structpb.NewStringValue(config)}}
		body, err := proto.Marshal(req)
		if err != nil {
			t.Fatal(err)
		}
		for _, first := range []bool{true, false} {
			r := NewRequest(&limits, first)
			if err := r.decode(body); err != nil || first && r.Store != want || !first && r.Store != "" {
				t.Errorf("%.60s, first %t: %q, %v", config, first, r.Store, err)
			}
		}
	}
}

func TestPrintable(t *testing.T) {
	if got := Printable("a\n\x1b[31mb\u202ec\xff é"); got != "a??[31mb?c? é" {
		t.Errorf("got %q", got)
	}
}

// subscription is a first request of a type.
func subscription(zone, typeURL, resume string) *discovery.DeltaDiscoveryRequest {
	req := &discovery.DeltaDiscoveryRequest{
		Node: &core.Node{Id: zone}, TypeUrl: typeURL, ResourceNamesSubscribe: []string{"*"},
	}
	if resume != "" {
		req.InitialResourceVersions = map[string]string{kds.ResourceName: resume}
	}
	return req
}

func decodeResponse(t testing.TB, part Encoded) *discovery.DeltaDiscoveryResponse {
	t.Helper()
	resp := new(discovery.DeltaDiscoveryResponse)
	if err := proto.Unmarshal(part, resp); err != nil {
		t.Fatal(err)
	}
	return resp
}
