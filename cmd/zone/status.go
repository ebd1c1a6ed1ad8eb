package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

func statusCommand() *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "show what a running zone knows, and how it stands with the global",
		Description: `A zone that is not connected goes on with what it knows; "last heard" says how old
that is. With --data-dir it is asked through the socket in its data folder, which
only the user that it runs as can open, and no token is needed.

Examples:
  zone status --data-dir west-data
  zone status --address http://127.0.0.1:5681 --token-file jane.token -o json`,
		Flags: append(console.ClientFlags("zone"), console.OutputFlag()),
		Action: func(c *cli.Context) error {
			format, err := console.FormatOf(c)
			if err != nil {
				return err
			}
			zone, err := connect(c)
			if err != nil {
				return err
			}
			status, err := zone.Status(c.Context)
			if err != nil {
				return err
			}
			if status.Empty {
				console.VoiceOf(c.App).Warn("the zone knows nothing yet and refuses every token")
			}
			if a := status.Authentication; a.ZoneProxy == "none" || a.DPProxy == "none" {
				console.VoiceOf(c.App).Warn("proxies are not authenticated: any of them can say that it is any other")
			}
			if status.Global.Stale {
				console.VoiceOf(c.App).Warn("the zone has not heard from the global for more than %s and refuses every token", status.Global.MaxStale)
			}
			return console.Print(c.App.Writer, format, status, func() io.WriterTo { return statusLines(status, time.Now()) })
		},
	}
}

func logLevelCommand() *cli.Command {
	return console.LogLevel(console.ClientFlags("zone"), func(c *cli.Context) (console.LogLevels, error) { return connect(c) })
}

func supportCommand() *cli.Command {
	return console.SupportCommand(console.ClientFlags("zone"), func(c *cli.Context) (console.Support, error) { return connect(c) })
}

func statusLines(s apitypes.ZoneStatus, now time.Time) io.WriterTo {
	var f console.Fields
	f.Add("zone", s.Zone)
	f.AddWide("instance", s.Instance)
	f.Add("version", s.Version)
	f.AddWide("cluster", s.Cluster)
	f.Add("revision", s.Revision)
	f.Add("global", link(s.Global, now))
	f.AddWide("member", s.Global.Member)
	f.Add("global is", kindOfGlobal(s.Global.Kind))
	f.Add("last error", s.Global.LastError)
	f.Add("cannot write", s.Unwritten)
	f.Add("resources", strings.Join(s.XDSProblems, "; "))
	f.Add("does not understand", strings.Join(s.NotHeld, ", "))
	f.Add("keeps beyond the list", strings.Join(s.Kept, ", "))
	f.Add("last heard", heard(s.Global, now))
	f.Add("proxies", provenBy(s.Authentication))
	f.Add("keys", keyCounts(s.Keys))
	for _, k := range s.Keys {
		if k.NotInKeySet != "" {
			f.Add("not in key sets", kindName(k.Kind)+" key "+k.KID+": "+k.NotInKeySet)
		}
	}
	for _, u := range s.KeySets {
		f.Add("key set fetched", console.Fetched(u.Set, u.Count, u.Last, now))
	}
	f.Add("revoked", revokedCounts(s.Revocations))
	if s.CutOffs > 0 {
		f.Add("cut-offs", fmt.Sprint(s.CutOffs))
	}
	for _, certificate := range s.Certificates {
		f.Add("certificate", certificate.File+" ends "+console.Moment(certificate.NotAfter, now, "never"))
	}
	return &f
}

// link says how the stream to the global is, and since when.
func link(g apitypes.ZoneGlobal, now time.Time) string {
	text := "not connected"
	if g.Connected {
		text = "connected to " + g.Address
	}
	if g.Since != nil {
		text += " for " + console.Age(now, *g.Since)
	}
	return text
}

// provenBy says how proxies prove who they are; "" where an older zone does not.
func provenBy(a apitypes.ZoneAuthentication) string {
	if a.ZoneProxy == "" {
		return ""
	}
	return "zone proxies by " + a.ZoneProxy + ", data plane proxies by " + a.DPProxy
}

// kindOfGlobal says whose global it is.
func kindOfGlobal(kind string) string {
	switch kind {
	case "":
		return ""
	case "kuma":
		return "Kuma's"
	}
	return "Meridian's"
}

func heard(g apitypes.ZoneGlobal, now time.Time) string {
	if g.LastHeard == nil {
		return "never since the zone started"
	}
	return console.Age(now, *g.LastHeard) + " ago"
}

// keyCounts says how many keys of each kind the zone verifies with.
func keyCounts(keys []apitypes.ZoneKey) string {
	counts := map[string]int{}
	for _, k := range keys {
		counts[k.Kind]++
	}
	if len(counts) == 0 {
		return "none"
	}
	return byKind(counts)
}

func revokedCounts(counts map[string]int) string {
	for _, n := range counts {
		if n > 0 {
			return byKind(counts)
		}
	}
	return "none"
}

// byKind lists counts in the order of kinds, those of nothing left out.
func byKind(counts map[string]int) string {
	var kinds []string
	for kind, n := range counts {
		if n > 0 {
			kinds = append(kinds, kind)
		}
	}
	place := func(kind string) int { return slices.Index(cptoken.Kinds[:], cptoken.Kind(kind)) }
	slices.SortFunc(kinds, func(a, b string) int {
		if d := place(a) - place(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for i, kind := range kinds {
		kinds[i] = fmt.Sprintf("%d %s", counts[kind], kindName(kind))
	}
	return strings.Join(kinds, ", ")
}

// kindName is a kind as users write it, or as it came where this program does
// not know it.
func kindName(kind string) string {
	if k := cptoken.Kind(kind); k.Valid() {
		return k.TokenName()
	}
	return kind
}
