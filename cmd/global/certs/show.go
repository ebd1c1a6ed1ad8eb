package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

func certsShow() *cli.Command {
	return &cli.Command{
		Name:      "show",
		Usage:     "show whose a certificate is and when it ends",
		ArgsUsage: "FILE…",
		Description: `Reads PEM files on this machine; nothing is verified and no global is asked. When
the certificates in use by a node end is in its status.

Examples:
  global certs show ca.crt
  global certs show /etc/meridian/*.crt -o json`,
		Flags: []cli.Flag{console.OutputFlag()},
		Action: func(c *cli.Context) error {
			format, err := console.FormatOf(c)
			if err != nil {
				return err
			}
			if err := console.Arguments(c, 1, -1, "global certs show FILE…"); err != nil {
				return err
			}
			list, err := describeFiles(c.Args().Slice()...)
			if err != nil {
				return err
			}
			warnOfEnds(console.VoiceOf(c.App), list, time.Now())
			return showCertificates(c, format, list)
		},
	}
}

// certificate is what is shown of one.
type certificate struct {
	File        string    `json:"file"`
	Subject     string    `json:"subject"` // the identity, or the subject where there is none
	CA          bool      `json:"ca"`
	Issuer      string    `json:"issuer"`
	Hosts       []string  `json:"hosts"`
	NotBefore   time.Time `json:"notBefore"`
	NotAfter    time.Time `json:"notAfter"`
	DaysLeft    int       `json:"daysLeft"`
	Serial      string    `json:"serial"`
	Fingerprint string    `json:"sha256"`
}

// describeFiles reads every certificate of the files.
func describeFiles(paths ...string) ([]certificate, error) {
	var list []certificate
	for _, path := range paths {
		certs, err := readCertificates(path)
		if err != nil {
			return nil, err
		}
		for _, cert := range certs {
			list = append(list, describeCertificate(path, cert, time.Now()))
		}
	}
	return list, nil
}

// warnOfEnds says which certificates end soon or have.
func warnOfEnds(voice *console.Voice, list []certificate, now time.Time) {
	for _, s := range list {
		switch {
		case clock.Ended(s.NotAfter, now):
			voice.Warn("%s in %s has ended", s.Subject, s.File)
		case clock.Ended(s.NotAfter, now.Add(tlsutil.WarnAhead)):
			voice.Warn("%s in %s ends in %s", s.Subject, s.File, console.Span(clock.Left(s.NotAfter, now)))
		}
	}
}

func showCertificates(c *cli.Context, format console.Format, list []certificate) error {
	return console.Print(c.App.Writer, format, console.Items(list), func() io.WriterTo { return certificateLines(list, time.Now()) })
}

// showMade prints the certificates that a command has just made.
func showMade(c *cli.Context, paths ...string) error {
	list, err := describeFiles(paths...)
	if err != nil {
		return err
	}
	return showCertificates(c, console.FormatTable, list)
}

func describeCertificate(path string, cert *x509.Certificate, now time.Time) certificate {
	sum := sha256.Sum256(cert.Raw)
	return certificate{
		File: path, Subject: tlsutil.SubjectOf(cert), CA: cert.IsCA, Issuer: cert.Issuer.String(), Hosts: tlsutil.Hosts(cert),
		NotBefore: cert.NotBefore.UTC(), NotAfter: cert.NotAfter.UTC(),
		DaysLeft: tlsutil.Expiry{NotAfter: cert.NotAfter}.DaysLeft(now),
		Serial:   cert.SerialNumber.Text(16), Fingerprint: hex.EncodeToString(sum[:]),
	}
}

// certificateLines shows the certificates one after the other.
func certificateLines(list []certificate, now time.Time) io.WriterTo {
	var out bytes.Buffer
	for i, s := range list {
		if i > 0 {
			out.WriteByte('\n')
		}
		var f console.Fields
		f.Add("file", s.File)
		f.Add("of", s.Subject)
		if s.CA {
			f.Add("is", "a certificate authority")
		}
		f.Add("issuer", s.Issuer)
		f.Add("hosts", strings.Join(s.Hosts, ", "))
		f.Add("ends", console.Moment(s.NotAfter, now, ""))
		f.Add("sha256", s.Fingerprint)
		_, _ = f.WriteTo(&out) // a bytes.Buffer takes everything
	}
	return &out
}
