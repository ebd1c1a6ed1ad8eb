package resources

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

// secretResource is a signing key or a list of revoked ids in a file of resources.
func secretResource(doc []byte, kind string) (resource, error) {
	var s apitypes.Secret
	if err := strictly(doc, &s); err != nil {
		// Nothing of what may be a private key belongs in an error.
		return resource{}, federation.InvalidField("data", "is no base64, or a field is not one of type, mesh, name and data")
	}
	title := "global secret " + s.Name
	if kind == apitypes.TypeSecret {
		if s.Mesh == "" {
			s.Mesh = "default"
		}
		title = "secret " + s.Name + " of mesh " + s.Mesh
	} else if s.Mesh != "" {
		return resource{}, federation.InvalidField("mesh", "a GlobalSecret belongs to no mesh: use type Secret")
	}
	return resource{title, func(c *cli.Context, g *apiclient.Global) (string, error) {
		change, err := g.ApplySecret(c.Context, s)
		if err == nil {
			tellWaiting(c, change)
		}
		return applied, err
	}}, nil
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
		flags = append(flags, &cli.StringFlag{Name: "mesh", Usage: "the `MESH` of the secret", Value: "default"})
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
			return console.Write(c.App.Writer, []byte(text+"\n"))
		},
	}
}

func deleteSecret(ctx context.Context, g *apiclient.Global, perMesh bool, mesh, name string) (apitypes.SecretChange, error) {
	if !perMesh {
		mesh = ""
	}
	return g.DeleteSecret(ctx, mesh, name)
}
