package server

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/federation"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/endpoints"
	globalnode "github.com/meridiankds/meridian/internal/global/node"
)

// Dev returns the command `global dev`.
func Dev() *cli.Command {
	flags := console.WithEnv("global", nodeFlags(client.DevDataDir))
	return &cli.Command{
		Name:  "dev",
		Usage: "run everything in one process, for a laptop",
		Description: `One node on loopback with a data folder, TLS and a seal key made on the way. Who
connects to its API from this machine is an administrator; behind a forwarder on
this machine, such as ssh -L or a container's port mapping, that is everybody who
reaches it. A default port that is taken is replaced by a free one.

Examples:
   global dev
   global dev --data-dir /tmp/try --kds-addr 127.0.0.1:15685`,
		Flags: flags,
		Action: console.Server(func(c *cli.Context, hangup console.Hangup) error {
			settings, err := prepare(c, flags)
			if err != nil {
				return err
			}
			cfg, err := devConfig(c)
			if err != nil {
				return err
			}
			cfg.Settings = console.Effective(c, flags)
			if err := cfg.PrepareDev(); err != nil {
				return err
			}
			return run(c, cfg, console.Serving{Hangup: hangup, Settings: settings, Terminal: true},
				func(node *globalnode.Node) error { return greet(c.App.Writer, node, cfg.DataDir) })
		}),
	}
}

// devConfig is the shared configuration with every default port on loopback and
// free to move.
func devConfig(c *cli.Context) (globalnode.Config, error) {
	cfg, err := nodeConfig(c)
	if err != nil {
		return cfg, err
	}
	for flag, port := range map[string]struct {
		addr     *endpoints.Addr
		loopback string
	}{
		"api-addr":         {&cfg.API, "127.0.0.1:5681"},
		"api-tls-addr":     {&cfg.APITLS, "127.0.0.1:5682"},
		"peer-addr":        {&cfg.Peer, "127.0.0.1:5683"},
		"kds-addr":         {&cfg.KDS, "127.0.0.1:5685"},
		"diagnostics-addr": {&cfg.Diagnostics, "127.0.0.1:5680"},
	} {
		if !c.IsSet(flag) {
			*port.addr = endpoints.Addr{HostPort: port.loopback, MayMove: true}
		}
	}
	return cfg, nil
}

// greet tells a newcomer what to type next, from whatever directory.
func greet(out io.Writer, node *globalnode.Node, dataDir string) error {
	e := node.Endpoints()
	dir, err := filepath.Abs(dataDir)
	if err != nil {
		return federation.Errorf(federation.Internal, "finding the data directory: %w", err)
	}
	_, err = fmt.Fprintf(out, `
Meridian global is up.

  HTTP API      http://%s    (https://%s)
  zones (KDS)   %s
  CA            %s
  admin token   %s

Who comes to the HTTP API from this machine is an administrator, also through a
forwarder: forward that port to nobody.

Next, in another terminal:

  export GLOBAL_DATA_DIR=%s
  zone dev west

`, e.API, e.APITLS, e.KDS, e.CAFile, e.AdminTokenFile, console.Quoted(dir))
	return err
}
