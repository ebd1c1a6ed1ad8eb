package resources

import (
	"io"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	console "github.com/meridiankds/meridian/internal/cli"
)

// GetMeshes returns the command `global get meshes`.
func GetMeshes() *cli.Command {
	return &cli.Command{
		Name:  "meshes",
		Usage: "show the meshes, each of which has dataplane-token keys of its own",
		Description: `Examples:
  global get meshes
  global get meshes -o json`,
		Flags: client.Flags(console.OutputFlag()),
		Action: func(c *cli.Context) error {
			format, err := console.FormatOf(c)
			if err != nil {
				return err
			}
			g, err := client.Connect(c)
			if err != nil {
				return err
			}
			meshes, err := g.Meshes(c.Context)
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
