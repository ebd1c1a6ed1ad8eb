package zones

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/clock"
)

// Inspect returns the command `global inspect zone`.
func Inspect() *cli.Command {
	return &cli.Command{
		Name:      "zone",
		Usage:     "show everything that the global knows of one zone",
		ArgsUsage: "NAME",
		Description: `Which member carries each of its control planes, with which token, what it holds
and how far it is behind, and what waits on it.

Examples:
  global inspect zone west
  global inspect zone west -o json`,
		Flags: client.Flags(console.OutputFlag()),
		Action: func(c *cli.Context) error {
			format, err := console.FormatOf(c)
			if err != nil {
				return err
			}
			g, name, err := client.ConnectFor(c, "global inspect zone NAME")
			if err != nil {
				return err
			}
			zone, err := g.ZoneDetail(c.Context, name)
			if err != nil {
				return err
			}
			warnRefused(console.VoiceOf(c.App), []apitypes.ZoneState{zone.ZoneState})
			newest := newestOf(c, g, []apitypes.ZoneState{zone.ZoneState})
			return console.Print(c.App.Writer, format, zone, func() io.WriterTo { return zoneFields(zone, newest, time.Now()) })
		},
	}
}

func zoneFields(z apitypes.ZoneDetail, newest string, now time.Time) console.Paragraphs {
	f := &console.Fields{}
	f.Add("zone", z.Name)
	f.Add("status", zoneStatus(z.ZoneState, z.Online))
	f.Add("authenticates by", cmp.Or(z.Auth, "the global's --kds-auth"))
	f.Add("first seen", moment(z.FirstSeen, now, "never"))
	f.Add("last seen", moment(z.LastSeen, now, notSeen(z.ZoneState)))
	f.Add("applied", moment(z.Modified, now, ""))
	if z.Relay != nil {
		f.Add("relays for meshes", strings.Join(z.Relay.Meshes, ", "))
		f.Add("relays at most", cmp.Or(z.Relay.MaxValidity, "24h"))
	}
	f.Add("global's revision", z.Revision)
	f.Add("answered by", answeredBy(z))
	for _, w := range z.Waits {
		f.Add("waits on it", w)
	}
	all := console.Paragraphs{f}
	for _, s := range z.Sessions {
		all = append(all, sessionFields(s, z.Revision, newest, now))
	}
	return all
}

// answeredBy says whose picture this is and how old it may be.
func answeredBy(z apitypes.ZoneDetail) string {
	who := "member " + z.AnsweredBy + ", the leader"
	if !z.Leader {
		who = "member " + z.AnsweredBy + ", which does not lead"
	}
	return fmt.Sprintf("%s; what members report is up to %s old", who, console.Span(time.Duration((z.AgeSeconds+1)*float64(time.Second))))
}

func sessionFields(s apitypes.Session, head, newest string, now time.Time) *console.Fields {
	f := &console.Fields{}
	f.Add("control plane", where(s))
	f.AddWide("instance", cmp.Or(s.Instance, "unnamed"))
	switch {
	case s.Online:
		f.Add("state", "online since "+moment(s.Connected, now, "?"))
	case s.Disconnected == nil:
		f.Add("state", "connected since "+moment(s.Connected, now, "?")+", not online yet")
	default:
		f.Add("state", "offline since "+moment(s.Disconnected, now, "?"))
	}
	f.Add("member", s.Member)
	f.Add("version", dated(s, newest))
	f.Add("last heard", moment(s.LastHeard, now, ""))
	f.Add("authenticated by", proof(s))
	f.Add("token id (jti)", s.TokenID)
	f.Add("token expires", moment(s.TokenExpires, now, ""))
	f.Add("revision held", s.Revision)
	f.Add("behind", lag(s, head))
	f.Add("does not understand", strings.Join(s.NotHeld, ", "))
	f.Add("keeps beyond the list", strings.Join(s.Kept, ", "))
	f.Add("does not heed", strings.Join(s.Unheeded, ", "))
	for _, u := range s.KeySets {
		f.Add("key set fetched", console.Fetched(u.Set, u.Count, u.Last, now))
	}
	f.Add("refuses", s.Nack)
	return f
}

// where names a control plane of a zone by the address that it connects from: its instance
// id says nothing to who reads it.
func where(s apitypes.Session) string { return cmp.Or(s.Remote, "at an unknown address") }

// lag is how far an instance is behind the global's revision, in changes and in time.
func lag(s apitypes.Session, head string) string {
	switch {
	case s.Behind == nil:
		return "unknown"
	case *s.Behind == 0 && s.Revision != head:
		return "nothing: what was changed since concerns no zone"
	case *s.Behind == 0:
		return "nothing"
	case s.BehindSeconds == nil:
		return console.Counted(int(*s.Behind), "change", "changes")
	}
	return fmt.Sprintf("%s, the oldest made %s ago", console.Counted(int(*s.Behind), "change", "changes"),
		console.Span(time.Duration(*s.BehindSeconds*float64(time.Second))))
}

// moment is a time with how far away it is.
func moment(t *time.Time, now time.Time, absent string) string {
	if t == nil {
		return absent
	}
	if ahead := clock.Left(*t, now); ahead > 0 {
		return fmt.Sprintf("%s (in %s)", t.UTC().Format(time.RFC3339), console.Age(*t, now))
	}
	return fmt.Sprintf("%s (%s ago)", t.UTC().Format(time.RFC3339), console.Age(now, *t))
}
