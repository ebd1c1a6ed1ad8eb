// Package cluster has the commands over the members of a global, and the one that asks
// whether a member lives.
package cluster

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

// Command returns the commands `global cluster`.
func Command() *cli.Command {
	return &cli.Command{
		Name:        "cluster",
		Usage:       "look after the members of the global",
		Subcommands: []*cli.Command{clusterStatus(), clusterTransferLeader(), clusterRemove(), clusterReadmit(), clusterConfirmLoss(), clusterRecover()},
	}
}

func clusterStatus() *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "show the members, who leads and who votes",
		Description: `Any member answers, the leader if there is one, and asks the others who of them is live. A
member that does not vote yet (follows) is promoted once it keeps up; one that was started with --non-voter never is.
CLOCK is how far a member's clock is ahead of what most voters agree on; one that is off by
more than 30 seconds issues no tokens.

The first line is that of ` + "`global status`" + `.

The exit code is 3 while no leader is known, a member does not answer, the loss of one more
member would stop the cluster, a clock is off, or the history is in doubt: a loss of
acknowledged changes that nobody has confirmed, a newer history or a revision that somebody
holds and the cluster does not have, or members that have diverged. One node alone is no
alarm here.

Examples:
  global cluster status
  global cluster status -o json`,
		Flags: client.Flags(console.OutputFlag()),
		Action: func(c *cli.Context) error {
			format, g, err := client.ConnectToShow(c)
			if err != nil {
				return err
			}
			status, err := g.Cluster(c.Context)
			if err != nil {
				return err
			}
			voice := console.VoiceOf(c.App)
			if status.Warning != "" {
				voice.Warn("%s", status.Warning)
			}
			if status.Advice != "" {
				voice.Warn("%s", status.Advice)
			}
			if status.Leader != status.AnsweredBy {
				voice.Warn("this is what node %s knows, not the leader", status.AnsweredBy)
			}
			zones, err := g.ZoneStates(c.Context)
			if err != nil { // the members are to be seen all the same
				voice.Warn("what is known of the zones cannot be asked: %v", err)
			}
			s := summarize(status, zones)
			s.zonesUnknown = err != nil
			if err := console.Print(c.App.Writer, format, status, func() io.WriterTo { return console.Headed(s.String(), memberTable(status)) }); err != nil {
				return err
			}
			return judge(status, s)
		},
	}
}

// judge is the error that `cluster status` ends with; nil where there is none.
func judge(status apitypes.Cluster, s summary) error {
	if err := alarm(status); err != nil || s.alone() {
		return err
	}
	return s.verdict()
}

// alarm is what somebody has to see to; nil where there is nothing.
func alarm(status apitypes.Cluster) error {
	diverged := slices.ContainsFunc(status.Members, func(m apitypes.Member) bool { return m.Diverged })
	if len(status.Losses) > 0 || len(status.NewerHistories) > 0 || len(status.Doubts) > 0 || diverged {
		return console.Pending(federation.Errorf(federation.Conflict, "the history of this cluster is in doubt: see the warning").
			WithHint("what to do is in docs/backup.md; a loss is in doubt until it is confirmed: global cluster confirm-loss"))
	}
	var why []string
	if status.Leader == "" {
		why = append(why, "no leader is known")
	}
	for _, m := range status.Members {
		if !m.Live {
			why = append(why, "member "+m.ID+" does not answer")
		}
		if m.Clock != nil && m.Clock.Off {
			why = append(why, "the clock of member "+m.ID+" is off")
		}
	}
	if len(why) == 0 {
		return nil
	}
	return console.Pending(federation.Errorf(federation.Unavailable, "%s", strings.Join(why, ", ")).
		WithHint("what each alarm means and what to do is in docs/operations.md, \"Alarms\""))
}

func memberTable(status apitypes.Cluster) *console.Table {
	t := console.NewTable("NAME", "ADDRESS", "ROLE", "LIVE", "APPLIED", "CLOCK", "VERSION").Wide("ID")
	versions := make([]string, len(status.Members))
	for i, m := range status.Members {
		versions[i] = m.Version
	}
	newest := client.Newest(versions...)
	for _, m := range status.Members {
		role, live := "follows", "no"
		switch {
		case m.Leader:
			role = "leads"
		case m.Voter:
			role = "votes"
		case m.NonVoter:
			role = "non-voter"
		}
		if m.Live {
			live = "yes"
		}
		if m.Diverged {
			live = "diverged"
		}
		t.Row(m.Name, m.Address, role, live, strconv.FormatUint(m.Applied, 10), clockOf(m.Clock), client.Dated(m.Version, newest), m.ID)
	}
	return t
}

// clockOf says how a member's clock differs from the others', as far as that is known.
func clockOf(c *apitypes.MemberClock) string {
	if c == nil {
		return "unknown"
	}
	ahead := time.Duration(c.AheadSeconds * float64(time.Second)).Round(time.Second)
	text := ahead.String()
	if ahead >= 0 {
		text = "+" + text
	}
	if c.Off {
		text += " (off)"
	}
	return text
}

func clusterTransferLeader() *cli.Command {
	return &cli.Command{
		Name:      "transfer-leader",
		Usage:     "hand the leadership to another member",
		ArgsUsage: "[NAME]",
		Description: `Without a name it goes to the member that is furthest. A member without a vote is
refused. A member that is stopped with
SIGTERM hands it over by itself.

Examples:
  global cluster transfer-leader
  global cluster transfer-leader global-2`,
		Flags: client.Flags(),
		Action: func(c *cli.Context) error {
			if err := console.Arguments(c, 0, 1, "global cluster transfer-leader [NAME]"); err != nil {
				return err
			}
			g, err := client.Connect(c)
			if err != nil {
				return err
			}
			before, err := g.Cluster(c.Context)
			if err != nil {
				return err
			}
			if err := g.TransferLeader(c.Context, apitypes.TransferLeaderRequest{To: c.Args().First()}); err != nil {
				return err
			}
			return console.Tell(c, handedOn(c, g, before.Leader))
		},
	}
}

// handedOn says who leads after a transfer, once that is known.
func handedOn(c *cli.Context, g *apiclient.Global, from string) string {
	var now apitypes.Cluster
	done, err := console.VoiceOf(c.App).Wait(c.Context, console.Poll{Every: 200 * time.Millisecond, For: 5 * time.Second, Check: func(ctx context.Context) (bool, string, error) {
		var err error
		now, err = g.Cluster(ctx)
		return err == nil && now.Leader != "" && now.Leader != from, "waiting for the new leader", nil
	}})
	if err != nil || !done {
		return "the leadership was handed on by " + from + "; who leads is shown by: global status"
	}
	return fmt.Sprintf("the leadership went from %s to %s", from, now.Leader)
}

// nameOf returns the name of the member that an operator calls so, or the word itself.
func nameOf(status apitypes.Cluster, word string) string {
	for _, m := range status.Members {
		if m.ID == word || m.Address == word && m.Name != m.ID {
			return m.Name
		}
	}
	return word
}

func clusterRemove() *cli.Command {
	return &cli.Command{
		Name:      "remove",
		Usage:     "take a member out of the cluster",
		ArgsUsage: "NAME",
		Description: `The node does not come back with its data folder; emptied, it joins as a new one.
Where the voters that are left would be no live majority, the removal is refused
unless it is forced. With --expel the node, a member or not, and the certificate that it
showed last are refused on every port from now on: do that when its disk was stolen. Zones
that run Kuma's control plane heed no expulsion: they are named, and the exit code is 3.

Examples:
  global cluster remove global-2
  global cluster remove --expel --reason "disk stolen" global-2`,
		Flags: client.Flags(
			&cli.BoolFlag{Name: "force", Usage: "remove it also where no live majority is left"},
			&cli.BoolFlag{Name: "expel", Usage: "refuse the node and its certificate on every port"},
			&cli.StringFlag{Name: "reason", Usage: "why it is expelled, a `TEXT` for the list"},
			&cli.BoolFlag{Name: "yes", Usage: "do not ask, also on a terminal"}),
		Action: func(c *cli.Context) error {
			if err := console.Arguments(c, 1, 1, "global cluster remove NAME"); err != nil {
				return err
			}
			g, err := client.Connect(c)
			if err != nil {
				return err
			}
			before, err := g.Cluster(c.Context)
			if err != nil {
				return err
			}
			name := nameOf(before, c.Args().First())
			if err := console.Agree(c, "remove "+name+" from the cluster: it does not come back with its data"); err != nil {
				return err
			}
			removed, err := g.RemoveMember(c.Context, apitypes.RemoveMemberRequest{
				ID: c.Args().First(), Force: c.Bool("force"), Expel: c.Bool("expel"), Reason: c.String("reason"),
			})
			if err != nil {
				return err
			}
			if c.Bool("expel") && len(removed.Expelled) < 2 {
				console.VoiceOf(c.App).Warn("the node's certificate is not known here, the node alone was expelled")
				console.VoiceOf(c.App).Hint("expel it as well: global certs expel FILE")
			}
			text := "node " + name + " is removed"
			if len(removed.Expelled) > 0 {
				text += ", and expelled: " + strings.Join(removed.Expelled, ", ")
			}
			if err := console.Tell(c, text); err != nil {
				return err
			}
			return client.Warned(c, "the expulsion", removed.Warnings)
		},
	}
}

func clusterReadmit() *cli.Command {
	return &cli.Command{
		Name:      "readmit",
		Usage:     "take the expulsion of a node back",
		ArgsUsage: "NAME",
		Description: `The node may be a peer again; it joins with an empty data folder. Its certificate is
readmitted apart: global certs readmit.

Examples:
  global cluster readmit global-2`,
		Flags: client.Flags(),
		Action: func(c *cli.Context) error {
			if err := console.Arguments(c, 1, 1, "global cluster readmit NAME"); err != nil {
				return err
			}
			g, err := client.Connect(c)
			if err != nil {
				return err
			}
			if err := g.Readmit(c.Context, c.Args().First()); err != nil {
				return err
			}
			return console.Tell(c, "node "+c.Args().First()+" is readmitted: it joins with an empty data directory")
		},
	}
}
