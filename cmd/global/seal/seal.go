// Package seal has the commands over seal keys, which seal signing keys on disk, and over
// the cluster secret.
package seal

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

// Command returns the commands `global seal`.
func Command() *cli.Command {
	return &cli.Command{
		Name:  "seal",
		Usage: "see and rotate the key that seals signing keys",
		Description: `Signing keys are stored sealed under a seal key that is in a file of each node and
nowhere else. The file may have several, one in a line: the first is the one that a
rotation seals under, the others open what was sealed before.`,
		Subcommands: []*cli.Command{sealStatus(), sealRotate()},
	}
}

func sealStatus() *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "show which seal keys a node holds and which it needs, and the generation of the cluster secret",
		Description: `Ask every node, with its own --address, before a seal key is dropped.

Examples:
  global seal status
  global seal status -o json`,
		Flags: client.Flags(console.OutputFlag()),
		Action: func(c *cli.Context) error {
			format, err := console.FormatOf(c)
			if err != nil {
				return err
			}
			if err := console.NoArguments(c); err != nil {
				return err
			}
			g, err := client.Connect(c)
			if err != nil {
				return err
			}
			s, err := g.Seal(c.Context)
			if err != nil {
				return err
			}
			if !s.CanSign {
				console.VoiceOf(c.App).Warn("node %s can neither sign nor admit zones: it lacks the seal key of %s", s.NodeID, strings.Join(s.CannotOpen, ", "))
			}
			return console.Print(c.App.Writer, format, s, func() io.WriterTo { return status(s) })
		},
	}
}

// status is the table of seal keys with the generation of the cluster secret below it.
type status apitypes.Seal

// WriteTo implements [io.WriterTo].
func (s status) WriteTo(w io.Writer) (int64, error) {
	var text bytes.Buffer
	if _, err := sealTable(apitypes.Seal(s)).WriteTo(&text); err != nil {
		return 0, err
	}
	if s.ClusterSecret == 0 {
		text.WriteString("\nThe cluster has no secret yet.\n")
	} else {
		fmt.Fprintf(&text, "\nThe cluster secret is at generation %d.\n", s.ClusterSecret)
	}
	return text.WriteTo(w)
}

func sealTable(s apitypes.Seal) *console.Table {
	t := console.NewTable("SEAL KEY", "HERE", "SEALS NEW KEYS", "SIGNING KEYS")
	for _, k := range s.Keys {
		t.Row(k.ID, yesNo(k.Held), yesNo(k.ID == s.Active), strconv.Itoa(k.Sealed))
	}
	return t
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func sealRotate() *cli.Command {
	return &cli.Command{
		Name:  "rotate",
		Usage: "seal every signing key anew under the first seal key of the leader's file, or rotate the cluster secret",
		Description: `First put the new seal key in front in the file of every node, keep the old one in
the next line, and start the nodes again, one after the other. An interrupted
rotation is completed by running it again. No zone and no token notices it. The cluster
makes a new generation of its secret, too, from which the keys of backups are derived.

With --cluster-secret that is all that is done: no signing key is touched. It needs no
restart. A backup under a former generation is restored with --secret-generation.

Examples:
  global generate seal-key > new.key && cat new.key seal.key > both.key
  global seal rotate
  global seal rotate --cluster-secret`,
		Flags: client.Flags(console.OutputFlag(),
			&cli.BoolFlag{Name: "cluster-secret", Usage: "make a new generation of the cluster secret instead"}),
		Action: func(c *cli.Context) error {
			format, err := console.FormatOf(c)
			if err != nil {
				return err
			}
			if err := console.NoArguments(c); err != nil {
				return err
			}
			g, err := client.Connect(c)
			if err != nil {
				return err
			}
			if c.Bool("cluster-secret") {
				return rotateSecret(c, g, format)
			}
			done, err := g.RotateSeal(c.Context)
			if err != nil {
				return err
			}
			return console.Print(c.App.Writer, format, done, func() io.WriterTo {
				text := fmt.Sprintf("%d keys are sealed anew under seal key %s", done.Keys, done.Under)
				if len(done.Dropped) > 0 {
					text += "; nothing but older backups needs " + strings.Join(done.Dropped, ", ") + " any more"
				}
				if done.ClusterSecret > 0 {
					text += fmt.Sprintf("; the cluster secret is at generation %d", done.ClusterSecret)
				}
				return console.Sentence(text)
			})
		},
	}
}

// rotateSecret makes a new generation of the cluster secret instead of a rotation.
func rotateSecret(c *cli.Context, g *apiclient.Global, format console.Format) error {
	done, err := g.RotateSecret(c.Context)
	if err != nil {
		return err
	}
	return console.Print(c.App.Writer, format, done, func() io.WriterTo {
		return console.Sentence(fmt.Sprintf("generation %d of the cluster secret is in use", done.Generation))
	})
}

// Generate returns the command `global generate seal-key`.
func Generate() *cli.Command {
	return &cli.Command{
		Name:  "seal-key",
		Usage: "make the key under which a node seals signing keys",
		Description: `Made on this machine; no global is asked. Every node of a cluster needs the same
one, and without it the cluster's keys cannot be opened again: keep a copy.

Examples:
  (umask 077 && global generate seal-key > seal.key)`,
		Action: func(c *cli.Context) error {
			line, err := issue.NewSealKey()
			if err != nil {
				return err
			}
			return console.Write(c.App.Writer, line)
		},
	}
}
