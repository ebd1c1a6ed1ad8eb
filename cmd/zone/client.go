package main

import (
	"os"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/internal/apiclient"
	console "github.com/meridiankds/meridian/internal/cli"
)

// resolve decides which zone to talk to, and as whom: address names the flag
// with its address, token the file of a user token.
func resolve(c *cli.Context, service apiclient.Service, address, tokenFile string) (apiclient.Target, error) {
	flags := apiclient.Flags{
		Address: address, TokenFile: tokenFile,
		CAFile: c.String("ca-file"), DataDir: c.String("data-dir"),
		Warn: warn(c),
	}
	return apiclient.Resolve(service, flags, os.Getenv, c.App.Reader)
}

// connect returns a client of the zone's API that the flags of [console.ClientFlags] name.
func connect(c *cli.Context) (*apiclient.Zone, error) {
	target, err := resolve(c, apiclient.API("zone"), c.String("address"), c.String("token-file"))
	if err != nil {
		return nil, err
	}
	return apiclient.NewZone(target, agent(c))
}

// serverVersion asks a zone for its version.
func serverVersion(c *cli.Context) (string, error) {
	zone, err := connect(c)
	if err != nil {
		return "", err
	}
	status, err := zone.Status(c.Context)
	return status.Version, err
}

// agent is what this program calls itself to servers.
func agent(c *cli.Context) string { return c.App.Name + "/" + c.App.Version }

// warn returns what writes a warning of this program.
func warn(c *cli.Context) func(string) {
	return func(text string) { console.VoiceOf(c.App).Warn("%s", text) }
}
