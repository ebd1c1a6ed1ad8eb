package cluster

import (
	"fmt"
	"io"
	"strconv"

	"github.com/urfave/cli/v2"

	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/raftstore"
)

// recovery is a raftstore.Recovery as it is printed.
type recovery struct {
	DryRun      bool             `json:"dryRun"`
	NodeID      string           `json:"nodeId"`
	ClusterID   string           `json:"clusterId"`
	Members     []recoveryMember `json:"members"`
	Snapshot    uint64           `json:"snapshot"`
	LastIndex   uint64           `json:"lastIndex"`
	Before      string           `json:"before"`
	Revision    string           `json:"revision,omitempty"`
	Keys        int              `json:"keys"`
	Zones       int              `json:"zones"`
	Revocations int              `json:"revocations"`
	Lacks       *recoveryLacks   `json:"lacks,omitempty"`
}

// recoveryLacks is what is known to be lost: a member had more.
type recoveryLacks struct {
	Member string `json:"member"`
	Index  uint64 `json:"index"` // of its last entry
}

type recoveryMember struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Address string `json:"address"`
	Voter   bool   `json:"voter"`
	Stays   bool   `json:"stays"`
}

func clusterRecover() *cli.Command {
	return &cli.Command{
		Name:  "recover",
		Usage: "let one node go on alone when the majority of its cluster is lost for good",
		Description: `Works on the data folder of a node that is stopped, without a network. The node
becomes the only member, keeps everything that it has, and begins a new history;
other nodes then join it with empty data folders. Take the node that has the most:
the highest last entry.

Move the data folders of the lost members away before any of them starts again: two
of them could go on as the old cluster.

Examples:
  global cluster recover --data-dir /var/lib/meridian --dry-run
  global cluster recover --data-dir /var/lib/meridian`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data-dir", Usage: "the data `FOLDER` of the node that goes on", EnvVars: []string{"GLOBAL_DATA_DIR"}},
			&cli.BoolFlag{Name: "dry-run", Usage: "show what would be done, and change nothing"},
			&cli.BoolFlag{Name: "yes", Usage: "do not ask, also on a terminal"},
			console.OutputFlag(),
		},
		Action: recoverCluster,
	}
}

func recoverCluster(c *cli.Context) error {
	format, err := console.FormatOf(c)
	if err != nil {
		return err
	}
	if err := console.NoArguments(c); err != nil {
		return err
	}
	dir, err := console.Required(c, "data-dir", "/var/lib/meridian")
	if err != nil {
		return err
	}
	dry := c.Bool("dry-run")
	voice := console.VoiceOf(c.App)
	if !dry {
		if err := console.Agree(c, "make the node in "+dir+" the only member of its cluster"); err != nil {
			return err
		}
	}
	found, err := raftstore.Recover(dir, raftstore.RecoverOptions{DryRun: dry})
	if err != nil {
		return err
	}
	r := shownRecovery(found, dry)
	if err := console.Print(c.App.Writer, format, r, func() io.WriterTo { return recoveryFields(r) }); err != nil {
		return err
	}
	if r.Lacks != nil {
		voice.Warn("member %s had applied index %d, and the log here ends at %d: changes that were acknowledged are lost", r.Lacks.Member, r.Lacks.Index, r.LastIndex)
		voice.Hint("another member's directory may have them; once the node runs, global cluster status shows the loss, and docs/backup.md says what to do")
	}
	if dry {
		voice.Say("nothing was changed: this was a dry run")
	}
	return nil
}

func shownRecovery(f raftstore.Recovery, dry bool) recovery {
	r := recovery{
		DryRun: dry, NodeID: f.NodeID, ClusterID: f.ClusterID, Snapshot: f.Snapshot, LastIndex: f.LastIndex,
		Before: f.Before.String(), Keys: f.Keys, Zones: f.Zones, Revocations: f.Revocations,
	}
	if !dry {
		r.Revision = f.Revision.String()
	}
	if f.Lacks.Raft > 0 {
		r.Lacks = &recoveryLacks{Member: f.Lacks.Node, Index: f.Lacks.Raft}
	}
	names := raftstore.NamesOf(f.Members)
	for _, m := range f.Members {
		r.Members = append(r.Members, recoveryMember{ID: m.ID, Name: names[m.ID], Address: m.Address, Voter: m.Voter, Stays: m.ID == f.NodeID})
	}
	return r
}

func recoveryFields(r recovery) *console.Fields {
	f := &console.Fields{}
	f.AddWide("cluster", r.ClusterID)
	for _, m := range r.Members {
		what := "goes"
		if m.Stays {
			what = "stays, alone"
		}
		if !m.Voter {
			what += " (it had no vote)"
		}
		f.Add("member", fmt.Sprintf("%s at %s: %s", m.Name, m.Address, what))
		f.AddWide("its id", m.ID)
	}
	f.Add("newest snapshot", strconv.FormatUint(r.Snapshot, 10))
	f.Add("last entry", strconv.FormatUint(r.LastIndex, 10)+"; all up to it counts as acknowledged")
	f.Add("signing keys", strconv.Itoa(r.Keys))
	f.Add("zones", strconv.Itoa(r.Zones))
	f.Add("revocations", strconv.Itoa(r.Revocations))
	f.Add("zones stood at", r.Before)
	if r.Revision != "" {
		f.Add("new history", r.Revision)
	}
	return f
}
