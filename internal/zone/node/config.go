package node

import (
	"log/slog"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/endpoints"
	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/internal/runlog"
	"github.com/meridiankds/meridian/kds"
)

// The ports of a zone.
const (
	DefaultDPAddr          = ":5678" // of IPv4 and IPv6, where the machine has both
	DefaultAPIAddr         = "127.0.0.1:5681"
	DefaultDiagnosticsAddr = "127.0.0.1:5680"
)

// Config is what a Node is made from.
type Config struct {
	Zone    string
	DataDir string
	// Globals are the KDS addresses of the global's members, host:port, also
	// with a "grpcs://" in front.
	Globals []string
	// Token returns the control plane token; it is asked at each connect, so
	// that a file that was replaced is followed. nil: the zone presents none.
	Token func() (string, error)
	// GlobalTLS holds the CAs that the global's certificate may be of, and the
	// zone's own certificate if it proves itself with one; nil: the system's CAs,
	// and none, of which Node makes a source too.
	GlobalTLS *tlsutil.Source
	// GlobalPlain dials without TLS.
	GlobalPlain bool

	DPAddr          string // TLS, for proxies
	APIAddr         string // HTTP, for operators; empty: none
	DiagnosticsAddr string // empty: none
	// MayMove names the flags of ports that take a free one where theirs is taken.
	MayMove []string
	// DPTLS holds the certificate shown to proxies. Where it is nil the zone makes
	// its own, under DataDir, and renews it.
	DPTLS *tlsutil.Source
	// DPHosts are names and addresses under which proxies reach the port, for the
	// certificate that the zone makes; this machine's own are always among them.
	DPHosts  []string
	DPCAFile string // shown to operators, who give it to proxies; empty: that of DPTLS

	// ProxyProtocolFrom are balancers that tell with PROXY protocol whose connection they
	// pass on.
	ProxyProtocolFrom []netip.Prefix
	// Keepalive is how often something is said on silent connections.
	Keepalive kds.Keepalive

	// XDSDir is the operator's folder of Envoy resources; empty: none.
	XDSDir string

	LocalhostIsAdmin bool
	// Authn says how proxies prove who they are; the zero value is good. Node
	// completes it.
	Authn keyring.Settings
	// ReloadAuthn reads Authn anew, completed: of these the public keys are followed.
	// nil: they stand in no file.
	ReloadAuthn func() (keyring.Settings, error)
	// Roles are what users of the HTTP API may do; nil: the group "admin"
	// everything, others nothing.
	Roles *access.File
	// MaxStale makes the zone refuse when it last had everything that the global has
	// longer ago than that, or cannot tell; 0: never.
	MaxStale time.Duration

	// Profiles serves Go's profiles on the diagnostics port.
	Profiles bool

	Version string
	Logger  *slog.Logger
	// RunLog is the log that Logger writes, where its level may be set; nil: it may not.
	RunLog *runlog.Log
	// Settings are the flags in force, for the archive of a maintainer.
	Settings map[string]string
	Now      func() time.Time // nil: time.Now
}

// Validate reports the first thing in c that cannot work, before anything is
// opened or written.
func (c *Config) Validate() error {
	if c.Zone == "" {
		return federation.Errorf(federation.Invalid, "--zone is missing").
			WithHint("name the zone that this control plane is of, for example --zone west")
	}
	if err := federation.ValidateName("--zone", c.Zone); err != nil {
		return federation.AsError(err).WithHint("give the zone the name that its token is for, for example --zone west")
	}
	if c.DataDir == "" {
		return federation.Errorf(federation.Invalid, "--data-dir is missing").
			WithHint("name a folder of this zone's own, for example --data-dir /var/lib/meridian-%s", c.Zone)
	}
	if len(c.Globals) == 0 {
		return federation.Errorf(federation.Invalid, "--global-address is missing").
			WithHint("name the global's KDS port, for example --global-address global.example.com:5685")
	}
	for i, address := range c.Globals {
		c.Globals[i] = strings.TrimPrefix(address, "grpcs://")
		if err := endpoints.CheckDial("--global-address", c.Globals[i]); err != nil {
			return err
		}
	}
	for _, port := range [...]struct{ flag, address string }{
		{"--dp-addr", c.DPAddr}, {"--api-addr", c.APIAddr}, {"--diagnostics-addr", c.DiagnosticsAddr},
	} {
		if port.address == "" && port.flag != "--dp-addr" {
			continue
		}
		if err := endpoints.CheckListen(port.flag, port.address); err != nil {
			return err
		}
	}
	for _, host := range c.DPHosts {
		if c.DPTLS != nil {
			return federation.Errorf(federation.Invalid, "--dp-host is for the certificate that the zone makes, and --dp-cert-file names another").
				WithHint("have a certificate made that is good for %s, see `global certs zone --help`", host)
		}
		if net.ParseIP(host) == nil && !hostName.MatchString(host) {
			return federation.Errorf(federation.Invalid, "--dp-host %.80q is neither a host name nor an IP address", host).
				WithHint("write it without a scheme and a port, for example --dp-host zone.example.com")
		}
	}
	if err := c.Authn.Complete(); err != nil {
		return err
	}
	if err := c.Keepalive.Validate(); err != nil {
		return err
	}
	if c.MaxStale < 0 {
		return federation.InvalidField("--max-stale", "must not be negative, is %s", c.MaxStale).
			WithHint("write for example --max-stale 24h; 0 never refuses")
	}
	return nil
}

// hostName is what a certificate can be good for beside addresses.
var hostName = regexp.MustCompile(`^(\*\.)?[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?)*$`)

// selfMade makes the TLS material of the proxies' port where the operator gave
// none.
func (c *Config) selfMade(dir string) (*tlsutil.Source, error) {
	identity := tlsutil.Identity{Cluster: "zone-own", Role: tlsutil.RoleZone, Name: c.Zone}
	return tlsutil.OpenSelfMade(dir, identity, append(ownHosts(), c.DPHosts...), tlsutil.Options{
		Logger: c.Logger.With("component", "tls"), Now: c.Now,
	})
}

// ownHosts are the names under which a self-made certificate is good.
func ownHosts() []string {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if name, err := os.Hostname(); err == nil && name != "" && name != "localhost" {
		hosts = append(hosts, name)
	}
	return hosts
}
