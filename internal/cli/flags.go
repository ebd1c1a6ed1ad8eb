package cli

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// ClientFlags returns the flags that say which node to talk to and as whom, for
// programs whose environment variables begin with the node's name in capitals.
// The environment is read where the flags are resolved, not by the library: what
// counts more depends on where the address came from.
func ClientFlags(node string) []cli.Flag {
	env := strings.ToUpper(node)
	return []cli.Flag{
		&cli.StringFlag{Name: "address", Usage: "`URL` of the " + node + "'s HTTP API: http://, https:// or unix:///PATH [" +
			env + "_ADDRESS]", DefaultText: "http://127.0.0.1:5681"},
		&cli.StringFlag{Name: "token-file", Usage: "`FILE` with your user token, - for standard input [" +
			env + "_TOKEN_FILE, or the token itself in " + env + "_TOKEN]"},
		CAFileFlag(node),
		DataDirFlag(node),
	}
}

// WithEnv gives each flag of a server that has no environment variable yet the one that its
// name makes: --log-level of a global is GLOBAL_LOG_LEVEL. It returns the flags.
func WithEnv(node string, flags []cli.Flag) []cli.Flag {
	for _, f := range flags {
		name := strings.ToUpper(node + "_" + strings.ReplaceAll(f.Names()[0], "-", "_"))
		var vars *[]string
		switch f := f.(type) {
		case *cli.StringFlag:
			vars = &f.EnvVars
		case *cli.StringSliceFlag:
			vars = &f.EnvVars
		case *cli.BoolFlag:
			vars = &f.EnvVars
		case *cli.IntFlag:
			vars = &f.EnvVars
		case *cli.DurationFlag:
			vars = &f.EnvVars
		}
		if vars != nil && len(*vars) == 0 {
			*vars = []string{name}
		}
	}
	return flags
}

// CAFileFlag returns the flag --ca-file.
func CAFileFlag(node string) cli.Flag {
	return &cli.StringFlag{Name: "ca-file", Usage: "PEM `FILE` of the CA that vouches for the " + node + " [" +
		strings.ToUpper(node) + "_CA_FILE]"}
}

// DataDirFlag returns the flag --data-dir of clients.
func DataDirFlag(node string) cli.Flag {
	return &cli.StringFlag{Name: "data-dir", Usage: "ask the node of this `FOLDER`, through its socket or with the CA and token in it [" +
		strings.ToUpper(node) + "_DATA_DIR]"}
}

// Arguments checks how many arguments a command got: at least least, and no more
// than most (-1: any number). usage says in the hint how the command is called.
func Arguments(c *cli.Context, least, most int, usage string) error {
	n := c.NArg()
	switch {
	case n < least:
		return Usagef("usage: "+usage, "%s: an argument is missing", c.Command.HelpName)
	case most >= 0 && n > most:
		return Usagef("usage: "+usage, "%s: %.40q is one argument too many", c.Command.HelpName, c.Args().Get(most))
	}
	return nil
}

// Required returns the value of a flag that must be given, or a usage error with
// an example of what to give.
func Required(c *cli.Context, flag, example string) (string, error) {
	v := c.String(flag)
	if v == "" {
		return "", Usagef("for example "+example, "%s: %s is missing", c.Command.HelpName, dashed(flag))
	}
	return v, nil
}
