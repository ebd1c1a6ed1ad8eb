package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/disk"
	"github.com/meridiankds/meridian/internal/endpoints"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/internal/tokenfile"
	zonenode "github.com/meridiankds/meridian/internal/zone/node"
)

// devTokenLife is how long the control plane token of `zone dev` is valid. A later start
// has another one issued where it is over.
const devTokenLife = 30 * 24 * time.Hour

// devPorts are the ports of `zone dev` by flag, which move where they are taken.
var devPorts = map[string]string{
	"dp-addr": "127.0.0.1:5678", "api-addr": zonenode.DefaultAPIAddr, "diagnostics-addr": zonenode.DefaultDiagnosticsAddr,
}

func devCommand() *cli.Command {
	flags := slices.DeleteFunc(serverFlags(), func(f cli.Flag) bool { return slices.Contains([]string{"zone", "data-dir"}, f.Names()[0]) })
	flags = append(flags,
		// Without ZONE_DATA_DIR, which the commands of another zone's terminal have.
		&cli.StringFlag{Name: "data-dir", Usage: "`FOLDER` of this zone's own", DefaultText: "NAME-data"},
		&cli.StringFlag{Name: "global-data-dir", Value: "meridian-data", Usage: "`FOLDER` of the running global dev", EnvVars: []string{"GLOBAL_DATA_DIR"}})
	return &cli.Command{
		Name:      "dev",
		Usage:     "run a zone beside the global dev of this machine",
		ArgsUsage: "NAME",
		Description: `Joins the global of GLOBAL_DATA_DIR, or of ./meridian-data: has it issue a control
plane token through its admin socket, and keeps that and everything else in
./NAME-data. A default port that is taken is replaced by a free one.

Examples:
   zone dev west
   zone dev east --data-dir /tmp/east`,
		Flags: flags,
		Action: console.Server(func(c *cli.Context, hangup console.Hangup) error {
			if err := console.Arguments(c, 1, 1, "zone dev NAME, for example zone dev west"); err != nil {
				return err
			}
			zone := c.Args().First()
			var moving []string
			for flag, address := range devPorts {
				if !c.IsSet(flag) {
					moving = append(moving, "--"+flag)
					if err := c.Set(flag, address); err != nil {
						return federation.Errorf(federation.Internal, "--%s: %w", flag, err)
					}
				}
			}
			if err := joinDev(c, zone); err != nil {
				return err
			}
			cfg, settings, err := configured(c, flags)
			if err != nil {
				return err
			}
			cfg.Zone, cfg.MayMove = zone, moving
			node, err := zonenode.New(cfg)
			if err != nil {
				return err
			}
			return console.Serving{
				Node: node, Log: cfg.RunLog, Hangup: hangup, Settings: settings, Terminal: true,
				Ready: func() error { return greet(c, zone, node.Endpoints()) },
			}.Run(c.Context)
		}),
	}
}

// joinDev fills in what `zone server` is told by flags.
func joinDev(c *cli.Context, zone string) error {
	if err := federation.ValidateName("NAME", zone); err != nil {
		return console.Usage(console.Advise(err, "for example zone dev west"))
	}
	dir := c.String("data-dir")
	if dir == "" {
		dir = zone + "-data"
	}
	e, err := endpoints.Read(c.String("global-data-dir"))
	if err == nil && e.KDS != "" && e.AdminSocket == "" {
		return federation.Errorf(federation.Invalid, "the path of %s is too long for an admin socket, of which %d characters are the most", c.String("global-data-dir"), endpoints.MaxSocketPath).
			WithHint("start `global dev` with a --data-dir of a shorter path")
	}
	if err == nil && e.KDS == "" {
		err = federation.Errorf(federation.NotFound, "in %s runs no global", c.String("global-data-dir"))
	}
	if err != nil {
		return console.Advise(federation.AsError(err).WithHint(""),
			"start one with `global dev`, in this folder or anywhere with export GLOBAL_DATA_DIR=FOLDER here; `zone server` joins a global elsewhere")
	}
	if _, err := disk.OpenDataDir(dir, disk.ZoneMark); err != nil {
		return err
	}
	token := c.String("cp-token-file")
	if token == "" {
		token = filepath.Join(dir, "cp.token")
		if err := devToken(c, token, zone, e.AdminSocket); err != nil {
			return err
		}
	}
	for name, value := range map[string]string{
		"data-dir": dir, "global-address": e.KDS, "cp-token-file": token, "ca-file": e.CAFile,
	} {
		if !c.IsSet(name) {
			if err := c.Set(name, value); err != nil {
				return federation.Errorf(federation.Internal, "--%s: %w", name, err)
			}
		}
	}
	return nil
}

// devToken sees to it that the file has a control plane token that has not expired.
func devToken(c *cli.Context, path, zone, socket string) error {
	raw, err := tokenfile.Read(path, warn(c))
	if err == nil {
		if t, err := cptoken.Inspect(raw); err == nil && !clock.Ended(t.Claims.ExpiresAt, time.Now()) {
			return nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	target, err := apiclient.Socket("global", socket)
	if err != nil {
		return err
	}
	g, err := apiclient.NewGlobal(target, agent(c))
	if err != nil {
		return err
	}
	issued, err := g.ControlPlaneToken(c.Context, apitypes.ControlPlaneTokenRequest{Zone: zone, ValidFor: devTokenLife.String()})
	if err != nil {
		return err
	}
	return tlsutil.WriteFile(path, []byte(issued.Token+"\n"), 0o600)
}

// greet tells a newcomer what to type next.
func greet(c *cli.Context, zone string, e endpoints.Endpoints) error {
	dir, err := filepath.Abs(c.String("data-dir"))
	if err != nil {
		return federation.Errorf(federation.Internal, "finding the data directory: %w", err)
	}
	global, err := filepath.Abs(c.String("global-data-dir"))
	if err != nil {
		return federation.Errorf(federation.Internal, "finding the global's data directory: %w", err)
	}
	_, err = fmt.Fprintf(c.App.Writer, `
Zone %s is up, and follows the global at %s.

  proxies       https://%s
  HTTP API      http://%s
  CA            %s

Next, in another terminal:

  export GLOBAL_DATA_DIR=%s ZONE_DATA_DIR=%s
  global generate zone-token --zone %s | zone verify --token-file -
  global inspect zones

`, zone, c.StringSlice("global-address")[0], e.DP, e.API, e.CAFile, console.Quoted(global), console.Quoted(dir), zone)
	return err
}
