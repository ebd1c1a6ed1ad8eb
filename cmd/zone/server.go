package main

import (
	"os"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/access"
	console "github.com/meridiankds/meridian/internal/cli"
	configfile "github.com/meridiankds/meridian/internal/config"
	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/net/preauth"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/internal/tokenfile"
	zonenode "github.com/meridiankds/meridian/internal/zone/node"
	"github.com/meridiankds/meridian/kds"
	kdswire "github.com/meridiankds/meridian/kds/wire"
)

func serverCommand() *cli.Command {
	flags := serverFlags()
	return &cli.Command{
		Name:  "server",
		Usage: "run a zone control plane",
		Description: `Serves proxies from its own copy of keys and revocations, and keeps it current
from the global for as long as that answers.

Examples:
   zone server --zone west --global-address global.example.com:5685 \
      --cp-token-file west.token --ca-file ca.crt \
      --data-dir /var/lib/meridian-west

   # beside a global on one laptop: free ports in place of those it has
   zone server --zone west --global-address 127.0.0.1:5685 \
      --cp-token-file west.token \
      --ca-file meridian-data/tls/ca.crt --data-dir west-data \
      --api-addr 127.0.0.1:0 --diagnostics-addr 127.0.0.1:0`,
		Flags: flags,
		Action: console.Server(func(c *cli.Context, hangup console.Hangup) error {
			if err := console.NoArguments(c); err != nil {
				return err
			}
			cfg, settings, err := configured(c, flags)
			if err != nil {
				return err
			}
			node, err := zonenode.New(cfg)
			if err != nil {
				return err
			}
			return console.Serving{Node: node, Log: cfg.RunLog, Hangup: hangup, Settings: settings}.Run(c.Context)
		}),
	}
}

// serverFlags are those of a zone that runs.
func serverFlags() []cli.Flag {
	return console.WithEnv("zone", []cli.Flag{
		&cli.StringFlag{Name: "config", Usage: "YAML `FILE` with the names of these flags as keys"},
		&cli.StringFlag{Name: "zone", Usage: "`NAME` of the zone", EnvVars: []string{"ZONE_NAME"}},
		&cli.StringSliceFlag{Name: "global-address", Usage: "`HOST:PORT` of a global's KDS port; several may be given", EnvVars: []string{"ZONE_GLOBAL_ADDRESS"}},
		&cli.StringFlag{Name: "cp-token-file", Usage: "`FILE` with the control plane token; a replaced one is taken up within a second", EnvVars: []string{"ZONE_CP_TOKEN_FILE"}},
		&cli.StringFlag{Name: "ca-file", Usage: "PEM `FILE` of the CA of the global's certificate", EnvVars: []string{"ZONE_GLOBAL_CA_FILE"}},
		&cli.StringFlag{Name: "tls-cert-file", Usage: "PEM `FILE` of the zone's certificate, for a global that asks zones for one"},
		&cli.StringFlag{Name: "tls-key-file", Usage: "PEM `FILE` of its key"},
		&cli.StringFlag{Name: "data-dir", Usage: "`FOLDER` of this zone's own", EnvVars: []string{"ZONE_DATA_DIR"}},
		&cli.StringFlag{Name: "dp-addr", Value: zonenode.DefaultDPAddr, Usage: "where proxies connect (TLS), by default on all addresses of IPv4 and IPv6"},
		&cli.StringFlag{Name: "api-addr", Value: zonenode.DefaultAPIAddr, Usage: "the zone's HTTP API; empty: none"},
		&cli.StringFlag{Name: "diagnostics-addr", Value: zonenode.DefaultDiagnosticsAddr, Usage: "health and metrics; empty: none"},
		&cli.StringSliceFlag{Name: "proxy-protocol-from", Usage: "`CIDR` of balancers that tell with PROXY protocol, version 1 or 2, whose connection they pass on; several may be given", EnvVars: []string{"ZONE_PROXY_PROTOCOL_FROM"}},
		&cli.DurationFlag{Name: "keepalive", Value: kds.DefaultPing, Usage: "ping silent connections each so `LONG`: less than after what time a balancer in between cuts them"},
		&cli.DurationFlag{Name: "stream-keepalive", Usage: "also send a message each so `LONG`, where a balancer ends HTTP/2 and counts messages; 0: none"},
		&cli.BoolFlag{Name: "pprof", Usage: "serve Go's profiles on --diagnostics-addr too"},
		&cli.StringSliceFlag{Name: "dp-host", Usage: "a `NAME` or address under which proxies reach --dp-addr, for the certificate that is made without --dp-cert-file; several may be given"},
		&cli.StringFlag{Name: "dp-cert-file", Usage: "PEM `FILE` of the certificate shown to proxies; made in the data folder where it is not given"},
		&cli.StringFlag{Name: "dp-key-file", Usage: "PEM `FILE` of its key"},
		&cli.StringFlag{Name: "dp-ca-file", Usage: "PEM `FILE` of the CA that proxies check it against"},
		&cli.StringFlag{Name: "xds-dir", Usage: "`FOLDER` of Envoy resources for proxies; it is followed"},
		&cli.BoolFlag{Name: "global-tls", Value: true, Usage: "speak TLS to the global"},
		&cli.BoolFlag{Name: "localhost-is-admin", Usage: "take who connects to the API from loopback as an administrator: behind a forwarder on this machine, that is everybody"},
		&cli.StringFlag{Name: "roles-file", Usage: "YAML `FILE` that says what users of the API may do; it is followed. Without it the group admin may do everything and others nothing"},
		&cli.DurationFlag{Name: "max-stale", Usage: "refuse when the zone last had everything that the global has longer ago than so `LONG`, or cannot tell; 0: never"},
		&cli.StringFlag{Name: "log-format", Value: "text", Usage: "text or json"},
		&cli.StringFlag{Name: "log-level", Value: "info", Usage: "debug, info, warn or error"},
	})
}

// configured is the configuration by --config and the flags, which count more, and what
// reads that file again: see [console.Serving].
func configured(c *cli.Context, flags []cli.Flag) (cfg zonenode.Config, settings func() (string, []string, error), err error) {
	applied, err := configfile.Apply(c.String("config"), console.FlagNames(flags, "config"), c, keyring.Section)
	if err != nil {
		return cfg, nil, err
	}
	cfg, err = zoneConfig(c)
	cfg.Settings = console.Effective(c, flags)
	return cfg, func() (string, []string, error) { return applied.Again("log-level", c) }, err
}

// zoneConfig turns the flags into a configuration.
func zoneConfig(c *cli.Context) (zonenode.Config, error) {
	log, err := console.ServerLog(c)
	if err != nil {
		return zonenode.Config{}, err
	}
	logger := log.Logger
	kdswire.LogLibrary(logger)
	cfg := zonenode.Config{
		Zone: c.String("zone"), DataDir: c.String("data-dir"), Globals: c.StringSlice("global-address"),
		GlobalPlain: !c.Bool("global-tls"),
		DPAddr:      c.String("dp-addr"), APIAddr: c.String("api-addr"), DiagnosticsAddr: c.String("diagnostics-addr"),
		DPCAFile: c.String("dp-ca-file"), DPHosts: console.Words(c.StringSlice("dp-host")), XDSDir: c.String("xds-dir"),
		LocalhostIsAdmin: c.Bool("localhost-is-admin"), MaxStale: c.Duration("max-stale"),
		Keepalive: kds.Keepalive{Ping: c.Duration("keepalive"), Stream: c.Duration("stream-keepalive")},
		Profiles:  c.Bool("pprof"),
		Version:   version(), Logger: logger, RunLog: log,
	}
	if cfg.ProxyProtocolFrom, err = preauth.ParseProxies("--proxy-protocol-from", c.StringSlice("proxy-protocol-from")); err != nil {
		return zonenode.Config{}, console.Usage(err)
	}
	preauth.RaiseDescriptors(logger)
	if cfg.Authn, cfg.ReloadAuthn, err = keyring.FromFile(c.String("config"), os.LookupEnv); err != nil {
		return zonenode.Config{}, err
	}
	if path := c.String("cp-token-file"); path != "" {
		cfg.Token, err = tokenfile.Follow(path, func(text string) { logger.Warn(text) })
		if err != nil {
			return zonenode.Config{}, err
		}
	}
	if path := c.String("roles-file"); path != "" {
		if cfg.Roles, err = access.OpenFile(path, logger.With("component", "roles")); err != nil {
			return zonenode.Config{}, err
		}
	}
	if path := c.String("ca-file"); path != "" {
		if _, err := tlsutil.LoadPool(path); err != nil {
			return zonenode.Config{}, federation.Errorf(federation.Invalid, "--ca-file: %w", err).
				WithHint("name the PEM file of the CA that signed the global's certificate; `global dev` writes it as tls/ca.crt in its data folder")
		}
	}
	tlsLog := logger.With("component", "tls")
	cfg.GlobalTLS, err = tlsSource(c, tlsutil.Options{Accept: tlsutil.KeepIdentity(tlsutil.RoleZone), Logger: tlsLog},
		"tls-cert-file", "tls-key-file", c.String("ca-file"))
	if err != nil {
		return zonenode.Config{}, console.Advise(err, "name PEM files that this user may read with --tls-cert-file, --tls-key-file and --ca-file")
	}
	cfg.DPTLS, err = tlsSource(c, tlsutil.Options{Logger: tlsLog}, "dp-cert-file", "dp-key-file", "")
	return cfg, err
}

// tlsSource opens the files that two flags and a CA name; nil where there is none.
func tlsSource(c *cli.Context, o tlsutil.Options, certFlag, keyFlag, caFile string) (*tlsutil.Source, error) {
	files := tlsutil.Files{Cert: c.String(certFlag), Key: c.String(keyFlag), CA: caFile}
	if (files.Cert == "") != (files.Key == "") {
		return nil, federation.Errorf(federation.Invalid, "--%s and --%s go together", certFlag, keyFlag).
			WithHint("give both, or neither")
	}
	if files == (tlsutil.Files{}) {
		return nil, nil
	}
	return tlsutil.OpenSource(files, o)
}
