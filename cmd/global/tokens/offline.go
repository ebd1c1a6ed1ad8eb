package tokens

import (
	"encoding/base64"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/disk"
)

// maxPrivateKey bounds a file with a private key; the issue package says what is
// too large for one.
const maxPrivateKey = 64 << 10

const (
	kidFlag        = "kid"
	signingKeyFlag = "signing-key-path"
)

// offlineFlags turn a command that asks the global for a token into one that
// issues it here.
func offlineFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: kidFlag, Usage: "issue offline: the `ID` under which the key's public part is known where tokens are verified"},
		signingKeyPathFlag("issue offline: PEM `FILE` with the private key, - for standard input; no global is asked"),
	}
}

func signingKeyPathFlag(usage string) cli.Flag {
	return &cli.StringFlag{Name: signingKeyFlag, Usage: usage}
}

// offline reports whether the command line asks for a token that is issued here.
// One of its two flags without the other is an error.
func offline(c *cli.Context) (bool, error) {
	kid, path := c.String(kidFlag), c.String(signingKeyFlag)
	switch {
	case !c.IsSet(kidFlag) && !c.IsSet(signingKeyFlag):
		return false, nil
	case kid == "" || path == "":
		return false, console.Usagef("for example --kid key-1 --signing-key-path key-private.pem",
			"--kid and --signing-key-path go together: issuing offline needs both")
	}
	for _, flag := range []string{"address", "token-file", "ca-file", "data-dir"} {
		if c.IsSet(flag) {
			return false, console.Usagef("leave --"+flag+" out, or --kid and --signing-key-path",
				"--%s names a global, and issuing offline asks none", flag)
		}
	}
	return true, nil
}

// issueOffline signs a token on this machine and prints it.
func issueOffline(c *cli.Context, claims cptoken.Claims) error {
	private, err := readPrivateKey(c, c.String(signingKeyFlag))
	if err != nil {
		return err
	}
	defer clear(private)
	key, err := issue.ReadOffline("--"+signingKeyFlag, claims.Kind, claims.Mesh, private)
	if err != nil {
		return err
	}
	token, _, err := key.IssueWithKID(c.String(kidFlag), claims, c.Duration("valid-for"), time.Now())
	if err != nil {
		return err
	}
	return console.PrintSecret(c.App.Writer, token)
}

// readPrivateKey reads a file, or standard input where it is named -.
func readPrivateKey(c *cli.Context, path string) ([]byte, error) {
	in := c.App.Reader
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, federation.Errorf(federation.Invalid, "--%s: %w", signingKeyFlag, err).
				WithHint("make a key with: global generate signing-key --format pem > key-private.pem")
		}
		defer f.Close()
		if err := checkOffline(c, path, f); err != nil {
			return nil, err
		}
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxPrivateKey+1))
	if err != nil {
		return nil, federation.Errorf(federation.Invalid, "--%s: %w", signingKeyFlag, err)
	}
	return data, nil
}

// checkOffline refuses a private key that others may write, and warns of one that they
// may read. It is not refused, as a server's keys are: the documents of users write it
// under an ordinary umask.
func checkOffline(c *cli.Context, path string, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return federation.Errorf(federation.Invalid, "--%s: %w", signingKeyFlag, err)
	}
	warning, err := disk.CheckToken("private key", path, info)
	if warning != "" {
		client.Warn(c)(warning)
	}
	return err
}

// GenerateSigningKey returns the command `global generate signing-key`.
func GenerateSigningKey() *cli.Command {
	return &cli.Command{
		Name:  "signing-key",
		Usage: "make a private key with which tokens can be issued offline",
		Description: `An RSA key of 2048 bits, made on this machine; no global is asked, and none keeps it.
The format pem is PKCS#1 ("RSA PRIVATE KEY"). pem-base64 is the same once more in
base64, as the data of a secret has it: with it a key can be imported as the next
signing key of a global.

Examples:
  (umask 077 && global generate signing-key --format=pem > key-private.pem)
  global generate public-key --signing-key-path=key-private.pem > key-public.pem`,
		Flags: []cli.Flag{&cli.StringFlag{Name: "format", Value: "pem-base64", Usage: "`FORMAT` of the key: pem or pem-base64"}},
		Action: func(c *cli.Context) error {
			format := c.String("format")
			if format != "pem" && format != "pem-base64" {
				return console.Usage(federation.InvalidField("--format", "%.40q is not a format: use pem or pem-base64", format))
			}
			key, err := issue.GeneratePEM()
			if err != nil {
				return err
			}
			defer clear(key)
			if format == "pem-base64" {
				return console.PrintSecret(c.App.Writer, base64.StdEncoding.EncodeToString(key))
			}
			return console.Write(c.App.Writer, key)
		},
	}
}

// GeneratePublicKey returns the command `global generate public-key`.
func GeneratePublicKey() *cli.Command {
	return &cli.Command{
		Name:  "public-key",
		Usage: "show the public part of a private key",
		Description: `Reads PEM or DER of PKCS#1 or PKCS#8, as openssl makes them too, and prints PKCS#1
("RSA PUBLIC KEY"), which verifiers take: in the configuration of a zone, or as a
PublicKey that is applied to the global.

Examples:
  global generate public-key --signing-key-path=key-private.pem > key-public.pem
  openssl genrsa 2048 | global generate public-key --signing-key-path -`,
		Flags: []cli.Flag{signingKeyPathFlag("`FILE` with the private key, - for standard input")},
		Action: func(c *cli.Context) error {
			path, err := console.Required(c, signingKeyFlag, "--signing-key-path key-private.pem")
			if err != nil {
				return err
			}
			private, err := readPrivateKey(c, path)
			if err != nil {
				return err
			}
			defer clear(private)
			public, err := issue.PublicPEM("--"+signingKeyFlag, private)
			if err != nil {
				return err
			}
			return console.Write(c.App.Writer, public)
		},
	}
}
