package certs

import (
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

func certsTrusted() *cli.Command {
	return &cli.Command{
		Name:  "trusted",
		Usage: "show which CAs the members and zones trust",
		Description: `What a CA is replaced by: certificates of a new CA are used, and a former one dropped,
when everybody trusts the new one. With --ca the exit code is 3 while somebody does
not, and who it is goes to standard error.

Examples:
  global certs trusted
  global certs trusted --ca new-ca.crt`,
		Flags: client.Flags(console.OutputFlag(), &cli.StringFlag{Name: "ca", Usage: "PEM `FILE` of the CA that everybody is to trust"}),
		Action: func(c *cli.Context) error {
			if err := console.NoArguments(c); err != nil {
				return err
			}
			format, err := console.FormatOf(c)
			if err != nil {
				return err
			}
			wanted := ""
			if path := c.String("ca"); path != "" {
				cas, err := readCertificates(path)
				if err != nil {
					return err
				}
				wanted = tlsutil.Fingerprint(cas[0])
			}
			g, err := client.Connect(c)
			if err != nil {
				return err
			}
			trust, err := g.Trust(c.Context)
			if err != nil {
				return err
			}
			if err := console.Print(c.App.Writer, format, trust, func() io.WriterTo { return trustTable(trust) }); err != nil || wanted == "" {
				return err
			}
			if who := missed(trust, missesCA(wanted)); len(who) > 0 {
				return console.Pending(federation.Errorf(federation.Conflict, "%s", strings.Join(who, "; ")).
					WithHint("use no certificate of this CA, and drop no other, before they trust it"))
			}
			return nil
		},
	}
}

func trustTable(trust apitypes.Trust) io.WriterTo {
	table := console.NewTable("WHO", "NAME", "ADDRESS", "STATE", "TRUSTS", "SHOWS")
	short := func(ca string) string {
		if digest, ok := strings.CutPrefix(ca, "sha256:"); ok && len(digest) > shownDigits {
			return digest[:shownDigits]
		}
		return ca
	}
	for _, t := range trust.Items {
		var cas []string
		for _, ca := range t.Trusts {
			cas = append(cas, short(ca))
		}
		table.Row(t.Role, t.Name, t.Address, t.State, strings.Join(cas, " "), short(t.Shows))
	}
	return table
}

// shownDigits is how much of a fingerprint a table shows, enough to tell CAs apart;
// `global certs show` has the whole of it.
const shownDigits = 16
