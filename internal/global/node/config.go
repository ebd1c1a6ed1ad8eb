package node

import (
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/disk"
	"github.com/meridiankds/meridian/internal/endpoints"
	"github.com/meridiankds/meridian/internal/global/peer"
	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/internal/runlog"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/raftstore"
)

// The ports of a global.
const (
	DefaultAPIAddr         = "127.0.0.1:5681"
	DefaultAPITLSAddr      = "0.0.0.0:5682"
	DefaultPeerAddr        = "0.0.0.0:5683"
	DefaultKDSAddr         = "0.0.0.0:5685"
	DefaultDiagnosticsAddr = "127.0.0.1:5680"
)

// DefaultElectionTimeout is how long members wait for a leader that is silent.
const DefaultElectionTimeout = raftstore.DefaultElectionTimeout

// Config is what a Node is made from.
type Config struct {
	DataDir     string
	API         endpoints.Addr // HTTP; empty HostPort: no such port
	APITLS      endpoints.Addr
	KDS         endpoints.Addr
	Peer        endpoints.Addr
	Diagnostics endpoints.Addr
	// ProxyProtocolFrom are balancers that tell with PROXY protocol whose connection they
	// pass on.
	ProxyProtocolFrom []netip.Prefix
	// Keepalive is how often something is said on silent connections.
	Keepalive kds.Keepalive
	// Advertise is the host:port under which other members reach Peer; empty:
	// the address that Peer is bound to.
	Advertise string

	// KDSAuth is how zones authenticate whose record does not say.
	KDSAuth federation.AuthMode
	// KDSPlain serves KDS without TLS, for a mesh or load balancer that brings
	// its own.
	KDSPlain bool
	// LocalhostIsAdmin takes who connects from loopback as an administrator.
	LocalhostIsAdmin bool
	// Roles are what users of the HTTP API may do; nil: the group "admin"
	// everything, others nothing.
	Roles *access.File
	// AuditRoom is how many bytes the audit log may have; 0: audit.DefaultRoom.
	AuditRoom int64
	// Bootstrap lets an empty data folder found a cluster alone, without looking
	// for others. Else Expect nodes found one, which look for each other at Join.
	Bootstrap bool
	Expect    int
	Join      []string
	// NonVoter has the node join a cluster and follow without a vote: it carries zones and
	// issues tokens, founds nothing and never leads. It counts from start to start.
	NonVoter bool
	// Stabilize and DeadAfter are those of membership; 0: its defaults.
	Stabilize, DeadAfter time.Duration
	// ElectionTimeout is the store's; 0: its default.
	ElectionTimeout time.Duration
	// AskPeers is how long a start waits for other members to say how far they saw this one;
	// 0: 5 s. Who does not answer bars nobody.
	AskPeers time.Duration
	// DialPeers connects to other members; nil: TCP.
	DialPeers peer.Dial
	// WrapTransport is the store's, for tests; nil if unset.
	WrapTransport raftstore.TransportWrapper

	Seal *issue.SealKeys
	// TLS is the material of all ports. The certificate's URI SAN names the
	// cluster and node; peers and zones must be of the pool. Its CA file is shown
	// to operators, who give it to zones and clients.
	TLS *tlsutil.Source

	// Profiles serves Go's profiles on the diagnostics port.
	Profiles bool
	// ControlPlaneKey is the secret of an earlier control plane, whose control
	// plane tokens a cluster that is founded now goes on accepting; nil: none.
	ControlPlaneKey []byte

	// Authn is what the settings say of the tokens of proxies; the zero value is good.
	// A global takes of it which tokens it must not issue, and with which keys of its
	// own it verifies zone tokens that let a zone's control plane join (scope cp).
	// ReloadAuthn reads it anew, completed; nil: it stands in no file.
	Authn       keyring.Settings
	ReloadAuthn func() (keyring.Settings, error)

	// WriteAdminToken leaves an administrator's token in the data folder.
	WriteAdminToken bool

	Version string
	Logger  *slog.Logger
	// RunLog is the log that Logger writes, where its level may be set; nil: it may not.
	RunLog *runlog.Log
	// Settings are the flags in force, for the archive of a maintainer.
	Settings map[string]string
	Now      func() time.Time // nil: time.Now

	lock *folderLock // taken by PrepareDev or New, given back when the node has ended
}

// LoadTLS reads the material from PEM files, which the node then follows.
func LoadTLS(certFile, keyFile, caFile string, logger *slog.Logger) (*tlsutil.Source, error) {
	for _, missing := range []struct{ flag, value string }{
		{"--tls-cert-file", certFile}, {"--tls-key-file", keyFile}, {"--ca-file", caFile},
	} {
		if missing.value == "" {
			return nil, federation.Errorf(federation.Invalid, "%s is missing", missing.flag).
				WithHint("a server needs --tls-cert-file, --tls-key-file and --ca-file: see `global certs`; `global dev` makes its own")
		}
	}
	return tlsutil.OpenSource(tlsutil.Files{Cert: certFile, Key: keyFile, CA: caFile},
		tlsutil.Options{Accept: tlsutil.KeepIdentity(tlsutil.RoleNode), Logger: logger.With("component", "tls")})
}

// Validate reports the first thing in c that cannot work, before anything is
// opened or written.
func (c *Config) Validate() error {
	if c.DataDir == "" {
		return federation.Errorf(federation.Invalid, "--data-dir is missing").
			WithHint("name a folder of this node's own, for example --data-dir /var/lib/meridian")
	}
	if info, err := os.Stat(c.DataDir); err == nil && !info.IsDir() {
		return federation.Errorf(federation.Invalid, "--data-dir %s is not a folder", c.DataDir)
	}
	for flag, addr := range c.addresses() {
		if addr.HostPort == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(addr.HostPort); err != nil {
			return federation.Errorf(federation.Invalid, "%s %.80q is not host:port: %w", flag, addr.HostPort, err)
		}
	}
	if c.KDS.HostPort == "" || c.Peer.HostPort == "" {
		return federation.Errorf(federation.Invalid, "--kds-addr and --peer-addr must not be empty")
	}
	if err := c.Authn.Complete(); err != nil {
		return err
	}
	if err := c.Keepalive.Validate(); err != nil {
		return err
	}
	if err := c.validateJoin(); err != nil {
		return err
	}
	if c.Seal == nil {
		return federation.Errorf(federation.Invalid, "--seal-key-file is missing: signing keys are never stored unsealed").
			WithHint("name the file that the other members have, or had; a new cluster's is made with: (umask 077 && global generate seal-key > seal.key)")
	}
	if c.TLS == nil {
		return federation.Errorf(federation.Invalid, "the TLS material is missing")
	}
	id, err := tlsutil.IdentityOf(c.TLS.Current().Certificate.Leaf)
	if err != nil {
		return err
	}
	if id.Role != tlsutil.RoleNode {
		return federation.Errorf(federation.Invalid, "the TLS certificate names the %s %s, a global needs a node's", id.Role, id.Name)
	}
	return nil
}

// maxExpect is more members than a Raft cluster should have.
const maxExpect = 9

// validateJoin checks how the node finds its cluster.
func (c *Config) validateJoin() error {
	if c.NonVoter && len(c.Join) == 0 {
		return federation.Errorf(federation.Invalid, "--non-voter without --join: a member without a vote founds no cluster, it joins one").
			WithHint("name the peer ports of the members that vote, for example --join a:5683,b:5683,c:5683")
	}
	if c.Bootstrap {
		return nil
	}
	if c.Expect < 1 || c.Expect > maxExpect {
		return federation.Errorf(federation.Invalid, "--bootstrap-expect %d is not between 1 and %d", c.Expect, maxExpect)
	}
	for _, addr := range c.Join {
		host, port, err := net.SplitHostPort(addr)
		if err != nil || host == "" || port == "" {
			return federation.Errorf(federation.Invalid, "--join %.80q is not host:port", addr).
				WithHint("name the peer ports of all members, for example --join a:5683,b:5683,c:5683")
		}
	}
	founders := len(c.Join) + 1 // --join need not name the node itself
	if c.NonVoter {
		founders-- // it is none of them
	}
	if founders < c.Expect {
		return federation.Errorf(federation.Invalid, "--bootstrap-expect %d, but --join names only %d", c.Expect, len(c.Join)).
			WithHint("name the peer ports of all members, for example --join a:5683,b:5683,c:5683")
	}
	return nil
}

// addresses are the ports by the flag that names each.
func (c *Config) addresses() map[string]endpoints.Addr {
	return map[string]endpoints.Addr{
		"--api-addr": c.API, "--api-tls-addr": c.APITLS, "--kds-addr": c.KDS,
		"--peer-addr": c.Peer, "--diagnostics-addr": c.Diagnostics,
	}
}

// LoadControlPlaneKey reads the secret of an earlier control plane, byte for
// byte, and checks that it could be a key.
func LoadControlPlaneKey(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, federation.Errorf(federation.Invalid, "reading --control-plane-key-file: %w", err).
			WithHint("name a file with the raw bytes of the earlier control plane's signing key")
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, federation.Errorf(federation.Invalid, "reading --control-plane-key-file %s: %w", path, err)
	}
	if err := disk.CheckSecret("control plane key", path, info); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxControlPlaneKey+1))
	if err != nil {
		return nil, federation.Errorf(federation.Invalid, "reading --control-plane-key-file %s: %w", path, err)
	}
	if _, err := issue.Import(issue.Ref{Kind: cptoken.ControlPlane, Serial: 1}, data); err != nil {
		return nil, err
	}
	return data, nil
}

// maxControlPlaneKey bounds what is read of the file; issue.Import says what is
// too large for a key.
const maxControlPlaneKey = 8 << 10
