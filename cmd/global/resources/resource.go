package resources

import (
	"context"
	"reflect"
	"slices"

	"github.com/urfave/cli/v2"
	"sigs.k8s.io/yaml"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

// resource is one document of a file, read and checked.
type resource struct {
	title string // "zone west"
	place string // the file
	// want is what the file says, without what only an answer has, have what the global
	// holds, in the same form; nil is nothing.
	want any
	have func(context.Context, *apiclient.Global) (any, error)
	// apply has the global take it, and del has it forget it. A pending error is of what
	// is done.
	apply func(*cli.Context, *apiclient.Global) error
	del   func(*cli.Context, *apiclient.Global) error
}

// at names the file of an error that the global answered.
func (r resource) at(err error) error {
	e := federation.AsError(err)
	if e == nil || !slices.Contains([]federation.Code{federation.Invalid, federation.Conflict, federation.Forbidden, federation.NotFound}, e.Code) {
		return err
	}
	told := *e
	told.Detail = r.place + ": " + r.title + ": " + e.Detail
	return &told
}

// put applies the resource and says what that came to: created, changed or unchanged.
func (r resource) put(c *cli.Context, g *apiclient.Global) (done string, err error) {
	before, err := r.have(c.Context, g)
	if err != nil {
		return "", err
	}
	pending := r.apply(c, g)
	if pending != nil && !console.IsPending(pending) {
		return "", pending
	}
	if before == nil {
		return "created", pending
	}
	after, err := r.have(c.Context, g)
	switch {
	case err != nil:
		return "", err
	case reflect.DeepEqual(before, after):
		return "unchanged", pending
	}
	return "changed", pending
}

// remove deletes the resource.
func (r resource) remove(c *cli.Context, g *apiclient.Global) (done string, err error) {
	err = r.del(c, g)
	if federation.CodeOf(err) == federation.NotFound {
		return "not there", nil
	}
	return "deleted", err
}

// tell says what was done. Also where the error is a pending one it is done.
func (r resource) tell(c *cli.Context, done string, err error) error {
	if err != nil && !console.IsPending(err) {
		return err
	}
	if failed := console.Tell(c, r.title+" is "+done); failed != nil {
		return failed
	}
	return err
}

// showDiff shows what applying the resource would change, and changes nothing.
func (r resource) showDiff(c *cli.Context, g *apiclient.Global) error {
	before, err := r.have(c.Context, g)
	if err != nil {
		return err
	}
	have, want := lines(before), lines(r.want)
	switch {
	case before == nil:
		return console.Tell(c, r.title+" would be created")
	case slices.Equal(have, want):
		return console.Tell(c, r.title+" would be unchanged")
	}
	if err := console.Tell(c, r.title+" would be changed:"); err != nil {
		return err
	}
	return console.Write(c.App.Writer, []byte(diff(have, want)))
}

// lines is a resource as YAML, line by line.
func lines(of any) []string {
	if of == nil {
		return nil
	}
	text, err := yaml.Marshal(of)
	if err != nil {
		return []string{"what cannot be shown: " + err.Error()}
	}
	return splitLines(string(text))
}

// zoneResource is the record of a zone.
func zoneResource(z apitypes.Zone) resource {
	want := z
	if want.Enabled == nil {
		enabled := true
		want.Enabled = &enabled
	}
	if want.Auth != nil && *want.Auth == "" {
		want.Auth = nil
	}
	if want.Relay != nil && len(want.Relay.Meshes) == 0 {
		want.Relay = nil
	}
	return resource{
		title: "zone " + z.Name, want: want,
		have: func(ctx context.Context, g *apiclient.Global) (any, error) {
			found, err := g.Zone(ctx, z.Name)
			found.CreationTime, found.ModificationTime = nil, nil
			return orNothing(found, err)
		},
		apply: func(c *cli.Context, g *apiclient.Global) error {
			if _, err := g.ApplyZone(c.Context, z); err != nil {
				return err
			}
			warnMeshes(c, g, want)
			return nil
		},
		del: func(c *cli.Context, g *apiclient.Global) error { return g.DeleteZone(c.Context, z.Name) },
	}
}

// warnMeshes says which meshes a zone may relay for that are not there: a name may be
// misspelt. Who may not read meshes is told nothing.
func warnMeshes(c *cli.Context, g *apiclient.Global, z apitypes.Zone) {
	if z.Relay == nil {
		return
	}
	known, err := g.Meshes(c.Context)
	if err != nil {
		return
	}
	names := make([]string, len(known))
	for i, m := range known {
		names[i] = m.Name
	}
	for _, mesh := range z.Relay.Meshes {
		if mesh != "*" && !slices.Contains(names, mesh) {
			console.VoiceOf(c.App).Warn("zone %s relays for mesh %s, which is not there; known: %s", z.Name, mesh, console.Names(names))
		}
	}
}

// meshResource is a mesh, of which there is nothing to say but its name.
func meshResource(m apitypes.Mesh) resource {
	return resource{
		title: "mesh " + m.Name, want: m,
		have: func(ctx context.Context, g *apiclient.Global) (any, error) {
			all, err := g.Meshes(ctx)
			if err != nil {
				return nil, err
			}
			if !slices.ContainsFunc(all, func(have apitypes.Mesh) bool { return have.Name == m.Name }) {
				return nil, nil
			}
			return m, nil
		},
		apply: func(c *cli.Context, g *apiclient.Global) error {
			change, err := g.ApplyMesh(c.Context, m)
			if err != nil {
				return err
			}
			return client.Warned(c, "mesh "+m.Name, change.Warnings)
		},
		del: func(c *cli.Context, g *apiclient.Global) error { return deleteMesh(c, g, m.Name) },
	}
}

// orNothing is what was found, or nil where there is none.
func orNothing[T any](found T, err error) (any, error) {
	switch {
	case federation.CodeOf(err) == federation.NotFound:
		return nil, nil
	case err != nil:
		return nil, err
	}
	return found, nil
}
