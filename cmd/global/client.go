package main

import (
	"os"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	console "github.com/meridiankds/meridian/internal/cli"
)

// withClientFlags returns the flags of a command followed by those that say
// which global it talks to.
func withClientFlags(own ...cli.Flag) []cli.Flag {
	return append(append(own, console.ClientFlags("global")...),
		&cli.StringFlag{Name: "cert-file", Usage: "PEM `FILE` of your client certificate, in place of a token [GLOBAL_CERT_FILE]"},
		&cli.StringFlag{Name: "key-file", Usage: "PEM `FILE` of its key [GLOBAL_KEY_FILE]"})
}

// connect returns a client of the global that the command line names.
func connect(c *cli.Context) (*apiclient.Global, error) {
	return connectAs(c, c.String("token-file"))
}

// connectAs is connect with the user token of the given file, where --token-file
// means something else.
func connectAs(c *cli.Context, tokenFile string) (*apiclient.Global, error) {
	flags := apiclient.Flags{
		Address: c.String("address"), TokenFile: tokenFile,
		CAFile: c.String("ca-file"), DataDir: c.String("data-dir"),
		CertFile: c.String("cert-file"), KeyFile: c.String("key-file"),
	}
	target, err := apiclient.Resolve(apiclient.API("global"), flags, os.Getenv, c.App.Reader)
	if err != nil {
		return nil, err
	}
	g, err := apiclient.NewGlobal(target, agent(c))
	if err != nil {
		return nil, err
	}
	var once sync.Once
	g.OnStale(func(silent time.Duration) {
		once.Do(func() {
			console.VoiceOf(c.App).Warn("this member has not heard a leader for %s: what it shows may be old", silent)
		})
	})
	return g, nil
}

// agent is what this program calls itself to servers.
func agent(c *cli.Context) string { return c.App.Name + "/" + c.App.Version }

// meshFlag is --mesh where only dataplane-token keys have one.
func meshFlag() cli.Flag {
	return &cli.StringFlag{Name: "mesh", Usage: "the `MESH`, of dataplane-token keys only"}
}

// validForFlag is --valid-for with the API's own default.
func validForFlag() cli.Flag {
	return &cli.DurationFlag{Name: "valid-for", Usage: "how `LONG` the token is valid, for example 720h", DefaultText: "87600h, ten years"}
}

// validFor returns --valid-for as the API takes it, empty where it is not given.
func validFor(c *cli.Context) (string, error) {
	d := c.Duration("valid-for")
	if d <= 0 && c.IsSet("valid-for") {
		return "", console.Usage(federation.InvalidField("--valid-for", "must be more than nothing, is %s", d).
			WithHint("write for example --valid-for 720h, or leave it out for ten years"))
	}
	if d == 0 {
		return "", nil
	}
	return d.String(), nil
}

// kindAndMesh reads a kind of token, and checks that the mesh is named exactly
// where the kind has one. field is how the user spelled the kind's place.
func kindAndMesh(c *cli.Context, field, word string) (cptoken.Kind, string, error) {
	kind, err := cptoken.ParseKind(field, word)
	if err != nil {
		return "", "", console.Usage(err)
	}
	mesh := c.String("mesh")
	if kind.PerMesh() && mesh == "" {
		return "", "", console.Usagef("name the mesh, for example --mesh default", "--mesh is missing: each mesh has %s keys of its own", kind.TokenName())
	}
	if err := kind.ValidateScope(mesh); err != nil {
		return "", "", console.Usage(err)
	}
	return kind, mesh, nil
}

// age returns how old a thing is that the API gave a time of.
func age(t *time.Time) string {
	if t == nil {
		return ""
	}
	return console.Age(time.Now(), *t)
}
