package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/tokenfile"
	proxyagent "github.com/meridiankds/meridian/internal/zone/agent"
	"github.com/meridiankds/meridian/internal/zone/resource"
)

func proxyCommand() *cli.Command {
	return &cli.Command{
		Name:        "proxy",
		Usage:       "run the agent beside a proxy",
		Subcommands: []*cli.Command{proxyRunCommand()},
		Description: `The agent proves to the zone who the proxy is, and has it configured.

Examples:
  zone proxy run --help`,
	}
}

func proxyRunCommand() *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "authenticate a proxy and have it configured",
		ArgsUsage: "[-- ENVOY-ARGUMENT…]",
		Description: `Sends the zone the proxy's resource and token (POST /bootstrap). With --envoy it
starts Envoy with the answer and ends with it. Without, it speaks ADS in Envoy's
place and prints the configuration that the proxy is given, tokens blotted out.

The files of the token and of the CA are followed, by Envoy too: a new token is used for
the next connection, which is made at once where the agent speaks ADS itself. What may pass
is tried again; what the zone refuses for good ends the agent with the reason.

SIGTERM has Envoy drain: its health check fails, its callers are told to go elsewhere, and it
ends once none is connected, or after --drain-time. A second SIGTERM ends it at once. Its
admin interface is a socket, which the log names, unless --admin-port or the proxy's
resource (networking.admin.port) says otherwise.

Examples:
   zone proxy run --proxy-type=egress \
      --cp-address=https://zone.example.com:5678 --ca-cert-file=ca.crt \
      --dataplane-file=egress.yaml --dataplane-token-file=egress.token

   # two control planes of the zone, values for {{ name }} and {{ address }},
   # and Envoy
   zone proxy run --cp-address=https://zone-1:5678 \
      --cp-address=https://zone-2:5678 --ca-cert-file=ca.crt \
      --dataplane-file=dp.yaml --dataplane-var name=backend-1 \
      --dataplane-var address=10.0.0.7 --dataplane-token-file=backend.token \
      --envoy /usr/bin/envoy

   # a zone on this machine, found by its data folder; show what comes first,
   # and end
   zone proxy run --data-dir west-data --dataplane-file=dp.yaml \
      --dataplane-token-file=backend.token --once`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "proxy-type", Usage: "the `TYPE` of the proxy: dataplane, ingress or egress", Value: "dataplane", EnvVars: []string{"KUMA_DATAPLANE_PROXY_TYPE"}},
			&cli.StringSliceFlag{Name: "cp-address", Usage: "`URL` of the zone's port for proxies; several may be given", EnvVars: []string{"KUMA_CONTROL_PLANE_URL"}, DefaultText: "https://127.0.0.1:5678"},
			&cli.StringFlag{Name: "ca-cert-file", Usage: "PEM `FILE` of the CA of the zone's certificate; followed", EnvVars: []string{"KUMA_CONTROL_PLANE_CA_CERT_FILE"}},
			console.DataDirFlag("zone"),
			&cli.StringFlag{Name: "dataplane-file", Aliases: []string{"d"}, Usage: "YAML `FILE` with the proxy's resource, - for standard input", EnvVars: []string{"KUMA_DATAPLANE_RUNTIME_RESOURCE_PATH"}},
			&cli.StringSliceFlag{Name: "dataplane-var", Usage: "`NAME=VALUE` for each {{ NAME }} in that file; may be repeated"},
			&cli.StringFlag{Name: "dataplane-token-file", Usage: "`FILE` with the proxy's token; followed [the token itself in " + tokenEnv + "]", EnvVars: []string{"KUMA_DATAPLANE_RUNTIME_TOKEN_PATH"}},
			&cli.StringFlag{Name: "name", Usage: "`NAME` of the proxy, where no file says it", EnvVars: []string{"KUMA_DATAPLANE_NAME"}},
			&cli.StringFlag{Name: "mesh", Usage: "`MESH` of the data plane proxy, where no file says it", EnvVars: []string{"KUMA_DATAPLANE_MESH"}, DefaultText: resource.DefaultMesh},
			&cli.StringFlag{Name: "envoy", Usage: "`PATH` of Envoy; words behind -- are handed to it", EnvVars: []string{"KUMA_DATAPLANE_RUNTIME_BINARY_PATH"}},
			&cli.UintFlag{Name: "admin-port", Usage: "`PORT` of Envoy's admin interface on 127.0.0.1", DefaultText: "a socket"},
			&cli.StringFlag{Name: "xds", Usage: "how Envoy asks: delta (for changes) or sotw (for everything, at each change)", Value: "delta"},
			&cli.DurationFlag{Name: "drain-time", Usage: "how long requests may take to end after SIGTERM", Value: 30 * time.Second, EnvVars: []string{"KUMA_DATAPLANE_DRAIN_TIME"}},
			&cli.BoolFlag{Name: "once", Usage: "print the first configuration, and end"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "how to print: yaml or json (one document a line)", Value: "yaml"},
			&cli.StringFlag{Name: "log-format", Value: "text", Usage: "text or json"},
			&cli.StringFlag{Name: "log-level", Value: "info", Usage: "debug, info, warn or error"},
		},
		Action: runProxy,
	}
}

func runProxy(c *cli.Context) error {
	cfg, err := agentConfig(c)
	if err != nil {
		return err
	}
	agent, err := proxyagent.New(cfg)
	if err != nil {
		return err
	}
	if path := c.String("envoy"); path != "" {
		return refusal(runEnvoy(c, agent, path))
	}
	ctx, cancel := context.WithCancel(c.Context)
	defer cancel()
	if c.Bool("once") {
		go func() { // ends with this command
			select {
			case <-cfg.Output.Complete():
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	return refusal(agent.RunADS(ctx))
}

// refusal puts the word for programs into what is shown where the zone refused.
func refusal(err error) error {
	var e *federation.Error
	if !errors.As(err, &e) || e.Reason == "" {
		return err
	}
	shown := *e
	shown.Detail = fmt.Sprintf("refused (%s): %s", e.Reason, e.Detail)
	return &shown
}

const (
	maxPort  = 65535
	maxDrain = time.Hour
)

// runEnvoy passes on what Envoy understands. SIGINT and SIGTERM end the context,
// by which Envoy drains and gets a SIGTERM.
func runEnvoy(c *cli.Context, agent *proxyagent.Agent, path string) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	hurry, forget := second(os.Interrupt, syscall.SIGTERM)
	defer forget()
	e := proxyagent.Envoy{
		Hurry: hurry,
		Path:  path, Args: c.Args().Slice(), Out: c.App.Writer, Err: c.App.ErrWriter, Signals: signals,
		AdminPort: uint32(min(c.Uint("admin-port"), maxPort+1)), SOTW: c.String("xds") == "sotw", DrainTime: c.Duration("drain-time"),
		LogLevel: c.String("log-level"), LogJSON: c.String("log-format") == "json",
	}
	switch {
	case e.AdminPort > maxPort:
		return console.Usage(federation.InvalidField("--admin-port", "%d is not a port", c.Uint("admin-port")))
	case !slices.Contains([]string{"delta", "sotw"}, c.String("xds")):
		return console.Usage(federation.InvalidField("--xds", "%.20q is neither delta nor sotw", c.String("xds")))
	case e.DrainTime < 0 || e.DrainTime > maxDrain:
		return console.Usage(federation.InvalidField("--drain-time", "%s is not between 0s and %s", e.DrainTime, maxDrain))
	}
	return agent.RunEnvoy(c.Context, e)
}

// second returns a channel that is closed at the second of some signals, which ends this
// process no more until forget was called: it has something to tidy up.
func second(signals ...os.Signal) (again <-chan struct{}, forget func()) {
	came, closed, stop, ended := make(chan os.Signal, 2), make(chan struct{}), make(chan struct{}), make(chan struct{})
	signal.Notify(came, signals...)
	go func() {
		defer close(ended)
		for range 2 {
			select {
			case <-came:
			case <-stop:
				return
			}
		}
		close(closed)
	}()
	return closed, func() { signal.Stop(came); close(stop); <-ended }
}

// agentConfig turns the flags into a configuration.
func agentConfig(c *cli.Context) (cfg proxyagent.Config, err error) {
	if c.String("envoy") == "" {
		if err := console.NoArguments(c); err != nil {
			return cfg, err
		}
		for _, flag := range []string{"admin-port", "xds"} {
			if c.IsSet(flag) {
				return cfg, console.Usagef("give --envoy, or leave it out", "%s: --%s is for an agent with --envoy", c.Command.HelpName, flag)
			}
		}
	} else if c.Bool("once") {
		return cfg, console.Usagef("leave one of them out", "%s: --once is for an agent without --envoy", c.Command.HelpName)
	}
	format := c.String("output")
	if !slices.Contains([]string{"yaml", "json"}, format) {
		return cfg, console.Usagef("use yaml or json", "%s: -o %.20q is not a format", c.Command.HelpName, format)
	}
	cfg.Output = proxyagent.NewPrinter(c.App.Writer, format == "json")
	cfg.Version = version()
	log, err := console.ServerLog(c)
	if err != nil {
		return cfg, err
	}
	cfg.Logger = log.Logger
	if err := whoFrom(c, &cfg); err != nil {
		return cfg, err
	}
	if err := whereFrom(c, &cfg); err != nil {
		return cfg, err
	}
	return cfg, tokenFrom(c, &cfg)
}

// whoFrom reads who the proxy is.
func whoFrom(c *cli.Context, cfg *proxyagent.Config) error {
	proxyType := c.String("proxy-type")
	kind, ok := resource.KindOf(proxyType)
	if !ok {
		return console.Usage(federation.InvalidField("--proxy-type", "%.40q is not a type of proxy: use dataplane, ingress or egress", proxyType))
	}
	cfg.Kind, cfg.Mesh, cfg.Name = kind, c.String("mesh"), c.String("name")
	vars := map[string]string{}
	for _, text := range c.StringSlice("dataplane-var") {
		name, value, err := proxyagent.ParseVar(text)
		if err != nil {
			return console.Usage(err)
		}
		vars[name] = value
	}
	path := c.String("dataplane-file")
	if path == "" {
		if cfg.Name == "" {
			return console.Usagef("for example --dataplane-file dp.yaml", "%s: --dataplane-file is missing, and no --name says which proxy this is", c.Command.HelpName)
		}
		if kind == resource.Dataplane {
			cfg.Mesh = cmp.Or(cfg.Mesh, resource.DefaultMesh)
		}
		return nil
	}
	r, err := proxyagent.ReadResource(path, vars, c.App.Reader)
	if err != nil {
		return err
	}
	return describe(cfg, r, path)
}

// describe takes the proxy from its resource, which the flags must not contradict.
func describe(cfg *proxyagent.Config, r *resource.Resource, path string) error {
	switch {
	case r.Kind != cfg.Kind:
		return federation.Errorf(federation.Invalid, "%s holds a %s, which is no proxy of the type %s", path, r.Kind, cfg.Kind.ProxyType()).
			WithHint("start it with --proxy-type=%s", r.Kind.ProxyType())
	case cfg.Name != "" && cfg.Name != r.Name:
		return federation.Errorf(federation.Invalid, "--name says %.60q and %s %.60q", cfg.Name, path, r.Name).
			WithHint("leave --name out")
	case cfg.Mesh != "" && cfg.Mesh != r.Mesh:
		return federation.Errorf(federation.Invalid, "--mesh says %.60q and %s %.60q", cfg.Mesh, path, r.Mesh).
			WithHint("leave --mesh out")
	}
	cfg.Resource, cfg.Name, cfg.Mesh = r, r.Name, r.Mesh
	return nil
}

// whereFrom finds the zone.
func whereFrom(c *cli.Context, cfg *proxyagent.Config) error {
	cfg.Addresses, cfg.CAFile = c.StringSlice("cp-address"), c.String("ca-cert-file")
	if len(cfg.Addresses) > 0 {
		return nil
	}
	target, err := apiclient.Resolve(apiclient.ProxyPort(), apiclient.Flags{CAFile: cfg.CAFile, DataDir: c.String("data-dir")}, os.Getenv, nil)
	if err != nil {
		return err
	}
	cfg.Addresses, cfg.CAFile = []string{target.Address}, target.CAFile
	return nil
}

// tokenFrom finds the proxy's token. A proxy without one is the zone's to judge.
func tokenFrom(c *cli.Context, cfg *proxyagent.Config) (err error) {
	if path := c.String("dataplane-token-file"); path != "" {
		if cfg.TokenPath, err = filepath.Abs(path); err != nil {
			return federation.Errorf(federation.Invalid, "--dataplane-token-file: %w", err)
		}
		cfg.Token, err = tokenfile.Follow(path, warn(c))
		return err
	}
	token, err := tokenfile.Parse(tokenEnv, os.Getenv(tokenEnv))
	if err == nil && token != "" {
		cfg.Token = func() (string, error) { return token, nil }
	}
	return err
}
