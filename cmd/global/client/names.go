package client

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

// namesWithin is how long a shell waits for the names of things.
const namesWithin = time.Second

// fits reports whether a key is of the kind that the command line names before it, and of the
// mesh, as far as it names any.
func fits(k apitypes.Key, given console.Given) bool {
	if len(given.Args) == 0 {
		return true
	}
	kind, err := cptoken.ParseKind("KIND", given.Args[0])
	if err != nil || !kind.PerMesh() {
		return err == nil && k.Kind == string(kind)
	}
	mesh, named := given.Flags["mesh"]
	if !named {
		mesh = cptoken.DefaultMesh
	}
	return k.Kind == string(kind) && k.Mesh == mesh
}

// Names lists the zones, meshes or keys of the global that the environment names, for a shell
// that completes a word. It is silent where that cannot be asked.
func Names(c *cli.Context, what string, given console.Given) (names []string) {
	if what == "kind" {
		for _, k := range cptoken.Kinds {
			names = append(names, k.TokenName())
		}
		return names
	}
	if what == "profile" {
		all, _ := ReadProfiles() // a shell is told nothing where they cannot be read
		return all.Names()
	}
	ctx, cancel := context.WithTimeout(c.Context, namesWithin)
	defer cancel()
	profile, _, err := profileOf(c)
	if err != nil {
		return nil
	}
	target, err := apiclient.Resolve(apiclient.API("global"), apiclient.Flags{Profile: profile}, os.Getenv, strings.NewReader(""))
	if err != nil {
		return nil
	}
	g, err := apiclient.NewGlobal(target, Agent(c))
	if err != nil {
		return nil
	}
	switch what {
	case "zone":
		zones, _ := g.Zones(ctx)
		for _, z := range zones {
			names = append(names, z.Name)
		}
	case "mesh":
		meshes, _ := g.Meshes(ctx)
		for _, m := range meshes {
			names = append(names, m.Name)
		}
	case "key":
		keys, _ := g.Keys(ctx)
		for _, k := range keys {
			if k.Name != "" && fits(k, given) {
				names = append(names, k.Name)
			}
		}
	}
	return names
}
