// Package server has the commands that run a global: for production, and for a laptop.
package server

import (
	"os"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/access"
	console "github.com/meridiankds/meridian/internal/cli"
	configfile "github.com/meridiankds/meridian/internal/config"
	"github.com/meridiankds/meridian/internal/endpoints"
	"github.com/meridiankds/meridian/internal/global/audit"
	globalnode "github.com/meridiankds/meridian/internal/global/node"
	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/net/preauth"
	"github.com/meridiankds/meridian/kds"
	kdswire "github.com/meridiankds/meridian/kds/wire"
)

// maxAuditRoom is what --audit-room takes: a TiB.
const maxAuditRoom = 1 << 20

// Command returns the command `global server`.
func Command() *cli.Command {
	flags := append(nodeFlags(""),
		&cli.StringFlag{Name: "seal-key-file", Usage: "`FILE` with the key that seals signing keys, readable by this user only", EnvVars: []string{"GLOBAL_SEAL_KEY_FILE"}},
		&cli.StringFlag{Name: "tls-cert-file", Usage: "PEM `FILE` of this node's certificate, its URI SAN meridian://<cluster>/node/<name>"},
		&cli.StringFlag{Name: "tls-key-file", Usage: "PEM `FILE` of its key"},
		&cli.StringFlag{Name: "ca-file", Usage: "PEM `FILE` of the cluster's CA"},
		&cli.IntFlag{Name: "bootstrap-expect", Value: 1, Usage: "how many members found the cluster and vote, an odd number"},
		&cli.StringSliceFlag{Name: "join", Usage: "`HOST:PORT,…` of the members' peer ports, this node's own may be among them", EnvVars: []string{"GLOBAL_JOIN"}},
		&cli.BoolFlag{Name: "non-voter", Usage: "join a cluster as a read replica: carry zones and issue tokens without a vote, and never lead", EnvVars: []string{"GLOBAL_NON_VOTER"}},
		&cli.DurationFlag{Name: "election-timeout", Value: globalnode.DefaultElectionTimeout, Usage: "`HOW LONG` members wait for a leader that is silent; every other time between them derives from it"},
		&cli.BoolFlag{Name: "localhost-is-admin", Usage: "take who connects to the HTTP API from loopback as an administrator: behind a forwarder on this machine, that is everybody"},
	)
	flags = console.WithEnv("global", flags)
	return &cli.Command{
		Name:  "server",
		Usage: "run a global control plane",
		Description: `Owns the signing keys, issues tokens, and pushes public keys and revocations to
the zones. The first start on an empty data folder founds the cluster; with
--bootstrap-expect and --join so many members find each other and found it together.
The same line serves the first start, a restart, and members that are added later.
With --non-voter beside it a member is a read replica: it only joins, carries zones
like every other, and leaves the majority and the time of a write as they are.

Examples:
   (umask 077 && global generate seal-key > seal.key)
   global server --data-dir /var/lib/meridian --seal-key-file seal.key \
      --tls-cert-file node.crt --tls-key-file node.key --ca-file ca.crt

   global server --bootstrap-expect 3 --join a:5683,b:5683,c:5683 \
      --advertise a:5683 …
   global server --bootstrap-expect 3 --join a:5683,b:5683,c:5683 \
      --advertise r:5683 --non-voter …

   global server --config /etc/meridian/global.yaml

For a laptop, ` + "`global dev`" + ` needs nothing set up.`,
		Flags: flags,
		Action: console.Server(func(c *cli.Context, hangup console.Hangup) error {
			cfg, settings, err := serverConfig(c, flags)
			if err != nil {
				return err
			}
			return run(c, cfg, console.Serving{Hangup: hangup, Settings: settings}, nil)
		}),
	}
}

// serverConfig turns the command line of `global server` into a configuration.
func serverConfig(c *cli.Context, flags []cli.Flag) (cfg globalnode.Config, settings settings, err error) {
	if settings, err = prepare(c, flags); err != nil {
		return cfg, nil, err
	}
	if cfg, err = nodeConfig(c); err != nil {
		return cfg, nil, err
	}
	cfg.Settings = console.Effective(c, flags)
	cfg.Expect, cfg.Join = c.Int("bootstrap-expect"), c.StringSlice("join")
	cfg.NonVoter = c.Bool("non-voter")
	if cfg.Expect%2 == 0 {
		cfg.Logger.Warn("an even number of voters bears the loss of no more members than one less", "bootstrap-expect", cfg.Expect)
	}
	if path := c.String("seal-key-file"); path != "" {
		if cfg.Seal, err = issue.LoadSealKeys(path); err != nil {
			return cfg, nil, err
		}
	}
	cfg.TLS, err = globalnode.LoadTLS(c.String("tls-cert-file"), c.String("tls-key-file"), c.String("ca-file"), cfg.Logger)
	if err != nil {
		return cfg, nil, badTLS(err)
	}
	cfg.ElectionTimeout = c.Duration("election-timeout")
	// Alone there is nobody to look for.
	cfg.Bootstrap = cfg.Expect == 1 && len(cfg.Join) == 0
	cfg.LocalhostIsAdmin = c.Bool("localhost-is-admin")
	return cfg, settings, nil
}

// run runs a node until the context ends, or a signal comes. Once it serves, ready is
// called; nil: nothing is.
func run(c *cli.Context, cfg globalnode.Config, s console.Serving, ready func(*globalnode.Node) error) error {
	defer globalnode.Headroom()()
	node, err := globalnode.New(cfg)
	if err != nil {
		return err
	}
	s.Node, s.Log = node, cfg.RunLog
	if ready != nil {
		s.Ready = func() error { return ready(node) }
	}
	return s.Run(c.Context)
}

// nodeFlags are those that `global server` and `global dev` share.
func nodeFlags(dataDir string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "config", Usage: "YAML `FILE` with the names of these flags as keys"},
		&cli.StringFlag{Name: "data-dir", Value: dataDir, Usage: "`FOLDER` of this node's own", EnvVars: []string{"GLOBAL_DATA_DIR"}},
		&cli.StringFlag{Name: "api-addr", Value: globalnode.DefaultAPIAddr, Usage: "HTTP API; empty: none"},
		&cli.StringFlag{Name: "api-tls-addr", Value: globalnode.DefaultAPITLSAddr, Usage: "HTTP API over TLS; empty: none"},
		&cli.StringFlag{Name: "kds-addr", Value: globalnode.DefaultKDSAddr, Usage: "where zone control planes connect"},
		&cli.StringFlag{Name: "peer-addr", Value: globalnode.DefaultPeerAddr, Usage: "where other globals connect"},
		&cli.StringFlag{Name: "advertise", Usage: "`HOST:PORT` under which other globals reach --peer-addr"},
		&cli.StringFlag{Name: "diagnostics-addr", Value: globalnode.DefaultDiagnosticsAddr, Usage: "health and metrics; empty: none"},
		&cli.StringSliceFlag{Name: "proxy-protocol-from", Usage: "`CIDR` of balancers that tell with PROXY protocol, version 1 or 2, whose connection they pass on; several may be given", EnvVars: []string{"GLOBAL_PROXY_PROTOCOL_FROM"}},
		&cli.DurationFlag{Name: "keepalive", Value: kds.DefaultPing, Usage: "ping silent connections each so `LONG`: less than after what time a balancer in between cuts them"},
		&cli.DurationFlag{Name: "stream-keepalive", Usage: "also send a message each so `LONG`, where a balancer ends HTTP/2 and counts messages; 0: none"},
		&cli.BoolFlag{Name: "pprof", Usage: "serve Go's profiles on --diagnostics-addr too"},
		&cli.StringFlag{Name: "kds-auth", Value: "cpToken", Usage: "how zones prove who they are whose record does not say: cpToken, certificate or none"},
		&cli.StringFlag{Name: "roles-file", Usage: "YAML `FILE` that says what users may do; it is followed. Without it the group admin may do everything and others nothing"},
		&cli.IntFlag{Name: "audit-room", Value: audit.DefaultRoom >> 20, Usage: "how many `MIB` of the data folder the audit log may have"},
		&cli.StringFlag{Name: "control-plane-key-file", Usage: "`FILE` with the secret of an earlier control plane, whose tokens a cluster that is founded now goes on accepting"},
		&cli.BoolFlag{Name: "kds-tls", Value: true, Usage: "serve KDS over TLS"},
		&cli.StringFlag{Name: "log-format", Value: "text", Usage: "text or json"},
		&cli.StringFlag{Name: "log-level", Value: "info", Usage: "debug, info, warn or error"},
	}
}

// settings reads the config file again: see [console.Serving].
type settings func() (level string, changed []string, err error)

// prepare refuses stray arguments and takes in the config file.
func prepare(c *cli.Context, flags []cli.Flag) (settings, error) {
	if err := console.NoArguments(c); err != nil {
		return nil, err
	}
	applied, err := configfile.Apply(c.String("config"), console.FlagNames(flags, "config"), c, keyring.Section)
	if err != nil {
		return nil, err
	}
	return func() (string, []string, error) { return applied.Again("log-level", c) }, nil
}

// nodeConfig turns the shared flags into a configuration.
func nodeConfig(c *cli.Context) (globalnode.Config, error) {
	if err := checkAddresses(c); err != nil {
		return globalnode.Config{}, err
	}
	log, err := console.ServerLog(c)
	if err != nil {
		return globalnode.Config{}, err
	}
	logger := log.Logger
	kdswire.LogLibrary(logger)
	auth, err := federation.ParseAuthMode("--kds-auth", c.String("kds-auth"))
	if err != nil {
		return globalnode.Config{}, console.Usage(err)
	}
	proxies, err := preauth.ParseProxies("--proxy-protocol-from", c.StringSlice("proxy-protocol-from"))
	if err != nil {
		return globalnode.Config{}, console.Usage(err)
	}
	preauth.RaiseDescriptors(logger)
	var key []byte
	if path := c.String("control-plane-key-file"); path != "" {
		if key, err = globalnode.LoadControlPlaneKey(path); err != nil {
			return globalnode.Config{}, err
		}
	}
	var roles *access.File
	if path := c.String("roles-file"); path != "" {
		if roles, err = access.OpenFile(path, logger.With("component", "roles")); err != nil {
			return globalnode.Config{}, err
		}
	}
	authn, reload, err := keyring.FromFile(c.String("config"), os.LookupEnv)
	if err != nil {
		return globalnode.Config{}, err
	}
	room := c.Int("audit-room")
	if room < 1 || room > maxAuditRoom {
		return globalnode.Config{}, console.Usage(federation.InvalidField("--audit-room", "must be from 1 to %d, in MiB", maxAuditRoom))
	}
	addr := func(flag string) endpoints.Addr { return endpoints.Addr{HostPort: c.String(flag)} }
	return globalnode.Config{
		DataDir: c.String("data-dir"),
		API:     addr("api-addr"), APITLS: addr("api-tls-addr"), KDS: addr("kds-addr"),
		Peer: addr("peer-addr"), Diagnostics: addr("diagnostics-addr"),
		Advertise: c.String("advertise"), KDSAuth: auth, KDSPlain: !c.Bool("kds-tls"), Profiles: c.Bool("pprof"),
		ProxyProtocolFrom: proxies, Keepalive: kds.Keepalive{Ping: c.Duration("keepalive"), Stream: c.Duration("stream-keepalive")},
		ControlPlaneKey: key, Roles: roles, Authn: authn, ReloadAuthn: reload, AuditRoom: int64(room) << 20,
		Version: c.App.Version, Logger: logger, RunLog: log,
	}, nil
}
