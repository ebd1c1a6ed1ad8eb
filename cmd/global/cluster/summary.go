package cluster

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

// Status returns the command `global status`.
func Status() *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "say in one line how the global and its zones are",
		Description: `How many voters live and how many more may be lost, who leads, which zones lag or
are offline, and what has to be seen to. The exit code is 3 where something has, and
where the loss of one more member would stop the cluster.

Examples:
  global status
  global status -o json`,
		Flags: client.Flags(console.OutputFlag()),
		Action: func(c *cli.Context) error {
			format, g, err := client.ConnectToShow(c)
			if err != nil {
				return err
			}
			members, err := g.Cluster(c.Context)
			if err != nil {
				return err
			}
			zones, err := g.ZoneStates(c.Context)
			if err != nil {
				return err
			}
			s := summarize(members, zones)
			if err := console.Print(c.App.Writer, format, s, func() io.WriterTo { return console.Sentence(s.String()) }); err != nil {
				return err
			}
			return s.verdict()
		},
	}
}

// summary is how a global and its zones are, as -o json shows it.
type summary struct {
	Voters    int      `json:"voters"`
	Live      int      `json:"live"`      // of the voters
	Away      []string `json:"away"`      // the voters that are not
	Tolerates int      `json:"tolerates"` // how many more voters may be lost
	Leader    string   `json:"leader,omitempty"`
	Zones     int      `json:"zones"` // those that are enabled
	Behind    []string `json:"behind"`
	Offline   []string `json:"offline"`
	Alarms    []string `json:"alarms"`

	zonesUnknown bool // they could not be asked
}

// alone reports whether one node is all there is, and nothing is wrong with it.
func (s summary) alone() bool { return s.Voters == 1 && len(s.Alarms) == 0 }

func summarize(members apitypes.Cluster, zones []apitypes.ZoneState) summary {
	s := summary{Away: []string{}, Behind: []string{}, Offline: []string{}, Alarms: []string{}}
	for _, m := range members.Members {
		if m.Leader {
			s.Leader = m.Name
		}
		if m.Voter {
			s.Voters++
			if m.Live {
				s.Live++
			} else {
				s.Away = append(s.Away, m.Name)
			}
		}
		if m.Diverged {
			s.Alarms = append(s.Alarms, "member "+m.Name+" has diverged")
		}
		if m.Clock != nil && m.Clock.Off {
			s.Alarms = append(s.Alarms, "the clock of member "+m.Name+" is off by "+strings.TrimSuffix(clockOf(m.Clock), " (off)"))
		}
	}
	s.Tolerates = max(0, s.Live-s.Voters/2-1)
	if 2*s.Live <= s.Voters {
		s.Alarms = append(s.Alarms, "too few voters answer to change anything")
	}
	switch {
	case s.Leader == "":
		s.Alarms = append(s.Alarms, "no leader is known")
	case members.AnsweredBy != members.Leader:
		s.Alarms = append(s.Alarms, "the leader does not answer: this is what another member knows")
	}
	if n := len(members.Losses); n > 0 {
		s.Alarms = append(s.Alarms, fmt.Sprintf("acknowledged changes were lost, and nobody has confirmed it: %d", n))
	}
	if len(members.NewerHistories) > 0 {
		s.Alarms = append(s.Alarms, "zones hold a newer history")
	}
	for _, d := range members.Doubts {
		s.Alarms = append(s.Alarms, d.ShownBy+" holds what this cluster does not have")
	}
	if len(s.Alarms) == 0 && members.Warning != "" {
		s.Alarms = append(s.Alarms, members.Warning)
	}
	for _, z := range zones {
		if !z.Enabled {
			continue
		}
		s.Zones++
		lags := func(x apitypes.Session) bool { return x.Online && (x.Behind == nil || *x.Behind > 0) }
		switch {
		case !z.Online:
			s.Offline = append(s.Offline, z.Name)
		case slices.ContainsFunc(z.Sessions, lags):
			s.Behind = append(s.Behind, z.Name)
		}
	}
	return s
}

// String is the summary in one line.
func (s summary) String() string {
	away, leader, zones, alarms := "", "no leader", plural(s.Zones, "zone"), "no alarms"
	if len(s.Away) > 0 {
		away = " (away: " + console.Names(s.Away) + ")"
	}
	if s.Leader != "" {
		leader = "leader " + s.Leader
	}
	var lacks []string
	for _, group := range []struct {
		names []string
		what  string
	}{{s.Behind, "behind"}, {s.Offline, "offline"}} {
		if n := len(group.names); n > 0 {
			lacks = append(lacks, fmt.Sprintf("%d %s (%s)", n, group.what, console.Names(group.names)))
		}
	}
	if s.zonesUnknown {
		zones = "zones unknown"
	}
	if len(lacks) > 0 {
		zones += ": " + strings.Join(lacks, ", ")
	}
	if n := len(s.Alarms); n > 0 {
		alarms = plural(n, "alarm") + ": " + strings.Join(s.Alarms, "; ")
	}
	return fmt.Sprintf("%d of %s live%s, tolerates the loss of %d; %s; %s; %s", s.Live, plural(s.Voters, "voter"), away, s.Tolerates, leader, zones, alarms)
}

func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// verdict is the error of what somebody has to see to; nil where there is nothing.
func (s summary) verdict() error {
	switch {
	case len(s.Alarms) > 0:
		return console.Pending(federation.Errorf(federation.Conflict, "%s: see `global cluster status`", plural(len(s.Alarms), "alarm")).
			WithHint("docs/operations.md and docs/backup.md say what to do"))
	case s.Voters == 1:
		return console.Pending(federation.Errorf(federation.Conflict, "this is one node alone: without it nothing can be changed").
			WithHint("add two members: three voters tolerate the loss of one, docs/lifecycle.md"))
	case s.Tolerates == 0:
		return console.Pending(federation.Errorf(federation.Conflict, "the loss of one more member stops the cluster").
			WithHint("`global cluster status` shows who is away; three voters tolerate the loss of one"))
	}
	return nil
}
