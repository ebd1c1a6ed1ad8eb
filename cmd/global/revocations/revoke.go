// Package revocations has the commands that revoke tokens and show what is revoked.
package revocations

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/tokenfile"
)

// Revoke returns the command `global revoke`.
func Revoke() *cli.Command {
	return &cli.Command{
		Name:      "revoke",
		Usage:     "revoke tokens: every zone refuses them from then on",
		ArgsUsage: "[JTI…]",
		Description: `A token is named by its id, the claim jti, or by the token itself in a file. Of a
token the global takes kind, mesh, id and expiry, once it has verified that the
token is one of its own. Here --token-file is the token to revoke; your own user
token is given with --user-token-file or the environment.

A file of ids, one a line or separated by commas, is one change: one bad line and
nothing is revoked. With --before everything of a kind is refused that was issued
earlier, with --kid only what that key signed. --withdraw takes back what is named
in the same way: ids, a file of them, or with --cut-off the cut-off.

Up to 5,000 ids are compared with those of the tokens that are known, from the audit
logs of the members. What is part of a known id is refused. An id that no token is
known to have is revoked, with a warning: of tokens that others sign, offline or with
Kuma, no id is known here. --exactly compares nothing.

On a terminal, or with --wait, the command waits until the zones hold the change, says which
do not and since when they are offline, and ends with the exit code 3 where one does not.

Examples:
  global revoke --token-file stolen.token --reason "laptop lost"
  global revoke 0e120ec9-6b42-495d-9758-07b59fe86fb9 --kind zone-token
  global revoke JTI --kind dataplane-token --mesh default --wait 30s
  global revoke --kind zone-token --ids-file leaked.txt --reason "backup stolen"
  global revoke --kind user-token --before 2026-11-22T06:30:00Z --reason "audit"
  global revoke --kind zone-token --withdraw JTI
  global revoke --kind user-token --withdraw --cut-off`,
		Flags: withoutFlag("token-file", client.Flags(
			&cli.StringFlag{Name: "token-file", Usage: "`FILE` with the token to revoke, - for standard input"},
			&cli.StringFlag{Name: "ids-file", Usage: "`FILE` with the ids to revoke, - for standard input"},
			&cli.StringFlag{Name: "before", Usage: "refuse everything that was issued before this `TIME`: 2026-11-22T06:30:00Z, 2026-11-22, now, or 24h for a day ago"},
			&cli.StringFlag{Name: "kid", Usage: "with --before: only what the key `KID` signed"},
			exactlyFlag(),
			&cli.BoolFlag{Name: "withdraw", Usage: "take back: the tokens are accepted again"},
			&cli.BoolFlag{Name: "cut-off", Usage: "with --withdraw: take back the cut-off"},
			&cli.StringFlag{Name: "kind", Usage: "the `KIND` of the tokens: control-plane-token, zone-token, dataplane-token or user-token"},
			client.MeshFlag(),
			&cli.StringFlag{Name: "reason", Usage: "`WHY`, kept with the revocation"},
			&cli.StringFlag{Name: "user-token-file", Usage: "`FILE` with your user token [GLOBAL_TOKEN_FILE, or the token itself in GLOBAL_TOKEN]"},
			waitFlag(),
			&cli.BoolFlag{Name: "yes", Usage: "do not ask, also on a terminal"},
			console.OutputFlag())),
		Action: revoke,
	}
}

// withoutFlag drops all flags of a name but the first: revoke has a meaning of
// its own for one that clients share.
func withoutFlag(name string, flags []cli.Flag) []cli.Flag {
	var kept []cli.Flag
	seen := false
	for _, f := range flags {
		if f.Names()[0] == name {
			if seen {
				continue
			}
			seen = true
		}
		kept = append(kept, f)
	}
	return kept
}

func revoke(c *cli.Context) error {
	format, err := console.FormatOf(c)
	if err != nil {
		return err
	}
	if err := oneWay(c); err != nil {
		return err
	}
	switch ids := console.Words(c.Args().Slice()); {
	case c.String("ids-file") != "":
		return revokeFile(c, format)
	case c.IsSet("before") || c.Bool("cut-off"):
		return cutOff(c, format)
	case c.Bool("withdraw"):
		return withdrawIDs(c, format, ids)
	}
	requests, err := revocations(c)
	if err != nil {
		return err
	}
	g, err := client.ConnectAs(c, c.String("user-token-file"))
	if err != nil {
		return err
	}
	total := apitypes.RevokeResult{IDs: []string{}}
	for _, r := range requests {
		result, err := g.Revoke(c.Context, r)
		if err != nil {
			if len(total.IDs) > 0 {
				console.VoiceOf(c.App).Warn("the first %d of the ids are revoked", len(total.IDs))
			}
			return err
		}
		result.Revoked += total.Revoked
		result.IDs = append(total.IDs, result.IDs...)
		result.Compared = together(total.Compared, result.Compared)
		total = result
	}
	if err := console.Print(c.App.Writer, format, total, func() io.WriterTo { return revoked(total) }); err != nil {
		return err
	}
	tellUnknown(console.VoiceOf(c.App), total.Kind, total.Mesh, total.Compared)
	return inForce(c, g, total.Revision, total.InForce, scope{total.Kind, total.Mesh, total.Unheeding, total.Warnings})
}

func revoked(r apitypes.RevokeResult) io.WriterTo {
	what := client.TokenName(r.Kind)
	if r.Mesh != "" {
		what += " of mesh " + r.Mesh
	}
	text := fmt.Sprintf("revoked %s at revision %s", console.Counted(len(r.IDs), what, what+"s"), r.Revision)
	if len(r.IDs) == 1 {
		text = fmt.Sprintf("revoked %s %s at revision %s", what, r.IDs[0], r.Revision)
	}
	if already := len(r.IDs) - r.Revoked; already > 0 {
		text += fmt.Sprintf(" (%d already revoked before)", already)
	}
	return console.Sentence(text + unknown(r.Compared, len(r.IDs)))
}

// oneWay checks that the command line names what is to be revoked in one way only,
// and that the flags fit it.
func oneWay(c *cli.Context) error {
	ways := 0
	for _, given := range []bool{c.NArg() > 0, c.String("token-file") != "", c.String("ids-file") != "", c.IsSet("before"), c.Bool("cut-off")} {
		if given {
			ways++
		}
	}
	if n := len(c.String("reason")); n > federation.MaxReason {
		return console.Usage(federation.InvalidField("--reason", "has %d bytes, at most %d are kept", n, federation.MaxReason))
	}
	if c.Duration("wait") < 0 {
		return console.Usagef("give a time such as 30s", "--wait is less than 0")
	}
	switch {
	case ways > 1:
		return console.Usagef("your own user token is given with --user-token-file or GLOBAL_TOKEN_FILE",
			"revoke takes either ids, or --token-file with the token to revoke, or --ids-file, or --before")
	case c.IsSet("kid") && !c.IsSet("before") && !c.Bool("cut-off"):
		return console.Usagef("add --before TIME", "--kid is for a cut-off: --before is missing")
	case c.Bool("cut-off") && !c.Bool("withdraw"):
		return console.Usagef("set one with --before TIME, take it back with --withdraw --cut-off", "--cut-off goes with --withdraw")
	case c.Bool("withdraw") && (c.IsSet("before") || c.String("token-file") != ""):
		return console.Usagef("--withdraw takes ids, --ids-file or --cut-off", "--withdraw does not go with --before or --token-file")
	case c.Bool("withdraw") && ways == 0:
		return console.Usagef("name the ids (claim jti), or --ids-file, or --cut-off", "nothing to withdraw")
	}
	return nil
}

// kindOfIDs reads --kind, which everything but a token itself needs.
func kindOfIDs(c *cli.Context) (cptoken.Kind, string, error) {
	if c.String("kind") == "" {
		return "", "", console.Usagef("add --kind zone-token, or whichever kind they are of",
			"--kind is missing: an id is revoked among tokens of its kind only")
	}
	return client.KindAndMesh(c, "--kind", c.String("kind"))
}

// idsPerRequest keeps a request of the longest ids under the API's 1 MiB.
const idsPerRequest = 5000

// revocations returns what to send: one request for a token, or as many as the
// ids need.
func revocations(c *cli.Context) ([]apitypes.RevokeRequest, error) {
	file, ids := c.String("token-file"), console.Words(c.Args().Slice())
	switch {
	case file != "":
		return revokeToken(c, file)
	case len(ids) == 0:
		return nil, console.Usagef("name the ids (claim jti), or the token's file with --token-file", "nothing to revoke")
	}
	kind, mesh, err := kindOfIDs(c)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if len(id) > cptoken.MaxIDLen {
			return nil, console.Usage(federation.InvalidField("JTI", "%.40q… has more than %d characters", id, cptoken.MaxIDLen))
		}
	}
	var requests []apitypes.RevokeRequest
	for len(ids) > 0 {
		n := min(len(ids), idsPerRequest)
		requests = append(requests, apitypes.RevokeRequest{Kind: string(kind), Mesh: mesh, IDs: ids[:n], Reason: c.String("reason"), Compare: !c.Bool("exactly")})
		ids = ids[n:]
	}
	return requests, nil
}

// revokeToken reads the token. The global verifies it and holds it against kind
// and mesh; here it is only looked into so that a mistaken file, the user's own
// token, is not revoked.
func revokeToken(c *cli.Context, file string) ([]apitypes.RevokeRequest, error) {
	raw, err := tokenfile.ReadArgument(file, c.App.Reader, client.Warn(c))
	if err != nil {
		return nil, err
	}
	token, err := cptoken.Inspect(raw)
	if err != nil {
		return nil, err
	}
	request := apitypes.RevokeRequest{Token: raw, Mesh: c.String("mesh"), Reason: c.String("reason")}
	if word := c.String("kind"); word != "" {
		kind, err := cptoken.ParseKind("--kind", word)
		if err != nil {
			return nil, console.Usage(err)
		}
		request.Kind = string(kind)
	} else if token.Claims.Kind == cptoken.User {
		return nil, federation.Errorf(federation.Invalid, "%s holds a user token", file).
			WithHint("add --kind user-token if that is the token to revoke; your own goes into --user-token-file")
	}
	return []apitypes.RevokeRequest{request}, nil
}
