package keys

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/clock"
)

// pollEvery is how often a rotation asks who holds the new key.
const pollEvery = 250 * time.Millisecond

func keysRotate() *cli.Command {
	return &cli.Command{
		Name:      "rotate",
		Usage:     "make a new key, wait until the zones hold it, and sign with it",
		ArgsUsage: "KIND",
		Description: `Tokens of the former key stay valid until that key is removed. KIND is
control-plane-token, zone-token, dataplane-token or user-token.

Zones that are online are waited for. Zones that are offline learn of the new key
when they are back, and refuse its tokens until then: they are named, and --yes
goes on without them. Zones that nobody can wait for, because they connected without
authentication or run Kuma's control plane (dataplane-token), are named at the end,
and the exit code is 3. A rotation that stops half-way has changed nothing that
signs; the same command takes it up again.

Programs that verify with copies of a zone's key sets fetch them now and then, and
refuse the new key's tokens until they have: --settle waits for them before anything
is signed (docs/verify-elsewhere.md). Where key sets were fetched within a day and
--settle is not given, the command names the zones, and asks on a terminal.

Examples:
  global keys rotate zone-token
  global keys rotate zone-token --settle 90s
  global keys rotate dataplane-token --mesh default --wait 5m --yes`,
		Flags: client.Flags(
			client.MeshFlag(),
			&cli.DurationFlag{Name: "wait", Usage: "how `LONG` to wait for the zones that are online", Value: 30 * time.Second},
			&cli.DurationFlag{Name: "settle", Usage: "how `LONG` to wait between held everywhere and active, for verifiers that keep copies of key sets"},
			&cli.BoolFlag{Name: "yes", Usage: "go on although zones are offline, without being asked"},
			console.OutputFlag()),
		Action: rotateKey,
	}
}

func rotateKey(c *cli.Context) error {
	format, err := console.FormatOf(c)
	if err != nil {
		return err
	}
	if err := console.Arguments(c, 1, 1, "global keys rotate KIND"); err != nil {
		return err
	}
	kind, mesh, err := client.KindAndMesh(c, "KIND", c.Args().First())
	if err != nil {
		return err
	}
	if c.Duration("wait") < 0 {
		return console.Usage(federation.InvalidField("--wait", "must not be negative"))
	}
	if c.Duration("settle") < 0 {
		return console.Usage(federation.InvalidField("--settle", "must not be negative"))
	}
	g, err := client.Connect(c)
	if err != nil {
		return err
	}
	r := rotation{
		global: g, voice: console.VoiceOf(c.App), kind: kind, mesh: mesh,
		wait: c.Duration("wait"), settle: c.Duration("settle"), yes: c.Bool("yes"),
	}
	change, err := r.run(c.Context)
	if err != nil {
		return err
	}
	err = console.Print(c.App.Writer, format, change, func() io.WriterTo {
		return console.Sentence(keyTitle(change.Key) + " is " + change.Key.State)
	})
	r.voice.Hint("issue new tokens, then remove the former key with `global keys remove %s --force`", strings.Join(r.former(c.Context), " "))
	if err != nil {
		return err
	}
	return unreached(change.Key, &r.holding)
}

// rotation leads a kind and mesh to a new key.
type rotation struct {
	global *apiclient.Global
	voice  *console.Voice
	kind   cptoken.Kind
	mesh   string
	wait   time.Duration
	settle time.Duration // between held everywhere and active
	yes    bool

	key     apitypes.Key // the new one
	holding apitypes.Holding
}

// former names, as on a command line, the key that signed before: the youngest of
// those that retire. Where it cannot be asked for now, KEY stands in for it.
func (r *rotation) former(ctx context.Context) []string {
	kid, serial := "KEY", uint64(0)
	keys, err := r.global.Keys(ctx)
	if err != nil {
		keys = nil // the rotation is done, only the hint is less exact
	}
	for _, k := range keys {
		if k.Kind == string(r.kind) && k.Mesh == r.mesh && k.State == string(cptoken.Retiring) && k.Serial > serial {
			kid, serial = k.KID, k.Serial
		}
	}
	words := []string{r.kind.TokenName(), kid}
	if r.mesh != "" {
		words = append(words, "--mesh", r.mesh)
	}
	return words
}

// run prepares the key, waits until the gate is open, and activates it.
func (r *rotation) run(ctx context.Context) (apitypes.KeyChange, error) {
	var none apitypes.KeyChange
	err := r.insist(ctx, false, func() (err error) {
		r.key, err = r.global.PrepareKey(ctx, apitypes.KeyPrepareRequest{Kind: string(r.kind), Mesh: r.mesh})
		return err
	})
	if err != nil {
		return none, err
	}
	r.voice.Say("%s is %s", keyTitle(r.key), r.key.State)
	open, err := r.voice.Wait(ctx, console.Poll{Every: pollEvery, For: r.wait, Check: r.check})
	if err != nil {
		return none, r.stopped(err)
	}
	if !open {
		late := federation.Errorf(federation.Conflict, "%s is not held everywhere after %s: %s",
			keyTitle(r.key), r.wait, describe(r.holding))
		if h := r.holding; len(h.Waiting) > 0 && len(without(h.Waiting, h.Kuma)) == 0 {
			return none, late.WithHint("these zones run Kuma's control plane: put what `global get public-keys --format kuma-zone-config` prints into their configuration, then global keys activate %s %s --mesh %s --force",
				r.kind.TokenName(), r.key.KID, r.mesh)
		}
		return none, late.
			WithHint("nothing signs with it yet; run the same command again to take the rotation up, with a longer --wait if need be")
	}
	if err := r.agree(); err != nil {
		return none, err
	}
	if err := r.unsettled(); err != nil {
		return none, err
	}
	if err := r.settled(ctx); err != nil {
		return none, r.stopped(err)
	}
	var change apitypes.KeyChange
	err = r.insist(ctx, true, func() (err error) {
		change, err = r.global.ActivateKey(ctx, apitypes.KeyStepRequest{Kind: string(r.kind), Mesh: r.mesh, KID: r.key.KID})
		return err
	})
	if err != nil {
		return none, r.stopped(err)
	}
	return change, nil
}

// unsettled has somebody accept that verifiers refuse the new tokens until they fetch
// the key set again. A script has been told, and goes on.
func (r *rotation) unsettled() error {
	zones := copied(&r.holding, lately, time.Now())
	if r.settle > 0 || len(zones) == 0 {
		return nil
	}
	r.voice.Warn("others fetched the key sets of these zones within a day, and refuse tokens of %s until they fetch again: %s", keyTitle(r.key), console.Names(zones))
	r.voice.Hint("`--settle %s` waits for them before anything is signed", settleAdvice)
	if r.yes || !r.voice.Interactive() {
		return nil
	}
	yes, err := r.voice.Confirm(fmt.Sprintf("sign with %s without waiting for them", keyTitle(r.key)))
	if err == nil && !yes {
		err = federation.Errorf(federation.Conflict, "stopped: %s stays prepared", keyTitle(r.key)).
			WithHint("run the same command again with --settle %s", settleAdvice)
	}
	return err
}

// settled waits for verifiers that keep copies of key sets, which nobody can ask.
func (r *rotation) settled(ctx context.Context) error {
	if r.settle == 0 {
		return nil
	}
	r.voice.Say("%s is held; signing with it in %s, when verifiers that keep copies have it too", keyTitle(r.key), r.settle)
	select {
	case <-time.After(r.settle):
		return nil
	case <-ctx.Done():
		return federation.Errorf(federation.Unavailable, "interrupted while verifiers fetch the new key").WithCause(ctx.Err())
	}
}

// insist repeats a step that came to nothing, or of which nobody can tell what it
// came to: a leader that dies is followed by another, and each step is the same
// the second time. begun says that there is something to complete; before that, a
// global that is away is an error at once.
func (r *rotation) insist(ctx context.Context, begun bool, step func() error) error {
	for deadline := time.Now().Add(r.wait); ; {
		err := step()
		code := federation.CodeOf(err)
		again := code == federation.UnknownOutcome || code == federation.Unavailable && begun
		if !again || clock.Ended(deadline, time.Now()) || ctx.Err() != nil {
			return err
		}
		r.voice.Say("%s; trying again", err)
		select {
		case <-time.After(max(federation.AsError(err).RetryAfter, pollEvery)):
		case <-ctx.Done():
		}
	}
}

// check asks who holds the key. A global that does not answer is asked again for
// as long as the wait lasts.
func (r *rotation) check(ctx context.Context) (bool, string, error) {
	h, err := r.global.Holding(ctx, string(r.kind), r.mesh, r.key.KID)
	if federation.CodeOf(err) == federation.Unavailable && ctx.Err() == nil {
		return false, err.Error(), nil
	}
	if err != nil {
		return false, "", err
	}
	r.holding = h.Holding
	held, all := len(h.Held), len(h.Held)+len(h.Waiting)
	return h.Open, r.voice.Bar(held, all) + "waiting for " + describe(h.Holding), nil
}

// agree has somebody accept that zones are offline. Zones that are connected
// without proof, and members that fell silent, are only named: they have the key
// on its way to them, or sign with the former one.
func (r *rotation) agree() error {
	if h := r.holding; len(h.Unproven)+len(h.Silent) > 0 {
		r.voice.Warn("not waited for: %s", console.Groups(console.Group("unauthenticated zones", h.Unproven), console.Group("silent members", h.Silent)))
	}
	offline := r.holding.Offline
	if len(offline) == 0 {
		return nil
	}
	r.voice.Warn("offline, and will refuse tokens of %s until they are back: %s", keyTitle(r.key), console.Names(offline))
	if r.yes {
		return nil
	}
	yes, err := r.voice.Confirm(fmt.Sprintf("sign with %s although %s", keyTitle(r.key), console.Counted(len(offline), "zone is offline", "zones are offline")))
	switch {
	case err != nil:
		return err
	case !yes:
		return federation.Errorf(federation.Conflict, "stopped: %s stays prepared", keyTitle(r.key)).
			WithHint("run the same command again to take the rotation up")
	}
	return nil
}

// stopped tells of a failure after the key was prepared, where the error itself
// has no better advice.
func (r *rotation) stopped(err error) error {
	e := federation.AsError(err)
	if e.Hint != "" {
		return err
	}
	return e.WithHint("%s stays prepared; run the same command again to take the rotation up", keyTitle(r.key))
}

// describe says in a few words who is waited for.
func describe(h apitypes.Holding) string {
	if text := console.Groups(console.Group("zones", h.Waiting), console.Group("members", h.Members)); text != "" {
		return text
	}
	return "the global"
}
