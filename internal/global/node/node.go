package node

import (
	"context"
	"crypto/tls"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/endpoints"
	"github.com/meridiankds/meridian/internal/global/adminapi"
	"github.com/meridiankds/meridian/internal/global/admission"
	"github.com/meridiankds/meridian/internal/global/audit"
	"github.com/meridiankds/meridian/internal/global/fleet"
	"github.com/meridiankds/meridian/internal/global/loss"
	"github.com/meridiankds/meridian/internal/global/peer"
	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/metrics"
	"github.com/meridiankds/meridian/internal/net/httpserver"
	"github.com/meridiankds/meridian/internal/net/preauth"
	"github.com/meridiankds/meridian/internal/net/throttle"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/internal/support"
	kdsserver "github.com/meridiankds/meridian/kds/server"
	"github.com/meridiankds/meridian/raftstore"
	"github.com/meridiankds/meridian/raftstore/raftnet"
)

// cacheBytes bounds the memory of verified signatures of operators' tokens.
const cacheBytes = 1 << 20

// pruneEvery is how often the leader looks for what can be forgotten.
const pruneEvery = time.Hour

// warnEvery is how often a node that lets zones in unproven says so.
const warnEvery = time.Hour

// Node is one global control plane.
type Node struct {
	cfg       Config
	listeners *listeners
	store     *raftstore.Store
	fleet     *fleet.Fleet
	kds       *kdsserver.Server
	api       *adminapi.API
	peers     *peers
	audit     *audit.Log
	slow      *throttle.Limiter
	verifier  *cptoken.Verifier
	keyring   *keyring.Keyring // of zone tokens that let a control plane join
	rekeyed   chan struct{}    // tells judgeSessions that this node's own keys changed
	ready     chan struct{}

	budget      *preauth.Budget // of callers of every port
	metrics     *metrics.Set
	verified    metrics.Counter
	propagation propagation
}

// New validates the configuration, takes the data folder for this process alone,
// binds the ports and opens the folder. It starts nothing, and where it fails it has
// changed nothing in the folder but made it and its lock file.
func New(cfg Config) (_ *Node, err error) {
	defer func() {
		if err != nil {
			cfg.unlockDataDir()
		}
	}()
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := cfg.lockDataDir(); err != nil {
		return nil, err
	}
	listeners, err := cfg.listen()
	if err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, listeners: listeners, ready: make(chan struct{}), rekeyed: make(chan struct{}, 1), metrics: metrics.New()}
	n.budget = preauth.New(preauth.Config{Proxies: cfg.ProxyProtocolFrom, Logger: cfg.Logger.With("component", "preauth")})
	if err := n.open(); err != nil {
		_ = n.audit.Close() // nothing was written that was promised
		listeners.close()
		return nil, err
	}
	return n, nil
}

// open makes the parts, from the store upwards.
func (n *Node) open() (err error) {
	identity, err := tlsutil.IdentityOf(n.cfg.TLS.Current().Certificate.Leaf)
	if err != nil {
		return err
	}
	n.fleet = fleet.New(fleet.Options{Now: n.cfg.Now})
	n.peers = n.newPeers(identity.Cluster)
	if n.store, err = raftstore.Open(n.storeConfig()); err != nil {
		return err
	}
	n.peers.attach(n.store)
	n.peers.losses = loss.New(loss.Config{
		Store: n.store, Fleet: n.fleet, Members: n.peers.MemberIDs, Proved: n.provedLoss, Logger: n.cfg.Logger.With("component", "loss"), Now: n.cfg.Now,
	})
	if n.audit, err = audit.Open(filepath.Join(n.cfg.DataDir, auditDir), audit.Options{
		Room: n.cfg.AuditRoom, Logger: n.cfg.Logger.With("component", "audit"), Now: n.cfg.Now,
	}); err != nil {
		return err
	}
	n.peers.audit, n.slow = n.audit, throttle.New(nil)
	if n.listeners.admin, err = n.cfg.listenAdmin(); err != nil {
		return err
	}
	n.verified = n.metrics.Counter("tokens_verified_total", "Tokens that were shown to this member, by kind and result: accepted, or the reason.", "kind", "result")
	n.verifier = cptoken.NewVerifier(cptoken.VerifierOptions{Now: n.cfg.Now, CacheBytes: cacheBytes})
	if err := n.openKeyring(); err != nil {
		return err
	}
	n.kds = kdsserver.New(n.kdsConfig(identity.Cluster))
	n.api = adminapi.New(adminapi.Config{
		Store: n.store, Leads: n.peers.leading, Fleet: n.fleet, Verifier: n.verifier, Logger: n.cfg.Logger.With("component", "api"),
		Members: n.peers.MemberIDs, Cluster: n.peers, Losses: n.peers.losses,
		Version: n.cfg.Version, Hostname: hostname(), LocalhostIsAdmin: n.cfg.LocalhostIsAdmin, Now: n.cfg.Now,
		Roles: n.cfg.Roles.Roles,
		Audit: n.audit, AuditOf: n.peers.auditOf, Slow: n.slow.Answer,
		Refused: n.metrics.Counter("api_refused_total", "Requests to the HTTP API that were refused (401, 403), by reason.", "reason").Add,
		UserCertificate: func(state *tls.ConnectionState) (string, error) {
			return n.cfg.TLS.User(state, identity.Cluster)
		},
		RunLog: n.cfg.RunLog,
		Support: &support.Source{
			Program: "global", Version: n.cfg.Version, Node: n.store.NodeID(), Settings: n.cfg.Settings, Log: n.cfg.RunLog, Now: n.cfg.Now,
			Metrics: n.metrics.Gathered(),
		},
		Certificates: n.certificates, NotIssued: n.cfg.notIssued(),
		Verified: n.verified.Add,
		Issued:   n.metrics.Counter("tokens_issued_total", "Tokens issued by this member, by kind.", "kind").Add,
	})
	n.measure()
	return nil
}

func (n *Node) storeConfig() raftstore.Config {
	return raftstore.Config{
		Dir:             n.cfg.DataDir,
		Layer:           raftnet.NewLayer(n.peers.port.Raft(), n.peers.advertise, n.peers.dialRaft),
		Seal:            n.cfg.Seal,
		Bootstrap:       n.cfg.Bootstrap,
		Logger:          n.cfg.Logger.With("component", "raftstore"),
		Now:             n.peers.stampNow,
		ElectionTimeout: n.cfg.ElectionTimeout,
		ControlPlaneKey: n.cfg.ControlPlaneKey,
		Committed:       n.committed(),
		WrapTransport:   n.cfg.WrapTransport,
	}
}

func (n *Node) kdsConfig(cluster string) kdsserver.Config {
	cfg := kdsserver.Config{
		Source: zoneSource{n.store, n.peers.losses, n.peers.current}, Catalog: kumaCatalog{n.store},
		Authenticator: sealedGate{zones: admission.New(admission.Config{
			Store: admissionStore{n.store, n.peers, n.keyring}, Verifier: n.verifier, Default: n.cfg.KDSAuth, Now: n.cfg.Now,
			Cluster: cluster, Refresh: n.peers.Refresh, Logger: n.cfg.Logger.With("component", "kds.auth"),
		}), store: n.store, verified: n.verified},
		Relay:   relay{n},
		Budget:  n.budget,
		Logger:  n.cfg.Logger.With("component", "kds"),
		Refused: n.refusedZone, Keepalive: n.cfg.Keepalive,
		Member: n.store.NodeID(),
		Now:    n.cfg.Now,

		LeaderContact: n.store.LeaderContact,
	}
	if !n.cfg.KDSPlain {
		cfg.TLS = n.cfg.TLS.ServerOptionalClient(tlsutil.ALPNHTTP2)
	}
	return cfg
}

// Endpoints tells where the node listens.
func (n *Node) Endpoints() endpoints.Endpoints {
	e := n.listeners.endpoints()
	e.CAFile, e.AdminTokenFile = n.cfg.TLS.Files().CA, n.adminTokenFile()
	return e
}

// Ready is closed when the node serves: state caught up, ports open.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// Reload looks at the files that the node follows now, and begins new files of the audit
// log in place of those that were moved away.
func (n *Node) Reload() {
	n.cfg.TLS.Check()
	n.cfg.Roles.Reload()
	n.keyring.Check()
	n.audit.Reopen()
}

// Store gives tests and embedders the replicated state.
func (n *Node) Store() *raftstore.Store { return n.store }

// Fleet gives tests what this member knows of zones and members.
func (n *Node) Fleet() *fleet.Fleet { return n.fleet }

// Sessions gives tests the zones that are connected to this member.
func (n *Node) Sessions() []kdsserver.Session { return n.kds.Sessions() }

// Run serves until ctx ends or a part fails, and returns when every part has
// ended. A leader hands over first, while it still answers what others forward; the
// store ends last: requests in flight still read it, and what they proposed is still
// answered. The data folder is given back at the very end.
func (n *Node) Run(ctx context.Context) error {
	defer n.cfg.unlockDataDir()
	defer func() { _ = n.audit.Close() }() // what was promised is on the disk
	defer n.peers.close()
	if err := n.checkWritable(); err != nil {
		n.listeners.close()
		return err
	}
	serveCtx, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	leave := context.AfterFunc(ctx, func() {
		n.handOver()
		stopServing()
	})
	defer leave()
	// Raft still listens while it stops, so its port ends after it.
	portCtx, closePort := context.WithCancel(context.WithoutCancel(ctx))
	defer closePort()
	var outer errgroup.Group
	outer.Go(func() error { return n.peers.port.Run(portCtx) })
	outer.Go(func() error { return n.peers.port.Serve(portCtx, peer.Handler(n.peers, n.api.Handler(adminapi.Peer))) })
	outer.Go(func() error {
		defer closePort()
		return n.runMember(ctx, serveCtx, stopServing)
	})
	return outer.Wait()
}

// runMember runs what makes this node a member, unless it must not be one.
func (n *Node) runMember(ctx, serveCtx context.Context, stopServing func()) error {
	storeCtx, stopStore := context.WithCancel(context.WithoutCancel(ctx))
	defer stopStore()
	if err := n.peers.preflight(ctx); err != nil {
		n.listeners.closeServed()
		return err
	}
	var group errgroup.Group
	group.Go(func() error {
		defer stopServing() // a store that failed takes the ports with it
		err := n.store.Run(storeCtx)
		if e := federation.AsError(err); e != nil && e.Reason == raftstore.ReasonDiverged {
			n.peers.handOver(ctx, n.store.Furthest())
		}
		return err
	})
	group.Go(func() error {
		defer stopServing()
		return n.peers.membership.Run(serveCtx)
	})
	group.Go(func() error {
		defer stopStore()
		return n.serve(serveCtx)
	})
	return group.Wait()
}

// handOver gives the leadership away before this node stops, so that nobody waits
// for a timeout.
func (n *Node) handOver() {
	if !n.store.IsLeader() || len(n.store.Members()) < 2 {
		return
	}
	if err := n.store.TransferLead(""); err != nil {
		n.cfg.Logger.Info("the leadership could not be handed over", "error", err)
	}
}

// serve runs everything that stands on the store.
func (n *Node) serve(ctx context.Context) error {
	defer n.listeners.closeServed()
	group, ctx := errgroup.WithContext(ctx)
	// Health answers from the first moment, so that whoever waits for readiness
	// can tell a node that is starting from one that is not there.
	group.Go(func() error { return n.cfg.TLS.Run(ctx) })
	group.Go(func() error { return n.reviewConnections(ctx) })
	n.runHTTP(group, ctx, httpserver.Server{Name: "diagnostics", Listener: n.listeners.diagnostics, Handler: n.diagnostics()})
	group.Go(func() error { return n.followLeadership(ctx) })
	group.Go(func() error { return n.keepPicture(ctx) })
	group.Go(func() error { return n.compareStandings(ctx) })
	group.Go(func() error { return n.cfg.Roles.Run(ctx) })
	group.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-n.peers.membership.Settled():
		}
		return n.serveReady(ctx)
	})
	return group.Wait()
}

// serveReady opens the ports that need the state. They are bound since New, so
// whoever came early is served now.
func (n *Node) serveReady(ctx context.Context) error {
	n.peers.askClocks(ctx, map[string]time.Time{}) // before it issues anything
	if err := n.renewAdminToken(ctx); err != nil {
		return err
	}
	if err := n.Endpoints().Write(n.cfg.DataDir); err != nil {
		return err
	}
	defer n.removeEndpoints()
	group, ctx := errgroup.WithContext(ctx)
	n.runHTTP(group, ctx, httpserver.Server{Name: "api", Listener: n.listeners.api,
		Handler: n.api.Handler(adminapi.Loopback)})
	n.runHTTP(group, ctx, httpserver.Server{Name: "api-tls", Listener: n.listeners.apiTLS,
		Handler: n.api.Handler(adminapi.Network),
		TLS:     n.cfg.TLS.ServerOptionalClient(tlsutil.ALPNHTTP2, tlsutil.ALPNHTTP1)})
	n.runHTTP(group, ctx, httpserver.Server{Name: "admin-socket", Listener: n.listeners.admin,
		Handler: n.api.Handler(adminapi.Socket)})
	group.Go(func() error { return n.kds.Run(ctx, n.listeners.kds) })
	group.Go(func() error { return n.reportSessions(ctx) })
	group.Go(func() error { return n.compareClocks(ctx) })
	group.Go(func() error { return n.judgeSessions(ctx) })
	group.Go(func() error { return n.keyring.Run(ctx) })
	group.Go(func() error { return n.prune(ctx) })
	group.Go(func() error { return n.peers.losses.Run(ctx) })
	group.Go(func() error { return n.followHistory(ctx) })
	group.Go(func() error { return n.warnUnproven(ctx) })
	close(n.ready)
	n.cfg.Logger.Info("global is ready", "node", n.store.NodeID(), "cluster", n.store.ClusterID())
	return group.Wait()
}

func (n *Node) runHTTP(group *errgroup.Group, ctx context.Context, s httpserver.Server) {
	s.Service, s.Logger, s.Budget = "global", n.cfg.Logger, n.budget
	group.Go(func() error { return s.Run(ctx) })
}

// adminTokenFile is where the administrator's token is left, if it is.
func (n *Node) adminTokenFile() string {
	if !n.cfg.WriteAdminToken {
		return ""
	}
	path, err := filepath.Abs(filepath.Join(n.cfg.DataDir, "admin.token"))
	if err != nil {
		return ""
	}
	return path
}

// hostname is shown to operators; a host without a name loses nothing else.
func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}
