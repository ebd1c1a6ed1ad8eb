// Package client is what the commands that talk to a global have in common: the flags
// that say which one and as whom, the connection, and how they read kinds, meshes and
// names. Beside it each package has the commands of one noun.
package client

import (
	"os"
	"slices"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/spelling"
)

// Flags returns the flags of a command followed by those that say
// which global it talks to.
func Flags(own ...cli.Flag) []cli.Flag {
	return append(append(own, console.ClientFlags("global")...),
		ProfileFlag(),
		&cli.StringFlag{Name: "cert-file", Usage: "PEM `FILE` of your client certificate, in place of a token [GLOBAL_CERT_FILE]"},
		&cli.StringFlag{Name: "key-file", Usage: "PEM `FILE` of its key [GLOBAL_KEY_FILE]"})
}

// Connect returns a client of the global that the command line names.
func Connect(c *cli.Context) (*apiclient.Global, error) {
	return ConnectAs(c, c.String("token-file"))
}

// ConnectToShow is Connect for a command that takes no argument and shows what it hears, in
// the format that is returned.
func ConnectToShow(c *cli.Context) (console.Format, *apiclient.Global, error) {
	if err := console.NoArguments(c); err != nil {
		return console.Format{}, nil, err
	}
	format, err := console.FormatOf(c)
	if err != nil {
		return format, nil, err
	}
	g, err := Connect(c)
	return format, g, err
}

// ConnectAs is connect with the user token of the given file, where --token-file
// means something else.
func ConnectAs(c *cli.Context, tokenFile string) (*apiclient.Global, error) {
	target, err := Target(c, tokenFile)
	if err != nil {
		return nil, err
	}
	return New(c, target)
}

// Target is the global that the command line, the environment or a profile names.
func Target(c *cli.Context, tokenFile string) (apiclient.Target, error) {
	flags, err := flagsOf(c, tokenFile)
	if err != nil {
		return apiclient.Target{}, err
	}
	return apiclient.Resolve(apiclient.API("global"), flags, os.Getenv, c.App.Reader)
}

// flagsOf is what the command line and the profile say of the global to talk to.
func flagsOf(c *cli.Context, tokenFile string) (apiclient.Flags, error) {
	profile, byFlag, err := profileOf(c)
	return apiclient.Flags{
		Address: c.String("address"), TokenFile: tokenFile,
		CAFile: c.String("ca-file"), DataDir: c.String("data-dir"),
		CertFile: c.String("cert-file"), KeyFile: c.String("key-file"),
		Profile: profile, ProfileByFlag: byFlag,
		Warn: Warn(c),
	}, err
}

// New returns a client of a target that says on standard error what a user should know
// while it works: that an answer may be old, and that a change waits for a leader.
func New(c *cli.Context, target apiclient.Target) (*apiclient.Global, error) {
	g, err := apiclient.NewGlobal(target, Agent(c))
	if err != nil {
		return nil, err
	}
	var once sync.Once
	g.OnStale(func(silent time.Duration) {
		once.Do(func() {
			console.VoiceOf(c.App).Warn("this member has not heard a leader for %s: what it shows may be old", silent)
		})
	})
	g.OnMembers(func(names map[string]string) { console.Learn(c.App, names) })
	var waiting sync.Once
	g.OnWaiting(func(cause error) {
		waiting.Do(func() { console.VoiceOf(c.App).Say("%s; trying again", cause) })
	})
	return g, nil
}

// ServerVersion asks a global for its version.
func ServerVersion(c *cli.Context) (string, error) {
	g, err := Connect(c)
	if err != nil {
		return "", err
	}
	index, err := g.Index(c.Context)
	if err == nil && index.InstanceID == "" {
		err = federation.Errorf(federation.Unauthenticated, "it tells those only who say who they are")
	}
	if err != nil {
		return "", err
	}
	return index.Version, nil
}

// Warn returns what writes a warning of this program.
func Warn(c *cli.Context) func(string) {
	return func(text string) { console.VoiceOf(c.App).Warn("%s", text) }
}

// Agent is what this program calls itself to servers.
func Agent(c *cli.Context) string { return c.App.Name + "/" + c.App.Version }

// MeshFlag is --mesh where only dataplane-token keys have one. As everywhere a command is
// about one mesh, that is the mesh default where none is named; where several are shown, no
// mesh means all.
func MeshFlag() cli.Flag {
	return &cli.StringFlag{Name: "mesh", Usage: "the `MESH`, of dataplane-token keys", DefaultText: cptoken.DefaultMesh}
}

// KindAndMesh reads a kind of token and its mesh, which must not be named where the kind has
// none. field is how the user spelled the kind's place.
func KindAndMesh(c *cli.Context, field, word string) (cptoken.Kind, string, error) {
	kind, err := cptoken.ParseKind(field, word)
	if err != nil {
		return "", "", console.Usage(err)
	}
	mesh := c.String("mesh")
	if kind.PerMesh() && !c.IsSet("mesh") {
		mesh = cptoken.DefaultMesh
	}
	if kind.PerMesh() && mesh == "" { // a script whose variable is not set
		return "", "", console.Usagef("leave it out for the mesh "+cptoken.DefaultMesh, "--mesh is empty")
	}
	if err := kind.ValidateScope(mesh); err != nil {
		return "", "", console.Usage(err)
	}
	return kind, mesh, nil
}

// Age returns how old a thing is that the API gave a time of.
func Age(t *time.Time) string {
	if t == nil {
		return ""
	}
	return console.Age(time.Now(), *t)
}

// ConnectFor is Connect for a command whose one argument is a name, which it returns.
func ConnectFor(c *cli.Context, usage string) (g *apiclient.Global, name string, err error) {
	if err := console.Arguments(c, 1, 1, usage); err != nil {
		return nil, "", err
	}
	name = c.Args().First()
	if err := federation.ValidateName("NAME", name); err != nil {
		return nil, "", console.Usage(err)
	}
	g, err = Connect(c)
	return g, name, err
}

// CheckName is the error for the value of --zone or --mesh, with an example.
func CheckName(flag, value, example string) error {
	return console.Usage(console.Advise(federation.ValidateName(flag, value), "for example %s", example))
}

// DevDataDir is where `global dev` keeps everything unless it is told otherwise.
const DevDataDir = "meridian-data"

// MaxListed bounds what one command lists: a table of a million lines is a file,
// and `-o json` of the pages makes one.
const MaxListed = 100_000

// TokenName is a kind as users write it. A kind that a newer global has and this
// program does not know is shown as it came.
func TokenName(kind string) string {
	if k := cptoken.Kind(kind); k.Valid() {
		return k.TokenName()
	}
	return kind
}

// Named returns the items of that name, all of them where name is "". what is what they are.
func Named[T any](what, name string, items []T, of func(T) string) ([]T, error) {
	if name == "" {
		return items, nil
	}
	var found []T
	names := make([]string, len(items))
	for i, item := range items {
		if names[i] = of(item); names[i] == name {
			found = append(found, item)
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	e := federation.Errorf(federation.NotFound, "there is no %s %.80q", what, name)
	if near := spelling.Nearest(name, names); near != "" {
		return nil, e.WithHint("did you mean %s?", near)
	}
	if len(names) == 0 {
		return nil, e.WithHint("there is none yet")
	}
	slices.Sort(names)
	return nil, e.WithHint("those that there are: %s", console.Names(slices.Compact(names)))
}
