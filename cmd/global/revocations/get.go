package revocations

import (
	"cmp"
	"io"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

// Get returns the command `global get revocations`.
func Get() *cli.Command {
	return &cli.Command{
		Name: "revocations", Aliases: []string{"revocation"},
		Usage: "show what is revoked",
		Description: `Without --kind the number of revoked ids of each kind and mesh; with it the ids, in
their order. What does not fit is reached with --after.

Examples:
  global get revocations
  global get revocations --kind zone-token --limit 20
  global get revocations --kind zone-token --reason stolen --since 24h
  global get revocations --kind dataplane-token --mesh default -o json

Who has not got an earlier revocation is shown by --held, with the whole id:
  global get revocations --kind zone-token \
     --held 0d4cd35c-8b5e-4ba4-8b8c-0b3d6f6bb5c4`,
		Flags: client.Flags(
			&cli.StringFlag{Name: "kind", Usage: "the `KIND` of the tokens: control-plane-token, zone-token, dataplane-token or user-token"},
			client.MeshFlag(),
			&cli.StringFlag{Name: "id", Usage: "only ids that begin with this `TEXT`"},
			&cli.StringFlag{Name: "held", Usage: "show which zones have the revocation of this `ID`, and which have not"},
			&cli.StringFlag{Name: "by", Usage: "only what `NAME` revoked"},
			&cli.StringFlag{Name: "reason", Usage: "only what was revoked for a reason that contains this `TEXT`"},
			&cli.StringFlag{Name: "since", Usage: "only what was revoked since this `TIME`: 2026-11-22T06:30:00Z, 2026-11-22, or 24h for a day ago"},
			&cli.StringFlag{Name: "after", Usage: "go on behind this `ID`"},
			&cli.IntFlag{Name: "limit", Usage: "show at most so `MANY`", Value: 100},
			console.OutputFlag()),
		Action: func(c *cli.Context) error {
			format, err := console.FormatOf(c)
			if err != nil {
				return err
			}
			if err := console.NoArguments(c); err != nil {
				return err
			}
			if c.String("held") != "" {
				return heldBy(c, format)
			}
			if c.String("kind") == "" {
				return revocationLists(c, format)
			}
			return revocationsOf(c, format)
		},
	}
}

func revocationLists(c *cli.Context, format console.Format) error {
	for _, flag := range []string{"mesh", "id", "by", "reason", "since", "after", "limit"} {
		if c.IsSet(flag) {
			return console.Usagef("add --kind zone-token, or whichever kind they are of", "--%s needs --kind", flag)
		}
	}
	g, err := client.Connect(c)
	if err != nil {
		return err
	}
	lists, err := g.RevocationLists(c.Context)
	if err != nil {
		return err
	}
	return console.Print(c.App.Writer, format, console.Items(lists), func() io.WriterTo {
		t := console.NewTable("KIND", "MESH", "REVOKED", "NAME")
		for _, l := range lists {
			t.Row(client.TokenName(l.Kind), l.Mesh, strconv.Itoa(l.Revoked), l.Name)
		}
		return t
	})
}

// page is part of a list as JSON and YAML show it.
type page[T any] struct {
	Total int    `json:"total"`
	Items []T    `json:"items"`
	After string `json:"after,omitempty"` // where the rest begins
}

func revocationsOf(c *cli.Context, format console.Format) error {
	kind, mesh, err := client.KindAndMesh(c, "--kind", c.String("kind"))
	if err != nil {
		return err
	}
	q := apiclient.RevocationQuery{
		Kind: string(kind), Mesh: mesh, ID: c.String("id"), By: c.String("by"), Reason: c.String("reason"),
		After: c.String("after"), Limit: c.Int("limit"),
	}
	if q.Limit < 1 || q.Limit > client.MaxListed {
		return console.Usage(federation.InvalidField("--limit", "must be from 1 to %d", client.MaxListed))
	}
	if since := c.String("since"); since != "" {
		if q.Since, err = console.PointInTime("--since", since, time.Now()); err != nil {
			return err
		}
	}
	g, err := client.Connect(c)
	if err != nil {
		return err
	}
	items, total, more, err := g.Revocations(c.Context, q)
	if err != nil {
		return err
	}
	err = console.Print(c.App.Writer, format, page[apitypes.Revocation]{total, items, more}, func() io.WriterTo {
		t := console.NewTable("ID", "REVOKED AGO", "BY", "EXPIRES", "REASON")
		for _, r := range items {
			expires := ""
			if r.Expires != nil {
				expires = r.Expires.UTC().Format(time.RFC3339)
			}
			t.Row(r.ID, client.Age(r.At), r.By, expires, r.Reason)
		}
		return t
	})
	if more != "" {
		console.VoiceOf(c.App).Hint("there are more, of %d on the list: go on with --after %s", total, more)
	}
	return err
}

// GetCutOffs returns the command `global get cut-offs`.
func GetCutOffs() *cli.Command {
	return &cli.Command{
		Name:  "cut-offs",
		Usage: "show before which time tokens are refused",
		Description: `Set with ` + "`global revoke --kind KIND --before TIME`" + `.

Examples:
  global get cut-offs
  global get cut-offs -o json`,
		Flags: client.Flags(console.OutputFlag()),
		Action: func(c *cli.Context) error {
			format, err := console.FormatOf(c)
			if err != nil {
				return err
			}
			if err := console.NoArguments(c); err != nil {
				return err
			}
			g, err := client.Connect(c)
			if err != nil {
				return err
			}
			cutOffs, err := g.CutOffs(c.Context)
			if err != nil {
				return err
			}
			return console.Print(c.App.Writer, format, console.Items(cutOffs), func() io.WriterTo {
				t := console.NewTable("KIND", "MESH", "KEY", "ISSUED BEFORE", "SET AGO", "BY", "REASON")
				for _, o := range cutOffs {
					before := ""
					if o.Before != nil {
						before = o.Before.UTC().Format(time.RFC3339)
					}
					t.Row(client.TokenName(o.Kind), o.Mesh, cmp.Or(o.KID, "any"), before, client.Age(o.At), o.By, o.Reason)
				}
				return t
			})
		},
	}
}
