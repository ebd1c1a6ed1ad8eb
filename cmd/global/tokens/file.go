package tokens

import (
	"os"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// tokenFileFlags let a token be written where no shell is there to redirect it.
func tokenFileFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "out", Usage: "write the token to `FILE`, with mode 0600, instead of standard output"},
		&cli.BoolFlag{Name: "if-missing", Usage: "do nothing where the file of --out is there already"},
	}
}

// haveToken reports that --if-missing finds the file of --out there.
func haveToken(c *cli.Context) (bool, error) {
	path := c.String("out")
	if !c.Bool("if-missing") {
		return false, nil
	}
	if path == "" {
		return false, console.Usagef("for example --out west.token --if-missing", "--if-missing is of use with --out only")
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() == 0 {
		return false, nil
	}
	console.VoiceOf(c.App).Say("%s is there already, no token was issued", path)
	return true, nil
}

// keepToken returns what to do with the answer to a request for a token: write it
// to the file of --out, or print it.
func keepToken(c *cli.Context) func(issued apiclient.Issued, err error) error {
	path := c.String("out")
	if path == "" {
		return printToken(c)
	}
	return func(issued apiclient.Issued, err error) error {
		if err != nil {
			return err
		}
		warnWaiting(c, issued)
		return tlsutil.WriteFile(path, []byte(issued.Token), 0o600)
	}
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
