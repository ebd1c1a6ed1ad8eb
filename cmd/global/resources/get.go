package resources

import (
	"io"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

// GetGlobalSecrets returns the command `global get global-secrets`.
func GetGlobalSecrets() *cli.Command {
	return &cli.Command{
		Name: "global-secrets", Aliases: []string{"global-secret"},
		Usage:     "show the keys and revocations that belong to no mesh",
		ArgsUsage: "[NAME]",
		Description: `Of a signing key only the public part can be had, of a control plane key a
fingerprint.

Examples:
  global get global-secrets
  global get global-secrets zone-token-signing-key-1 --data > public.pem
  global get global-secrets zone-token-revocations -o json`,
		Flags: client.Flags(dataFlag(), console.OutputFlag()),
		Action: func(c *cli.Context) error {
			show, err := secretsOf(c, "global get global-secrets [NAME]", "NAME", "AGE")
			if err != nil {
				return err
			}
			g, err := client.Connect(c)
			if err != nil {
				return err
			}
			if name := c.Args().First(); name != "" {
				return show.one(g.GlobalSecret(c.Context, name))
			}
			return show.all(g.GlobalSecrets(c.Context))
		},
	}
}

// GetSecrets returns the command `global get secrets`.
func GetSecrets() *cli.Command {
	return &cli.Command{
		Name: "secrets", Aliases: []string{"secret"},
		Usage:     "show the keys and revocations of a mesh",
		ArgsUsage: "[NAME]",
		Description: `Examples:
  global get secrets
  global get secrets --mesh payments
  global get secrets dataplane-token-signing-key-default-1 --data > public.pem`,
		Flags: client.Flags(
			&cli.StringFlag{Name: "mesh", Usage: "the `MESH`", Value: cptoken.DefaultMesh},
			dataFlag(), console.OutputFlag()),
		Action: func(c *cli.Context) error {
			show, err := secretsOf(c, "global get secrets [NAME]", "MESH", "NAME", "AGE")
			if err != nil {
				return err
			}
			mesh := c.String("mesh")
			if err := client.CheckName("--mesh", mesh, "--mesh default"); err != nil {
				return err
			}
			g, err := client.Connect(c)
			if err != nil {
				return err
			}
			if name := c.Args().First(); name != "" {
				return show.one(g.Secret(c.Context, mesh, name))
			}
			return show.all(g.Secrets(c.Context, mesh))
		},
	}
}

func dataFlag() cli.Flag {
	return &cli.BoolFlag{Name: "data", Usage: "print what the secret NAME holds, and nothing else"}
}

// secretView shows secrets the way that the command line asks for.
type secretView struct {
	out    io.Writer
	format console.Format
	data   bool
	header []string
}

// secretsOf checks the command line of a command that shows secrets.
func secretsOf(c *cli.Context, usage string, header ...string) (*secretView, error) {
	format, err := console.FormatOf(c)
	if err != nil {
		return nil, err
	}
	if err := console.Arguments(c, 0, 1, usage); err != nil {
		return nil, err
	}
	if c.Bool("data") && c.NArg() == 0 {
		return nil, console.Usagef("usage: "+usage+" --data", "--data needs the name of one secret")
	}
	return &secretView{out: c.App.Writer, format: format, data: c.Bool("data"), header: header}, nil
}

func (v *secretView) one(s apitypes.Secret, err error) error {
	switch {
	case err != nil:
		return err
	case v.data:
		return console.Write(v.out, s.Data)
	}
	return console.Print(v.out, v.format, s, v.table(s))
}

func (v *secretView) all(list []apitypes.Secret, err error) error {
	if err != nil {
		return err
	}
	return console.Print(v.out, v.format, console.Items(list), v.table(list...))
}

func (v *secretView) table(list ...apitypes.Secret) func() io.WriterTo {
	return func() io.WriterTo {
		t := console.NewTable(v.header...)
		for _, s := range list {
			row := []string{s.Name, client.Age(s.CreationTime)}
			if len(v.header) == 3 {
				row = append([]string{s.Mesh}, row...)
			}
			t.Row(row...)
		}
		return t
	}
}

// GetZones returns the command `global get zones`.
func GetZones() *cli.Command {
	return &cli.Command{
		Name: "zones", Aliases: []string{"zone"}, ArgsUsage: "[NAME]",
		Usage: "show the zones that the global knows",
		Description: `Whether they are connected is shown by ` + "`global inspect zones`" + `.

Examples:
  global get zones
  global get zone west -o yaml`,
		Flags: client.Flags(console.OutputFlag()),
		Action: func(c *cli.Context) error {
			format, err := console.FormatOf(c)
			if err != nil {
				return err
			}
			if err := console.Arguments(c, 0, 1, "global get zones [NAME]"); err != nil {
				return err
			}
			g, err := client.Connect(c)
			if err != nil {
				return err
			}
			zones, err := g.Zones(c.Context)
			if err == nil {
				zones, err = client.Named("zone", c.Args().First(), zones, func(z apitypes.Zone) string { return z.Name })
			}
			if err != nil {
				return err
			}
			return console.Print(c.App.Writer, format, console.Items(zones), func() io.WriterTo {
				t := console.NewTable("NAME", "AGE")
				for _, z := range zones {
					t.Row(z.Name, client.Age(z.CreationTime))
				}
				return t
			})
		},
	}
}
