package audit

import (
	"io"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

// GetRequest returns the command `global get request`.
func GetRequest() *cli.Command {
	return &cli.Command{
		Name:      "request",
		Usage:     "show what became of a request whose answer was lost",
		ArgsUsage: "ID",
		Description: `Whoever loses the connection, or the leader, in the middle of a change is told the
request's id. The leader remembers for ten minutes what was made and what was
refused under it:

  applied   it was made, at the revision shown
  refused   it changed nothing
  partly    of several changes some were made: run the command again
  unknown   nothing was changed so far; ask again in a moment, in case the
            request is still on its way, and then run the command again

Examples:
  global get request 7d444840-9dc0-41d1-b245-5ffdce74fad2
  global get request 7d444840-9dc0-41d1-b245-5ffdce74fad2 -o json`,
		Flags: client.Flags(console.OutputFlag()),
		Action: func(c *cli.Context) error {
			format, err := console.FormatOf(c)
			if err != nil {
				return err
			}
			if err := console.Arguments(c, 1, 1, "global get request ID"); err != nil {
				return err
			}
			id, err := uuid.Parse(c.Args().First())
			if err != nil {
				return console.Usage(federation.InvalidField("ID", "%.40q is not a request id: it is a UUID, as the error named it", c.Args().First()))
			}
			g, err := client.Connect(c)
			if err != nil {
				return err
			}
			told, err := g.Request(c.Context, id.String())
			if err != nil {
				return err
			}
			if told.Outcome == apitypes.OutcomeUnknown {
				console.VoiceOf(c.App).Hint("nothing was changed under this id up to revision %s, unless more than ten minutes ago; ask again in a moment, then run the command again", told.Revision)
			}
			return console.Print(c.App.Writer, format, told, func() io.WriterTo { return requestTable(told) })
		},
	}
}

func requestTable(told apitypes.RequestOutcome) *console.Table {
	t := console.NewTable("OUTCOME", "CHANGE", "REVISION", "CHANGED", "REMEMBERED UNTIL", "WHY")
	for _, ch := range told.Changes {
		until := ""
		if ch.RememberedUntil != nil {
			until = ch.RememberedUntil.UTC().Format(time.RFC3339)
		}
		t.Row(ch.Outcome, ch.Change, ch.Revision, strconv.FormatUint(ch.Changed, 10), until, ch.Detail)
	}
	if len(told.Changes) == 0 {
		t.Row(told.Outcome, "", told.Revision, "0", "", "")
	}
	return t
}
