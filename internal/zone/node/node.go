package node

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/disk"
	"github.com/meridiankds/meridian/internal/endpoints"
	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/metrics"
	"github.com/meridiankds/meridian/internal/net/httpserver"
	"github.com/meridiankds/meridian/internal/net/preauth"
	"github.com/meridiankds/meridian/internal/net/throttle"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/internal/support"
	"github.com/meridiankds/meridian/internal/zone/keysets"
	"github.com/meridiankds/meridian/internal/zone/proxies"
	"github.com/meridiankds/meridian/internal/zone/proxyauth"
	"github.com/meridiankds/meridian/internal/zone/proxyport"
	"github.com/meridiankds/meridian/internal/zone/sessions"
	xdsserver "github.com/meridiankds/meridian/internal/zone/xds"
	"github.com/meridiankds/meridian/internal/zone/xdsdir"
	kdsclient "github.com/meridiankds/meridian/kds/client"
	"github.com/meridiankds/meridian/keysync"
)

// fileName is the zone's copy of keys and revocations in its data folder.
const fileName = "zone.db"

// keySetsName is the file in the data folder that remembers which key sets were fetched.
const keySetsName = "key-sets.json"

// xdsFoldersName is the file that remembers which folders of resources held something.
const xdsFoldersName = "xds-folders.json"

// Node is one zone control plane.
type Node struct {
	cfg Config

	dp, api, diagnostics, socket net.Listener

	store    *keysync.Store
	client   *kdsclient.Client
	keySets  *keysets.Log
	server   *proxyport.Server
	verifier *cptoken.Verifier
	keyring  *keyring.Keyring
	auth     *proxyauth.Authenticator
	sessions *sessions.Registry
	proxies  *proxies.Registry
	xdsDir   *xdsdir.Dir // nil: there is none
	// xdsRefused counts responses that proxies refused.
	xdsRefused metrics.Counter
	xds        *xdsserver.Server
	metrics    *metrics.Set
	budget     *preauth.Budget // of callers of every port
	ready      chan struct{}
}

// New validates the configuration, opens the zone's file and binds the ports. It
// starts nothing.
func New(cfg Config) (*Node, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Token != nil {
		// A token that cannot be read now is a mistake on the command line; one
		// that is gone later is retried.
		if _, err := cfg.Token(); err != nil {
			return nil, err
		}
	}
	n := &Node{cfg: cfg, ready: make(chan struct{}), metrics: metrics.New()}
	n.budget = preauth.New(preauth.Config{Proxies: cfg.ProxyProtocolFrom, Logger: cfg.Logger.With("component", "preauth")})
	if err := n.open(); err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

func (n *Node) open() (err error) {
	for _, port := range []struct {
		flag, address string
		into          *net.Listener
	}{
		{"--dp-addr", n.cfg.DPAddr, &n.dp},
		{"--api-addr", n.cfg.APIAddr, &n.api},
		{"--diagnostics-addr", n.cfg.DiagnosticsAddr, &n.diagnostics},
	} {
		if port.address == "" {
			continue
		}
		address := endpoints.Addr{HostPort: port.address, MayMove: slices.Contains(n.cfg.MayMove, port.flag)}
		if *port.into, err = address.Listen(port.flag, n.cfg.Logger); err != nil {
			return err
		}
	}
	warning, err := disk.OpenDataDir(n.cfg.DataDir, disk.ZoneMark)
	if err != nil {
		return err
	}
	if warning != "" {
		n.cfg.Logger.Warn(warning)
	}
	if err := n.cfg.alone(); err != nil {
		return err
	}
	n.store, err = keysync.Open(filepath.Join(n.cfg.DataDir, fileName), keysync.Options{
		Zone: n.cfg.Zone, Logger: n.cfg.Logger.With("component", "keysync"), Now: n.cfg.Now,
	})
	if err != nil {
		return err
	}
	if n.socket, err = n.cfg.listenSocket(); err != nil {
		return err
	}
	tlsDir, err := filepath.Abs(filepath.Join(n.cfg.DataDir, "tls"))
	if err != nil {
		return federation.Errorf(federation.Internal, "finding the data folder: %w", err)
	}
	if n.cfg.DPTLS == nil {
		if n.cfg.DPTLS, err = n.cfg.selfMade(tlsDir); err != nil {
			return err
		}
	}
	if n.cfg.GlobalTLS == nil {
		// Certificates of the system's CAs are expelled like others.
		if n.cfg.GlobalTLS, err = tlsutil.OpenSource(tlsutil.Files{}, tlsutil.Options{Logger: n.cfg.Logger.With("component", "tls"), Now: n.cfg.Now}); err != nil {
			return err
		}
	}
	if n.cfg.DPCAFile == "" {
		n.cfg.DPCAFile = n.cfg.DPTLS.Files().CA
	}
	n.keySets = keysets.Open(keysets.Config{
		Path: filepath.Join(n.cfg.DataDir, keySetsName), Logger: n.cfg.Logger.With("component", "keysets"), Now: n.cfg.Now,
	})
	n.refuseExpelled()
	n.client = kdsclient.New(n.clientConfig())
	if err := n.authenticate(); err != nil {
		return err
	}
	if err := n.serveProxies(); err != nil {
		return err
	}
	n.server = proxyport.New(proxyport.Config{
		Zone: n.cfg.Zone, Instance: n.store.Instance(), Version: n.cfg.Version,
		Store: n.store, Verifier: n.verifier, Auth: n.auth, Proxies: n.proxies, Bootstrap: n.bootstrap(),
		Link: n.link, Certificates: n.Certificates, LocalhostIsAdmin: n.cfg.LocalhostIsAdmin,
		RunLog: n.cfg.RunLog,
		Support: &support.Source{
			Program: "zone", Version: n.cfg.Version, Node: n.cfg.Zone, Settings: n.cfg.Settings, Log: n.cfg.RunLog, Now: n.cfg.Now,
			Metrics: n.metrics.Gathered(),
		},
		Roles: n.cfg.Roles.Roles, Slow: throttle.New(nil).Answer,
		KeySets: n.keySets, XDSProblems: n.xdsProblems, AcceptXDS: n.acceptXDS(), Relay: n.relay, Relayed: n.metrics.Counter("tokens_relayed_total", "Tokens that users of this zone asked of the global, by result.", "result").Add,
		Logger: n.cfg.Logger.With("component", "dpserver"), Now: n.cfg.Now, Unready: n.cfg.DPTLS.Unready,
	})
	n.measure()
	return nil
}

func (n *Node) clientConfig() kdsclient.Config {
	_, ranUntil := n.store.Contact()
	cfg := kdsclient.Config{
		Zone: n.cfg.Zone, Instance: n.store.Instance(), Version: n.cfg.Version,
		Addresses: n.cfg.Globals, Token: n.cfg.Token, Sink: n.store, KeySets: keyUses{n},
		Logger: n.cfg.Logger.With("component", "kds"), Now: n.cfg.Now, RanUntil: ranUntil, MaxSilence: n.cfg.MaxStale, Trusts: n.cfg.trusts, Keepalive: n.cfg.Keepalive,
	}
	if !n.cfg.GlobalPlain {
		cfg.TLS = n.cfg.globalTLS()
	}
	return cfg
}

// link tells the status page how the stream to the global is.
func (n *Node) link() proxyport.Link {
	s := n.client.Status()
	return proxyport.Link{Connected: s.Connected, Address: s.Address, Member: s.Member, Kind: s.Kind, Since: s.Since, LastError: s.LastError}
}

// Endpoints tells where the node listens.
func (n *Node) Endpoints() endpoints.Endpoints {
	return endpoints.Endpoints{
		DP: endpoints.Dialable(n.dp), API: endpoints.Dialable(n.api), Diagnostics: endpoints.Dialable(n.diagnostics),
		CAFile: n.cfg.DPCAFile, AdminSocket: endpoints.Dialable(n.socket),
	}
}

// Ready is closed when every port serves. A zone that has never met its global is
// ready too: it says of itself that it knows nothing.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// Store gives tests the zone's copy of keys and revocations.
func (n *Node) Store() *keysync.Store { return n.store }

// Link gives tests the state of the stream to the global.
func (n *Node) Link() kdsclient.Status { return n.client.Status() }

// Run serves until ctx ends or a part fails, and returns when every part has
// ended. The file is closed last.
func (n *Node) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, n.close()) }()
	if err := n.Endpoints().Write(n.cfg.DataDir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, endpoints.Remove(n.cfg.DataDir)) }()
	group, ctx := errgroup.WithContext(ctx)
	n.runHTTP(group, ctx, n.proxyPort())
	n.runHTTP(group, ctx, httpserver.Server{Name: "api", Listener: n.api, Handler: n.server.API()})
	n.runHTTP(group, ctx, httpserver.Server{Name: "api-socket", Listener: n.socket, Handler: n.server.APISocket()})
	n.runHTTP(group, ctx, httpserver.Server{Name: "diagnostics", Listener: n.diagnostics,
		Handler: n.metrics.Handler(n.server.Diagnostics(), n.cfg.Profiles)})
	for _, source := range n.cfg.sources() {
		group.Go(func() error { return source.Run(ctx) })
	}
	group.Go(func() error { return n.reviewConnections(ctx) })
	group.Go(func() error { return n.store.Run(ctx) })
	group.Go(func() error { return n.client.Run(ctx) })
	group.Go(func() error { return n.keySets.Run(ctx) })
	group.Go(func() error { return n.sessions.Run(ctx) })
	group.Go(func() error { return n.sessions.RunReviews(ctx) })
	group.Go(func() error { return n.keyring.Run(ctx) })
	group.Go(func() error { return n.xds.Run(ctx) })
	if n.xdsDir != nil {
		group.Go(func() error { return n.xdsDir.Run(ctx) })
	}
	group.Go(func() error { return n.auth.Run(ctx) })
	group.Go(func() error { return n.cfg.Roles.Run(ctx) })
	close(n.ready)
	n.cfg.Logger.Info("zone is ready", "zone", n.cfg.Zone, "instance", n.store.Instance(), "revision", n.store.View().Revision().String())
	return group.Wait()
}

func (n *Node) runHTTP(group *errgroup.Group, ctx context.Context, s httpserver.Server) {
	s.Service, s.Logger, s.Budget = "zone", n.cfg.Logger, n.budget
	group.Go(func() error { return s.Run(ctx) })
}

// close releases what open took.
func (n *Node) close() error {
	for _, listener := range []net.Listener{n.dp, n.api, n.diagnostics, n.socket} {
		if listener != nil {
			listener.Close()
		}
	}
	if n.store == nil {
		return nil
	}
	return n.store.Close()
}
