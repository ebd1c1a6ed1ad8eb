// Package zones has the commands that look closer at zones and their control planes.
package zones

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/kds/kuma"
)

// InspectAll returns the command `global inspect zones`.
func InspectAll() *cli.Command {
	return &cli.Command{
		Name:  "zones",
		Usage: "show which zones are online and how far they are",
		Description: `One line a control plane: a zone may run several. BEHIND counts the changes at the
global that the instance has not acknowledged, also those that concern no zone:
"global inspect zone NAME" leaves these out. AUTHENTICATED BY is what the instance
proved itself with, "none" where the global demanded nothing. KEY SETS FETCHED AGO
says when others last fetched keys from it to verify with copies. A VERSION that is older
than the newest, of the global or a zone, is marked (old), and one that cannot be compared
with it (differs). "not since start" is a zone that was connected before, and not since the global started.

Examples:
  global inspect zones
  global inspect zones -o json`,
		Flags: client.Flags(console.OutputFlag()),
		Action: func(c *cli.Context) error {
			format, err := console.FormatOf(c)
			if err != nil {
				return err
			}
			g, err := client.Connect(c)
			if err != nil {
				return err
			}
			zones, err := g.ZoneStates(c.Context)
			if err != nil {
				return err
			}
			warnRefused(console.VoiceOf(c.App), zones)
			newest := newestOf(c, g, zones)
			return console.Print(c.App.Writer, format, console.Items(zones), func() io.WriterTo { return zoneTable(zones, newest) })
		},
	}
}

// newestOf is the newest version of Meridian among the global's and the zones'.
func newestOf(c *cli.Context, g *apiclient.Global, zones []apitypes.ZoneState) string {
	var versions []string
	if index, err := g.Index(c.Context); err == nil && index.InstanceID != "" { // who may read zones is told
		versions = append(versions, index.Version)
	}
	for _, z := range zones {
		for _, s := range z.Sessions {
			if s.Meridian {
				versions = append(versions, s.Version)
			}
		}
	}
	return client.Newest(versions...)
}

// dated is the version of a control plane; those of Kuma's have another count.
func dated(s apitypes.Session, newest string) string {
	if !s.Meridian {
		return s.Version
	}
	return client.Dated(s.Version, newest)
}

// warnRefused names the instances that refuse what the global sends them, or do not heed
// revoked zone tokens: the table has no room for it, and the operator must not miss it.
func warnRefused(voice *console.Voice, zones []apitypes.ZoneState) {
	for _, z := range zones {
		for _, s := range z.Sessions {
			if s.Nack != "" {
				voice.Warn("zone %s, its control plane %s, refuses what it is sent: %s", z.Name, where(s), s.Nack)
			}
			if s.Disconnected == nil && slices.Contains(s.Unheeded, kuma.ZoneRevocations) {
				voice.Warn("%s (%s) does not heed %s: rotate", z.Name, strings.TrimSpace("Kuma "+s.Version), kuma.ZoneRevocations)
			}
		}
	}
}

func zoneTable(zones []apitypes.ZoneState, newest string) *console.Table {
	t := console.NewTable("NAME", "STATUS", "LAST CONNECTED AGO", "LAST HEARD AGO", "BEHIND", "AUTHENTICATED BY", "VERSION", "KEY SETS FETCHED AGO").
		Wide("ADDRESS", "MEMBER", "INSTANCE")
	now := time.Now()
	for _, z := range zones {
		if len(z.Sessions) == 0 {
			t.Row(z.Name, zoneStatus(z, z.Online), ago(now, z.LastSeen, notSeen(z)), "", "", "", "", "")
		}
		for _, s := range z.Sessions {
			t.Row(z.Name, zoneStatus(z, s.Online), ago(now, s.Connected, "never"), ago(now, s.LastHeard, "never"),
				behind(s), proof(s), dated(s, newest), fetched(s, now), s.Remote, s.Member, s.Instance)
		}
	}
	return t
}

// zoneStatus is Online or Offline, in Kuma's words; a disabled zone is neither.
func zoneStatus(z apitypes.ZoneState, online bool) string {
	switch {
	case !z.Enabled:
		return "Disabled"
	case online:
		return "Online"
	}
	return "Offline"
}

// ago is how long ago a time is, or absent.
func ago(now time.Time, t *time.Time, absent string) string {
	if t == nil {
		return absent
	}
	return console.Age(now, *t)
}

// notSeen says of a zone without sessions when it was connected. Sessions are not kept over
// a restart of the global; that the zone was ever connected is.
func notSeen(z apitypes.ZoneState) string {
	if z.FirstSeen != nil {
		return "not since start"
	}
	return "never"
}

// behind is the number of changes that a session lacks. What is unknown, of a
// control plane of Kuma's or of another history, is "?".
func behind(s apitypes.Session) string {
	if s.Behind == nil {
		return "?"
	}
	return strconv.FormatUint(*s.Behind, 10)
}

// fetched is how long ago others fetched a key set of the instance, "" where they never
// did: they may verify with copies.
func fetched(s apitypes.Session, now time.Time) string {
	var last time.Time
	for _, u := range s.KeySets {
		last = clock.Last(last, u.Last)
	}
	if last.IsZero() {
		return ""
	}
	return console.Age(now, last)
}

// proof is what the instance authenticated with. Where nothing was demanded, what
// it showed may still have been good.
func proof(s apitypes.Session) string {
	switch {
	case s.TokenSerial != 0:
		return fmt.Sprintf("%s (key %d)", s.Method, s.TokenSerial)
	case s.Verdict != "":
		return "none (its token: " + s.Verdict + ")"
	case s.Method == "":
		return "none"
	}
	return s.Method
}
