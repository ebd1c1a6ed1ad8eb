package resources

import (
	"io"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

// GetMeshes returns the command `global get meshes`.
func GetMeshes() *cli.Command {
	return &cli.Command{
		Name: "meshes", Aliases: []string{"mesh"}, ArgsUsage: "[NAME]",
		Usage: "show the meshes, each of which has dataplane-token keys of its own",
		Description: `Examples:
  global get meshes
  global get mesh default -o json`,
		Flags: client.Flags(console.OutputFlag()),
		Action: func(c *cli.Context) error {
			format, err := console.FormatOf(c)
			if err != nil {
				return err
			}
			if err := console.Arguments(c, 0, 1, "global get meshes [NAME]"); err != nil {
				return err
			}
			g, err := client.Connect(c)
			if err != nil {
				return err
			}
			meshes, err := g.Meshes(c.Context)
			if err == nil {
				meshes, err = client.Named("mesh", c.Args().First(), meshes, func(m apitypes.Mesh) string { return m.Name })
			}
			if err != nil {
				return err
			}
			return console.Print(c.App.Writer, format, console.Items(meshes), func() io.WriterTo {
				t := console.NewTable("NAME", "AGE")
				for _, m := range meshes {
					t.Row(m.Name, client.Age(m.CreationTime))
				}
				return t
			})
		},
	}
}
