package cluster

import (
	"context"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	globalnode "github.com/meridiankds/meridian/internal/global/node"
	"github.com/meridiankds/meridian/raftstore"
)

// rolled is a cluster of three under load, with a zone that finds each member through a relay,
// and what each member's disk was before the load began.
type rolled struct {
	c      *Globals
	all    []*Global
	disks  map[*Global]putBack
	relays map[*Global]*Relay
	zone   *Zone
	load   *tokenLoad
}

// startRolled starts three members, copies their disks, and begins the load.
func startRolled(t *testing.T, logOnly bool) *rolled {
	t.Helper()
	c := StartGlobals(t, quiet, 3)
	r := &rolled{c: c, all: c.Running(), disks: map[*Global]putBack{}, relays: map[*Global]*Relay{}}
	issueAndRevoke(t, c.Leader(), 1)
	for _, g := range r.all {
		g.Stop()
	}
	var addresses []string
	for _, g := range r.all {
		r.disks[g] = g.copyDisk(logOnly)
		r.relays[g] = NewRelay(t, g.KDS())
		addresses = append(addresses, r.relays[g].Addr())
	}
	r.launch(r.all...)
	r.zone = c.Leader().StartZone("west", addresses...)
	r.load = loadOn(t, r.zone, r.all...)
	r.load.goesOn("before disks go back")
	head := c.Leader().Node.Store().Standing().Raft
	for _, g := range r.all {
		for _, o := range r.all {
			Eventually(t, o.Name+" to remember what "+g.Name+" has", func() bool {
				seen, _ := o.Node.Store().Remembered(g.Node.Store().NodeID())
				return g == o || seen.Raft >= head
			})
		}
	}
	return r
}

func addresses(all []*Global) (kds []string) {
	for _, g := range all {
		kds = append(kds, g.KDS())
	}
	return kds
}

func (r *rolled) launch(globals ...*Global) {
	for _, g := range globals {
		g.Launch()
	}
	for _, g := range globals {
		g.AwaitReady()
		r.relays[g].Retarget(g.KDS())
	}
}

// rejoin does what a member that refuses to run says: it is removed, where it is a member
// still, emptied, and joins as a new one.
func (r *rolled) rejoin(t *testing.T, globals ...*Global) {
	t.Helper()
	for _, g := range globals {
		r.c.remove(t, g.Node.Store().NodeID())
		if err := os.RemoveAll(g.Dir); err != nil {
			t.Fatal(err)
		}
		r.launch(g)
	}
}

// wantRefused starts a member and wants it to refuse to run.
func (r *rolled) wantRefused(t *testing.T, g *Global, why string) {
	t.Helper()
	g.Launch()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if err := g.Ended(ctx); err == nil || !strings.Contains(err.Error(), why) {
		t.Fatalf("%s: %v, want it to say %q", g.Name, err, why)
	}
	g.once.Do(func() {}) // it has ended, as it should
}

// TestMembersAreRolledBack under load: of three members some go back, some are down, and the
// rest is up. What went back does not run where anybody knows, and then nothing is lost that
// any disk has; else the zone proves the loss. The way out is the documented one. The zone
// never accepts what it had revoked.
func TestMembersAreRolledBack(t *testing.T) {
	for _, tt := range []struct {
		name       string
		back, down int
		logOnly    bool
		refused    string // by what it is known that a member went back, "": it is not
	}{
		{"one of three, the others up", 1, 0, false, "node "},
		{"raft.db alone of one, the others up", 1, 0, true, "its own record"},
		{"one of three, another one down", 1, 1, false, "node "},
		{"raft.db alone of one, another one down", 1, 1, true, "its own record"},
		{"two of three, the third up", 2, 0, false, "node "},
		{"two of three, the third down", 2, 1, false, ""},
		{"raft.db alone of two, the third down", 2, 1, true, "its own record"},
		{"all three", 3, 0, false, ""},
		{"raft.db alone of all three", 3, 0, true, "its own record"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := startRolled(t, tt.logOnly)
			order := append([]*Global{r.c.Leader()}, r.c.Followers()...)
			back, down := order[:tt.back], order[tt.back:tt.back+tt.down]
			up, most := order[tt.back+tt.down:], order[len(order)-1]
			for _, g := range slices.Concat(down, back) {
				g.Kill()
			}
			if tt.back > 1 { // the third may not have had all that the two acknowledged
				r.load.membersGoBack()
			}
			for _, g := range back {
				r.disks[g].putBack()
			}
			switch {
			case tt.refused == "":
				r.launch(back...)
				r.load.goesOn("with disks that went back")
				Eventually(t, "the loss to be known", func() bool { return len(r.c.Leader().Node.Store().Losses()) > 0 })
				for _, g := range down { // what it has is of another past, though Raft may not see that
					bypassed, ran := r.c.Leader().Node.Store().Bypassed(g.Node.Store().Standing()), r.c.watchRaft(false)
					if r.wantRefused(t, g, "something else"); ran.Load() && bypassed {
						t.Errorf("%s ran, and could vote, before it refused to", g.Name)
					}
					r.c.Configure = nil
				}
				r.rejoin(t, down...)
			default:
				for _, g := range back {
					by := tt.refused
					if len(up) == 1 && !tt.logOnly {
						by += up[0].Node.Store().NodeID()
					}
					r.wantNotRun(t, g, by)
				}
				if tt.back == 1 {
					r.launch(down...)
				} else { // the majority went back: the one that has most goes on
					most.Stop()
					if _, err := raftstore.Recover(most.Dir, raftstore.RecoverOptions{}); err != nil {
						t.Fatal(err)
					}
					r.launch(most)
				}
				for _, g := range back {
					if g != most {
						r.rejoin(t, g)
					}
				}
				for _, g := range down {
					if g != most && tt.back > 1 {
						r.rejoin(t, g)
					}
				}
			}
			r.load.goesOn("once all members are back")
			ids := r.load.end()
			leader := r.c.Leader()
			r.zone.WaitCurrent(leader)
			shownBy := ""
			if tt.refused == "" {
				shownBy = "zone west"
			} else if tt.back == len(r.all) { // the recovery tells what the directory remembers
				shownBy = "member "
			}
			if shownBy != "" {
				if loss := wantOneLoss(t, leader, r.zone); !strings.HasPrefix(loss.ShownBy, shownBy) {
					t.Errorf("loss %+v, want one that %s showed", loss, shownBy)
				}
			} else if losses := leader.Node.Store().Losses(); len(losses) > 0 {
				t.Errorf("losses %+v", losses)
			}
			for _, id := range ids {
				if tt.back == 1 && !leader.Node.Store().View().Revoked(cptoken.Zone, "", id) {
					t.Fatalf("the acknowledged revocation of %s is lost", id)
				}
			}
		})
	}
}

// TestWhatALeaderWouldReplaceIsHandedOver: two of three go back while the third and the zone
// are away. The third meets the leader alone, which would replace what it applied: it stops,
// and hands over its position, with which the loss is known though no zone has shown it.
func TestWhatALeaderWouldReplaceIsHandedOver(t *testing.T) {
	t.Parallel()
	r := startRolled(t, false)
	third := r.c.Followers()[0]
	var two []*Global
	for _, g := range r.all {
		g.Stop()
		if g != third {
			two = append(two, g)
		}
	}
	r.load.membersGoBack()
	for _, g := range two {
		r.disks[g].putBack()
		g.Launch()
	}
	for _, g := range two {
		g.AwaitReady()
	}
	// Leaders of more terms than the third has seen: Raft tells logs apart by these.
	for range 2 {
		leader := r.c.Leader()
		if err := leader.Node.Store().TransferLead(""); err != nil {
			t.Fatal(err)
		}
		Eventually(t, "another leader", func() bool { return r.c.Leader() != leader })
	}
	leader := r.c.Leader()
	issueAndRevoke(t, leader, 3)
	r.c.Configure = func(cfg *globalnode.Config) { // two would contradict it
		dial := cfg.DialPeers
		cfg.DialPeers = func(ctx context.Context, to string) (net.Conn, error) {
			if to != leader.Name {
				return nil, os.ErrDeadlineExceeded
			}
			return dial(ctx, to)
		}
	}
	r.wantRefused(t, third, "the leader's log has something else there")
	r.c.Configure = nil
	Eventually(t, "the loss to be known", func() bool { return len(leader.Node.Store().Losses()) == 1 })
	if loss := leader.Node.Store().Losses()[0]; loss.ShownBy != "member "+third.Node.Store().NodeID() {
		t.Errorf("loss %+v, want one that %s showed", loss, third.Name)
	}
	// The zone returns from the former history, and keeps what it refused.
	for _, g := range two {
		r.relays[g].Retarget(g.KDS())
	}
	r.load.goesOn("in the new history")
	r.load.end()
	r.zone.WaitCurrent(r.c.Leader())
	wantOneLoss(t, r.c.Leader(), r.zone)
}
