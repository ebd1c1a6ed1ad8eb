package revocations

import (
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

// holder is a zone and whether it has a revocation.
type holder struct {
	Zone     string     `json:"zone"`
	Instance string     `json:"instance,omitempty"`
	Holds    string     `json:"holds"` // yes, no or unknown
	Why      string     `json:"why,omitempty"`
	Heard    *time.Time `json:"lastHeard,omitempty"`
}

// heldBy shows which zones have acknowledged the revocation of an id. The exit code is 3
// where one has not.
func heldBy(c *cli.Context, format console.Format) error {
	kind, mesh, err := client.KindAndMesh(c, "--kind", c.String("kind"))
	if c.String("kind") == "" {
		return console.Usagef("add --kind zone-token, or whichever kind it is of", "--held needs --kind")
	}
	if err != nil {
		return err
	}
	if kind == cptoken.User || kind == cptoken.ControlPlane {
		return console.Usagef("zones hold revocations of zone-tokens and dataplane-tokens", "a revoked %s is refused at the global at once, and zones are not told", kind.TokenName())
	}
	g, err := client.Connect(c)
	if err != nil {
		return err
	}
	revocation, err := exactly(c, g, string(kind), mesh, c.String("held"))
	if err != nil {
		return err
	}
	zones, err := g.ZoneStates(c.Context)
	if err != nil {
		return err
	}
	holders, lacking := whoHolds(zones, revocation.Index)
	err = console.Print(c.App.Writer, format, console.Items(holders), func() io.WriterTo {
		t := console.NewTable("ZONE", "HOLDS", "WHY", "LAST HEARD AGO").Wide("INSTANCE")
		for _, h := range holders {
			t.Row(h.Zone, h.Holds, h.Why, client.Age(h.Heard), h.Instance)
		}
		return t
	})
	if err == nil && len(lacking) > 0 {
		return console.Pending(federation.Errorf(federation.Conflict, "not known to have it: %s", console.Names(lacking)).
			WithHint("see `global inspect zones` for what keeps them"))
	}
	return err
}

// exactly returns the revocation of an id.
func exactly(c *cli.Context, g *apiclient.Global, kind, mesh, id string) (apitypes.Revocation, error) {
	found, _, _, err := g.Revocations(c.Context, apiclient.RevocationQuery{Kind: kind, Mesh: mesh, ID: id, Limit: 1})
	if err != nil {
		return apitypes.Revocation{}, err
	}
	if len(found) == 0 || found[0].ID != id {
		return apitypes.Revocation{}, federation.Errorf(federation.NotFound, "no %s with the id %.80q is revoked", cptoken.Kind(kind).TokenName(), id).
			WithHint("global get revocations --kind %s --id TEXT finds ids by their beginning", cptoken.Kind(kind).TokenName())
	}
	return found[0], nil
}

// whoHolds compares what each control plane of a zone acknowledged with where in the log the
// revocation is.
func whoHolds(zones []apitypes.ZoneState, index uint64) (holders []holder, lacking []string) {
	holders = []holder{}
	for _, z := range zones {
		if !z.Enabled {
			continue
		}
		if len(z.Sessions) == 0 {
			holders = append(holders, holder{Zone: z.Name, Holds: "unknown", Why: "not connected since the global started", Heard: z.LastSeen})
			lacking = append(lacking, z.Name)
			continue
		}
		missing := false
		for _, s := range z.Sessions {
			h := holder{Zone: z.Name, Instance: s.Instance, Holds: "yes", Heard: s.LastHeard}
			rev, err := federation.ParseRevision(s.Revision)
			switch {
			case s.Behind == nil || err != nil:
				h.Holds, h.Why = "unknown", "it shows no position of this global's history"
			case *s.Behind > 0 && rev.Index < index && !s.Online:
				h.Holds, h.Why = "no", "offline"
			case *s.Behind > 0 && rev.Index < index:
				h.Holds, h.Why = "no", "behind"
			}
			missing = missing || h.Holds != "yes"
			holders = append(holders, h)
		}
		if missing {
			lacking = append(lacking, z.Name)
		}
	}
	return holders, lacking
}
