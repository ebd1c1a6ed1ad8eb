package main

import (
	"os"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/internal/apiclient"
)

// resolve decides which zone to talk to, and as whom: address names the flag
// with its address, token the file of a user token.
func resolve(c *cli.Context, service apiclient.Service, address, tokenFile string) (apiclient.Target, error) {
	flags := apiclient.Flags{
		Address: address, TokenFile: tokenFile,
		CAFile: c.String("ca-file"), DataDir: c.String("data-dir"),
	}
	return apiclient.Resolve(service, flags, os.Getenv, c.App.Reader)
}

// agent is what this program calls itself to servers.
func agent(c *cli.Context) string { return c.App.Name + "/" + c.App.Version }
