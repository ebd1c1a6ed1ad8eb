package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"

	"github.com/meridiankds/meridian/cmd/global/client"
	globalnode "github.com/meridiankds/meridian/internal/global/node"
)

func devCommand() *cli.Command {
	flags := nodeFlags(client.DevDataDir)
	return &cli.Command{
		Name:  "dev",
		Usage: "run everything in one process, for a laptop",
		Description: `One node on loopback with a data folder, TLS and a seal key made on the way. Who
connects to its API from this machine is an administrator. A default port that
is taken is replaced by a free one.

Examples:
   global dev
   global dev --data-dir /tmp/try --kds-addr 127.0.0.1:15685`,
		Flags: flags,
		Action: func(c *cli.Context) error {
			if err := prepare(c, flags); err != nil {
				return err
			}
			cfg, err := devConfig(c)
			if err != nil {
				return err
			}
			if err := cfg.PrepareDev(); err != nil {
				return err
			}
			defer globalnode.Headroom()()
			node, err := globalnode.New(cfg)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
			defer stop()
			return runDev(ctx, node, cfg.DataDir, c.App.Writer)
		},
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
		addr     *globalnode.Addr
		loopback string
	}{
		"api-addr":         {&cfg.API, "127.0.0.1:5681"},
		"api-tls-addr":     {&cfg.APITLS, "127.0.0.1:5682"},
		"peer-addr":        {&cfg.Peer, "127.0.0.1:5683"},
		"kds-addr":         {&cfg.KDS, "127.0.0.1:5685"},
		"diagnostics-addr": {&cfg.Diagnostics, "127.0.0.1:5680"},
	} {
		if !c.IsSet(flag) {
			*port.addr = globalnode.Addr{HostPort: port.loopback, MayMove: true}
		}
	}
	return cfg, nil
}

// runDev runs the node and, once it serves, tells a newcomer what to type next.
func runDev(ctx context.Context, node *globalnode.Node, dataDir string, out io.Writer) error {
	group, groupCtx := errgroup.WithContext(ctx)
	ended := make(chan struct{})
	group.Go(func() error {
		defer close(ended)
		return node.Run(groupCtx)
	})
	group.Go(func() error {
		select {
		case <-ended:
			return nil
		case <-node.Ready():
			return greet(out, node, dataDir)
		}
	})
	return group.Wait()
}

func greet(out io.Writer, node *globalnode.Node, dataDir string) error {
	e := node.Endpoints()
	ca := e.CAFile
	if wd, err := os.Getwd(); err == nil {
		if short, err := filepath.Rel(wd, ca); err == nil && len(short) < len(ca) {
			ca = short
		}
	}
	_, err := fmt.Fprintf(out, `
Meridian global is up.

  HTTP API      http://%s    (https://%s)
  zones (KDS)   %s
  CA            %s
  admin token   %s

Next, in another terminal:

  export GLOBAL_DATA_DIR=%s
  umask 077
  global get global-secrets
  global generate control-plane-token --zone west > west.token
  zone server --zone west --global-address %s --cp-token-file west.token \
    --ca-file %s --data-dir west-data \
    --api-addr 127.0.0.1:0 --diagnostics-addr 127.0.0.1:0

`, e.API, e.APITLS, e.KDS, e.CAFile, e.AdminTokenFile, dataDir, e.KDS, ca)
	return err
}
