package node

import (
	"io"
	"net/http"
	"path/filepath"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/disk"
	"github.com/meridiankds/meridian/internal/net/httpserver"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/internal/zone/proxies"
	"github.com/meridiankds/meridian/internal/zone/proxyport"
	"github.com/meridiankds/meridian/internal/zone/xds"
	"github.com/meridiankds/meridian/internal/zone/xdsdir"
)

// serveProxies makes what proxies are served with.
func (n *Node) serveProxies() (err error) {
	log := n.cfg.Logger.With("component", "xds")
	if n.cfg.XDSDir != "" {
		if n.xdsDir, err = xdsdir.Open(xdsdir.Config{Path: n.cfg.XDSDir, State: filepath.Join(n.cfg.DataDir, xdsFoldersName),
			Connected: n.connected, Logger: log, Now: n.cfg.Now}); err != nil {
			return federation.AsError(err).WithHint("name a folder that this process may read with --xds-dir; docs/proxies.md shows what stands in it")
		}
	}
	n.proxies = proxies.New(proxies.Config{Sessions: n.sessions, Logger: log, Now: n.cfg.Now})
	n.xds = xds.New(xds.Config{
		Zone: n.cfg.Zone, Auth: n.auth, Proxies: n.proxies, Dir: n.xdsDir, Logger: log, Now: n.cfg.Now,
		Unready: func() error { return n.server.Unready() }, // which is made after this one
		Refused: func(kind string) { n.xdsRefused.Add(kind) },
	})
	return nil
}

// connected are the proxies that are given resources.
func (n *Node) connected() (all []xdsdir.Proxy) {
	for _, c := range n.proxies.Proxies() {
		all = append(all, xds.ProxyOf(c.Resource))
	}
	return all
}

// xdsProblems are what is wrong in the folder of resources.
func (n *Node) xdsProblems() []error {
	if n.xdsDir == nil {
		return nil
	}
	return n.xdsDir.Problems()
}

// acceptXDS is how an operator says that what is gone from that folder is meant; nil where
// there is none.
func (n *Node) acceptXDS() func(digest string) (place string, err error) {
	if n.xdsDir == nil {
		return nil
	}
	return n.xdsDir.Accept
}

// bootstrap is what proxies are told in their bootstrap.
func (n *Node) bootstrap() proxyport.Bootstrap {
	return proxyport.Bootstrap{TokenPath: n.cfg.Authn.ReloadTokens(), CA: n.proxyCA, Covers: n.covers}
}

// maxCAFile bounds what is told of a CA.
const maxCAFile = 256 << 10

// proxyCA returns the CA of the certificate shown to proxies; "" where none is
// known, and proxies must know it themselves.
func (n *Node) proxyCA() string {
	if n.cfg.DPCAFile == "" {
		return ""
	}
	f, err := disk.Open(n.cfg.DPCAFile)
	if err != nil {
		return ""
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxCAFile))
	if err != nil {
		return ""
	}
	return string(data)
}

// covers reports whether the certificate shown to proxies is good for a host.
func (n *Node) covers(host string) bool {
	cert := n.cfg.DPTLS.Current().Certificate
	return cert != nil && cert.Leaf != nil && cert.Leaf.VerifyHostname(host) == nil
}

// proxyPort is the port for proxies: gRPC for Envoy, and HTTP beside it.
func (n *Node) proxyPort() httpserver.Server {
	plain := n.server.Proxies()
	return httpserver.Server{
		Name: "proxies", Listener: n.dp, TLS: n.cfg.DPTLS.Server(tlsutil.ALPNHTTP2, tlsutil.ALPNHTTP1),
		TestsTokens: n.server.TestsTokens, PingEvery: n.cfg.Keepalive.Pings(),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if xds.Is(r) {
				n.xds.ServeHTTP(w, r)
				return
			}
			plain.ServeHTTP(w, r)
		}),
	}
}

// Proxies knows the proxies of this zone.
func (n *Node) Proxies() *proxies.Registry { return n.proxies }
