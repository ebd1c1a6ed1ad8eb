package certs

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

func certsExpel() *cli.Command {
	return &cli.Command{
		Name:      "expel",
		Usage:     "refuse a certificate's key on every port",
		ArgsUsage: "FILE|sha256:KEY",
		Description: `For the certificate of a node, zone or user that was stolen: every member refuses it and
ends its connections within a second. The CA stays. It is named by its PEM file, or by its key as
global certs expelled shows it. The certificate that the leader shows is expelled with --force only:
zones refuse a member whose certificate was expelled until it shows one of another key, and where no
other member is left they do not hear of it when it is readmitted. Zones that run Kuma's control
plane heed no expulsion of a member's certificate: they are named, and the exit code is 3.

Examples:
  global certs expel --reason "laptop lost" jane.crt
  global certs expel \
     sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08`,
		Flags: client.Flags(
			&cli.StringFlag{Name: "reason", Usage: "why, a `TEXT` for the list"},
			&cli.BoolFlag{Name: "force", Usage: "expel it although the leader shows it"}),
		Action: func(c *cli.Context) error {
			if err := console.Arguments(c, 1, 1, "global certs expel FILE"); err != nil {
				return err
			}
			id, subject, err := keyNamed(c.Args().First())
			if err != nil {
				return err
			}
			g, err := client.Connect(c)
			if err != nil {
				return err
			}
			result, err := g.Expel(c.Context, apitypes.ExpelRequest{ID: id, Subject: subject, Reason: c.String("reason"), Force: c.Bool("force")})
			if err != nil {
				return err
			}
			who := "every member and every connected zone refuses "
			if len(result.Warnings) > 0 {
				who = "every member and every connected zone of Meridian's refuses "
			}
			if err := console.Tell(c, "expelled: "+who+called(id, subject)); err != nil {
				return err
			}
			return client.Warned(c, "the expulsion", result.Warnings)
		},
	}
}

func certsReadmit() *cli.Command {
	return &cli.Command{
		Name:      "readmit",
		Usage:     "take the expulsion of a certificate's key back",
		ArgsUsage: "FILE|sha256:KEY",
		Description: `Every member and every connected zone takes it again. A zone that refused every member is not
connected, and hears of it once a member shows it a certificate of another key.

Examples:
  global certs readmit jane.crt`,
		Flags: client.Flags(),
		Action: func(c *cli.Context) error {
			if err := console.Arguments(c, 1, 1, "global certs readmit FILE"); err != nil {
				return err
			}
			id, subject, err := keyNamed(c.Args().First())
			if err != nil {
				return err
			}
			g, err := client.Connect(c)
			if err != nil {
				return err
			}
			if err := g.Readmit(c.Context, id); err != nil {
				return err
			}
			console.VoiceOf(c.App).Hint("connected zones hear of it; of a member's certificate, a zone that refuses every member does not: give a member one of a new key, see docs/certificates.md")
			return console.Tell(c, "readmitted: "+called(id, subject))
		},
	}
}

func certsExpelled() *cli.Command {
	return &cli.Command{
		Name:  "expelled",
		Usage: "list the nodes and certificates that are refused on every port",
		Description: `Examples:
  global certs expelled
  global certs expelled -o json`,
		Flags: client.Flags(console.OutputFlag()),
		Action: func(c *cli.Context) error {
			format, g, err := client.ConnectToShow(c)
			if err != nil {
				return err
			}
			list, err := g.Expelled(c.Context)
			if err != nil {
				return err
			}
			return console.Print(c.App.Writer, format, list, func() io.WriterTo {
				table := console.NewTable("WHOSE", "BY", "AT", "REASON").Wide("ID")
				for _, e := range list.Items {
					table.Row(cmp.Or(e.Subject, e.ID), e.By, e.At.Format("2006-01-02T15:04:05Z"), e.Reason, e.ID)
				}
				return table
			})
		},
	}
}

// called names a certificate's key, and whose it is where that is known.
func called(id, subject string) string {
	if subject == "" {
		return id
	}
	return "the certificate of " + subject + " (" + id + ")"
}

// keyNamed returns the name of a certificate's key, and whose it is where a file tells.
func keyNamed(arg string) (id, subject string, err error) {
	if strings.HasPrefix(arg, "sha256:") {
		return arg, "", nil
	}
	data, err := os.ReadFile(arg)
	if err != nil {
		return "", "", federation.Errorf(federation.Invalid, "reading a certificate: %w", err).
			WithHint("name its PEM file, or its key as sha256:…")
	}
	certs, err := tlsutil.ParseCertificates(data)
	if err == nil && len(certs) == 0 {
		err = fmt.Errorf("there is no PEM certificate in it")
	}
	if err != nil {
		return "", "", federation.Errorf(federation.Invalid, "%s: %w", arg, err).WithHint("name the PEM file of the certificate")
	}
	if certs[0].IsCA {
		return "", "", federation.Errorf(federation.Invalid, "%s is the certificate of a CA, %s: nobody shows it, and expelling it would refuse nobody", arg, tlsutil.SubjectOf(certs[0])).
			WithHint("name the file that holds the certificate itself; a CA is replaced, see docs/certificates.md")
	}
	return tlsutil.KeyOf(certs[0]), tlsutil.SubjectOf(certs[0]), nil
}
