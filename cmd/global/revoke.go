package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/adminapi/apitypes"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/console"
)

func revokeCommand() *cli.Command {
	return &cli.Command{
		Name:      "revoke",
		Usage:     "revoke tokens: every zone refuses them from then on",
		ArgsUsage: "[JTI…]",
		Description: `A token is named by its id, the claim jti, or by the token itself in a file. Of a
token the global takes kind, mesh, id and expiry, once it has verified that the
token is one of its own. Here --token-file is the token to revoke; your own user
token is given with --user-token-file or the environment.

Examples:
  global revoke --token-file stolen.token --reason "laptop lost"
  global revoke 0e120ec9-6b42-495d-9758-07b59fe86fb9 --kind zone-token
  global revoke JTI --kind dataplane-token --mesh default`,
		Flags: withoutFlag("token-file", withClientFlags(
			&cli.StringFlag{Name: "token-file", Usage: "`FILE` with the token to revoke, - for standard input"},
			&cli.StringFlag{Name: "kind", Usage: "the `KIND` of the tokens: control-plane-token, zone-token, dataplane-token or user-token"},
			meshFlag(),
			&cli.StringFlag{Name: "reason", Usage: "`WHY`, kept with the revocation"},
			&cli.StringFlag{Name: "user-token-file", Usage: "`FILE` with your user token [GLOBAL_TOKEN_FILE, or the token itself in GLOBAL_TOKEN]"},
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
	requests, err := revocations(c)
	if err != nil {
		return err
	}
	g, err := connectAs(c, c.String("user-token-file"))
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
		total = result
	}
	return console.Print(c.App.Writer, format, total, func() io.WriterTo { return revoked(total) })
}

func revoked(r apitypes.RevokeResult) io.WriterTo {
	what := tokenName(r.Kind)
	if r.Mesh != "" {
		what += " of mesh " + r.Mesh
	}
	text := fmt.Sprintf("revoked %s at revision %s", counted(len(r.IDs), what, what+"s"), r.Revision)
	if len(r.IDs) == 1 {
		text = fmt.Sprintf("revoked %s %s at revision %s", what, r.IDs[0], r.Revision)
	}
	if already := len(r.IDs) - r.Revoked; already > 0 {
		text += fmt.Sprintf(" (%d already revoked before)", already)
	}
	return sentence(text)
}

// idsPerRequest keeps a request of the longest ids under the API's 1 MiB.
const idsPerRequest = 5000

// revocations returns what to send: one request for a token, or as many as the
// ids need.
func revocations(c *cli.Context) ([]apitypes.RevokeRequest, error) {
	file, ids := c.String("token-file"), console.Words(c.Args().Slice())
	switch {
	case file != "" && len(ids) > 0:
		return nil, console.Usagef("your own user token is given with --user-token-file or GLOBAL_TOKEN_FILE",
			"revoke takes ids, or the token to revoke with --token-file, not both")
	case file != "":
		return revokeToken(c, file)
	case len(ids) == 0:
		return nil, console.Usagef("name the ids (claim jti), or the token's file with --token-file", "nothing to revoke")
	case c.String("kind") == "":
		return nil, console.Usagef("add --kind zone-token, or whichever kind they are of",
			"--kind is missing: an id is revoked among tokens of its kind only")
	}
	kind, mesh, err := kindAndMesh(c, "--kind", c.String("kind"))
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
		requests = append(requests, apitypes.RevokeRequest{Kind: string(kind), Mesh: mesh, IDs: ids[:n], Reason: c.String("reason")})
		ids = ids[n:]
	}
	return requests, nil
}

// revokeToken reads the token. The global verifies it and holds it against kind
// and mesh; here it is only looked into so that a mistaken file, the user's own
// token, is not revoked.
func revokeToken(c *cli.Context, file string) ([]apitypes.RevokeRequest, error) {
	raw, err := apiclient.ReadToken(file, c.App.Reader)
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
