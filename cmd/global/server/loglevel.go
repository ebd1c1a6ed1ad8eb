package server

import (
	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	console "github.com/meridiankds/meridian/internal/cli"
)

// Support returns the command `global support`.
func Support() *cli.Command {
	return console.SupportCommand(client.Flags(), func(c *cli.Context) (console.Support, error) { return client.Connect(c) })
}

// LogLevel returns the command `global log-level`.
func LogLevel() *cli.Command {
	return console.LogLevel(client.Flags(), func(c *cli.Context) (console.LogLevels, error) { return client.Connect(c) })
}
