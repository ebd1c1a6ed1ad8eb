package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	kdsclient "github.com/meridiankds/meridian/kds/client"
	"github.com/meridiankds/meridian/keysync"
)

// lightZone is a zone's client and its copy on disk, without ports: hundreds of them fit into
// a test. It counts what would tell of a zone that goes round in circles.
type lightZone struct {
	name  string
	token string
	store *keysync.Store
	// held are the ids that the zone had as revoked when it left a global.
	held map[string]bool

	connects atomic.Int64 // connections that it began
	fulls    atomic.Int64 // full states that it was sent
	refused  atomic.Int64 // sets that it refused

	t      *testing.T
	client *kdsclient.Client
	run    *running
}

// lightZones makes n zones that have joined nobody, with tokens of the global's.
func (g *Global) lightZones(t *testing.T, n int) (zones []*lightZone) {
	t.Helper()
	dir := TempDir(t)
	for i := range n {
		z := &lightZone{name: fmt.Sprintf("zone-%03d", i), held: map[string]bool{}, t: t}
		z.token = g.lightToken(z.name)
		store, err := keysync.Open(filepath.Join(dir, z.name, "zone.db"), keysync.Options{Zone: z.name})
		if err != nil {
			t.Fatal(err)
		}
		z.store = store
		t.Cleanup(func() {
			z.stop()
			if err := store.Close(); err != nil {
				t.Errorf("closing the copy of %s: %v", z.name, err)
			}
		})
		zones = append(zones, z)
	}
	return zones
}

// lightToken is a control plane token that outlives a clock that is put forward.
func (g *Global) lightToken(zone string) string {
	g.t.Helper()
	return g.Issue(cptoken.Claims{Kind: cptoken.ControlPlane, Zone: zone}, 24*time.Hour)
}

// caFile has the CA of the global's certificate.
func (g *Global) caFile() string {
	if g.cluster != nil {
		return g.cluster.ca
	}
	return filepath.Join(g.Dir, "tls", tlsutil.CAFile)
}

// join starts the zone towards a global. It does not wait.
func (z *lightZone) join(g *Global) {
	z.t.Helper()
	pool, err := tlsutil.LoadPool(g.caFile())
	if err != nil {
		z.t.Fatal(err)
	}
	config := tlsutil.Client(pool)
	z.client = kdsclient.New(kdsclient.Config{
		Zone: z.name, Instance: z.store.Instance(), Version: "test", Addresses: []string{g.KDS()}, Sink: countedCopy{z}, Logger: quiet,
		Token: func() (string, error) { return z.token, nil },
		TLS: func(func(error)) (*tls.Config, func()) {
			z.connects.Add(1)
			return config, func() {}
		},
	})
	z.run = run(z.client)
}

// stop ends the zone's connection.
func (z *lightZone) stop() {
	if z.run == nil {
		return
	}
	if err := z.run.stop(); err != nil {
		z.t.Errorf("%s ended with: %v", z.name, err)
	}
	z.run = nil
}

// leave ends the connections of zones, and notes which of the ids each has as revoked.
func leave(ids []string, zones ...*lightZone) {
	var all sync.WaitGroup
	for _, z := range zones {
		all.Go(func() {
			z.stop()
			for _, id := range ids {
				if z.revoked(id) {
					z.held[id] = true
				}
			}
		})
	}
	all.Wait()
}

func (z *lightZone) revoked(id string) bool { return z.store.View().Revoked(cptoken.Zone, "", id) }

func (z *lightZone) revision() federation.Revision { return z.store.View().Revision() }

// current reports whether the zone holds what the global does.
func (z *lightZone) current(g *Global) bool {
	_, head := g.Node.Store().Head()
	return z.revision().Covers(head)
}

// waits reports whether the global shows that the zone knows more than it does and waits.
func (z *lightZone) waits(g *Global) bool {
	s, online := g.open(z.name)
	return online && strings.Contains(s.Nack, "which this member does not know: it waits")
}

// waitsForGood reports whether it waits and knows a newer history. Else what it knows may be
// of the past that the global is about to find lost, and the full state comes in a moment.
func (z *lightZone) waitsForGood(g *Global) bool {
	_, head := g.Node.Store().Head()
	return z.waits(g) && z.revision().History.Compare(head.History) > 0
}

// await waits for a condition of each of the zones.
func await(t *testing.T, what string, zones []*lightZone, condition func(*lightZone) bool) {
	t.Helper()
	for _, z := range zones {
		Eventually(t, z.name+" "+what, func() bool { return condition(z) })
	}
}

// wantHeld wants zones to refuse all that they had as revoked, and the ids too.
func wantHeld(t *testing.T, zones []*lightZone, ids ...string) {
	t.Helper()
	for _, z := range zones {
		for id := range z.held {
			if !z.revoked(id) {
				t.Errorf("%s accepts again what it had as revoked", z.name)
			}
		}
		for _, id := range ids {
			if !z.revoked(id) {
				t.Errorf("%s accepts what is revoked", z.name)
			}
		}
	}
}

// circles are the bounds of what zones may do.
type circles struct{ connects, fulls int64 }

// wantNoCircles wants no zone to have done more than the bounds since the last call, and no
// set to have been refused: it would be sent again.
func wantNoCircles(t *testing.T, when string, zones []*lightZone, most circles) {
	t.Helper()
	for _, z := range zones {
		if c, f, r := z.connects.Swap(0), z.fulls.Swap(0), z.refused.Swap(0); c > most.connects || f > most.fulls || r > 0 {
			t.Errorf("%s: %s connected %d times, was sent %d full states and refused %d sets; want at most %d, %d and none",
				when, z.name, c, f, r, most.connects, most.fulls)
		}
	}
}

// revokeNew issues a token and revokes it, and returns its id.
func revokeNew(t *testing.T, g *Global) string {
	t.Helper()
	return revocationID(t, issueAndRevoke(t, g, 1)[0])
}

// countedCopy is the copy of a zone, which counts.
type countedCopy struct{ z *lightZone }

// Position implements kds.Sink.
func (c countedCopy) Position() (cluster string, rev federation.Revision) {
	return c.z.store.Position()
}

// Proof implements kds.Sink.
func (c countedCopy) Proof() []byte { return c.z.store.Proof() }

// Taken implements kds.Sink.
func (c countedCopy) Taken() (cluster string, rev federation.Revision) { return c.z.store.Taken() }

// Persisted implements kds.Sink.
func (c countedCopy) Persisted() (cptoken.Persistence, <-chan struct{}) {
	return c.z.store.Persisted()
}

// Skipped implements kds.Sink.
func (c countedCopy) Skipped() (vocabulary int, names []string) { return c.z.store.Skipped() }

// Heard implements kds.Sink.
func (c countedCopy) Heard(member string, at time.Time) { c.z.store.Heard(member, at) }

// Take implements kds.Sink.
func (c countedCopy) Take(ctx context.Context, p cptoken.Part) error {
	if p.Full && p.Number == 0 {
		c.z.fulls.Add(1)
	}
	err := c.z.store.Apply(ctx, p)
	if err != nil && ctx.Err() == nil {
		c.z.refused.Add(1)
	}
	return err
}

// histories are those that a global was seen in, in order.
type histories []federation.History

func (h *histories) note(g *Global) {
	_, head := g.Node.Store().Head()
	if !slices.Contains(*h, head.History) {
		*h = append(*h, head.History)
	}
}
