package audit

import (
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apiclient"
	console "github.com/meridiankds/meridian/internal/cli"
)

// GetTokens returns the command `global get tokens`.
func GetTokens() *cli.Command {
	return &cli.Command{
		Name:    "tokens",
		Aliases: []string{"token"},
		Usage:   "show which tokens were issued, by whom, and which expire soon",
		Description: `From the audit logs of all members, newest first: a token itself is kept nowhere. It
says since when the list is complete: what a member logged long ago makes room, and what
members issued that were removed since is not here. Tokens that others sign with
registered keys are never here.

Examples:
  global get tokens --expires-before 30d
  global get tokens --zone west --since 48h
  global get tokens --kind zone-token --key 1
  global get tokens --by jane -o json`,
		Flags: client.Flags(
			&cli.StringFlag{Name: "kind", Usage: "only tokens of this `KIND`: control-plane-token, zone-token, dataplane-token or user-token"},
			&cli.StringFlag{Name: "mesh", Usage: "only dataplane-tokens of this `MESH`"},
			&cli.StringFlag{Name: "zone", Usage: "only tokens for this `ZONE`"},
			&cli.StringFlag{Name: "key", Usage: "only tokens that the `KEY` with this number signed"},
			&cli.StringFlag{Name: "by", Usage: "only tokens that `NAME` had issued"},
			&cli.StringFlag{Name: "expires-before", Usage: "only tokens that are valid now and expire before this `TIME`: 30d for in 30 days, or 2026-12-24"},
			&cli.StringFlag{Name: "since", Usage: "only tokens issued since this `TIME`: 2026-11-22T06:30:00Z, 2026-11-22, or 24h for a day ago"},
			&cli.StringFlag{Name: "until", Usage: "only tokens issued before this `TIME`"},
			console.OutputFlag()),
		Action: showTokens,
	}
}

func showTokens(c *cli.Context) error {
	format, err := console.FormatOf(c)
	if err != nil {
		return err
	}
	if err := console.NoArguments(c); err != nil {
		return err
	}
	now := time.Now()
	q, err := tokenQuery(c, now)
	if err != nil {
		return err
	}
	g, err := client.Connect(c)
	if err != nil {
		return err
	}
	tokens, err := g.IssuedTokens(c.Context, q, now)
	if err != nil {
		return err
	}
	err = console.Print(c.App.Writer, format, tokens, func() io.WriterTo { return tokenTable(tokens.Items, now) })
	voice := console.VoiceOf(c.App)
	for _, member := range tokens.Silent {
		voice.Warn("member %s does not answer: what it issued is missing here", member)
	}
	if tokens.Since != nil {
		voice.Say("complete since %s: the members keep no older records", tokens.Since.UTC().Format(time.RFC3339))
	} else {
		voice.Say("complete since the members that are there now began")
	}
	return err
}

func tokenQuery(c *cli.Context, now time.Time) (q apiclient.TokenQuery, err error) {
	q = apiclient.TokenQuery{Mesh: c.String("mesh"), KID: c.String("key"), Zone: c.String("zone"), By: c.String("by"), Limit: client.MaxListed}
	if word := c.String("kind"); word != "" {
		kind, err := cptoken.ParseKind("--kind", word)
		if err != nil {
			return q, console.Usage(err)
		}
		q.Kind = string(kind)
	}
	for flag, into := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		if text := c.String(flag); text != "" {
			if *into, err = console.PointInTime("--"+flag, text, now); err != nil {
				return q, err
			}
		}
	}
	if text := c.String("expires-before"); text != "" {
		q.ExpiresBefore, err = console.PointAhead("--expires-before", text, now)
	}
	return q, err
}

func tokenTable(tokens []apiclient.IssuedToken, now time.Time) io.WriterTo {
	t := console.NewTable("KIND", "SUBJECT", "ID", "KEY", "ISSUED", "EXPIRES", "BY", "STATE").Wide("MEMBER")
	for _, token := range tokens {
		t.Row(client.TokenName(token.Kind), token.Subject, token.ID, token.KID, console.Age(now, token.Issued)+" ago",
			console.Moment(token.Expires, now, "never"), token.By, token.State, token.Member)
	}
	return t
}
