package tokens

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/cptoken"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/tokenfile"
)

// Inspect returns the command `global inspect token`.
func Inspect() *cli.Command {
	return &cli.Command{
		Name:      "token",
		Usage:     "show what a token says, on this machine",
		ArgsUsage: "[FILE|-]",
		Description: `No node is asked and nothing is verified: not the signature, not whether the key
exists, not whether the token is revoked. Whether a zone accepts a token is
answered by ` + "`zone verify`" + `. The token itself is not shown. Without FILE it is read from
standard input.

Examples:
  global inspect token egress.token
  global generate zone-token --zone west | global inspect token -o json`,
		Flags: []cli.Flag{console.OutputFlag()},
		Action: func(c *cli.Context) error {
			format, err := console.FormatOf(c)
			if err != nil {
				return err
			}
			usage := "global inspect token [FILE|-]"
			if err := console.Arguments(c, 0, 1, usage); err != nil {
				return err
			}
			file := c.Args().First()
			if file == "" {
				if console.IsTerminal(c.App.Reader) {
					return console.Usagef("usage: "+usage, "name the file of a token, or - for standard input")
				}
				file = "-"
			}
			raw, err := tokenfile.ReadArgument(file, c.App.Reader, client.Warn(c))
			if err != nil {
				return err
			}
			token, err := cptoken.Inspect(raw)
			if err != nil {
				return err
			}
			console.VoiceOf(c.App).Warn("nothing is verified: this is what the token says of itself")
			return console.Print(c.App.Writer, format, inspected(token), func() io.WriterTo { return tokenLines(token, time.Now()) })
		},
	}
}

// inspection is a token as JSON and YAML show it.
type inspection struct {
	Verified     bool            `json:"verified"` // always false
	Kind         string          `json:"kind"`     // what the claims look like, or empty
	RevocationID string          `json:"revocationId"`
	Header       json.RawMessage `json:"header"`
	Claims       json.RawMessage `json:"claims"`
}

func inspected(t *cptoken.Token) inspection {
	return inspection{
		Kind: string(t.Claims.Kind), RevocationID: t.RevocationID(),
		Header: json.RawMessage(t.HeaderJSON()), Claims: json.RawMessage(t.ClaimsJSON()),
	}
}

func tokenLines(t *cptoken.Token, now time.Time) io.WriterTo {
	var f console.Fields
	kind := "unknown: the claims look like no token of ours"
	if t.Claims.Kind.Valid() {
		kind = t.Claims.Kind.TokenName()
	}
	f.Add("kind", kind)
	f.Add("algorithm", t.Alg)
	f.Add("key (kid)", t.KID)
	if t.Claims.ID == "" {
		f.Add("id (jti)", "none, it is revoked as "+t.RevocationID())
	}
	f.Add("id (jti)", t.Claims.ID)
	addClaims(&f, &t.Claims)
	f.Add("issued", console.Moment(t.Claims.IssuedAt, now, "not said"))
	f.Add("not before", console.Moment(t.Claims.NotBefore, now, ""))
	f.Add("expires", console.Moment(t.Claims.ExpiresAt, now, "never"))
	return &f
}

// addClaims adds what the kind of the token is about.
func addClaims(f *console.Fields, c *cptoken.Claims) {
	f.Add("zone", c.Zone)
	if c.TokenSerialNumber != 0 {
		f.Add("serial", fmt.Sprint(c.TokenSerialNumber))
	}
	var scopes []string
	for _, s := range c.Scope {
		scopes = append(scopes, string(s))
	}
	f.Add("scope", strings.Join(scopes, ", "))
	f.Add("mesh", c.Mesh)
	f.Add("name", c.Name)
	f.Add("type", c.Type)
	var tags []string
	for name, values := range c.Tags {
		tags = append(tags, name+"="+strings.Join(values, ","))
	}
	slices.Sort(tags)
	f.Add("tags", strings.Join(tags, " "))
	f.Add("workload", c.Workload)
	f.Add("audience", strings.Join(c.Audience, ", "))
	f.Add("groups", strings.Join(c.Groups, ", "))
}
