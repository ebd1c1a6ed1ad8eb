package audit

import (
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/clock"
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
	if len(tokens.Items) == 0 {
		if err := checkNames(c, g); err != nil {
			return err
		}
	}
	err = console.Print(c.App.Writer, format, tokens, func() io.WriterTo { return tokenTable(tokens.Items, now) })
	voice := console.VoiceOf(c.App)
	for _, member := range tokens.Silent {
		voice.Warn("member %s does not answer: what it issued is missing here", member)
	}
	if tokens.Since != nil {
		voice.Say("complete since %s: the members keep no older records", tokens.Since.UTC().Format(time.RFC3339))
	} else if tokens.Began != nil {
		voice.Say("complete since %s, the oldest record of the members that are there now", tokens.Began.UTC().Format(time.RFC3339))
	} else {
		voice.Say("complete since the members that are there now began")
	}
	return err
}

// checkNames is the error for a zone, a mesh or a key that the command line names and that
// is not there. It is asked where nothing was found: of what is gone there may be tokens.
func checkNames(c *cli.Context, g *apiclient.Global) error {
	if name := c.String("zone"); name != "" {
		zones, err := g.Zones(c.Context)
		if err != nil {
			return err
		}
		if _, err := client.Named("zone", name, zones, func(z apitypes.Zone) string { return z.Name }); err != nil {
			return err
		}
	}
	if name := c.String("mesh"); name != "" {
		meshes, err := g.Meshes(c.Context)
		if err != nil {
			return err
		}
		if _, err := client.Named("mesh", name, meshes, func(m apitypes.Mesh) string { return m.Name }); err != nil {
			return err
		}
	}
	if kid := c.String("key"); kid != "" {
		keys, err := g.Keys(c.Context)
		if err != nil {
			return err
		}
		if _, err := client.Named("key", kid, keys, func(k apitypes.Key) string { return k.KID }); err != nil {
			return console.Advise(err, "give the number in the column KEY of `global keys list`")
		}
	}
	return nil
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

// tokenTable has a row for each token. The kind says what the subject is, and in how long a
// token ends is what matters: the whole times are shown by -o wide.
func tokenTable(tokens []apiclient.IssuedToken, now time.Time) io.WriterTo {
	t := console.NewTable("KIND", "SUBJECT", "ID", "KEY", "AGE", "EXPIRES", "BY", "STATE").Wide("ISSUED", "ENDS", "MEMBER")
	for _, token := range tokens {
		_, subject, ok := strings.Cut(token.Subject, " ")
		if !ok || token.Mesh != "" {
			subject = token.Subject
		}
		expires := "in " + console.Age(token.Expires, now)
		if !clock.Earlier(now, token.Expires) {
			expires = console.Age(now, token.Expires) + " ago"
		}
		t.Row(client.TokenName(token.Kind), subject, token.ID, token.KID, console.Age(now, token.Issued), expires, token.By, token.State,
			token.Issued.UTC().Format(time.RFC3339), token.Expires.UTC().Format(time.RFC3339), token.Member)
	}
	return t
}
