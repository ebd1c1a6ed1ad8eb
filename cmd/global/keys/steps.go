package keys

import (
	"context"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

func keysPrepare() *cli.Command {
	return &cli.Command{
		Name:      "prepare",
		Usage:     "make the next key; it signs nothing yet",
		ArgsUsage: "KIND",
		Description: `The first step of a rotation by hand. Where a key is prepared already, that one is
named and nothing is made.

Examples:
  global keys prepare zone-token
  global keys prepare dataplane-token --mesh default`,
		Flags: client.Flags(client.MeshFlag(), console.OutputFlag()),
		Action: func(c *cli.Context) error {
			format, err := console.FormatOf(c)
			if err != nil {
				return err
			}
			if err := console.Arguments(c, 1, 1, "global keys prepare KIND"); err != nil {
				return err
			}
			kind, mesh, err := client.KindAndMesh(c, "KIND", c.Args().First())
			if err != nil {
				return err
			}
			g, err := client.Connect(c)
			if err != nil {
				return err
			}
			key, err := g.PrepareKey(c.Context, apitypes.KeyPrepareRequest{Kind: string(kind), Mesh: mesh})
			if err != nil {
				return err
			}
			return console.Print(c.App.Writer, format, key, func() io.WriterTo { return console.Sentence(keyTitle(key) + " is " + key.State) })
		},
	}
}

func keysActivate() *cli.Command {
	return &cli.Command{
		Name:      "activate",
		Usage:     "let a prepared key sign; the one before it retires",
		ArgsUsage: "KIND KEY",
		Description: `Refused while a zone that is online, or a member, does not hold the key: it would
refuse good tokens. --force goes on all the same. Zones that are offline are
named: they take the key before they count as online again.

Examples:
  global keys activate zone-token 2 --wait 30s
  global keys activate dataplane-token 2 --mesh default --force`,
		Flags: client.Flags(client.MeshFlag(),
			&cli.DurationFlag{Name: "wait", Usage: "how `LONG` to wait for who lacks the key; 0: not at all"},
			&cli.BoolFlag{Name: "force", Usage: "do not wait for who lacks the key, and have them refuse its tokens until they hold it"},
			console.OutputFlag()),
		Action: func(c *cli.Context) error {
			if c.Duration("wait") < 0 {
				return console.Usage(federation.InvalidField("--wait", "must not be negative"))
			}
			step := keyStep{usage: "global keys activate KIND KEY", take: activateWithin(console.VoiceOf(c.App), c.Duration("wait"))}
			step.end = func(change apitypes.KeyChange) error {
				if c.Bool("force") {
					return nil // who forces it has seen to those that cannot be waited for
				}
				return unreached(change.Key, change.Holding)
			}
			return step.run(c, func(voice *console.Voice, change apitypes.KeyChange) {
				if h := change.Holding; h != nil {
					if lacking := console.Groups(console.Group("zones", h.Waiting), console.Group("members", h.Members)); lacking != "" {
						voice.Warn("forced, and will refuse tokens of %s until they hold it: %s", keyTitle(change.Key), lacking)
					}
					if err := unreached(change.Key, h); c.Bool("force") && err != nil {
						voice.Warn("%v", err)
					}
					if len(h.Offline) > 0 {
						voice.Warn("offline, and will refuse tokens of %s until they are back: %s", keyTitle(change.Key), console.Names(h.Offline))
					}
					if zones := copied(h, lately, time.Now()); len(zones) > 0 {
						voice.Warn("others fetched the key sets of these zones within a day, and refuse tokens of %s until they fetch again: %s", keyTitle(change.Key), console.Names(zones))
					}
				}
			})
		},
	}
}

// activateWithin activates a key, and tries again while somebody lacks it, for as long as
// it may.
func activateWithin(voice *console.Voice, wait time.Duration) func(*apiclient.Global, context.Context, apitypes.KeyStepRequest) (apitypes.KeyChange, error) {
	return func(g *apiclient.Global, ctx context.Context, r apitypes.KeyStepRequest) (change apitypes.KeyChange, err error) {
		if wait == 0 {
			return g.ActivateKey(ctx, r)
		}
		var refusal error
		done, err := voice.Wait(ctx, console.Poll{Every: pollEvery, For: wait, Check: func(ctx context.Context) (bool, string, error) {
			change, refusal = g.ActivateKey(ctx, r)
			if e := federation.AsError(refusal); e != nil && e.Reason == "not_held" {
				return false, e.Detail, nil
			}
			return true, "", refusal
		}})
		if err == nil && !done {
			err = refusal
		}
		return change, err
	}
}

func keysRetire() *cli.Command {
	return &cli.Command{
		Name:      "retire",
		Usage:     "stop a key from signing; its tokens stay valid",
		ArgsUsage: "KIND KEY",
		Description: `Seldom needed: activating a key retires the one before it. Retiring the key that
signs leaves none, and is refused without --force. --dry-run changes nothing and says what
uses the key, which goes on until it is removed.

Examples:
  global keys retire zone-token 1 --dry-run
  global keys retire user-token 1 --force`,
		Flags: client.Flags(client.MeshFlag(),
			&cli.BoolFlag{Name: "force", Usage: "retire it although nothing signs then, and no token can be issued"},
			dryRunFlag(),
			console.OutputFlag()),
		Action: func(c *cli.Context) error {
			if c.Bool("dry-run") {
				format, g, key, err := namedKey(c, "global keys retire KIND KEY")
				if err != nil {
					return err
				}
				return showUse(c, format, g, key, "retiring")
			}
			step := keyStep{usage: "global keys retire KIND KEY", take: (*apiclient.Global).RetireKey}
			return step.run(c, func(*console.Voice, apitypes.KeyChange) {})
		},
	}
}

// keyStep is a command that takes a key one step further.
type keyStep struct {
	usage string
	take  func(*apiclient.Global, context.Context, apitypes.KeyStepRequest) (apitypes.KeyChange, error)
	end   func(apitypes.KeyChange) error // what the command ends with; nil: nothing
}

// run takes the step with the key that the command line names, tells what must be
// known of it, and prints the result.
func (s keyStep) run(c *cli.Context, tell func(*console.Voice, apitypes.KeyChange)) error {
	format, g, key, err := namedKey(c, s.usage)
	if err != nil {
		return err
	}
	change, err := s.take(g, c.Context, apitypes.KeyStepRequest{Kind: key.Kind, Mesh: key.Mesh, KID: key.KID, Force: c.Bool("force")})
	if err != nil {
		return err
	}
	tell(console.VoiceOf(c.App), change)
	err = console.Print(c.App.Writer, format, change, func() io.WriterTo {
		return console.Sentence(keyTitle(change.Key) + " is " + change.Key.State)
	})
	if err != nil || s.end == nil {
		return err
	}
	return s.end(change)
}

// namedKey reads KIND and KEY, connects, and finds the key.
func namedKey(c *cli.Context, usage string) (console.Format, *apiclient.Global, apitypes.Key, error) {
	var none apitypes.Key
	format, err := console.FormatOf(c)
	if err != nil {
		return console.Format{}, nil, none, err
	}
	if err := console.Arguments(c, 2, 2, usage); err != nil {
		return console.Format{}, nil, none, err
	}
	kind, mesh, err := client.KindAndMesh(c, "KIND", c.Args().Get(0))
	if err != nil {
		return console.Format{}, nil, none, err
	}
	g, err := client.Connect(c)
	if err != nil {
		return console.Format{}, nil, none, err
	}
	key, err := findKey(c, g, kind, mesh, c.Args().Get(1))
	return format, g, key, err
}
