// Command global is the global control plane of Meridian and its command line:
// `global server` and `global dev` run a node, every other command talks to one
// that runs.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/audit"
	"github.com/meridiankds/meridian/cmd/global/certs"
	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/cmd/global/cluster"
	"github.com/meridiankds/meridian/cmd/global/config"
	"github.com/meridiankds/meridian/cmd/global/keys"
	"github.com/meridiankds/meridian/cmd/global/resources"
	"github.com/meridiankds/meridian/cmd/global/revocations"
	"github.com/meridiankds/meridian/cmd/global/seal"
	"github.com/meridiankds/meridian/cmd/global/server"
	"github.com/meridiankds/meridian/cmd/global/snapshot"
	"github.com/meridiankds/meridian/cmd/global/tokens"
	"github.com/meridiankds/meridian/cmd/global/zones"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/coredump"
)

// linkedVersion is set by the linker, see scripts/build.
var linkedVersion string

// version is what this program calls its version.
func version() string { return console.Version(linkedVersion) }

func main() { os.Exit(execute()) }

// execute runs the command line of this process and returns its exit code. The
// first SIGINT or SIGTERM ends the context, the second one the process.
func execute() int {
	// The memory holds keys and tokens that are nowhere on disk: no core file may.
	if err := coredump.Disable(); err != nil {
		fmt.Fprintf(os.Stderr, "global: warning: core files are not switched off: %v\n", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return console.Run(ctx, newApp(console.IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}), os.Args)
}

// newApp returns the program.
func newApp(streams console.IO) *cli.App {
	app := console.New("global", "the global control plane of Meridian", version(), streams)
	app.Description = `A global owns every signing key, issues tokens and pushes public keys and
revocations to the control planes of the zones, which verify on their own.

Begin with ` + "`global dev`" + `, which runs one node on this machine.`
	console.TellWhom(app, client.Whom)
	app.Commands = []*cli.Command{
		server.Dev(),
		server.Command(),
		verb("generate", "issue tokens, and make keys that no global keeps",
			tokens.GenerateControlPlaneToken(), tokens.GenerateZoneToken(), tokens.GenerateDataplaneToken(), tokens.GenerateUserToken(),
			tokens.GenerateSigningKey(), tokens.GeneratePublicKey(), seal.Generate()),
		verb("get", "show what the global holds",
			resources.GetGlobalSecrets(), resources.GetSecrets(), resources.GetMeshes(), resources.GetZones(), resources.GetPublicKeys(),
			revocations.Get(), revocations.GetCutOffs(), audit.GetTokens(), audit.Get(), audit.GetRequest()),
		resources.Apply(),
		resources.Delete(),
		verb("enable", "let a zone in again", zones.Enable()),
		verb("disable", "cut a zone off", zones.Disable()),
		verb("inspect", "look closer at zones and tokens",
			zones.InspectAll(), zones.Inspect(), tokens.Inspect()),
		keys.Command(),
		revocations.Revoke(),
		certs.Command(),
		snapshot.Command(),
		seal.Command(),
		cluster.Status(),
		cluster.Command(),
		cluster.Health(),
		server.LogLevel(),
		server.Support(),
		config.Command(),
		tokens.WhoAmI(),
		tokens.Admin(),
		console.VersionCommand(client.ServerVersion, client.Flags()),
		console.Man(),
	}
	app.Commands = append(app.Commands, console.Completion(client.Names)...)
	return app
}

// verb is a command that does the same to several nouns.
func verb(name, usage string, nouns ...*cli.Command) *cli.Command {
	return &cli.Command{Name: name, Usage: usage, Subcommands: nouns}
}
