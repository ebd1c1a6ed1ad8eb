package resources

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

// secretResource is a signing key or a list of revoked ids. A list gains what the file has;
// a key that is there under its serial never changes.
func secretResource(s apitypes.Secret) resource {
	title := "global secret " + s.Name
	if s.Type == apitypes.TypeSecret {
		title = "secret " + s.Name + " of mesh " + s.Mesh
	}
	isKey := strings.Contains(s.Name, "signing-key")
	return resource{
		title: title, want: shownSecret(s, isKey),
		have: func(ctx context.Context, g *apiclient.Global) (any, error) {
			found, err := secretOf(ctx, g, s)
			if err == nil && !isKey {
				found.Data = gained(found.Data, s.Data)
			}
			return orNothing(shownSecret(found, isKey), err)
		},
		apply: func(c *cli.Context, g *apiclient.Global) error {
			change, err := g.ApplySecret(c.Context, s)
			if err != nil {
				return err
			}
			tellWaiting(c, change)
			return client.Warned(c, change.Name, change.Warnings)
		},
		del: func(c *cli.Context, g *apiclient.Global) error {
			change, err := g.DeleteSecret(c.Context, s.Mesh, s.Name)
			if err != nil {
				return err
			}
			return client.Warned(c, change.Name, change.Warnings)
		},
	}
}

func secretOf(ctx context.Context, g *apiclient.Global, s apitypes.Secret) (apitypes.Secret, error) {
	if s.Mesh == "" {
		return g.GlobalSecret(ctx, s.Name)
	}
	return g.Secret(ctx, s.Mesh, s.Name)
}

// gained are those ids of a list that a file names, of which the list has no more to gain.
func gained(have, named []byte) []byte {
	ids := strings.Split(string(have), ",")
	var both []string
	for _, id := range strings.Split(string(named), ",") {
		if slices.Contains(ids, strings.TrimSpace(id)) {
			both = append(both, id)
		}
	}
	return []byte(strings.Join(both, ","))
}

// secretShown is a secret without what must not be seen: the ids of a list, and of a key its
// name alone.
type secretShown struct {
	Type string   `json:"type"`
	Mesh string   `json:"mesh,omitempty"`
	Name string   `json:"name"`
	IDs  []string `json:"ids,omitempty"`
}

func shownSecret(s apitypes.Secret, isKey bool) secretShown {
	shown := secretShown{Type: s.Type, Mesh: s.Mesh, Name: s.Name}
	if !isKey && len(s.Data) > 0 {
		shown.IDs = strings.Split(string(s.Data), ",")
	}
	return shown
}

// tellWaiting says what a key that was written still waits for before it signs.
func tellWaiting(c *cli.Context, change apitypes.SecretChange) {
	if change.Holding == nil {
		return
	}
	lacking := console.Groups(console.Group("zones", change.Holding.Waiting), console.Group("members", change.Holding.Members))
	console.VoiceOf(c.App).Warn("%s is stored and does not sign yet: it waits for %s", change.Name, lacking)
	console.VoiceOf(c.App).Hint("apply it again later, or see global keys list")
}

// DeleteGlobalSecret returns the command `global delete global-secret`.
func DeleteGlobalSecret() *cli.Command { return deleteSecretCommand("global-secret", false) }

// DeleteSecret returns the command `global delete secret`.
func DeleteSecret() *cli.Command { return deleteSecretCommand("secret", true) }

// deleteSecretCommand deletes a global secret, or one of a mesh.
func deleteSecretCommand(name string, perMesh bool) *cli.Command {
	example, flags := "zone-token-signing-key-1", []cli.Flag{&cli.BoolFlag{Name: "yes", Usage: "do not ask, also on a terminal"}}
	if perMesh {
		example = "dataplane-token-signing-key-default-1 --mesh default"
		flags = append(flags, &cli.StringFlag{Name: "mesh", Usage: "the `MESH` of the secret", Value: cptoken.DefaultMesh})
	}
	const effect = "every token that a deleted key has signed is refused from then on"
	return &cli.Command{
		Name:        name,
		Usage:       "delete a signing key: " + effect,
		ArgsUsage:   "NAME",
		Description: "Examples:\n  global delete " + name + " " + example,
		Flags:       client.Flags(flags...),
		Action: func(c *cli.Context) error {
			g, secret, err := client.ConnectFor(c, "global delete "+name+" NAME")
			if err != nil {
				return err
			}
			if err := console.Agree(c, fmt.Sprintf("delete %s: %s", secret, effect)); err != nil {
				return err
			}
			change, err := deleteSecret(c.Context, g, perMesh, c.String("mesh"), secret)
			if err != nil {
				return err
			}
			text := secret + " is deleted"
			if change.CutOff != "" {
				text += "; refused from now on: " + change.CutOff
			}
			if err := console.Write(c.App.Writer, []byte(text+"\n")); err != nil {
				return err
			}
			return client.Warned(c, change.Name, change.Warnings)
		},
	}
}

func deleteSecret(ctx context.Context, g *apiclient.Global, perMesh bool, mesh, name string) (apitypes.SecretChange, error) {
	if !perMesh {
		mesh = ""
	}
	return g.DeleteSecret(ctx, mesh, name)
}
