package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/endpoints"
	globalnode "github.com/meridiankds/meridian/internal/global/node"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// clusterName is the name of test clusters in certificates.
const clusterName = "test"

// Globals is a cluster of globals in this process.
type Globals struct {
	Members []*Global
	Net     *Network
	CA      *tlsutil.Authority
	// Configure changes a member's configuration before it starts; nil: nothing.
	Configure func(*globalnode.Config)

	t    testing.TB
	log  *slog.Logger
	seal *issue.SealKeys
	ca   string
	join []string
}

// NewGlobals prepares a cluster that n nodes found; none of them is started.
func NewGlobals(t testing.TB, log *slog.Logger, n int) *Globals {
	t.Helper()
	line, err := issue.NewSealKey()
	if err != nil {
		t.Fatal(err)
	}
	seal, err := issue.ParseSealKeys(line)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := tlsutil.NewAuthority(clusterName, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c := &Globals{t: t, log: log, seal: seal, CA: ca, Net: NewNetwork(), ca: filepath.Join(TempDir(t), tlsutil.CAFile)}
	if err := os.WriteFile(c.ca, ca.CertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		c.join = append(c.join, peerName(i))
	}
	for range n {
		c.Add()
	}
	return c
}

// StartGlobals founds a cluster of n globals and waits until all of them serve and
// vote.
func StartGlobals(t testing.TB, log *slog.Logger, n int) *Globals {
	t.Helper()
	c := NewGlobals(t, log, n)
	c.Launch(n)
	return c
}

// Launch starts all members and waits until all of them serve, and n vote.
func (c *Globals) Launch(n int) {
	c.t.Helper()
	for _, g := range c.Members {
		g.Launch()
	}
	for _, g := range c.Members {
		g.AwaitReady()
	}
	c.AwaitVoters(n)
}

func peerName(i int) string { return fmt.Sprintf("global-%d:5683", i+1) }

// Add prepares one more member, with the same line as all others; it is not started.
func (c *Globals) Add() *Global {
	c.t.Helper()
	g := &Global{Dir: TempDir(c.t), Name: peerName(len(c.Members)), t: c.t, log: c.log, cluster: c, once: &sync.Once{}}
	c.Members = append(c.Members, g)
	c.t.Cleanup(g.Stop)
	return g
}

// StartReplica adds a member that is started with --non-voter and waits until it serves.
func (c *Globals) StartReplica() *Global {
	c.t.Helper()
	g := c.Add()
	g.NonVoter = true
	g.Start()
	return g
}

// Certificate makes a certificate of the cluster's CA.
func (c *Globals) Certificate(id tlsutil.Identity) tls.Certificate {
	c.t.Helper()
	return certificate(c.t, c.CA, id)
}

func certificate(t testing.TB, ca *tlsutil.Authority, id tlsutil.Identity) tls.Certificate {
	t.Helper()
	cert, key, err := ca.Issue(id, []string{"127.0.0.1", "localhost"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// electionTimeout is three times the default: members share a process with each other and
// a machine with other tests, and where each is paused for longer than a leader's lease, half
// of this, nobody leads for long. TestFailoverTime has the default.
const electionTimeout = 3 * globalnode.DefaultElectionTimeout

// config is the line with which every member is started.
func (c *Globals) config(g *Global) globalnode.Config {
	free := endpoints.Addr{HostPort: "127.0.0.1:0"}
	return globalnode.Config{
		DataDir: g.Dir, API: free, APITLS: free, KDS: free, Peer: free, Diagnostics: free,
		Advertise: g.Name, Expect: len(c.join), Join: c.join, NonVoter: g.NonVoter, DialPeers: c.Net.Dialer(g.Name),
		KDSAuth: federation.AuthToken, LocalhostIsAdmin: true, Version: "test", Logger: c.log.With("member", g.Name),
		Seal:      c.seal,
		TLS:       tlsutil.Static(c.Certificate(tlsutil.Identity{Cluster: clusterName, Role: tlsutil.RoleNode, Name: "node"}), c.CA.Pool()),
		Stabilize: 200 * time.Millisecond, ElectionTimeout: electionTimeout, Now: g.now,
	}
}

// now is the member's clock.
func (g *Global) now() time.Time { return time.Now().Add(g.Clock) }

// Launch starts a member without waiting for it.
func (g *Global) Launch() {
	g.t.Helper()
	cfg := g.cluster.config(g)
	if g.cluster.Configure != nil {
		g.cluster.Configure(&cfg)
	}
	node, err := globalnode.New(cfg)
	if err != nil {
		g.t.Fatalf("making %s: %v", g.Name, err)
	}
	g.cluster.Net.Cut(g.Name, false)
	g.cluster.Net.Place(g.Name, node.Endpoints().Peer)
	g.Node, g.run, g.once = node, run(node), &sync.Once{}
}

// AwaitReady waits until the member serves.
func (g *Global) AwaitReady() {
	g.t.Helper()
	select {
	case <-g.Node.Ready():
	case <-g.run.done:
		g.t.Fatalf("%s ended at start: %v", g.Name, g.run.err)
	case <-time.After(Patience):
		g.t.Fatalf("%s does not become ready", g.Name)
	}
}

// Kill ends a member as the loss of its machine does: the others lose it without a
// word, and what it still does reaches nobody.
func (g *Global) Kill() {
	g.t.Helper()
	g.cluster.Net.Cut(g.Name, true)
	g.Stop()
}

// Empty takes a stopped member's folder away.
func (g *Global) Empty() { g.Dir = TempDir(g.t) }

// Leader waits until one of the members leads and those that run agree on it.
func (c *Globals) Leader() *Global {
	c.t.Helper()
	var leader *Global
	Eventually(c.t, "a leader", func() bool {
		leader = nil
		for _, g := range c.Running() {
			if g.Node.Store().IsLeader() {
				leader = g
			}
		}
		if leader == nil {
			return false
		}
		for _, g := range c.Running() {
			if id, _ := g.Node.Store().Leader(); id != leader.Node.Store().NodeID() {
				return false
			}
		}
		return true
	})
	return leader
}

// Followers are the running members that do not lead.
func (c *Globals) Followers() []*Global {
	leader := c.Leader()
	var all []*Global
	for _, g := range c.Running() {
		if g != leader {
			all = append(all, g)
		}
	}
	return all
}

// Running are the members that were started and not stopped.
func (c *Globals) Running() []*Global {
	var all []*Global
	for _, g := range c.Members {
		if g.run == nil {
			continue
		}
		select {
		case <-g.run.done:
		default:
			all = append(all, g)
		}
	}
	return all
}

// AwaitVoters waits until every running member knows of exactly n voters.
func (c *Globals) AwaitVoters(n int) {
	c.t.Helper()
	Eventually(c.t, fmt.Sprintf("%d voters", n), func() bool {
		for _, g := range c.Running() {
			voters := 0
			for _, m := range g.Node.Store().Members() {
				if m.Voter {
					voters++
				}
			}
			if voters != n {
				return false
			}
		}
		return true
	})
}

// Ended waits until the member's Run has returned and returns why.
func (g *Global) Ended(ctx context.Context) error {
	select {
	case <-g.run.done:
		return g.run.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
