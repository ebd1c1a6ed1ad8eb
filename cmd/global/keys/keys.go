// Package keys has the commands that take signing keys through their life.
package keys

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

// Command returns the commands `global keys`.
func Command() *cli.Command {
	return &cli.Command{
		Name:  "keys",
		Usage: "list and rotate signing keys, or take them through their life step by step",
		Description: `A key is prepared (held everywhere, signs nothing), then active (signs), then
retiring (verifies only), then removed. Of a kind and mesh one key signs.`,
		Subcommands: []*cli.Command{keysList(), keysRotate(), keysPrepare(), keysActivate(), keysRetire(), keysRemove()},
	}
}

func keysList() *cli.Command {
	return &cli.Command{
		Name:  "list",
		Usage: "show every key and its state",
		Description: `LIVE is how many sessions are open at the zones with tokens of the key, as the zones
said last; of control-plane-token keys how many control planes are connected. A key that
others sign with is "registered".

Who has not got a key yet is shown by --held, with the name of its secret:
  global keys list --held zone-token-signing-key-2

Examples:
  global keys list
  global keys list -o json`,
		Flags: client.Flags(
			&cli.StringFlag{Name: "held", Usage: "show which zones and members have the key of this `NAME`, and which have not"},
			console.OutputFlag()),
		Action: func(c *cli.Context) error {
			format, err := console.FormatOf(c)
			if err != nil {
				return err
			}
			g, err := client.Connect(c)
			if err != nil {
				return err
			}
			keys, err := g.Keys(c.Context)
			if err != nil {
				return err
			}
			if name := c.String("held"); name != "" {
				return heldKey(c, format, g, keys, name)
			}
			zones, err := g.ZoneStates(c.Context)
			if err != nil && federation.CodeOf(err) != federation.Forbidden {
				return err
			}
			listed := make([]listedKey, len(keys))
			for i, k := range keys {
				listed[i] = listedKey{Key: k, Live: total(usesOf(k, zones))}
			}
			return console.Print(c.App.Writer, format, console.Items(listed), func() io.WriterTo { return keyTable(listed) })
		},
	}
}

// listedKey is a key and how much is open with its tokens.
type listedKey struct {
	apitypes.Key
	Live uint64 `json:"live"`
}

func keyTable(keys []listedKey) *console.Table {
	t := console.NewTable("KIND", "MESH", "KEY", "STATE", "LIVE", "NAME", "AGE").Wide("BY", "FINGERPRINT")
	for _, k := range keys {
		state := k.State
		if k.Registered {
			state = "registered"
		}
		if k.Broken {
			state += ", broken"
		}
		t.Row(client.TokenName(k.Kind), k.Mesh, k.KID, state, strconv.FormatUint(k.Live, 10), k.Name, client.Age(k.Created), k.By, k.Fingerprint)
	}
	return t
}

// keyTitle names a key in a sentence.
func keyTitle(k apitypes.Key) string {
	if k.Name != "" {
		return k.Name
	}
	return fmt.Sprintf("%s key %s", client.TokenName(k.Kind), k.KID)
}

func keysRemove() *cli.Command {
	return &cli.Command{
		Name:      "remove",
		Usage:     "remove a key: tokens that it signed are refused from then on",
		ArgsUsage: "KIND KEY",
		Description: `KIND is control-plane-token, zone-token, dataplane-token or user-token; KEY is the
key's number or the name of its secret. The active key cannot be removed: rotate
first. A key whose tokens may still be valid is removed with --force only, and on
a terminal you are asked once more. With --compromised the command names the zones
that have not dropped the key yet, and those whose key sets others fetched, who may
verify with copies; it exits with 3 where there are any.

Without it, the exit code is 3 where zones are offline, run Kuma's control plane or connected
without authentication, and may go on accepting the tokens.

--dry-run changes nothing and says what the removal would cut off, open sessions by zone
and tokens that are valid, and whether it would be refused.

Examples:
  global keys remove zone-token 1 --dry-run
  global keys remove zone-token 1 --force
  global keys remove zone-token zone-token-signing-key-1 --force
  global keys remove dataplane-token 1 --mesh default --compromised`,
		Flags: client.Flags(
			client.MeshFlag(),
			&cli.BoolFlag{Name: "force", Usage: "remove it although tokens are cut off"},
			&cli.BoolFlag{Name: "compromised", Usage: "the key is in a stranger's hands: remove it without waiting for anybody"},
			dryRunFlag(),
			&cli.BoolFlag{Name: "yes", Usage: "do not ask, also on a terminal"},
			console.OutputFlag()),
		Action: removeKey,
	}
}

func removeKey(c *cli.Context) error {
	format, g, key, err := namedKey(c, "global keys remove KIND KEY")
	if err != nil {
		return err
	}
	if c.Bool("dry-run") {
		return showUse(c, format, g, key, "removing")
	}
	if err := agreeToRemove(c, key); err != nil {
		return err
	}
	change, err := g.RemoveKey(c.Context, apitypes.KeyStepRequest{
		Kind: key.Kind, Mesh: key.Mesh, KID: key.KID, Force: c.Bool("force"), Compromised: c.Bool("compromised"),
	})
	if err != nil {
		return err
	}
	err = console.Print(c.App.Writer, format, change, func() io.WriterTo {
		text := keyTitle(key) + " is removed"
		if change.CutOff != "" {
			text += "; refused from now on: " + change.CutOff
		}
		return console.Sentence(text)
	})
	if err != nil {
		return err
	}
	if c.Bool("compromised") {
		return pending(key, change.Holding, time.Now())
	}
	if zones := copied(change.Holding, always, time.Now()); len(zones) > 0 {
		console.VoiceOf(c.App).Warn("others fetched the key sets of these zones, and accept tokens of %s until they fetch again: %s", keyTitle(key), console.Names(zones))
	}
	key.State = change.Key.State
	return unreached(key, change.Holding)
}

// agreeToRemove asks who sits at a terminal before tokens are cut off. In a
// script --force is the answer already.
func agreeToRemove(c *cli.Context, key apitypes.Key) error {
	voice := console.VoiceOf(c.App)
	if !c.Bool("force") && !c.Bool("compromised") || c.Bool("yes") || !voice.Interactive() {
		return nil
	}
	yes, err := voice.Confirm(fmt.Sprintf("remove %s and refuse every token that it signed", keyTitle(key)))
	if err == nil && !yes {
		err = federation.Errorf(federation.Conflict, "stopped: %s stays", keyTitle(key)).
			WithHint("give --yes to go on without being asked")
	}
	return err
}

// findKey returns the key that a user names by its kid or by its secret.
func findKey(c *cli.Context, g *apiclient.Global, kind cptoken.Kind, mesh, word string) (apitypes.Key, error) {
	keys, err := g.Keys(c.Context)
	if err != nil {
		return apitypes.Key{}, err
	}
	for _, k := range keys {
		if k.Kind == string(kind) && k.Mesh == mesh && (k.KID == word || k.Name != "" && k.Name == word) {
			return k, nil
		}
	}
	what := kind.TokenName()
	if mesh != "" {
		what += " of mesh " + mesh
	}
	return apitypes.Key{}, federation.Errorf(federation.NotFound, "there is no key %.80q for %s", word, what).
		WithHint("`global keys list` shows the keys")
}
