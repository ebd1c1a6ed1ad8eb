// Package audit has the commands that show what was done, by whom, and what became of
// a request.
package audit

import (
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

// Get returns the command `global get audit`.
func Get() *cli.Command {
	return &cli.Command{
		Name:  "audit",
		Usage: "show what was done, by whom, and who was refused",
		Description: `Newest first, through whichever member it was. A member that does not answer is
named. Of a token its id (jti), kind, subject and end are shown, never itself.

Examples:
  global get audit
  global get audit --user jane --since 24h
  global get audit --outcome refused --limit 20
  global get audit --class issue --about west -o json
  global get audit --about 0d4cd35c-8b5e-4ba4-8b8c-0b3d6f6bb5c4`,
		Flags: client.Flags(
			&cli.StringFlag{Name: "user", Usage: "only what `NAME` did"},
			&cli.StringFlag{Name: "class", Usage: "only change, revocation, issue or refusal"},
			&cli.StringFlag{Name: "outcome", Usage: "only done, rejected, refused, failed, unknown or begun"},
			&cli.StringFlag{Name: "about", Usage: "only what was about this `THING`: a token's id, a zone, a mesh, a key"},
			&cli.StringFlag{Name: "request-id", Usage: "only the request with this `ID`"},
			&cli.StringFlag{Name: "since", Usage: "only since this `TIME`: 2026-11-22T06:30:00Z, 2026-11-22, or 24h for a day ago"},
			&cli.StringFlag{Name: "until", Usage: "only before this `TIME`"},
			&cli.StringFlag{Name: "before", Usage: "go on where an answer ended, with the `TEXT` that it gave"},
			&cli.IntFlag{Name: "limit", Usage: "show at most so `MANY`", Value: 100},
			console.OutputFlag()),
		Action: showAudit,
	}
}

func showAudit(c *cli.Context) error {
	format, err := console.FormatOf(c)
	if err != nil {
		return err
	}
	if err := console.NoArguments(c); err != nil {
		return err
	}
	q := apiclient.AuditQuery{
		User: c.String("user"), Class: c.String("class"), Outcome: c.String("outcome"), About: c.String("about"),
		RequestID: c.String("request-id"), Before: c.String("before"), Limit: c.Int("limit"),
	}
	if q.Limit < 1 || q.Limit > client.MaxListed {
		return console.Usage(federation.InvalidField("--limit", "must be from 1 to %d", client.MaxListed))
	}
	for flag, into := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		if text := c.String(flag); text != "" {
			if *into, err = console.PointInTime("--"+flag, text, time.Now()); err != nil {
				return err
			}
		}
	}
	g, err := client.Connect(c)
	if err != nil {
		return err
	}
	audit, more, err := g.Audit(c.Context, q)
	if err != nil {
		return err
	}
	err = console.Print(c.App.Writer, format, auditPage{audit.Items, audit.Silent, audit.Damaged, more}, func() io.WriterTo {
		t := console.NewTable("TIME", "USER", "FROM", "ACTION", "OUTCOME", "ABOUT").Wide("MEMBER", "REQUEST")
		for _, r := range audit.Items {
			t.Row(r.Time.UTC().Format(time.RFC3339), r.User, r.Remote, r.Action, outcomeText(r), aboutText(r.About), r.Member, r.RequestID)
		}
		return t
	})
	voice := console.VoiceOf(c.App)
	if about := c.String("about"); about != "" && len(audit.Items) == 0 {
		voice.Hint("nothing is recorded about %.80q: --about takes the whole of an id, a zone, a mesh, a key or a name", about)
	}
	for _, member := range audit.Silent {
		voice.Warn("member %s does not answer: what was done through it is missing here", member)
	}
	if audit.Damaged > 0 {
		voice.Warn("%d lines of the members' audit files cannot be read", audit.Damaged)
	}
	if more != "" {
		voice.Hint("there are more: go on with --before %s", more)
	}
	return err
}

// auditPage is the answer as JSON and YAML show it.
type auditPage struct {
	Items   []apitypes.AuditRecord `json:"items"`
	Silent  []string               `json:"silent"`
	Damaged int                    `json:"damaged,omitempty"`
	Before  string                 `json:"before,omitempty"` // where the rest begins
}

func outcomeText(r apitypes.AuditRecord) string {
	if r.Reason == "" {
		return r.Outcome
	}
	return r.Outcome + ": " + r.Reason
}

// aboutText is what a record was about, in the order of the names.
func aboutText(about map[string]string) string {
	parts := make([]string, 0, len(about))
	for name, value := range about {
		parts = append(parts, name+"="+value)
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}
