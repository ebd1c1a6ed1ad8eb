// Command zone is the zone control plane of Meridian and its command line: `zone
// server` runs one, every other command talks to one that runs.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

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
	// The memory holds keys of TLS and tokens: no core file may.
	if err := coredump.Disable(); err != nil {
		fmt.Fprintf(os.Stderr, "zone: warning: core files are not switched off: %v\n", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return console.Run(ctx, newApp(console.IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}), os.Args)
}

// newApp returns the program.
func newApp(streams console.IO) *cli.App {
	app := console.New("zone", "a zone control plane of Meridian", version(), streams)
	app.Description = `A zone authenticates the proxies of its zone with public keys and revocations that
it has from the global, also while the global is away.`
	app.Commands = []*cli.Command{
		serverCommand(),
		devCommand(),
		proxyCommand(),
		generateCommand(),
		getCommand(),
		verifyCommand(),
		xdsCommand(),
		statusCommand(),
		healthCommand(),
		logLevelCommand(),
		supportCommand(),
		console.VersionCommand(serverVersion, console.ClientFlags("zone")),
		console.Man(),
	}
	app.Commands = append(app.Commands, console.Completion(nil)...)
	return app
}
