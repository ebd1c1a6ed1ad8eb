package cluster

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/endpoints"
	globalnode "github.com/meridiankds/meridian/internal/global/node"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	zonenode "github.com/meridiankds/meridian/internal/zone/node"
)

// Patience is how long a test waits for a condition before it fails: long, since
// machines are slow and noisy, and a test that passes does not wait.
const Patience = time.Minute

// Eventually waits for a condition.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline.C:
			t.Fatalf("waited %s in vain: %s", Patience, what)
		case <-tick.C:
		}
	}
}

// TempDir is t.TempDir with a path short enough for a Unix socket.
func TempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "meridian")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("cleaning up: %v", err)
		}
	})
	return dir
}

// running is a node that runs in this process.
type running struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

func run(node interface{ Run(context.Context) error }) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = node.Run(ctx)
	}()
	return r
}

// stop ends the node and reports how it ended.
func (r *running) stop() error {
	r.cancel()
	<-r.done
	return r.err
}

// Global is a global control plane in this process.
type Global struct {
	Dir  string
	Name string // host:port among the members of a cluster
	Node *globalnode.Node
	// NonVoter is --non-voter of a member of a cluster, at its next start.
	NonVoter bool
	// Clock is how far the node's clock is ahead; for members of a cluster.
	Clock time.Duration
	// TLS lets a test have the node look at its files at once.
	TLS *tlsutil.Source

	// Configure changes the configuration of a global that is alone before each of its
	// starts; nil: nothing.
	Configure func(*globalnode.Config)
	// ConfigureZone changes the configuration of a zone before each of its starts; nil:
	// nothing.
	ConfigureZone func(*zonenode.Config)

	cluster *Globals // nil: alone, as `global dev`

	starting sync.Mutex // for tests that start a member again while others ask it

	t    testing.TB
	log  *slog.Logger
	once *sync.Once
	run  *running
	// kdsPlain serves KDS without TLS, so that a relay can read along.
	kdsPlain bool
	// controlPlaneKey is brought along from an earlier control plane.
	controlPlaneKey []byte
}

// Option changes how a global is started.
type Option func(*Global)

// PlainKDS serves KDS without TLS, so that a relay can read along.
func PlainKDS(g *Global) { g.kdsPlain = true }

// ControlPlaneKey founds the cluster with the secret of an earlier control plane.
func ControlPlaneKey(secret []byte) Option { return func(g *Global) { g.controlPlaneKey = secret } }

// StartGlobal starts a global on an empty folder and waits until it serves.
func StartGlobal(t testing.TB, log *slog.Logger, options ...Option) *Global {
	t.Helper()
	g := &Global{Dir: TempDir(t), t: t, log: log}
	for _, option := range options {
		option(g)
	}
	g.Start()
	t.Cleanup(g.Stop)
	return g
}

// Start starts the global on its folder, again after a Stop.
func (g *Global) Start() {
	g.t.Helper()
	if g.cluster != nil {
		g.Launch()
		g.AwaitReady()
		return
	}
	free := endpoints.Addr{HostPort: "127.0.0.1:0"}
	cfg := globalnode.Config{
		DataDir: g.Dir, API: free, APITLS: free, KDS: free, Peer: free, Diagnostics: free,
		KDSAuth: federation.AuthToken, KDSPlain: g.kdsPlain, ControlPlaneKey: g.controlPlaneKey, Version: "test", Logger: g.log,
	}
	if g.Configure != nil {
		g.Configure(&cfg)
	}
	if err := cfg.PrepareDev(); err != nil {
		g.t.Fatalf("preparing a global: %v", err)
	}
	node, err := globalnode.New(cfg)
	if err != nil {
		g.t.Fatalf("making a global: %v", err)
	}
	g.Node, g.TLS, g.run, g.once = node, cfg.TLS, run(node), &sync.Once{}
	select {
	case <-node.Ready():
	case <-g.run.done:
		g.t.Fatalf("the global ended at start: %v", g.run.err)
	case <-time.After(Patience):
		g.t.Fatal("the global does not become ready")
	}
}

// Stop ends the global; it may be started again.
func (g *Global) Stop() {
	g.once.Do(func() {
		if g.run == nil {
			return
		}
		if err := g.run.stop(); err != nil {
			g.t.Errorf("the global ended with: %v", err)
		}
	})
}

// node is Node for tests that start the global again while others ask it.
func (g *Global) node() *globalnode.Node {
	g.starting.Lock()
	defer g.starting.Unlock()
	return g.Node
}

// KDS is the address for zones.
func (g *Global) KDS() string { return g.Node.Endpoints().KDS }

// Issue signs a token as the HTTP API does.
func (g *Global) Issue(claims cptoken.Claims, validFor time.Duration) string {
	g.t.Helper()
	signer, err := g.Node.Store().Signer(claims.Kind, claims.Mesh)
	if err != nil {
		g.t.Fatalf("issuing: %v", err)
	}
	token, _, err := signer.Issue(claims, validFor, time.Now())
	if err != nil {
		g.t.Fatalf("issuing: %v", err)
	}
	return token
}

// ZoneToken issues a zone token.
func (g *Global) ZoneToken(zone string, scopes ...cptoken.Scope) string {
	g.t.Helper()
	return g.Issue(cptoken.Claims{Kind: cptoken.Zone, Zone: zone, Scope: scopes}, time.Hour)
}

// Zone is a zone control plane in this process.
type Zone struct {
	Name  string
	Dir   string
	Node  *zonenode.Node
	Token string
	// Clock is how far the zone's clock is ahead, from its next start on.
	Clock time.Duration

	t       testing.TB
	log     *slog.Logger
	globals []string
	ca      string
	plain   bool
	change  func(*zonenode.Config)
	once    *sync.Once
	run     *running
}

// StartZone starts a zone that connects to the addresses with a fresh control
// plane token of the global's. It does not wait for the connection.
func (g *Global) StartZone(name string, addresses ...string) *Zone {
	g.t.Helper()
	z := &Zone{
		Name: name, Dir: TempDir(g.t), t: g.t, log: g.log, globals: addresses,
		ca:    filepath.Join(g.Dir, "tls", tlsutil.CAFile),
		plain: g.kdsPlain, change: g.ConfigureZone,
		Token: g.Issue(cptoken.Claims{Kind: cptoken.ControlPlane, Zone: name}, time.Hour),
	}
	if g.cluster != nil {
		z.ca = g.cluster.ca
	}
	z.Start()
	g.t.Cleanup(z.Stop)
	return z
}

// Start starts the zone on its folder, again after a Stop.
func (z *Zone) Start() {
	z.t.Helper()
	trust, err := tlsutil.OpenSource(tlsutil.Files{CA: z.ca}, tlsutil.Options{Logger: z.log})
	if err != nil {
		z.t.Fatal(err)
	}
	cfg := zonenode.Config{
		Zone: z.Name, DataDir: z.Dir, Globals: z.globals, GlobalTLS: trust, GlobalPlain: z.plain,
		Token:  func() (string, error) { return z.Token, nil },
		DPAddr: "127.0.0.1:0", APIAddr: "127.0.0.1:0", DiagnosticsAddr: "127.0.0.1:0",
		LocalhostIsAdmin: true, Version: "test", Logger: z.log,
		Now: func() time.Time { return time.Now().Add(z.Clock) },
	}
	if z.change != nil {
		z.change(&cfg)
	}
	node, err := zonenode.New(cfg)
	if err != nil {
		z.t.Fatalf("making zone %s: %v", z.Name, err)
	}
	z.Node, z.run, z.once = node, run(node), &sync.Once{}
	select {
	case <-node.Ready():
	case <-z.run.done:
		z.t.Fatalf("zone %s ended at start: %v", z.Name, z.run.err)
	}
}

// Stop ends the zone; it may be started again.
func (z *Zone) Stop() {
	z.once.Do(func() {
		if err := z.run.stop(); err != nil {
			z.t.Errorf("zone %s ended with: %v", z.Name, err)
		}
	})
}

// Revision is what the zone holds durably.
func (z *Zone) Revision() federation.Revision { return z.Node.Store().View().Revision() }

// WaitFor waits until the zone holds the revision.
func (z *Zone) WaitFor(rev federation.Revision) {
	z.t.Helper()
	Eventually(z.t, "zone "+z.Name+" to hold "+rev.String(), func() bool { return z.Revision().Covers(rev) })
}

// WaitCurrent waits until the zone holds what the global does.
func (z *Zone) WaitCurrent(g *Global) {
	z.t.Helper()
	_, rev := g.Node.Store().Head()
	z.WaitFor(rev)
}
